#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

use super::*;

fn host() -> Host {
    Host {
        architecture: "amd64".into(),
        kernel: (6, 18),
        cgroup_v2: false,
        swap_limit: true,
        capabilities: capability::ALL.iter().map(|name| (*name).to_owned()).collect(),
        hard_limits: [("nofile".to_owned(), 20_000)].into(),
        oom_score_adj: 0,
    }
}

fn input() -> SpecInput {
    SpecInput {
        args: vec!["true".into()],
        env: vec!["PATH=/bin".into()],
        network_namespace: Some("/proc/self/fd/9".into()),
        ..SpecInput::new("abc", "/run/root", "/longshore/root/abc", host())
    }
}

fn built(input: &SpecInput) -> Value {
    serde_json::to_value(build(input).unwrap()).unwrap()
}

fn names(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn mount<'a>(spec: &'a Value, target: &str) -> Option<&'a Value> {
    spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mount| mount["destination"] == target)
}

fn options(spec: &Value, target: &str) -> Vec<String> {
    let mount = mount(spec, target).unwrap();
    mount["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_default_container_has_dockers_defaults() {
    let spec = built(&input());
    let caps = &spec["process"]["capabilities"];
    assert_eq!(names(&caps["bounding"]).len(), 14);
    assert_eq!(names(&caps["bounding"]), names(&caps["effective"]));
    assert_eq!(names(&caps["bounding"]), names(&caps["permitted"]));
    assert!(names(&caps["inheritable"]).is_empty() && names(&caps["ambient"]).is_empty());
    assert!(names(&caps["bounding"]).contains(&"CAP_MKNOD".to_owned()));
    assert!(!names(&caps["bounding"]).contains(&"CAP_SYS_ADMIN".to_owned()));
    assert!(spec["process"].get("noNewPrivileges").is_none());
    assert_eq!(spec["process"]["user"]["umask"], 0o022);
    assert_eq!(spec["process"]["cwd"], "/");
    let targets: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm"
        ]
    );
    assert!(options(&spec, "/sys").contains(&"ro".to_owned()));
    assert!(options(&spec, "/dev/shm").contains(&"size=67108864".to_owned()));
    let linux = &spec["linux"];
    assert_eq!(names(&linux["maskedPaths"]).len(), MASKED_PATHS.len());
    assert_eq!(names(&linux["readonlyPaths"]).len(), 5);
    assert_eq!(linux["cgroupsPath"], "/longshore/root/abc");
    assert_eq!(linux["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(
        linux["resources"]["devices"][0],
        json!({ "allow": false, "access": "rwm" })
    );
    assert_eq!(linux["resources"]["devices"].as_array().unwrap().len(), 8);
    let kinds: Vec<&str> = linux["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["mount", "uts", "pid", "ipc", "network"]);
    assert!(linux.get("uidMappings").is_none());
}

#[test]
fn capabilities_follow_dockers_rules() {
    let table: &[(&[&str], &[&str], usize)] = &[
        (&[], &[], 14),
        (&["NET_ADMIN"], &[], 15),
        (&["cap_net_admin", "CHOWN"], &[], 15),
        (&[], &["CHOWN", "CAP_KILL"], 12),
        (&[], &["ALL"], 0),
        (&["CHOWN"], &["all"], 1),
        (&["ALL"], &[], 41),
        (&["ALL"], &["SYS_ADMIN"], 40),
    ];
    for (add, drop, count) in table {
        let mut input = input();
        input.cap_add = add.iter().map(|s| (*s).to_owned()).collect();
        input.cap_drop = drop.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(
            names(&built(&input)["process"]["capabilities"]["bounding"]).len(),
            *count,
            "{add:?} {drop:?}"
        );
    }
    let mut unknown = input();
    unknown.cap_add = vec!["FLY".into()];
    assert!(build(&unknown).unwrap_err().message.contains("\"FLY\""));
    let mut lacking = input();
    lacking.host.capabilities.remove("CAP_SYS_RESOURCE");
    lacking.cap_add = vec!["SYS_RESOURCE".into()];
    assert!(build(&lacking).unwrap_err().message.contains("CAP_SYS_RESOURCE"));
    lacking.cap_add = vec!["ALL".into()];
    assert_eq!(names(&built(&lacking)["process"]["capabilities"]["bounding"]).len(), 40);
}

#[test]
fn another_user_than_root_gets_the_bound_only() {
    let mut input = input();
    input.user.uid = 1000;
    let caps = &built(&input)["process"]["capabilities"];
    assert_eq!(names(&caps["bounding"]).len(), 14);
    assert!(names(&caps["effective"]).is_empty() && names(&caps["permitted"]).is_empty());
}

#[test]
fn a_privileged_container_is_not_confined() {
    let mut input = input();
    input.privileged = true;
    let spec = built(&input);
    assert_eq!(names(&spec["process"]["capabilities"]["effective"]).len(), 41);
    assert!(spec["linux"].get("seccomp").is_none());
    assert!(names(&spec["linux"]["maskedPaths"]).is_empty() && names(&spec["linux"]["readonlyPaths"]).is_empty());
    assert!(!options(&spec, "/sys").contains(&"ro".to_owned()));
    assert!(!options(&spec, "/sys/fs/cgroup").contains(&"ro".to_owned()));
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{ "allow": true, "access": "rwm" }])
    );
}

fn rules_of<'a>(spec: &'a Value, call: &str) -> Vec<&'a Value> {
    let rules = spec["linux"]["seccomp"]["syscalls"].as_array().unwrap();
    rules
        .iter()
        .filter(|rule| rule["names"].as_array().unwrap().iter().any(|name| name == call))
        .collect()
}

#[test]
fn the_default_filter_depends_on_capabilities_architecture_and_kernel() {
    let spec = built(&input());
    let seccomp = &spec["linux"]["seccomp"];
    assert_eq!(seccomp["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(
        names(&seccomp["architectures"]),
        ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]
    );
    assert!(rules_of(&spec, "mount").is_empty() && rules_of(&spec, "reboot").is_empty());
    assert_eq!(rules_of(&spec, "clone").len(), 1);
    assert_eq!(rules_of(&spec, "clone3")[0]["errnoRet"], 38);
    assert_eq!(rules_of(&spec, "chroot").len(), 1);
    assert_eq!(rules_of(&spec, "arch_prctl").len(), 1);
    assert_eq!(rules_of(&spec, "ptrace").len(), 1);
    assert!(rules_of(&spec, "set_tls").is_empty() && rules_of(&spec, "io_uring_setup").is_empty());
    assert_eq!(rules_of(&spec, "write").len(), 1);

    let mut admin = input();
    admin.cap_add = vec!["SYS_ADMIN".into()];
    admin.host.architecture = "arm64".into();
    admin.host.kernel = (4, 7);
    let spec = built(&admin);
    assert_eq!(rules_of(&spec, "mount").len(), 1);
    assert!(rules_of(&spec, "clone")[0].get("args").is_none());
    assert!(rules_of(&spec, "clone3")[0].get("errnoRet").is_none());
    assert!(rules_of(&spec, "ptrace").is_empty() && rules_of(&spec, "arch_prctl").is_empty());
    assert_eq!(rules_of(&spec, "set_tls").len(), 1);
}

#[test]
fn a_profile_of_the_user_is_resolved_or_refused() {
    let mut input = input();
    input.seccomp = Seccomp::Profile(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"name":"chmod","action":"SCMP_ACT_ERRNO"},
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#
            .into(),
    );
    let spec = built(&input);
    assert_eq!(rules_of(&spec, "chmod").len(), 1);
    assert!(rules_of(&spec, "mount").is_empty());
    input.privileged = true;
    assert_eq!(rules_of(&built(&input), "chmod").len(), 1);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"defaultAction":"SCMP_ACT_FLY"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
    ] {
        input.seccomp = Seccomp::Profile(bad.into());
        assert!(build(&input).is_err(), "{bad}");
    }
    input.seccomp = Seccomp::Unconfined;
    assert!(built(&input)["linux"].get("seccomp").is_none());
}

fn bind(target: &str) -> BindMount {
    BindMount {
        source: format!("/run/volumes{target}"),
        target: target.to_owned(),
        read_only: false,
        propagation: None,
        recursive: true,
        options: vec![],
    }
}

#[test]
fn the_users_mounts_come_last_and_parents_first() {
    let mut input = input();
    input.mounts = vec![bind("/a/b/c"), bind("/a"), bind("/dev/shm")];
    input.tmpfs = vec![Tmpfs {
        target: "/a/b".into(),
        options: vec!["size=1m".into(), "exec".into()],
    }];
    input.mounts[0].read_only = true;
    let spec = built(&input);
    let targets: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .skip(6)
        .map(|m| m["destination"].as_str().unwrap())
        .collect();
    assert_eq!(targets, ["/a", "/dev/shm", "/a/b", "/a/b/c"]);
    assert_eq!(options(&spec, "/a"), ["rbind", "rprivate"]);
    assert_eq!(options(&spec, "/a/b/c"), ["rbind", "rprivate", "ro", "rro"]);
    assert_eq!(options(&spec, "/a/b"), ["nosuid", "nodev", "size=1m"]);
    assert!(spec["linux"].get("rootfsPropagation").is_none());
    input.mounts[1].propagation = Some("rslave".into());
    assert_eq!(built(&input)["linux"]["rootfsPropagation"], "slave");
}

#[test]
fn a_users_dev_takes_the_place_of_all_of_it() {
    let mut input = input();
    input.mounts = vec![bind("/dev")];
    let spec = built(&input);
    assert!(mount(&spec, "/dev/pts").is_none() && mount(&spec, "/dev/shm").is_none());
    assert_eq!(mount(&spec, "/dev").unwrap()["type"], "bind");
}

#[test]
fn bad_mounts_are_refused_by_name() {
    for target in ["", "relative", "/", "//", "/a/../b", "/proc", "/proc/"] {
        let mut input = input();
        input.mounts = vec![bind(target)];
        assert!(build(&input).is_err(), "{target}");
    }
    let mut twice = input();
    twice.mounts = vec![bind("/a"), bind("/a/")];
    assert!(build(&twice).unwrap_err().message.contains("two mounts for /a"));
    let mut odd = input();
    odd.mounts = vec![bind("/a")];
    odd.mounts[0].propagation = Some("sideways".into());
    assert!(build(&odd).unwrap_err().message.contains("sideways"));
}

#[test]
fn a_read_only_root_leaves_the_kernels_own_mounts_writable() {
    let mut input = input();
    input.read_only_root = true;
    input.privileged = true;
    let spec = built(&input);
    assert_eq!(spec["root"]["readonly"], true);
    assert!(options(&spec, "/sys").contains(&"ro".to_owned()));
    assert!(!options(&spec, "/dev/shm").contains(&"ro".to_owned()));
    assert!(!options(&spec, "/proc").contains(&"ro".to_owned()));
}

#[test]
fn limits_follow_dockers_rules() {
    let mut input = input();
    input.resources.memory = Some(64 << 20);
    input.nano_cpus = Some(1_500_000_000);
    input.resources.pids = Some(50);
    input.resources.cpus = Some("0-1".into());
    let resources = built(&input)["linux"]["resources"].clone();
    assert_eq!(resources["memory"], json!({ "limit": 64 << 20, "swap": 128 << 20 }));
    assert_eq!(resources["cpu"]["quota"], 150_000);
    assert_eq!(resources["cpu"]["period"], 100_000);
    assert_eq!(resources["pids"]["limit"], 50);
    input.host.swap_limit = false;
    input.resources.memory_swap = Some(100 << 20);
    assert!(built(&input)["linux"]["resources"]["memory"].get("swap").is_none());
    assert_eq!(warnings(&input).len(), 1);
    let plain = built(&self::input())["linux"]["resources"].clone();
    assert!(plain.get("memory").is_none() && plain.get("cpu").is_none() && plain.get("pids").is_none());
}

#[test]
fn impossible_limits_are_refused_with_the_field() {
    type Change = fn(&mut SpecInput);
    let table: &[(Change, &str)] = &[
        (|i| i.resources.memory = Some(1024), "6 MiB"),
        (|i| i.resources.memory_swap = Some(1 << 30), "needs a memory limit"),
        (
            |i| {
                i.resources.memory = Some(1 << 30);
                i.resources.memory_swap = Some(1 << 20);
            },
            "below the memory limit",
        ),
        (
            |i| {
                i.resources.memory = Some(64 << 20);
                i.resources.memory_reservation = Some(1 << 30);
            },
            "reservation",
        ),
        (|i| i.resources.cpu_quota = Some(10), "quota"),
        (|i| i.resources.cpu_period = Some(10), "period"),
        (|i| i.nano_cpus = Some(-1), "negative"),
        (|i| i.resources.cpus = Some("0;rm".into()), "cpuset"),
        (|i| i.args = vec![], "no command specified"),
        (|i| i.args = vec!["a\0b".into()], "zero byte"),
        (|i| i.cwd = "tmp".into(), "not an absolute path"),
        (|i| i.cgroups_path = "relative".into(), "cgroup path"),
        (
            |i| drop(i.sysctls.insert("kernel.hostname".into(), "x".into())),
            "kernel.hostname",
        ),
        (|i| drop(i.sysctls.insert("net.a/../b".into(), "x".into())), "net.a"),
        (
            |i| {
                i.network_namespace = None;
                i.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
            },
            "host's network",
        ),
        (|i| i.device_rules = vec!["c 1:x r".into()], "device rule"),
        (
            |i| {
                i.rlimits = vec![Rlimit {
                    name: "fun".into(),
                    soft: 1,
                    hard: 1,
                }];
            },
            "ulimit",
        ),
    ];
    for (change, sentence) in table {
        let mut input = input();
        change(&mut input);
        let error = build(&input).unwrap_err();
        assert!(
            error.message.contains(sentence),
            "{sentence:?} is not in {:?}",
            error.message
        );
        assert_eq!(error.kind, crate::error::ErrorKind::Invalid);
    }
}

#[test]
fn ulimits_above_the_engines_own_are_lowered_with_a_warning() {
    let mut input = input();
    input.rlimits = vec![Rlimit {
        name: "nofile".into(),
        soft: 1024,
        hard: -1,
    }];
    assert!(warnings(&input).is_empty());
    assert_eq!(built(&input)["process"]["rlimits"][0]["hard"], u64::MAX);
    input.host.capabilities.remove("CAP_SYS_RESOURCE");
    assert_eq!(
        built(&input)["process"]["rlimits"][0],
        json!({ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 20_000 })
    );
    assert!(warnings(&input)[0].contains("nofile"));
    input.oom_score_adj = Some(-500);
    assert_eq!(built(&input)["process"]["oomScoreAdj"], 0);
    assert_eq!(warnings(&input).len(), 2);
}

#[test]
fn init_is_bound_in_and_runs_the_command() {
    let mut input = input();
    input.init = Some("/lib/longshore-init".into());
    let spec = built(&input);
    assert_eq!(spec["process"]["args"], json!(["/sbin/docker-init", "--", "true"]));
    assert_eq!(options(&spec, "/sbin/docker-init"), ["bind", "ro"]);
}

#[test]
fn home_is_set_unless_it_was() {
    let mut input = input();
    input.user.home = "/srv".into();
    assert_eq!(built(&input)["process"]["env"], json!(["PATH=/bin", "HOME=/srv"]));
    input.env.push("HOME=".into());
    assert_eq!(built(&input)["process"]["env"], json!(["PATH=/bin", "HOME=/srv"]));
    input.env.push("HOME=/mine".into());
    assert_eq!(
        built(&input)["process"]["env"],
        json!(["PATH=/bin", "HOME=", "HOME=/mine"])
    );
}

#[test]
fn devices_get_a_node_and_a_rule() {
    let mut input = input();
    input.devices = host_devices(std::path::Path::new("/dev/null"), "/dev/nothing", "rw").unwrap();
    input.device_rules = vec!["c 7:* rmw".into(), "a *:* r".into()];
    let spec = built(&input);
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/nothing");
    assert_eq!(
        (
            &spec["linux"]["devices"][0]["major"],
            &spec["linux"]["devices"][0]["minor"]
        ),
        (&json!(1), &json!(3))
    );
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(
        rules[8],
        json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw" })
    );
    assert_eq!(
        rules[9],
        json!({ "allow": true, "type": "c", "major": 7, "access": "rmw" })
    );
    assert!(host_devices(std::path::Path::new("/etc/passwd"), "/dev/x", "r").is_err());
    assert!(host_devices(std::path::Path::new("/dev/null"), "/dev/x", "q").is_err());
    assert!(
        host_devices(std::path::Path::new("/dev"), "/dev", "rwm")
            .unwrap()
            .iter()
            .any(|d| d.path == "/dev/zero")
    );
}

#[test]
fn this_machine_can_be_described() {
    let host = Host::here();
    assert!(host.kernel > (3, 0));
    assert!(host.hard_limits.contains_key("nofile"));
    assert!(!host.architecture.is_empty());
    let limits = host::parse_limits("Max open files            1024                 20000                files     \n");
    assert_eq!(limits["nofile"], 20_000);
    assert_eq!(host::parse_release("6.18.44-x"), (6, 18));
    assert_eq!(host::parse_bounding("CapBnd:\t0000000000000003\n").len(), 2);
}
