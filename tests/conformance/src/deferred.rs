//! Cases of the contract whose part is not in the interface yet: one list, so that nobody takes a
//! missing case for a forgotten one. A case leaves it together with the order that brings its part.

/// A case that cannot be tried yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The kind of driver.
    pub kind: &'static str,
    /// Its name in the contract.
    pub name: &'static str,
    /// The part of the interface that it waits for.
    pub part: &'static str,
}

macro_rules! deferred {
    ($($kind:ident { $($part:literal: $($name:ident),* ;)* })*) => {
        /// All of them.
        pub const DEFERRED: &[Deferred] = &[$($($(Deferred {
            kind: stringify!($kind),
            name: stringify!($name),
            part: $part,
        },)*)*)*];
    };
}

deferred! {
    graph {
        "streams and sources of a layer":
            create_from_a_stream_equals_its_export, create_with_an_unknown_source_is_empty;
        "limits": limits_stop_a_writer_with_no_space, a_quota_step_stands_before_the_folders_content;
        "update": update_grows_a_limit_live;
        "id-maps": idmapped_root_owns_its_files_and_disk_owners_stay, one_layer_under_two_maps_at_once;
        "a second version (skew is proven on a fixture trait)":
            an_older_host_gets_no_newer_field, a_newer_field_is_unsupported_before_the_call;
    }
    volume {
        "limits": limits_stop_a_writer;
        "id-maps": an_idmapped_mount_shows_mapped_owners;
        "snapshots and clones": snapshot_is_frozen_and_clone_is_writable;
        "servers":
            a_server_outlives_the_engine_and_is_found_again,
            a_server_killed_is_reported_and_restarted_when_it_can_resume;
        "adapters of other systems' plugins": an_adapter_says_which_cases_it_cannot_meet;
    }
    network {
        "names that are answered for":
            names_resolve_after_engine_death, a_dead_containers_name_is_gone_without_an_engine;
        "foreign firewalls": a_foreign_flush_is_repaired;
        "adapters of other systems' plugins": cni_del_runs_after_the_sandbox_is_gone;
    }
    exec {
        "wait": wait_answers_the_same_until_delete;
        "user namespaces": the_given_user_namespace_is_joined;
        "checkpoint and restore": checkpoint_then_restore_continues;
    }
}

/// Those of one kind.
pub fn of(kind: &str) -> impl Iterator<Item = &'static Deferred> {
    DEFERRED.iter().filter(move |case| case.kind == kind)
}
