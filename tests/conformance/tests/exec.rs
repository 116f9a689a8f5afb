//! The exec suite on the native driver as the library that an engine loads, and on the sim linked in;
//! and each planted fault is caught by the case that is named for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use longshore_conformance::{Outcome, Target, deferred, exec, names, report, run};
use longshore_core::driver::OptionValue;
use longshore_core::exec::ExecKind;
use longshore_core::wire::Channel;
use longshore_loader::{Loaded, Origin};
use longshore_plugin::serve::Static;
use longshore_sim::exec::{Defect, Sim};

fn sim() -> Arc<dyn Channel> {
    Arc::new(Static::<Sim, ExecKind>::new())
}

fn main() -> ExitCode {
    if let Some(code) = exec::play(&[("sim", sim)]) {
        return code;
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, move || if is_root() { test() } else { Ok(()) })
    };
    let trials = vec![
        trial("root_native_as_a_library", native_as_a_library),
        trial("root_the_exec_sim", the_sim),
        trial(
            "root_every_planted_fault_of_an_exec_driver_is_caught_by_its_case",
            every_fault_is_caught,
        ),
        Trial::test("the_contracts_cases_are_all_listed", the_contracts_cases_are_all_listed),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    println!("SKIP: containers need root");
    false
}

fn target(loaded: Loaded) -> Target {
    Target {
        loaded: Arc::new(loaded),
        options: vec![],
        folder: None,
    }
}

fn library() -> Target {
    let exe = std::env::current_exe().unwrap();
    let file = "liblongshore_exec_native.so";
    let found = exe
        .ancestors()
        .map(|folder| folder.join(file))
        .find(|path: &PathBuf| path.is_file())
        .unwrap_or_else(|| panic!("{file} is not built: run `cargo build --workspace`"));
    let grants = longshore_loader::check(&found).unwrap().manifest().grants.clone();
    let origin = Origin::Explicit {
        in_process: true,
        grants,
    };
    target(Loaded::from_path(&found, &origin).unwrap())
}

fn passes(target: &Target) -> Result<report::Counts, Failed> {
    let ended = run(target, "").unwrap();
    let counts = report::count(&ended);
    let text = report::text("", &ended);
    println!("{text}");
    if counts.failed == 0 && counts.passed > 0 {
        Ok(counts)
    } else {
        Err(text.into())
    }
}

fn native_as_a_library() -> Result<(), Failed> {
    passes(&library()).map(drop)
}

fn the_sim() -> Result<(), Failed> {
    passes(&target(Loaded::over(sim()).unwrap())).map(drop)
}

/// The case that is there to catch each fault.
fn catcher(defect: Defect) -> &'static str {
    match defect {
        Defect::StartsAtOnce => "create_leaves_init_blocked_before_execve",
        Defect::StartsAgain => "start_runs_the_entry_once",
        Defect::MixesStreams => "stdout_and_stderr_stay_apart",
        Defect::MissesTheAbsent => "delete_of_the_unknown_is_absent",
        Defect::SparesOthers => "forced_delete_kills_every_process",
        Defect::KeepsItsState => "delete_of_a_running_one_is_in_use",
        Defect::TakesAnyEntry => "a_missing_entry_is_invalid_with_enoent",
        Defect::HandsOnTheEnvironment => "environment_arguments_and_cwd_arrive_exactly",
        Defect::ForgetsExecs => "exec_of_a_used_id_is_already_exists",
        Defect::TakesAnyOption => "an_unknown_option_is_refused_by_name",
    }
}

fn every_fault_is_caught() -> Result<(), Failed> {
    for (name, defect) in Defect::ALL {
        let mut target = target(Loaded::over(sim()).unwrap());
        target.options = vec![OptionValue::text("defect", name)];
        let case = catcher(defect);
        let ended = run(&target, case).unwrap();
        let one = ended
            .iter()
            .find(|one| one.name == case)
            .expect("the case is in the list");
        if !matches!(one.outcome, Outcome::Fail(_)) {
            return Err(format!("{name} is not caught by {case}: {:?}", one.outcome).into());
        }
    }
    Ok(())
}

/// Section by section as the contract has them.
const CONTRACT: &str = "
create_leaves_init_blocked_before_execve start_runs_the_entry_once start_twice_is_already
create_of_a_known_id_is_already_exists create_failing_leaves_no_process_cgroup_or_state
a_missing_entry_is_invalid_with_enoent an_entry_that_cannot_run_is_invalid_with_eacces
a_cwd_outside_the_root_is_refused exit_code_0_1_and_255_are_reported death_by_signal_is_128_plus_n
init_is_a_child_of_the_shim the_status_of_an_init_that_ends_at_once_is_kept state_of_the_unknown_is_absent
delete_of_the_unknown_is_absent delete_of_a_running_one_is_in_use forced_delete_kills_every_process
delete_removes_every_cgroup_it_made delete_works_after_the_helper_died_in_create
start_works_in_a_fresh_instance wait_answers_the_same_until_delete

environment_arguments_and_cwd_arrive_exactly uid_gid_and_groups_are_exact
capability_sets_are_exact_and_inheritable_is_empty no_new_privileges_holds
seccomp_denies_what_the_profile_denies_or_create_is_unsupported
device_rules_hold_on_v1_and_v2_or_create_is_unsupported masked_and_read_only_paths_hold
a_read_only_root_is_read_only rlimits_are_set_or_refused sysctls_of_the_own_namespaces_are_set hostname_is_set
the_given_network_namespace_is_joined_not_copied the_given_user_namespace_is_joined
cgroup_paths_answered_hold_init limits_of_memory_cpu_pids_are_in_the_cgroup
no_descriptor_beyond_stdio_reaches_the_entry no_signal_is_ignored_or_blocked_at_entry
volumes_from_the_shims_namespace_are_seen the_hosts_mount_table_is_unchanged
the_runtime_binary_cannot_be_opened_for_writing_from_inside

stdout_and_stderr_stay_apart end_of_file_comes_when_init_ends closing_stdin_is_seen
a_terminal_is_the_controlling_one ctrl_c_interrupts_the_foreground resize_is_seen resize_before_start_is_kept

exec_joins_every_namespace_and_cgroup exec_status_is_its_own an_exec_that_ends_at_once_keeps_its_status
exec_with_a_terminal exec_in_a_paused_one_is_refused exec_dies_with_init twenty_execs_at_once
freeze_stops_and_thaw_resumes kill_ends_a_frozen_one update_changes_the_cgroup
update_below_usage_is_exhausted an_oom_kill_is_counted signal_reaches_init checkpoint_then_restore_continues";

fn the_contracts_cases_are_all_listed() -> Result<(), Failed> {
    let mut listed = names("exec");
    listed.extend(deferred::of("exec").map(|case| case.name));
    match CONTRACT.split_whitespace().find(|case| !listed.contains(case)) {
        Some(missing) => Err(format!("{missing} is not in the suite").into()),
        None => Ok(()),
    }
}
