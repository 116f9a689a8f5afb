//! What the entry finds.

use std::fs;

use longshore_plugin::ErrorKind;
use serde_json::json;

use crate::fixture::{Container, folder_of, pid, wait};
use crate::{Case, cases};

pub(crate) const CASES: &[Case] = cases![
    root_environment_arguments_and_cwd_arrive_exactly,
    root_uid_gid_and_groups_are_exact,
    root_no_groups_means_none,
    root_capability_sets_are_exact_and_inheritable_is_empty,
    root_capabilities_of_another_user_are_a_bound_only,
    root_no_new_privileges_holds,
    root_seccomp_denies_what_the_profile_denies,
    root_a_profile_that_notifies_is_unsupported,
    root_device_rules_hold,
    root_masked_and_read_only_paths_hold,
    root_a_read_only_root_is_read_only,
    root_rlimits_are_set,
    root_sysctls_of_the_own_namespaces_are_set,
    root_hostname_is_set,
    root_the_given_network_namespace_is_joined_not_copied,
    root_cgroup_paths_answered_hold_init,
    root_cgroups_are_seen_but_not_written_from_inside,
    root_limits_of_memory_cpu_pids_are_in_the_cgroup,
    root_no_descriptor_beyond_stdio_reaches_the_entry,
    root_volumes_are_seen_and_read_only_ones_all_the_way_down,
    root_the_hosts_mount_table_is_unchanged,
    root_what_is_not_supported_is_refused_before_any_effect,
];

fn root_environment_arguments_and_cwd_arrive_exactly() {
    let mut container = Container::new(&[
        "sh",
        "-c",
        "env; pwd; for a in \"$@\"; do echo \"<$a>\"; done",
        "x",
        "a b",
        "",
        "ü",
    ]);
    container.spec["process"]["env"] = json!(["PATH=/bin", "B=2", "A=1 = 1", "EMPTY="]);
    container.spec["process"]["cwd"] = json!("/tmp");
    let out = container.output();
    for line in ["B=2", "A=1 = 1", "EMPTY=", "/tmp", "<a b>", "<>", "<ü>"] {
        assert!(out.lines().any(|l| l == line), "{line} is not in {out}");
    }
    // HOME was not asked for.
    assert!(!out.contains("HOME="), "{out}");
}

fn root_uid_gid_and_groups_are_exact() {
    let mut container = Container::script("id -u; id -g; id -G; umask; echo x > /dev/stdout");
    container.spec["process"]["user"] =
        json!({ "uid": 1000, "gid": 1001, "umask": 0o077, "additionalGids": [1001, 7, 9] });
    assert_eq!(container.output(), "1000\n1001\n1001 7 9\n0077\nx\n");
}

fn root_no_groups_means_none() {
    let mut container = Container::new(&["grep", "Groups", "/proc/self/status"]);
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001 });
    assert_eq!(container.output().trim(), "Groups:");
}

const STATUS: &[&str] = &["grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status"];

fn status(text: &str, field: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")))
        .unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// The seven of the fixture: CHOWN 0, DAC_OVERRIDE 1, KILL 5, SETGID 6, SETUID 7, SYS_CHROOT 18, MKNOD 27.
const SEVEN: u64 = 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 18 | 1 << 27;

fn root_capability_sets_are_exact_and_inheritable_is_empty() {
    let out = Container::new(STATUS).output();
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|field| status(&out, field));
    assert_eq!(sets, [0, SEVEN, SEVEN, SEVEN, 0]);
    assert_eq!(status(&out, "NoNewPrivs"), 0);
}

fn root_capabilities_of_another_user_are_a_bound_only() {
    let mut container = Container::new(STATUS);
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
    let bounding = container.spec["process"]["capabilities"]["bounding"].clone();
    // Sets that are not said are empty, not the caller's.
    container.spec["process"]["capabilities"] = json!({ "bounding": bounding });
    let out = container.output();
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|field| status(&out, field));
    assert_eq!(sets, [0, 0, 0, SEVEN, 0]);
}

fn root_no_new_privileges_holds() {
    let mut container = Container::new(STATUS);
    container.spec["process"]["noNewPrivileges"] = json!(true);
    container.spec["linux"]["seccomp"] = profile();
    let out = container.output();
    assert_eq!((status(&out, "NoNewPrivs"), status(&out, "Seccomp")), (1, 2));
    container.delete(false).unwrap();
    // "false" is as good as nothing said, and the filter loads all the same.
    container.spec["process"]["noNewPrivileges"] = json!(false);
    let out = container.output();
    assert_eq!((status(&out, "NoNewPrivs"), status(&out, "Seccomp")), (0, 2));
}

pub(crate) fn profile() -> serde_json::Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{
            "names": ["chmod", "fchmod", "fchmodat", "fchmodat2"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": 95
        }],
    })
}

fn root_seccomp_denies_what_the_profile_denies() {
    let mut container = Container::script("chmod 700 /tmp");
    container.spec["linux"]["seccomp"] = profile();
    let ran = container.run();
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("not supported"), "{}", ran.err);
    assert_eq!(Container::script("chmod 700 /tmp").run().code, 0);
}

fn root_a_profile_that_notifies_is_unsupported() {
    let mut container = Container::new(&["true"]);
    container.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["chmod"], "action": "SCMP_ACT_NOTIFY" }],
    });
    assert_eq!(container.create().unwrap_err().kind, ErrorKind::Unsupported);
    container.assert_nothing_left();
}

fn root_device_rules_hold() {
    // Making a node is allowed for all character devices, opening it only by a rule.
    let script = "echo x > /dev/null && cat /dev/zero | head -c 1 > /dev/null && mknod /tmp/kmsg c 1 11 \
        && ! cat /tmp/kmsg 2>/tmp/why; cat /tmp/why";
    let ran = Container::script(script).run();
    assert!(ran.out.contains("not permitted"), "{ran:?}");
}

fn root_masked_and_read_only_paths_hold() {
    let script = "test -c /proc/kcore && cat /proc/keys; ls /sys/firmware; \
        echo 1 > /proc/sys/kernel/printk || true";
    let ran = Container::script(script).run();
    assert_eq!(ran.out, "", "{ran:?}");
    assert!(ran.err.contains("Read-only"), "{ran:?}");
}

fn root_a_read_only_root_is_read_only() {
    let mut container = Container::script("touch /x || touch /dev/shm/y && echo shm");
    container.spec["root"]["readonly"] = json!(true);
    let ran = container.run();
    assert!(ran.err.contains("Read-only") && ran.out == "shm\n", "{ran:?}");
    assert!(!container.root().join("x").exists());
}

fn root_rlimits_are_set() {
    let mut container = Container::script("ulimit -n; ulimit -Hn; ulimit -c");
    container.spec["process"]["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    assert_eq!(container.output(), "100\n200\n0\n");
}

fn root_sysctls_of_the_own_namespaces_are_set() {
    let mut container =
        Container::script("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced");
    container.spec["linux"]["sysctl"] =
        json!({ "net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1" });
    assert_eq!(container.output(), "0\n1\n");
}

fn root_hostname_is_set() {
    assert_eq!(Container::new(&["hostname"]).output(), "box\n");
}

fn root_the_given_network_namespace_is_joined_not_copied() {
    let first = Container::new(&["sleep", "1000"]);
    let init = first.running();
    let mut second = Container::new(&["readlink", "/proc/self/ns/net"]);
    let namespaces = second.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({ "type": "network", "path": format!("/proc/{init}/ns/net") }));
    let given = fs::read_link(format!("/proc/{init}/ns/net")).unwrap();
    assert_eq!(second.output().trim(), given.to_str().unwrap());
}

fn root_cgroup_paths_answered_hold_init() {
    let container = Container::new(&["sleep", "1000"]);
    let created = container.create_piped().unwrap().0;
    let init = pid(created.init).to_string();
    assert!(!created.cgroups.paths.is_empty());
    for path in &created.cgroups.paths {
        let folder = std::str::from_utf8(path.path.as_bytes()).unwrap();
        let inside = fs::read_to_string(format!("{folder}/cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), init, "{folder}");
    }
}

fn root_cgroups_are_seen_but_not_written_from_inside() {
    let script = "grep ' /sys/fs/cgroup/' /proc/self/mountinfo | grep -v ' ro,' && echo writable; \
        ls -d /sys/fs/cgroup/*/release_agent 2>/dev/null; \
        for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do \
            if test -e $f; then echo 1 > $f; fi; done; mkdir /sys/fs/cgroup/x; cat /sys/fs/cgroup/pids/cgroup.procs | head -1";
    let ran = Container::script(script).run();
    let v1 = std::path::Path::new("/sys/fs/cgroup/pids").exists();
    assert_eq!(ran.out, if v1 { "1\n" } else { "" }, "{ran:?}");
    assert!(ran.err.contains("Read-only"), "{ran:?}");
}

fn root_limits_of_memory_cpu_pids_are_in_the_cgroup() {
    let mut container = Container::new(&["sleep", "1000"]);
    let resources = &mut container.spec["linux"]["resources"];
    resources["memory"] = json!({ "limit": 64 << 20 });
    resources["cpu"] = json!({ "quota": 50_000, "period": 100_000, "shares": 512 });
    resources["pids"] = json!({ "limit": 20 });
    let created = container.create_piped().unwrap().0;
    let read = |controller: &str, v1: &str, v2: &str| {
        let folder = folder_of(&created.cgroups.paths, controller);
        let file = if folder.join(v1).exists() { v1 } else { v2 };
        fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
    };
    assert_eq!(
        read("memory", "memory.limit_in_bytes", "memory.max"),
        (64 << 20).to_string()
    );
    assert_eq!(read("pids", "pids.max", "pids.max"), "20");
    assert!(["50000", "50000 100000"].contains(&read("cpu", "cpu.cfs_quota_us", "cpu.max").as_str()));
}

fn root_no_descriptor_beyond_stdio_reaches_the_entry() {
    // ls itself opens the folder as 3.
    assert_eq!(Container::new(&["ls", "/proc/self/fd"]).output(), "0\n1\n2\n3\n");
}

fn root_volumes_are_seen_and_read_only_ones_all_the_way_down() {
    let mut container = Container::script("cat /vol/a /etc/file; touch /vol/b || touch /etc/file || echo denied");
    let volume = container.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("a"), "from outside\n").unwrap();
    fs::write(container.path("file"), "one file\n").unwrap();
    container.mount(json!({ "destination": "/vol", "type": "bind", "source": volume, "options": ["rbind", "rprivate", "ro", "rro"] }));
    container.mount(json!({ "destination": "/etc/file", "type": "bind", "source": container.path("file"), "options": ["rbind", "rprivate", "ro"] }));
    let ran = container.run();
    assert_eq!(ran.out, "from outside\none file\ndenied\n", "{ran:?}");
    assert!(!volume.join("b").exists());
}

fn root_the_hosts_mount_table_is_unchanged() {
    let table = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = table();
    let container = Container::new(&["true"]);
    let init = container.create().unwrap();
    assert_eq!(table(), before);
    container.start().unwrap();
    assert_eq!(wait(init), 0);
    drop(container);
    assert_eq!(table(), before);
}

fn root_what_is_not_supported_is_refused_before_any_effect() {
    let mut container = Container::new(&["true"]);
    container.spec["process"]["apparmorProfile"] = json!("docker-default");
    assert_eq!(container.create().unwrap_err().kind, ErrorKind::Unsupported);
    container.assert_nothing_left();
    container.spec = json!({ "ociVersion": "1.2.0" });
    container.spec["linux"] = json!({ "cgroupsPath": "/longshore-test/x" });
    assert_eq!(container.create().unwrap_err().kind, ErrorKind::Invalid);
}
