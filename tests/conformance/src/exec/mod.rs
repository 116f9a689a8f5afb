//! The exec suite.
//!
//! An exec driver acts and forks, so every case is a process of its own: the kit runs its own binary
//! again ([`play`]), and that process plays the shim: one thread, its own mount namespace, reaper of
//! orphans. Each call of the driver is a fork of it, as in the shim, that opens the driver afresh from
//! its library (or linked in), makes the call and ends. So no case knows an instance that lives from
//! one call to the next. After a case nothing may be left: processes, cgroups, state folders, mounts,
//! descriptors; the case's process looks first and the kit after it.
//!
//! A container's root is the machine's static busybox. A driver that answers `Unsupported` to a whole
//! container (namespaces, mounts, cgroups, capabilities) gets one that is only a root and a process,
//! and those cases that need more are skipped with the driver's own sentence.
//!
//! [`life`], [`inside`], [`confined`], [`streams`] and [`running`] hold the cases; [`process`] is the
//! process of a case and [`helper`] that of a call; [`container`] and [`bundle`] are a container.

mod bundle;
mod confined;
mod container;
mod helper;
mod inside;
mod life;
mod process;
mod running;
mod streams;
mod traces;

use std::fmt::Debug;
use std::sync::Arc;

use longshore_core::ErrorKind;
use longshore_core::exec::ExecCapabilities;
use longshore_core::wire::Channel;

pub use process::{play, run};

use crate::{CaseResult, Failure};
use helper::Bench;

type Result<T> = std::result::Result<T, Failure>;

/// A driver that is linked into the program: its name, and a channel to it.
pub type Linked = (&'static str, fn() -> Arc<dyn Channel>);

/// What a case needs of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A root and a process.
    Nothing,
    /// Namespaces, mounts, cgroups and capabilities.
    Whole,
    /// All that, and `freeze`.
    Freeze,
    /// All that, and terminals.
    Terminal,
}

/// One named behaviour.
pub struct Case {
    /// A sentence.
    pub name: &'static str,
    /// What it needs of a driver.
    pub needs: Needs,
    run: fn(&Bench) -> CaseResult,
}

impl Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    /// Why it means nothing for a driver.
    fn unmet(&self, capabilities: &ExecCapabilities, whole: &std::result::Result<(), String>) -> Option<String> {
        if self.needs != Needs::Nothing
            && let Err(reason) = whole
        {
            return Some(reason.clone());
        }
        let without = |what: &str| Some(format!("the driver says that it {what}"));
        match self.needs {
            Needs::Freeze if !capabilities.freeze => without("cannot freeze"),
            Needs::Terminal if !capabilities.terminal => without("has no terminals"),
            _ => None,
        }
    }
}

macro_rules! cases {
    ($($part:ident::$name:ident [$needs:ident]),* $(,)?) => {
        /// The cases, in the contract's order; after each part's, more of the same sort.
        pub const CASES: &[Case] =
            &[$(Case { name: stringify!($name), needs: Needs::$needs, run: $part::$name }),*];
    };
}

cases! {
    life::create_leaves_init_blocked_before_execve [Nothing],
    life::start_runs_the_entry_once [Nothing],
    life::start_twice_is_already [Nothing],
    life::create_of_a_known_id_is_already_exists [Nothing],
    life::create_failing_leaves_no_process_cgroup_or_state [Nothing],
    life::a_missing_entry_is_invalid_with_enoent [Nothing],
    life::an_entry_that_cannot_run_is_invalid_with_eacces [Nothing],
    life::a_cwd_outside_the_root_is_refused [Nothing],
    life::exit_code_0_1_and_255_are_reported [Nothing],
    life::death_by_signal_is_128_plus_n [Nothing],
    life::init_is_a_child_of_the_shim [Nothing],
    life::the_status_of_an_init_that_ends_at_once_is_kept [Nothing],
    life::state_of_the_unknown_is_absent [Nothing],
    life::delete_of_the_unknown_is_absent [Nothing],
    life::delete_of_a_running_one_is_in_use [Nothing],
    life::forced_delete_kills_every_process [Nothing],
    life::delete_removes_every_cgroup_it_made [Whole],
    life::delete_works_after_the_helper_died_in_create [Nothing],
    life::start_works_in_a_fresh_instance [Nothing],
    life::start_works_after_the_helper_died_in_start [Nothing],
    life::create_and_start_work_in_one_instance [Nothing],
    life::start_of_the_unknown_is_not_found [Nothing],
    life::start_of_a_stopped_one_is_invalid [Nothing],
    life::a_cgroup_in_use_is_refused_and_spared [Whole],
    life::an_entry_that_only_its_owner_may_run_runs [Nothing],
    life::an_entry_of_no_known_format_ends_with_126 [Whole],
    life::an_unknown_option_is_refused_by_name [Nothing],

    inside::environment_arguments_and_cwd_arrive_exactly [Nothing],
    inside::uid_gid_and_groups_are_exact [Whole],
    confined::capability_sets_are_exact_and_inheritable_is_empty [Whole],
    confined::no_new_privileges_holds [Whole],
    confined::seccomp_denies_what_the_profile_denies_or_create_is_unsupported [Whole],
    confined::device_rules_hold_on_v1_and_v2_or_create_is_unsupported [Whole],
    confined::masked_and_read_only_paths_hold [Whole],
    confined::a_read_only_root_is_read_only [Whole],
    inside::rlimits_are_set_or_refused [Whole],
    inside::sysctls_of_the_own_namespaces_are_set [Whole],
    inside::hostname_is_set [Whole],
    inside::the_given_network_namespace_is_joined_not_copied [Whole],
    inside::cgroup_paths_answered_hold_init [Whole],
    inside::limits_of_memory_cpu_pids_are_in_the_cgroup [Whole],
    inside::no_descriptor_beyond_stdio_reaches_the_entry [Whole],
    inside::no_signal_is_ignored_or_blocked_at_entry [Whole],
    inside::volumes_from_the_shims_namespace_are_seen [Whole],
    inside::the_hosts_mount_table_is_unchanged [Whole],
    confined::the_runtime_binary_cannot_be_opened_for_writing_from_inside [Whole],
    inside::no_groups_means_none [Whole],
    inside::read_only_volumes_are_so_all_the_way_down [Whole],
    confined::capabilities_of_another_user_are_a_bound_only [Whole],
    confined::a_profile_that_notifies_is_unsupported [Whole],
    confined::cgroups_are_seen_but_not_written_from_inside [Whole],
    confined::labels_that_the_driver_cannot_apply_are_refused_before_any_effect [Whole],
    confined::a_spec_without_a_process_is_invalid [Nothing],

    streams::stdout_and_stderr_stay_apart [Nothing],
    streams::end_of_file_comes_when_init_ends [Whole],
    streams::closing_stdin_is_seen [Nothing],
    streams::a_terminal_is_the_controlling_one [Terminal],
    streams::ctrl_c_interrupts_the_foreground [Terminal],
    streams::resize_is_seen [Terminal],
    streams::resize_before_start_is_kept [Terminal],
    streams::without_stdin_the_entry_reads_end_of_file [Nothing],
    streams::a_terminal_belongs_to_the_entrys_user [Terminal],

    running::exec_joins_every_namespace_and_cgroup [Whole],
    running::exec_status_is_its_own [Nothing],
    running::an_exec_that_ends_at_once_keeps_its_status [Nothing],
    running::exec_with_a_terminal [Terminal],
    running::exec_in_a_paused_one_is_refused [Freeze],
    running::exec_dies_with_init [Whole],
    running::twenty_execs_at_once [Nothing],
    running::freeze_stops_and_thaw_resumes [Freeze],
    running::kill_ends_a_frozen_one [Freeze],
    running::update_changes_the_cgroup [Whole],
    running::update_below_usage_is_exhausted [Whole],
    running::an_oom_kill_is_counted [Whole],
    running::signal_reaches_init [Nothing],
    running::exec_of_a_missing_entry_is_invalid_with_enoent [Nothing],
    running::exec_has_exact_capabilities_groups_and_environment [Whole],
    running::exec_has_the_containers_filter [Whole],
    running::exec_of_a_used_id_is_already_exists [Nothing],
    running::exec_in_a_stopped_or_created_one_is_invalid [Nothing],
    running::exec_leaves_nothing_in_the_state_folder [Nothing],
    running::freeze_of_the_unknown_is_not_found [Freeze],
}

fn differs(sentence: impl Into<String>) -> Failure {
    Failure::Differs(sentence.into())
}

/// Fails unless both are the same.
fn same<A: PartialEq<B> + Debug, B: Debug>(what: &str, is: A, should: B) -> CaseResult {
    crate::check(is == should, || format!("{what}: {is:?}, expected {should:?}"))
}

/// Fails unless a call ended with an error of that kind and number of the system; the error.
fn refused<T: Debug>(
    result: longshore_core::Result<T>,
    kind: ErrorKind,
    errno: Option<i32>,
) -> Result<longshore_core::Error> {
    match result {
        Err(error) if error.kind == kind && (errno.is_none() || error.errno == errno) => Ok(error),
        other => Err(differs(format!(
            "expected an error of kind {kind:?} with number {errno:?}, got {other:?}"
        ))),
    }
}

/// The answer of a call of the system.
fn sys<T>(result: longshore_sys::Result<T>) -> Result<T> {
    result.map_err(|error| Failure::Io(error.into()))
}
