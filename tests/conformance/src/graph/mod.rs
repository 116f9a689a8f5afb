//! The graph suite: every case of the contract's list but those of [`crate::deferred`].

mod bench;
mod changes;
mod content;
mod life;
mod migration;
mod plans;
mod shapes;
mod space;
mod trouble;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use longshore_core::driver::OptionValue;
use longshore_core::graph::{
    Access, ChangeKind, ChangesSupport, Collect, Commit, Ended, LayerRef, List, Made, Remove, Role, Stat, State,
    Whiteouts,
};
use longshore_core::steps::{Lower, MountPlan, Source};
use longshore_core::types::{LayerId, Note};
use longshore_core::{Context, ErrorKind};
use longshore_performer::plan;
use longshore_performer::sink::{Attributes, Time, TreeSink};
use longshore_performer::tree;

use crate::host::{inside, tree as lines, unusable};
use crate::{Case, CaseResult, Failure, check, expect};

pub use bench::Bench;
use bench::{Filled, request};

type Result<T> = std::result::Result<T, Failure>;

fn id(letter: char) -> LayerId {
    let text: String = std::iter::repeat_n(letter, 64).collect();
    // Letters of the cases are all allowed.
    LayerId::parse(text).unwrap_or_else(|_| LayerId::from_random([7; 32]))
}

fn numbered(number: usize) -> Result<LayerId> {
    Ok(LayerId::parse(format!("{number:064}"))?)
}

fn names(chain: &[LayerRef]) -> Vec<&str> {
    chain.iter().map(|layer| layer.id.as_str()).collect()
}

fn attributes(mode: u32) -> Attributes<'static> {
    Attributes {
        mode,
        uid: 0,
        gid: 0,
        modified: Time {
            seconds: 1_600_000_000,
            nanoseconds: 5,
        },
        xattrs: &[],
    }
}

fn put(sink: &mut TreeSink, path: &str, content: &str) -> Result<()> {
    sink.file(
        path.as_bytes(),
        &attributes(0o644),
        content.len() as u64,
        &mut content.as_bytes(),
    )?;
    Ok(())
}

fn nothing(_: &mut TreeSink) -> Result<()> {
    Ok(())
}

fn same(what: &str, a: &[String], b: &[String]) -> CaseResult {
    check(a == b, || {
        let only = |x: &[String], y: &[String]| x.iter().filter(|line| !y.contains(line)).cloned().collect::<Vec<_>>();
        format!("{what}: {:?} against {:?}", only(a, b), only(b, a))
    })
}

fn usable(bench: &Bench) -> Option<&'static str> {
    bench
        .unusable
        .is_some()
        .then_some("the driver cannot work on this machine or file system")
}

fn lists(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.lists).then_some("the driver keeps no list"))
}

fn tracks(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.tracks_activation).then_some("the driver tracks no activations"))
}

fn judges(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.acts).then_some("the driver is pure: the host checks this before it asks"))
}

fn tells_changes(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((bench.capabilities.changes == ChangesSupport::No).then_some("the driver tells no changes"))
}

fn independent(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.independent_layers).then_some("the driver's layers build on their parents"))
}

fn dependent(bench: &Bench) -> Option<&'static str> {
    judges(bench).or(bench
        .capabilities
        .independent_layers
        .then_some("the driver's layers are independent of their parents"))
}

fn keeps_folders(bench: &Bench) -> Option<&'static str> {
    let none = bench.target.loaded.description().areas.is_empty();
    usable(bench).or(none.then_some("the driver's layers are no folders"))
}

fn troubles(bench: &Bench) -> Option<&'static str> {
    let possible = crate::trouble::possible(bench.target.loaded.description());
    usable(bench).or((!possible).then_some("the driver has no option `provoke`, by which a case makes trouble"))
}

fn selective(bench: &Bench) -> Option<&'static str> {
    match life::on_a_bare_machine(bench) {
        Ok(probed) if probed.usable => Some("the driver works on any machine"),
        _ => None,
    }
}

fn in_memory(bench: &Bench) -> Option<&'static str> {
    let unusable = || {
        bench
            .in_memory(1 << 20, 100)
            .map_or(true, |small| small.unusable.is_some())
    };
    usable(bench).or_else(|| unusable().then_some("the driver cannot work on a file system in memory"))
}

macro_rules! cases {
    ($($part:ident { $($name:ident [$skip:ident]),* $(,)? })*) => {
        /// The cases, in order.
        pub const CASES: &[Case<Bench>] =
            &[$($(Case { name: stringify!($name), skip: $skip, run: $part::$name },)*)*];
    };
}

cases! {
    life {
        describe_is_pure_and_equal_to_the_manifest [usable],
        probe_changes_nothing [usable],
        probe_names_a_remedy_when_unusable [selective],
        open_of_a_foreign_root_is_corrupt_and_untouched [judges],
        open_refuses_an_unknown_option_by_name [usable],
        create_a_base_layer_is_open_and_empty [usable],
        create_over_a_parent_shows_its_content [usable],
        create_over_a_missing_parent_is_not_found [usable],
        create_over_an_open_parent_is_invalid_unless_layers_are_independent [dependent],
        children_filled_before_parents_give_the_same_tree [independent],
        create_twice_is_existing [usable],
        create_after_a_half_made_one_completes_it [usable],
        create_of_one_id_with_another_parent_already_exists [judges],
        create_beyond_max_depth_is_exhausted [usable],
        create_at_max_depth_mounts [usable],
        commit_seals_and_a_second_commit_is_ok [usable],
        commit_of_an_active_layer_is_in_use [tracks],
        remove_of_the_absent_is_absent [usable],
        remove_twice_is_absent [usable],
        remove_with_children_is_in_use [judges],
        remove_frees_its_space [usable],
        an_id_can_be_removed_while_half_made [usable],
        deferred_removal_ends_in_collect [tracks],
        stat_follows_open_sealed_removing [lists],
        stat_of_the_absent_is_not_found [lists],
        list_pages_are_ascending_and_complete [lists],
        list_survives_removal_between_pages [lists],
        notes_come_back_unchanged [lists],
        two_instances_of_one_root_agree [usable],
        a_fresh_instance_continues_every_state [usable],
    }
    content {
        unpack_keeps_modes_owners_times_xattrs_links_devices_holes [usable],
        unpack_over_a_parent_replaces_file_by_directory_and_back [usable],
        a_whiteout_hides_a_file_a_tree_and_a_symlink_only [usable],
        an_opaque_directory_hides_what_is_below_and_nothing_beside [usable],
        a_whiteout_then_the_same_name_again_shows_the_new [usable],
        a_hardlink_across_layers_is_not_shared_for_writing [usable],
        names_that_look_like_whiteouts_or_are_not_utf8_survive [usable],
        the_images_root_mode_and_owner_show_in_the_container [usable],
        file_capabilities_survive_commit_and_read [usable],
        write_goes_to_the_container_and_never_to_its_parents [usable],
        two_containers_of_one_layer_do_not_see_each_other [usable],
        read_access_refuses_writing [usable],
        write_access_is_really_writable [usable],
    }
    shapes {
        the_same_tree_through_read_of_any_driver [usable],
        forty_layers_read_the_top_one_first [usable],
        a_layer_of_a_hundred_thousand_files_lists_in_time [usable],
    }
    changes {
        changes_equal_the_compared_trees [tells_changes],
        changes_of_an_untouched_container_are_empty [usable],
        changes_tell_modified_from_added_after_copy_up [usable],
        usage_counts_what_remove_frees [usable],
        usage_of_a_sparse_file_is_its_blocks [usable],
    }
    plans {
        steps_performed_twice_give_the_same_tree [usable],
        steps_cut_after_any_step_are_completed_by_the_same_call [usable],
        steps_name_only_the_object_of_the_call [usable],
        a_plan_names_only_the_layer_and_its_ancestors [usable],
        a_plan_repeated_is_equal [usable],
        a_plan_mounts_in_a_foreign_namespace [usable],
        a_second_consumer_sees_the_first_ones_writes [usable],
        deactivate_of_the_absent_is_absent [tracks],
        deactivate_while_a_descriptor_is_open_is_done_or_deferred [tracks],
        activate_after_deferred_deactivate_works [tracks],
        data_survives_deactivate_and_activate [usable],
    }
    space {
        kill_at_every_step_of_create_commit_remove_leaves_a_removable_layer [usable],
        no_space_at_every_write_leaves_nothing [in_memory],
        a_damaged_layer_is_corrupt_and_others_work [keeps_folders],
        a_missing_file_of_the_drivers_own_metadata_is_named [keeps_folders],
    }
    trouble {
        parallel_creates_of_one_id_have_one_winner [usable],
        parallel_children_of_one_parent_all_succeed [usable],
        remove_races_activate_without_a_half_result [tracks],
        cancel_is_answered_in_time_and_leaves_a_known_state [usable],
        a_deadline_then_stat_tells_the_truth [usable],
        a_panic_is_broken_and_the_next_call_works [troubles],
        a_backend_that_returns_is_usable_without_reopen [troubles],
        collect_on_a_clean_root_does_nothing [usable],
        foreign_objects_beside_ours_stay [usable],
    }
    migration {
        migration_from_and_to_the_sim_keeps_every_diff_id [usable],
    }
}
