//! Processes that join a running container; freezing it; changing its limits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use longshore_core::ErrorKind;
use longshore_core::exec::{FreezeOutcome, Status};
use serde_json::json;

use super::bundle::profile;
use super::container::{inner, limit, no_resources, pid, read_until, signal, until, wait};
use super::helper::{Bench, Streams};
use super::{Result, differs, refused, same};
use crate::{CaseResult, Failure, check};

pub(crate) fn exec_joins_every_namespace_and_cgroup(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let init = container.init()?;
    let script = "for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done; hostname";
    let ran = container.exec_script(script)?;
    same("the exit status", ran.code, 0)?;
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"] {
        let own = fs::read_link(format!("/proc/{init}/ns/{kind}"))?;
        let own = own.to_string_lossy();
        check(ran.out.contains(&*own), || format!("{own} is not in {ran:?}"))?;
    }
    check(ran.out.contains("box"), || format!("another hostname: {ran:?}"))?;
    let of_init = fs::read_to_string(format!("/proc/{init}/cgroup"))?;
    if !of_init.contains(&container.cgroup) {
        return Err(Failure::NotHere("the driver made no cgroup on this machine".into()));
    }
    let cgroup = container.exec_script("cat /proc/self/cgroup")?.out;
    check(cgroup.contains(&container.cgroup), || {
        format!("another cgroup: {cgroup:?}")
    })
}

pub(crate) fn exec_status_is_its_own(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    for code in [0, 1, 42, 255] {
        same(
            "the exit status",
            container.exec_script(&format!("exit {code}"))?.code,
            code,
        )?;
    }
    same("the status", container.status()?, Status::Running)
}

pub(crate) fn an_exec_that_ends_at_once_keeps_its_status(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let process = container.begin_exec(&container.process(&["false"]))?;
    // By then it has ended.
    same("another's status", container.exec_script("exit 0")?.code, 0)?;
    container.status()?;
    same("the exit status", wait(process)?, 1)
}

pub(crate) fn exec_with_a_terminal(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let process = container.process(&["sh", "-c", "tty; stty size; echo x > /dev/tty; exit 6"]);
    // It does not wait for its terminal's master to be taken: the size must be there before it runs.
    for _ in 0..10 {
        let size = Streams::Terminal { rows: 11, columns: 22 };
        let (executed, master) = container.exec_with(bench.exec_id()?, &process, size)?;
        let master = master.ok_or_else(|| differs("no master came with the answer"))?;
        let text = read_until(&master, "11 22")?;
        check(text.contains("/dev/pts/"), || format!("it saw {text:?}"))?;
        same("the exit status", wait(pid(&executed.process))?, 6)?;
    }
    Ok(())
}

pub(crate) fn exec_in_a_paused_one_is_refused(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    container.freeze(true)?;
    let error = refused(
        container.begin_exec(&container.process(&["true"])),
        ErrorKind::Invalid,
        None,
    )?;
    check(error.message.contains("paused"), || {
        format!("the reason is not told: {error}")
    })?;
    container.freeze(false)?;
    same("the exit status", container.exec_script("exit 0")?.code, 0)
}

pub(crate) fn exec_dies_with_init(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    container.start()?;
    let process = container.begin_exec(&container.process(&["sleep", "1000"]))?;
    signal(inner(&created.init)?, 9)?;
    same("the exit status", wait(process)?, 137)?;
    same("init's exit status", wait(pid(&created.init))?, 137)
}

pub(crate) fn twenty_execs_at_once(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let mut begun = Vec::new();
    for number in 0..20 {
        let script = format!("while ! test -e /vol/go; do sleep 0.01; done; exit {number}");
        begun.push(container.begin_exec(&container.process(&["sh", "-c", &script]))?);
    }
    same("the status", container.status()?, Status::Running)?;
    fs::write(container.root().join("vol/go"), "")?;
    let codes = begun.into_iter().map(wait).collect::<Result<Vec<_>>>()?;
    same("the exit statuses", codes, (0..20).collect::<Vec<_>>())
}

pub(crate) fn freeze_stops_and_thaw_resumes(bench: &Bench) -> CaseResult {
    let container = bench.script("i=0; while :; do i=$((i+1)); echo $i > /vol/count; done")?;
    container.running()?;
    let count = || fs::read_to_string(container.root().join("vol/count")).unwrap_or_default();
    until("counting", || Ok(!count().is_empty()))?;
    same("freeze", container.freeze(true)?, FreezeOutcome::Done)?;
    same("the status", container.status()?, Status::Paused)?;
    same("freeze", container.freeze(true)?, FreezeOutcome::Already)?;
    let before = count();
    same("the status", container.status()?, Status::Paused)?;
    same("the count", count(), before.as_str())?;
    same("thaw", container.freeze(false)?, FreezeOutcome::Done)?;
    same("thaw", container.freeze(false)?, FreezeOutcome::Already)?;
    until("counting on", || Ok(count() != before))?;
    same("the status", container.status()?, Status::Running)
}

pub(crate) fn freeze_of_the_unknown_is_not_found(bench: &Bench) -> CaseResult {
    refused(bench.container(&["true"])?.freeze(true), ErrorKind::NotFound, None).map(drop)
}

pub(crate) fn kill_ends_a_frozen_one(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    container.start()?;
    container.freeze(true)?;
    refused(container.delete(false), ErrorKind::InUse, None)?;
    container.delete(true)?;
    same("the exit status", wait(pid(&created.init))?, 137)?;
    container.nothing_left()
}

pub(crate) fn update_changes_the_cgroup(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    // Before anything is asked for: whether this machine has the controllers.
    limit(&created, "memory", &["memory.limit_in_bytes", "memory.max"])?;
    let mut resources = no_resources();
    resources.memory = Some(128 << 20);
    resources.pids = Some(33);
    resources.cpu_shares = Some(512);
    resources.cpu_quota = Some(20_000);
    resources.cpu_period = Some(50_000);
    let updated = container.update(resources)?;
    same("what was refused", updated.refused, vec![])?;
    for field in ["memory", "pids", "cpu_shares", "cpu_quota"] {
        check(updated.applied.iter().any(|applied| applied == field), || {
            format!("{field} is not said to be applied, only {:?}", updated.applied)
        })?;
    }
    let memory = limit(&created, "memory", &["memory.limit_in_bytes", "memory.max"])?;
    same("memory", memory, (128 << 20).to_string())?;
    same("pids", limit(&created, "pids", &["pids.max"])?, "33")?;
    let quota = limit(&created, "cpu", &["cpu.cfs_quota_us", "cpu.max"])?;
    check(["20000", "20000 50000"].contains(&quota.as_str()), || {
        format!("cpu: {quota:?}")
    })?;
    let mut none = no_resources();
    none.memory = Some(-1);
    none.pids = Some(-1);
    same("what was refused", container.update(none)?.refused, vec![])?;
    same("pids", limit(&created, "pids", &["pids.max"])?, "max")
}

/// Whether there is swap, to which pages of a tmpfs may go.
fn swaps() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

pub(crate) fn update_below_usage_is_exhausted(bench: &Bench) -> CaseResult {
    if swaps() {
        return Err(Failure::NotHere(
            "this machine has swap: a limit below usage can be met".into(),
        ));
    }
    let mut container = bench.script("head -c 33554432 /dev/zero > /dev/shm/full; echo > /vol/full; sleep 1000")?;
    container.spec["linux"]["resources"]["memory"] = json!({ "limit": 256 << 20 });
    let created = container.create()?;
    limit(&created, "memory", &["memory.limit_in_bytes", "memory.max"])?;
    container.start()?;
    until("filled", || Ok(container.root().join("vol/full").exists()))?;
    let mut resources = no_resources();
    resources.memory = Some(8 << 20);
    refused(container.update(resources), ErrorKind::Exhausted, None)?;
    same("the status", container.status()?, Status::Running)
}

pub(crate) fn an_oom_kill_is_counted(bench: &Bench) -> CaseResult {
    if swaps() {
        return Err(Failure::NotHere(
            "this machine has swap: memory does not run out".into(),
        ));
    }
    // It keeps the last lines, and there is only one, without an end.
    let mut container = bench.script("tail /dev/zero; echo $? > /vol/code; sleep 1000")?;
    container.spec["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20 });
    let created = container.create()?;
    let kills = || -> Result<u64> {
        let text = limit(&created, "memory", &["memory.oom_control", "memory.events"])?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok())
            .ok_or_else(|| Failure::NotHere("this kernel does not count kills for memory".into()))
    };
    same("kills before", kills()?, 0)?;
    container.start()?;
    until("the kill", || Ok(container.root().join("vol/code").exists()))?;
    same("kills", kills()?, 1)?;
    same("the status", container.status()?, Status::Running)
}

pub(crate) fn signal_reaches_init(bench: &Bench) -> CaseResult {
    let container = bench.script("trap 'exit 7' TERM; echo > /vol/ready; while :; do sleep 0.01; done")?;
    let created = container.create()?;
    container.start()?;
    until("the entry's start", || Ok(container.root().join("vol/ready").exists()))?;
    signal(inner(&created.init)?, 15)?;
    same("the exit status", wait(pid(&created.init))?, 7)
}

pub(crate) fn exec_of_a_missing_entry_is_invalid_with_enoent(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let exec = |args: &[&str]| container.begin_exec(&container.process(args));
    refused(exec(&["no-such-command"]), ErrorKind::Invalid, Some(2))?;
    refused(exec(&["/etc"]), ErrorKind::Invalid, Some(13))?;
    let mut process = container.process(&["true"]);
    process["cwd"] = json!("/no/such/folder");
    refused(container.begin_exec(&process), ErrorKind::Invalid, None)?;
    if bench.whole {
        // Found, but of no format: known only when it is run.
        fs::write(container.root().join("etc/odd"), "exit 0\n")?;
        container.mode("etc/odd", 0o755)?;
        refused(exec(&["/etc/odd"]), ErrorKind::Invalid, Some(8))?;
    }
    same("the exit status", container.exec_script("exit 3")?.code, 3)
}

pub(crate) fn exec_has_exact_capabilities_groups_and_environment(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let mut process = container.process(&["sh", "-c", "grep -E 'Cap|Groups|NoNew' /proc/self/status; env; pwd"]);
    process["user"] = json!({ "uid": 0, "gid": 0, "additionalGids": [0, 5] });
    process["capabilities"] = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
    process["env"] = json!(["PATH=/bin", "ONLY=this"]);
    process["cwd"] = json!("/tmp");
    process["noNewPrivileges"] = json!(true);
    let ran = container.exec(&process)?;
    same("the exit status", ran.code, 0)?;
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000020",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "ONLY=this",
        "/tmp",
    ] {
        check(ran.out.lines().any(|l| l == line), || {
            format!("{line} is not in {:?}", ran.out)
        })?;
    }
    check(ran.out.contains("Groups:\t0 5") && !ran.out.contains("HOME"), || {
        format!("other groups, or HOME, which was not asked for: {:?}", ran.out)
    })
}

pub(crate) fn exec_has_the_containers_filter(bench: &Bench) -> CaseResult {
    if !bench.capabilities.seccomp {
        return Err(Failure::NotHere("the driver says that it loads no filters".into()));
    }
    let mut container = bench.container(&["sleep", "1000"])?;
    container.spec["linux"]["seccomp"] = profile();
    container.running()?;
    for privileges in [json!(true), json!(false)] {
        let mut process = container.process(&["sh", "-c", "grep Seccomp: /proc/self/status; chmod 700 /tmp"]);
        process["noNewPrivileges"] = privileges;
        // Also for a user other than root, who could not load it himself.
        process["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
        let ran = container.exec(&process)?;
        check(
            ran.out.contains("Seccomp:\t2") && ran.err.contains("not supported"),
            || format!("it runs without the filter: {ran:?}"),
        )?;
    }
    Ok(())
}

pub(crate) fn exec_of_a_used_id_is_already_exists(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    let (process, id) = (container.process(&["true"]), bench.exec_id()?);
    let (first, _) = container.exec_with(id.clone(), &process, Streams::Null)?;
    same("the exit status", wait(pid(&first.process))?, 0)?;
    refused(
        container.exec_with(id, &process, Streams::Null),
        ErrorKind::AlreadyExists,
        None,
    )
    .map(drop)
}

pub(crate) fn exec_in_a_stopped_or_created_one_is_invalid(bench: &Bench) -> CaseResult {
    let container = bench.container(&["true"])?;
    let created = container.create()?;
    let process = container.process(&["true"]);
    refused(container.begin_exec(&process), ErrorKind::Invalid, None)?;
    container.start()?;
    same("the exit status", wait(pid(&created.init))?, 0)?;
    refused(container.begin_exec(&process), ErrorKind::Invalid, None)?;
    let unknown = bench.container(&["true"])?;
    refused(unknown.begin_exec(&process), ErrorKind::NotFound, None).map(drop)
}

/// Everything below a folder.
fn below(folder: &Path, found: &mut BTreeSet<PathBuf>) -> CaseResult {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            below(&entry.path(), found)?;
        }
        found.insert(entry.path());
    }
    Ok(())
}

pub(crate) fn exec_leaves_nothing_in_the_state_folder(bench: &Bench) -> CaseResult {
    let container = bench.sleeping()?;
    same("the exit status", container.exec_script("exit 0")?.code, 0)?;
    let mut before = BTreeSet::new();
    below(&container.state_root(), &mut before)?;
    for args in [&["true"], &["no-such-command"]] {
        let id = bench.exec_id()?;
        if let Ok((executed, _)) = container.exec_with(id.clone(), &container.process(args), Streams::Null) {
            wait(pid(&executed.process))?;
        }
        let mut after = BTreeSet::new();
        below(&container.state_root(), &mut after)?;
        // A driver may remember that the ID was used.
        let new: Vec<_> = after.difference(&before).cloned().collect();
        let remembers = |path: &PathBuf| path.to_string_lossy().contains(id.as_str());
        check(new.len() <= 1 && new.iter().all(remembers), || {
            format!("{args:?} left {new:?}")
        })?;
        before = after;
    }
    Ok(())
}
