//! From create to delete.

use std::fs;

use longshore_core::driver::OptionValue;
use longshore_core::exec::{DeleteOutcome, StartOutcome, Status};
use longshore_core::{Error, ErrorKind};
use serde_json::json;

use super::container::{Container, inner, pid, signal, until, wait};
use super::helper::Bench;
use super::traces::cgroup_folders;
use super::{Result, differs, refused, same};
use crate::{CaseResult, Failure, check};

/// Not in the list: what the kit asks first.
pub(crate) fn a_whole_container_can_be_made(bench: &Bench) -> CaseResult {
    match bench.container(&["true"])?.create() {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ErrorKind::Unsupported => Err(Failure::NotHere(error.message)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn create_leaves_init_blocked_before_execve(bench: &Bench) -> CaseResult {
    let container = bench.script("echo ran > /vol/ran")?;
    let created = container.create()?;
    same("the status", container.status()?, Status::Created)?;
    same("init in state", container.state()?.init, Some(inner(&created.init)?))?;
    check(!container.root().join("vol/ran").exists(), || {
        "the entry ran before start".into()
    })?;
    same("start", container.start()?, StartOutcome::Started)?;
    same("the exit status", wait(pid(&created.init))?, 0)?;
    check(container.root().join("vol/ran").exists(), || {
        "the entry did not run".into()
    })?;
    same("the status", container.status()?, Status::Stopped)?;
    same("delete", container.delete(false)?, DeleteOutcome::Deleted)?;
    same("the status", container.status()?, Status::Absent)?;
    same("delete", container.delete(false)?, DeleteOutcome::Absent)
}

pub(crate) fn start_runs_the_entry_once(bench: &Bench) -> CaseResult {
    let container = bench.script("echo ran >> /vol/ran; while ! test -e /vol/go; do sleep 0.01; done")?;
    let init = container.running()?;
    container.start()?;
    fs::write(container.root().join("vol/go"), "")?;
    same("the exit status", wait(init)?, 0)?;
    drop(container.start());
    same(
        "what it wrote",
        fs::read_to_string(container.root().join("vol/ran"))?,
        "ran\n",
    )
}

pub(crate) fn start_twice_is_already(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    same("start", container.start()?, StartOutcome::Already)?;
    same("the status", container.status()?, Status::Running)
}

pub(crate) fn create_of_a_known_id_is_already_exists(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    let first = container.create()?;
    refused(container.create(), ErrorKind::AlreadyExists, None)?;
    // The first one is not disturbed.
    same("the status", container.status()?, Status::Created)?;
    container.start()?;
    same("the exit status", wait(pid(&first.init))?, 0)
}

pub(crate) fn create_failing_leaves_no_process_cgroup_or_state(bench: &Bench) -> CaseResult {
    let container = bench.container(&["no-such-command"])?;
    check(container.create().is_err(), || "a missing entry was taken".into())?;
    container.nothing_left()?;
    same("the status", container.status()?, Status::Absent)?;
    if bench.whole {
        let mut container = bench.container(&["true"])?;
        container
            .mount(json!({ "destination": "/vol", "type": "bind", "source": "/no/such/place", "options": ["rbind"] }));
        refused(container.create(), ErrorKind::Invalid, Some(2))?;
        container.nothing_left()?;
        same("the status", container.status()?, Status::Absent)?;
    }
    Ok(())
}

pub(crate) fn a_missing_entry_is_invalid_with_enoent(bench: &Bench) -> CaseResult {
    for entry in ["no-such-command", "/no/such/file"] {
        let container = bench.container(&[entry])?;
        let error = refused(container.create(), ErrorKind::Invalid, Some(2))?;
        check(error.message.contains(entry), || {
            format!("the entry is not named: {error}")
        })?;
        container.nothing_left()?;
    }
    Ok(())
}

pub(crate) fn an_entry_that_cannot_run_is_invalid_with_eacces(bench: &Bench) -> CaseResult {
    for entry in ["/etc/plain", "/etc"] {
        let container = bench.container(&[entry])?;
        fs::write(container.root().join("etc/plain"), "text")?;
        refused(container.create(), ErrorKind::Invalid, Some(13))?;
        container.nothing_left()?;
    }
    Ok(())
}

pub(crate) fn a_cwd_outside_the_root_is_refused(bench: &Bench) -> CaseResult {
    let mut container = bench.container(&["true"])?;
    container.spec["process"]["cwd"] = json!("/no/such/folder");
    refused(container.create(), ErrorKind::Invalid, Some(2))?;
    // A descriptor of the host must not become the working directory (CVE-2024-21626).
    for number in 3..12 {
        container.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        check(container.create().is_err(), || {
            format!("descriptor {number} became the working directory")
        })?;
    }
    container.nothing_left()
}

pub(crate) fn exit_code_0_1_and_255_are_reported(bench: &Bench) -> CaseResult {
    for code in [0, 1, 3, 255] {
        same(
            "the exit status",
            bench.script(&format!("exit {code}"))?.run()?.code,
            code,
        )?;
    }
    Ok(())
}

pub(crate) fn death_by_signal_is_128_plus_n(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    container.start()?;
    // The one signal that init of a PID namespace gets without handling it.
    signal(inner(&created.init)?, 9)?;
    same("the exit status", wait(pid(&created.init))?, 137)?;
    until("the end", || Ok(container.status()? == Status::Stopped))
}

/// The parent of a process.
fn parent(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| differs("no parent"))
}

pub(crate) fn init_is_a_child_of_the_shim(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    let created = container.create()?;
    same("init's parent", parent(pid(&created.init))?, std::process::id())?;
    container.start()?;
    same("the exit status", wait(pid(&created.init))?, 0)
}

pub(crate) fn the_status_of_an_init_that_ends_at_once_is_kept(bench: &Bench) -> CaseResult {
    let container = bench.container(&["false"])?;
    let init = container.running()?;
    until("the end", || Ok(container.status()? == Status::Stopped))?;
    same("delete", container.delete(false)?, DeleteOutcome::Deleted)?;
    same("the exit status", wait(init)?, 1)
}

pub(crate) fn state_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    same("the status", container.status()?, Status::Absent)?;
    // Also where the host has removed the folder.
    fs::remove_dir(container.state_root())?;
    same("the status", container.status()?, Status::Absent)
}

pub(crate) fn delete_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    for force in [false, true] {
        same("delete", container.delete(force)?, DeleteOutcome::Absent)?;
    }
    Ok(())
}

pub(crate) fn delete_of_a_running_one_is_in_use(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    refused(container.delete(false), ErrorKind::InUse, None)?;
    container.start()?;
    refused(container.delete(false), ErrorKind::InUse, None)?;
    same("the status", container.status()?, Status::Running)?;
    signal(inner(&created.init)?, 9)?;
    same("the exit status", wait(pid(&created.init))?, 137)?;
    same("delete", container.delete(false)?, DeleteOutcome::Deleted)?;
    container.nothing_left()
}

pub(crate) fn forced_delete_kills_every_process(bench: &Bench) -> CaseResult {
    let container =
        bench.script("sleep 1000 & sleep 1000 & (sleep 1000 & exec sleep 1000) & echo > /vol/ready; wait")?;
    let init = container.running()?;
    until("the entry's start", || Ok(container.root().join("vol/ready").exists()))?;
    let other = container.begin_exec(&container.process(&["sleep", "1000"]))?;
    same("delete", container.delete(true)?, DeleteOutcome::Deleted)?;
    container.nothing_left()?;
    // Init of a PID namespace ends last: all others are waited for before.
    same("the other's exit status", wait(other)?, 137)?;
    same("init's exit status", wait(init)?, 137)
}

pub(crate) fn delete_removes_every_cgroup_it_made(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    let folders = cgroup_folders(&container.cgroup);
    if folders.is_empty() {
        return Err(Failure::NotHere("the driver made no cgroup on this machine".into()));
    }
    for path in &created.cgroups.paths {
        let path = String::from_utf8_lossy(path.path.as_bytes()).into_owned();
        check(fs::metadata(&path)?.is_dir(), || {
            format!("{path} was answered and is not there")
        })?;
        // What a container makes below its own goes too.
        if path.ends_with(&container.cgroup) {
            fs::create_dir(format!("{path}/below"))?;
        }
    }
    container.start()?;
    signal(inner(&created.init)?, 9)?;
    same("the exit status", wait(pid(&created.init))?, 137)?;
    container.delete(false)?;
    container.nothing_left()
}

pub(crate) fn delete_works_after_the_helper_died_in_create(bench: &Bench) -> CaseResult {
    // How long a create takes differs: some of these moments lie in it.
    for moment in 0..12 {
        let container = bench.container(&["sleep", "1000"])?;
        let helper = container.begin_create()?;
        std::thread::sleep(std::time::Duration::from_micros(800 * moment));
        helper.kill()?;
        container.status()?;
        container.end()?;
        container.nothing_left()?;
        same("the status", container.status()?, Status::Absent)?;
        // Its ID may be taken again.
        let created = container.create()?;
        container.delete(true)?;
        wait(pid(&created.init))?;
    }
    Ok(())
}

pub(crate) fn start_works_after_the_helper_died_in_start(bench: &Bench) -> CaseResult {
    for moment in 0..8 {
        let container = bench.script("echo ran >> /vol/ran; sleep 1000")?;
        let created = container.create()?;
        let helper = container.begin_start()?;
        std::thread::sleep(std::time::Duration::from_micros(300 * moment));
        helper.kill()?;
        container.start()?;
        until("running", || Ok(container.status()? == Status::Running))?;
        until("the entry's start", || Ok(container.root().join("vol/ran").exists()))?;
        same("start", container.start()?, StartOutcome::Already)?;
        same("an exec's status", container.exec_script("exit 4")?.code, 4)?;
        same(
            "what it wrote",
            fs::read_to_string(container.root().join("vol/ran"))?,
            "ran\n",
        )?;
        container.delete(true)?;
        wait(pid(&created.init))?;
    }
    Ok(())
}

pub(crate) fn start_works_in_a_fresh_instance(bench: &Bench) -> CaseResult {
    let container = bench.script("exit 4")?;
    // Each call is a process that opens the driver anew.
    let init = container.running()?;
    same("the exit status", wait(init)?, 4)
}

pub(crate) fn create_and_start_work_in_one_instance(bench: &Bench) -> CaseResult {
    let container = bench.script("exit 4")?;
    let created = container.create_and_start()?;
    same("the exit status", wait(pid(&created.init))?, 4)
}

pub(crate) fn start_of_the_unknown_is_not_found(bench: &Bench) -> CaseResult {
    refused(bench.container(&["true"])?.start(), ErrorKind::NotFound, None).map(drop)
}

pub(crate) fn start_of_a_stopped_one_is_invalid(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    same("the exit status", wait(container.running()?)?, 0)?;
    refused(container.start(), ErrorKind::Invalid, None).map(drop)
}

pub(crate) fn a_cgroup_in_use_is_refused_and_spared(bench: &Bench) -> CaseResult {
    let first = bench.sleeping()?;
    let mut second = bench.container(&["true"])?;
    second.spec["linux"]["cgroupsPath"] = json!(first.cgroup);
    refused(second.create(), ErrorKind::InUse, None)?;
    same("the first one's status", first.status()?, Status::Running)
}

pub(crate) fn an_entry_that_only_its_owner_may_run_runs(bench: &Bench) -> CaseResult {
    let container = with_file(bench, "#!/bin/sh\nexit 7\n", 0o700)?;
    same("the exit status", container.run()?.code, 7)
}

pub(crate) fn an_entry_of_no_known_format_ends_with_126(bench: &Bench) -> CaseResult {
    let container = with_file(bench, "exit 0\n", 0o755)?;
    let ran = container.run()?;
    same("the exit status", ran.code, 126)?;
    check(ran.err.contains("/etc/entry"), || {
        format!("the entry is not named: {ran:?}")
    })
}

fn with_file<'a>(bench: &'a Bench, text: &str, mode: u32) -> Result<Container<'a>> {
    let container = bench.container(&["/etc/entry"])?;
    fs::write(container.root().join("etc/entry"), text)?;
    container.mode("etc/entry", mode)?;
    Ok(container)
}

pub(crate) fn an_unknown_option_is_refused_by_name(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    bench
        .options
        .borrow_mut()
        .push(OptionValue::text("no-such-option", "1"));
    let answer: std::result::Result<_, Error> = container.state();
    bench.options.borrow_mut().pop();
    let error = refused(answer, ErrorKind::Invalid, None)?;
    check(error.message.contains("no-such-option"), || {
        format!("the option is not named: {error}")
    })
}
