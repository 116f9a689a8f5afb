//! Each fault that can be planted in the graph and volume sims is caught by the case that is named
//! for it: a case that cannot fail proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use longshore_conformance::{Outcome, Target, run};
use longshore_core::driver::{Driver, Kind, OptionValue};
use longshore_core::graph::GraphKind;
use longshore_core::volume::VolumeKind;
use longshore_loader::Loaded;
use longshore_plugin::serve::Static;
use longshore_sim::{graph, volume};

fn graph_case(defect: graph::Defect) -> &'static str {
    use graph::Defect as D;
    match defect {
        D::ForgetsTheParent => "create_over_a_parent_shows_its_content",
        D::MountsTheParent => "write_goes_to_the_container_and_never_to_its_parents",
        D::KeepsTheTree => "remove_frees_its_space",
        D::MissesTheAbsent => "remove_of_the_absent_is_absent",
        D::WritesWhenReading => "read_access_refuses_writing",
        D::RemovesParents => "remove_with_children_is_in_use",
        D::RefusesARepeat => "create_twice_is_existing",
        D::TakesAnyOption => "open_refuses_an_unknown_option_by_name",
        D::TakesAnyDepth => "create_beyond_max_depth_is_exhausted",
        D::TakesAMissingParent => "create_over_a_missing_parent_is_not_found",
        D::NeverSeals => "stat_follows_open_sealed_removing",
        D::RepeatsPages => "list_pages_are_ascending_and_complete",
        D::LosesItsPlace => "list_survives_removal_between_pages",
        D::TouchesTheParent => "steps_name_only_the_object_of_the_call",
        D::ForgetsWhenReopened => "a_fresh_instance_continues_every_state",
        D::ChangesNotes => "notes_come_back_unchanged",
        D::NeverCollects => "deferred_removal_ends_in_collect",
        D::CommitsTheActive => "commit_of_an_active_layer_is_in_use",
        D::ChangesPlans => "a_plan_repeated_is_equal",
        D::TakesAForeignRoot => "open_of_a_foreign_root_is_corrupt_and_untouched",
        D::WritesWhenProbed => "probe_changes_nothing",
        D::MakesTwice => "parallel_creates_of_one_id_have_one_winner",
        D::IgnoresCancel => "cancel_is_answered_in_time_and_leaves_a_known_state",
        D::DeniesTheLate => "a_deadline_then_stat_tells_the_truth",
        D::StaysAway => "a_backend_that_returns_is_usable_without_reopen",
        D::ForgetsActivation => "deactivate_while_a_descriptor_is_open_is_done_or_deferred",
        D::RefusesTheDeferred => "activate_after_deferred_deactivate_works",
        D::CountsTwice => "usage_counts_what_remove_frees",
        D::CollectsForEver => "collect_on_a_clean_root_does_nothing",
        D::HidesRemoval => "stat_follows_open_sealed_removing",
        D::ForgetsInPanic => "a_panic_is_broken_and_the_next_call_works",
    }
}

fn volume_case(defect: volume::Defect) -> &'static str {
    use volume::Defect as D;
    match defect {
        D::RefusesARepeat => "create_twice_with_equal_options_is_existing",
        D::TakesOtherOptions => "create_with_other_options_already_exists",
        D::TakesAnyOption => "create_with_a_bad_option_names_it_and_leaves_nothing",
        D::RemovesTheMounted => "remove_while_mounted_is_in_use",
        D::MissesTheAbsent => "remove_of_the_absent_is_absent",
        D::RemovesAll => "remove_deletes_only_its_own_data",
        D::IgnoresForce => "remove_by_force_with_the_backend_away",
        D::HidesTheUnreachable => "stat_of_an_unreachable_volume_is_unreachable_and_listed",
        D::ChangesItsAge => "created_time_stays_over_reopen",
        D::LosesTheNote => "notes_and_options_come_back_unchanged",
        D::WritesWhenReading => "read_mount_refuses_writing",
        D::UnmountsAll => "unmount_of_one_leaves_the_other",
        D::NeverUnstages => "the_last_unmount_unstages",
        D::MissesTheUnmounted => "unmount_of_the_unknown_is_absent",
        D::RepeatsPages => "list_pages_are_ascending_and_complete",
        D::MakesTwice => "parallel_creates_of_one_name_have_one_winner",
        D::HangsTogether => "a_hung_backend_delays_no_other_volume",
        D::CountsTwice => "usage_follows_writing",
        D::SeparatesConsumers => "two_ids_see_each_others_writes",
        D::MixesSecrets => "a_secret_reaches_the_mount",
        D::HidesMounts => "unknown_mount_ids_are_unmounted_after_restart",
    }
}

/// How that case ends with that fault.
fn outcome<D, K>(name: &str, case: &str) -> Outcome
where
    D: Driver,
    K: Kind<D>,
{
    // A driver of its own for each: one that hangs is left behind.
    let target = Target {
        loaded: Arc::new(Loaded::over(Arc::new(Static::<D, K>::new())).unwrap()),
        options: vec![OptionValue::text("defect", name)],
        folder: None,
    };
    let ended = run(&target, case).unwrap();
    let found = ended.iter().find(|one| one.name == case);
    found.expect("the case is in the list").outcome.clone()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP: mounts need root");
    }
    root
}

fn all_caught(found: Vec<(&'static str, &'static str, Outcome)>) {
    for (defect, case, outcome) in &found {
        println!("{defect} -> {case}: {outcome:?}");
    }
    let missed: Vec<_> = found
        .iter()
        .filter(|(_, _, outcome)| !matches!(outcome, Outcome::Fail(_)))
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn root_every_fault_of_a_graph_driver_is_caught_by_its_case() {
    if is_root() {
        all_caught(
            graph::Defect::ALL
                .iter()
                .map(|(name, defect)| {
                    let case = graph_case(*defect);
                    (*name, case, outcome::<graph::Sim, GraphKind>(name, case))
                })
                .collect(),
        );
    }
}

#[test]
fn root_every_fault_of_a_volume_driver_is_caught_by_its_case() {
    if is_root() {
        all_caught(
            volume::Defect::ALL
                .iter()
                .map(|(name, defect)| {
                    let case = volume_case(*defect);
                    (*name, case, outcome::<volume::Sim, VolumeKind>(name, case))
                })
                .collect(),
        );
    }
}
