//! Processes that join a running container; freezing it; changing its limits.

use std::fs;

use longshore_plugin::exec::{CgroupVersion, FreezeOutcome, Status, Stdio};
use longshore_plugin::{Context, ErrorKind};
use rustix::process::Signal;
use serde_json::json;

use crate::fixture::{Container, no_resources, number, pid, read_until, signal, until, wait};
use crate::{Case, cases};

pub(crate) const CASES: &[Case] = cases![
    root_exec_joins_every_namespace_and_cgroup,
    root_exec_status_is_its_own,
    root_exec_of_a_missing_entry_is_invalid_with_enoent,
    root_exec_has_exact_capabilities_groups_and_environment,
    root_exec_has_the_containers_filter,
    root_exec_with_a_terminal,
    root_exec_of_a_used_id_is_already_exists,
    root_exec_in_a_stopped_or_created_one_is_invalid,
    root_exec_in_a_paused_one_is_refused,
    root_exec_dies_with_init,
    root_exec_leaves_nothing_in_the_state_folder,
    root_freeze_stops_and_thaw_resumes,
    root_kill_ends_a_frozen_one,
    root_update_changes_the_cgroup,
    root_update_below_usage_is_exhausted,
];

fn sleeping() -> Container {
    let container = Container::new(&["sleep", "1000"]);
    container.running();
    container
}

fn root_exec_joins_every_namespace_and_cgroup() {
    let container = sleeping();
    let init = container.state().init.unwrap();
    let ran =
        container.exec_script("for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done; hostname");
    assert_eq!(ran.code, 0, "{ran:?}");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"] {
        let own = fs::read_link(format!("/proc/{init}/ns/{kind}")).unwrap();
        assert!(
            ran.out.contains(own.to_str().unwrap()),
            "{kind}: {own:?} is not in {ran:?}"
        );
    }
    assert!(ran.out.contains("box"));
    let cgroup = container.exec_script("cat /proc/self/cgroup").out;
    assert!(cgroup.contains(&container.cgroup()), "{cgroup}");
}

fn root_exec_status_is_its_own() {
    let container = sleeping();
    for code in [0, 1, 42, 255] {
        assert_eq!(container.exec_script(&format!("exit {code}")).code, code);
    }
    assert_eq!(container.status(), Status::Running);
}

fn root_exec_of_a_missing_entry_is_invalid_with_enoent() {
    let container = sleeping();
    let error = container.exec(&container.process(&["no-such-command"])).unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(2)), "{error}");
    let error = container.exec(&container.process(&["/etc"])).unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(13)), "{error}");
    // Found, but of no format: known only when it is run.
    fs::write(container.root().join("etc/odd"), "exit 0\n").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(container.root().join("etc/odd"), open).unwrap();
    let error = container.exec(&container.process(&["/etc/odd"])).unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(8)), "{error}");
    let mut process = container.process(&["true"]);
    process["cwd"] = json!("/no/such/folder");
    assert_eq!(container.exec(&process).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(container.exec_script("exit 3").code, 3);
}

fn root_exec_has_exact_capabilities_groups_and_environment() {
    let container = sleeping();
    let mut process = container.process(&["sh", "-c", "grep -E 'Cap|Groups|NoNew' /proc/self/status; env; pwd"]);
    process["user"] = json!({ "uid": 0, "gid": 0, "additionalGids": [0, 5] });
    process["capabilities"] = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
    process["env"] = json!(["PATH=/bin", "ONLY=this"]);
    process["cwd"] = json!("/tmp");
    process["noNewPrivileges"] = json!(true);
    let ran = container.exec(&process).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
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
        assert!(ran.out.lines().any(|l| l == line), "{line} is not in {}", ran.out);
    }
    assert!(
        ran.out.contains("Groups:\t0 5") && !ran.out.contains("HOME"),
        "{}",
        ran.out
    );
}

fn root_exec_has_the_containers_filter() {
    let mut container = Container::new(&["sleep", "1000"]);
    container.spec["linux"]["seccomp"] = crate::spec::profile();
    container.running();
    for privileges in [json!(true), json!(false)] {
        let mut process = container.process(&["sh", "-c", "grep Seccomp: /proc/self/status; chmod 700 /tmp"]);
        process["noNewPrivileges"] = privileges;
        // Also for a user other than root, who could not load it himself.
        process["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
        let ran = container.exec(&process).unwrap();
        assert!(ran.out.contains("Seccomp:\t2"), "{ran:?}");
        assert!(ran.err.contains("not supported"), "{ran:?}");
    }
}

fn root_exec_with_a_terminal() {
    let container = sleeping();
    let cx = Context::background();
    let process = container.process(&["sh", "-c", "tty; stty size; echo x > /dev/tty; exit 6"]);
    let stdio = Stdio::Terminal { rows: 11, columns: 22 };
    let executed = container.exec_with(&cx, &number(), &process, stdio).unwrap();
    let master = cx.take(executed.terminal.unwrap()).unwrap();
    assert!(read_until(&master, "11 22").contains("/dev/pts/"));
    assert_eq!(wait(pid(executed.process)), 6);
}

fn root_exec_of_a_used_id_is_already_exists() {
    let container = sleeping();
    let (process, id) = (container.process(&["true"]), number());
    let first = container
        .exec_with(&Context::background(), &id, &process, Stdio::Null)
        .unwrap();
    assert_eq!(wait(pid(first.process)), 0);
    let error = container
        .exec_with(&Context::background(), &id, &process, Stdio::Null)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
}

fn root_exec_in_a_stopped_or_created_one_is_invalid() {
    let container = Container::new(&["true"]);
    let init = container.create().unwrap();
    let process = container.process(&["true"]);
    assert_eq!(container.exec(&process).unwrap_err().kind, ErrorKind::Invalid);
    container.start().unwrap();
    assert_eq!(wait(init), 0);
    assert_eq!(container.exec(&process).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(
        Container::new(&["true"]).exec(&process).unwrap_err().kind,
        ErrorKind::NotFound
    );
}

fn root_exec_in_a_paused_one_is_refused() {
    let container = sleeping();
    container.freeze(true).unwrap();
    let error = container.exec(&container.process(&["true"])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("paused"), "{error}");
    container.freeze(false).unwrap();
    assert_eq!(container.exec_script("exit 0").code, 0);
}

fn root_exec_dies_with_init() {
    let container = sleeping();
    let init = container.state().init.unwrap();
    let process = container.process(&["sleep", "1000"]);
    let executed = container
        .exec_with(&Context::background(), &number(), &process, Stdio::Null)
        .unwrap();
    signal(init, Signal::KILL);
    assert_eq!(wait(pid(executed.process)), 137);
    assert_eq!(wait(init), 137);
}

fn root_exec_leaves_nothing_in_the_state_folder() {
    let container = sleeping();
    let list = || {
        let mut names: Vec<_> = [
            container.state_root(),
            container.state_root().join(container.id.as_str()),
        ]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "execs")
        .collect();
        names.sort();
        names
    };
    let before = list();
    container.exec_script("exit 0");
    assert!(container.exec(&container.process(&["no-such-command"])).is_err());
    assert_eq!(list(), before);
}

fn root_freeze_stops_and_thaw_resumes() {
    let container = Container::script("i=0; while :; do i=$((i+1)); echo $i > /vol/count; done");
    container.running();
    let count = || fs::read_to_string(container.root().join("vol/count")).unwrap_or_default();
    until("counting", || !count().is_empty());
    assert_eq!(container.freeze(true).unwrap(), FreezeOutcome::Done);
    assert_eq!(container.status(), Status::Paused);
    assert_eq!(container.freeze(true).unwrap(), FreezeOutcome::Already);
    let before = count();
    assert_eq!(container.status(), Status::Paused);
    assert_eq!(count(), before);
    assert_eq!(container.freeze(false).unwrap(), FreezeOutcome::Done);
    assert_eq!(container.freeze(false).unwrap(), FreezeOutcome::Already);
    until("counting on", || count() != before);
    assert_eq!(container.status(), Status::Running);
}

fn root_kill_ends_a_frozen_one() {
    let container = sleeping();
    let init = container.state().init.unwrap();
    container.freeze(true).unwrap();
    assert_eq!(container.delete(false).unwrap_err().kind, ErrorKind::InUse);
    container.delete(true).unwrap();
    assert_eq!(wait(init), 137);
    container.assert_nothing_left();
}

fn root_update_changes_the_cgroup() {
    let container = Container::new(&["sleep", "1000"]);
    let created = container.create_piped().unwrap().0;
    let mut resources = no_resources();
    resources.memory = Some(128 << 20);
    resources.pids = Some(33);
    resources.cpu_shares = Some(512);
    resources.cpu_quota = Some(20_000);
    resources.cpu_period = Some(50_000);
    let updated = container.update(resources).unwrap();
    assert!(updated.refused.is_empty(), "{updated:?}");
    for field in ["memory", "pids", "cpu_shares", "cpu_quota"] {
        assert!(
            updated.applied.iter().any(|applied| applied == field),
            "{field}: {updated:?}"
        );
    }
    let v1 = created.cgroups.version != CgroupVersion::V2;
    let read = |controller: &str, file: &str| {
        let folder = crate::fixture::folder_of(&created.cgroups.paths, controller);
        fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
    };
    assert_eq!(
        read("memory", if v1 { "memory.limit_in_bytes" } else { "memory.max" }),
        (128 << 20).to_string()
    );
    assert_eq!(read("pids", "pids.max"), "33");
    if v1 {
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "20000");
        assert_eq!(read("cpu", "cpu.shares"), "512");
    }
    let mut none = no_resources();
    none.memory = Some(-1);
    none.pids = Some(-1);
    assert!(container.update(none).unwrap().refused.is_empty());
    assert_eq!(read("pids", "pids.max"), "max");
}

fn root_update_below_usage_is_exhausted() {
    let mut container = Container::script("head -c 33554432 /dev/zero > /dev/shm/full; echo > /vol/full; sleep 1000");
    container.spec["linux"]["resources"]["memory"] = json!({ "limit": 256 << 20 });
    container.running();
    until("filled", || container.root().join("vol/full").exists());
    let mut resources = no_resources();
    resources.memory = Some(8 << 20);
    // tmpfs pages may go to swap where there is some: then the limit holds at once.
    match container.update(resources) {
        Err(error) => assert_eq!(error.kind, ErrorKind::Exhausted, "{error}"),
        Ok(updated) => {
            let swap = fs::read_to_string("/proc/swaps").unwrap_or_default();
            assert!(swap.lines().count() > 1, "no swap, but {updated:?}");
        }
    }
}
