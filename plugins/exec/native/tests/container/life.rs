//! From create to delete.

use std::fs;

use longshore_plugin::ErrorKind;
use longshore_plugin::exec::{DeleteOutcome, StartOutcome, Status};
use rustix::process::Signal;
use serde_json::json;

use crate::fixture::{Container, signal, until, wait};
use crate::{Case, cases};

pub(crate) const CASES: &[Case] = cases![
    root_create_leaves_init_blocked_before_execve,
    root_start_twice_is_already,
    root_create_of_a_known_id_is_already_exists,
    root_a_cgroup_in_use_is_refused_and_spared,
    root_create_failing_leaves_no_process_cgroup_or_state,
    root_a_missing_entry_is_invalid_with_enoent,
    root_an_entry_that_cannot_run_is_invalid_with_eacces,
    root_an_entry_that_only_its_owner_may_run_runs,
    root_an_entry_of_no_known_format_ends_with_126,
    root_a_cwd_that_is_missing_is_invalid,
    root_exit_codes_are_reported,
    root_death_by_signal_is_128_plus_n,
    root_the_status_of_an_init_that_ends_at_once_is_kept,
    root_state_and_delete_of_the_unknown_are_absent,
    root_start_of_the_unknown_is_not_found,
    root_delete_of_a_running_one_is_in_use,
    root_forced_delete_kills_every_process,
    root_delete_works_after_the_helper_died_in_create,
    root_a_start_whose_helper_died_is_already,
];

fn root_create_leaves_init_blocked_before_execve() {
    let container = Container::script("echo ran > /vol/ran");
    let pid = container.create().unwrap();
    assert_eq!(container.state().init, Some(pid));
    assert_eq!(container.status(), Status::Created);
    assert!(!container.root().join("vol/ran").exists());
    assert_eq!(container.start().unwrap(), StartOutcome::Started);
    assert_eq!(wait(pid), 0);
    assert!(container.root().join("vol/ran").exists());
    assert_eq!(container.status(), Status::Stopped);
    assert_eq!(container.start().unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(container.delete(false).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(container.status(), Status::Absent);
    assert_eq!(container.delete(false).unwrap(), DeleteOutcome::Absent);
}

fn root_start_twice_is_already() {
    let container = Container::new(&["sleep", "1000"]);
    container.running();
    assert_eq!(container.start().unwrap(), StartOutcome::Already);
    assert_eq!(container.status(), Status::Running);
}

fn root_create_of_a_known_id_is_already_exists() {
    let container = Container::new(&["true"]);
    let pid = container.create().unwrap();
    assert_eq!(container.create().unwrap_err().kind, ErrorKind::AlreadyExists);
    // The first one is not disturbed.
    assert_eq!(container.status(), Status::Created);
    container.start().unwrap();
    assert_eq!(wait(pid), 0);
}

fn root_a_cgroup_in_use_is_refused_and_spared() {
    let first = Container::new(&["sleep", "1000"]);
    first.running();
    let mut second = Container::new(&["true"]);
    second.spec["linux"]["cgroupsPath"] = json!(first.cgroup());
    assert_eq!(second.create().unwrap_err().kind, ErrorKind::InUse);
    second.spec["linux"]["cgroupsPath"] = json!("/longshore-test/none");
    assert_eq!(first.status(), Status::Running);
}

fn root_create_failing_leaves_no_process_cgroup_or_state() {
    let mut container = Container::new(&["true"]);
    container.mount(json!({ "destination": "/vol", "type": "bind", "source": "/no/such/place", "options": ["rbind"] }));
    let error = container.create().unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(2)), "{error}");
    container.assert_nothing_left();
    assert_eq!(container.status(), Status::Absent);
}

fn root_a_missing_entry_is_invalid_with_enoent() {
    for entry in ["no-such-command", "/no/such/file"] {
        let container = Container::new(&[entry]);
        let error = container.create().unwrap_err();
        assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(2)), "{error}");
        assert!(error.message.contains(entry), "{error}");
        container.assert_nothing_left();
    }
}

fn root_an_entry_that_cannot_run_is_invalid_with_eacces() {
    for entry in ["/etc/plain", "/etc"] {
        let container = Container::new(&[entry]);
        fs::write(container.root().join("etc/plain"), "text").unwrap();
        let error = container.create().unwrap_err();
        assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(13)), "{error}");
    }
}

fn mode(container: &Container, file: &str, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(container.root().join(file), permissions).unwrap();
}

fn root_an_entry_that_only_its_owner_may_run_runs() {
    let container = Container::new(&["/etc/own"]);
    fs::write(container.root().join("etc/own"), "#!/bin/sh\nexit 7\n").unwrap();
    mode(&container, "etc/own", 0o700);
    assert_eq!(container.run().code, 7);
}

fn root_an_entry_of_no_known_format_ends_with_126() {
    let container = Container::new(&["/etc/odd"]);
    fs::write(container.root().join("etc/odd"), "exit 0\n").unwrap();
    mode(&container, "etc/odd", 0o755);
    let ran = container.run();
    assert_eq!(ran.code, 126);
    assert!(ran.err.contains("/etc/odd"), "{}", ran.err);
}

fn root_a_cwd_that_is_missing_is_invalid() {
    let mut container = Container::new(&["true"]);
    container.spec["process"]["cwd"] = json!("/no/such/folder");
    let error = container.create().unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(2)), "{error}");
    // A descriptor of the host must not become the working directory (CVE-2024-21626).
    for number in 3..12 {
        container.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        assert!(container.create().is_err(), "descriptor {number}");
    }
    container.assert_nothing_left();
}

fn root_exit_codes_are_reported() {
    for code in [0, 1, 3, 255] {
        assert_eq!(Container::script(&format!("exit {code}")).run().code, code);
    }
}

fn root_death_by_signal_is_128_plus_n() {
    let container = Container::new(&["sleep", "1000"]);
    let pid = container.running();
    signal(pid, Signal::KILL);
    assert_eq!(wait(pid), 137);
    until("stopped", || container.status() == Status::Stopped);
}

fn root_the_status_of_an_init_that_ends_at_once_is_kept() {
    let container = Container::new(&["false"]);
    let pid = container.running();
    until("stopped", || container.status() == Status::Stopped);
    assert_eq!(container.delete(false).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(wait(pid), 1);
}

fn root_state_and_delete_of_the_unknown_are_absent() {
    let container = Container::new(&["true"]);
    assert_eq!(container.status(), Status::Absent);
    assert_eq!(container.delete(false).unwrap(), DeleteOutcome::Absent);
    assert_eq!(container.delete(true).unwrap(), DeleteOutcome::Absent);
}

fn root_start_of_the_unknown_is_not_found() {
    let container = Container::new(&["true"]);
    assert_eq!(container.start().unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(container.freeze(true).unwrap_err().kind, ErrorKind::NotFound);
}

fn root_delete_of_a_running_one_is_in_use() {
    let container = Container::new(&["sleep", "1000"]);
    let pid = container.create().unwrap();
    assert_eq!(container.delete(false).unwrap_err().kind, ErrorKind::InUse);
    container.start().unwrap();
    assert_eq!(container.delete(false).unwrap_err().kind, ErrorKind::InUse);
    signal(pid, Signal::KILL);
    assert_eq!(wait(pid), 137);
    assert_eq!(container.delete(false).unwrap(), DeleteOutcome::Deleted);
    container.assert_nothing_left();
}

fn root_forced_delete_kills_every_process() {
    let container = Container::script("sleep 1000 & sleep 1000 & (sleep 1000 & exec sleep 1000) & wait");
    let pid = container.running();
    assert_eq!(container.delete(true).unwrap(), DeleteOutcome::Deleted);
    container.assert_nothing_left();
    assert_eq!(wait(pid), 137);
}

fn root_delete_works_after_the_helper_died_in_create() {
    let container = Container::new(&["sleep", "1000"]);
    let pid = container.create().unwrap();
    // As a helper leaves it that is killed before its last step.
    fs::remove_file(container.state_root().join("init")).unwrap();
    let state = container.state_root().join(container.id.as_str()).join("state.json");
    fs::write(state, "{").unwrap();
    assert_eq!(container.status(), Status::Stopped);
    assert_eq!(container.delete(true).unwrap(), DeleteOutcome::Deleted);
    container.assert_nothing_left();
    assert_eq!(wait(pid), 137);
}

fn root_a_start_whose_helper_died_is_already() {
    let container = Container::new(&["sleep", "1000"]);
    container.running();
    // As a helper leaves it that is killed between telling init and writing so.
    let file = container.state_root().join(container.id.as_str()).join("state.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"running\"", "\"created\"")).unwrap();
    until("running", || container.status() == Status::Running);
    assert_eq!(container.start().unwrap(), StartOutcome::Already);
    assert_eq!(container.exec_script("exit 4").code, 4);
}
