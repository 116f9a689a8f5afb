//! What the entry finds: its arguments, user, limits, names, volumes, cgroups.

use std::fs;

use longshore_core::ErrorKind;
use longshore_sys::{mount, path};
use serde_json::json;

use super::container::{inner, limit, pid, wait};
use super::helper::Bench;
use super::{Result, differs, same, sys};
use crate::{CaseResult, Failure, check};

pub(crate) fn environment_arguments_and_cwd_arrive_exactly(bench: &Bench) -> CaseResult {
    let script = "env; pwd; for a in \"$@\"; do echo \"<$a>\"; done";
    let mut container = bench.container(&["sh", "-c", script, "x", "a b", "", "ü"])?;
    container.spec["process"]["env"] = json!(["PATH=/bin", "B=2", "A=1 = 1", "EMPTY="]);
    container.spec["process"]["cwd"] = json!("/tmp");
    let out = container.output()?;
    for line in ["B=2", "A=1 = 1", "EMPTY=", "/tmp", "<a b>", "<>", "<ü>"] {
        check(out.lines().any(|l| l == line), || format!("{line} is not in {out:?}"))?;
    }
    check(!out.contains("HOME="), || format!("HOME was not asked for: {out:?}"))
}

pub(crate) fn uid_gid_and_groups_are_exact(bench: &Bench) -> CaseResult {
    let mut container = bench.script("id -u; id -g; id -G; umask; echo x > /dev/stdout")?;
    container.spec["process"]["user"] =
        json!({ "uid": 1000, "gid": 1001, "umask": 0o077, "additionalGids": [1001, 7, 9] });
    same("the output", container.output()?, "1000\n1001\n1001 7 9\n0077\nx\n")
}

pub(crate) fn no_groups_means_none(bench: &Bench) -> CaseResult {
    let mut container = bench.container(&["grep", "Groups", "/proc/self/status"])?;
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001 });
    same("the groups", container.output()?.trim(), "Groups:")
}

pub(crate) fn rlimits_are_set_or_refused(bench: &Bench) -> CaseResult {
    let mut container = bench.script("ulimit -n; ulimit -Hn; ulimit -c")?;
    container.spec["process"]["rlimits"] = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    match container.create() {
        Err(error) if error.kind == ErrorKind::Unsupported => return container.nothing_left(),
        created => drop(created?),
    }
    container.delete(true)?;
    same("the limits", container.output()?, "100\n200\n0\n")
}

pub(crate) fn sysctls_of_the_own_namespaces_are_set(bench: &Bench) -> CaseResult {
    let mut container =
        bench.script("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced")?;
    container.spec["linux"]["sysctl"] =
        json!({ "net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1" });
    same("the sysctls", container.output()?, "0\n1\n")
}

pub(crate) fn hostname_is_set(bench: &Bench) -> CaseResult {
    same("the name", bench.container(&["hostname"])?.output()?, "box\n")
}

pub(crate) fn the_given_network_namespace_is_joined_not_copied(bench: &Bench) -> CaseResult {
    let first = bench.container(&["sleep", "1000"])?;
    let created = first.create()?;
    first.start()?;
    let path = format!("/proc/{}/ns/net", inner(&created.init)?);
    let mut second = bench.container(&["readlink", "/proc/self/ns/net"])?;
    if let Some(namespaces) = second.spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "network", "path": path }));
    }
    let given = fs::read_link(&path)?;
    check(given != fs::read_link("/proc/self/ns/net")?, || {
        "the first one has none of its own".into()
    })?;
    same("the namespace", Some(second.output()?.trim()), given.to_str())
}

pub(crate) fn cgroup_paths_answered_hold_init(bench: &Bench) -> CaseResult {
    let container = bench.container(&["sleep", "1000"])?;
    let created = container.create()?;
    let init = inner(&created.init)?.to_string();
    if created.cgroups.paths.is_empty() {
        return Err(Failure::NotHere("the driver answers no cgroup on this machine".into()));
    }
    for path in &created.cgroups.paths {
        let folder = String::from_utf8_lossy(path.path.as_bytes()).into_owned();
        let found = fs::read_to_string(format!("{folder}/cgroup.procs"))?;
        same(&folder, found.trim(), init.as_str())?;
    }
    Ok(())
}

pub(crate) fn limits_of_memory_cpu_pids_are_in_the_cgroup(bench: &Bench) -> CaseResult {
    let mut container = bench.container(&["sleep", "1000"])?;
    let resources = &mut container.spec["linux"]["resources"];
    resources["memory"] = json!({ "limit": 64 << 20 });
    resources["cpu"] = json!({ "quota": 50_000, "period": 100_000, "shares": 512 });
    resources["pids"] = json!({ "limit": 20 });
    let created = container.create()?;
    let memory = limit(&created, "memory", &["memory.limit_in_bytes", "memory.max"])?;
    same("memory", memory, (64 << 20).to_string())?;
    same("pids", limit(&created, "pids", &["pids.max"])?, "20")?;
    let cpu = limit(&created, "cpu", &["cpu.cfs_quota_us", "cpu.max"])?;
    check(["50000", "50000 100000"].contains(&cpu.as_str()), || {
        format!("cpu: {cpu:?}")
    })
}

pub(crate) fn no_descriptor_beyond_stdio_reaches_the_entry(bench: &Bench) -> CaseResult {
    // ls itself opens the folder as 3.
    same(
        "descriptors",
        bench.container(&["ls", "/proc/self/fd"])?.output()?,
        "0\n1\n2\n3\n",
    )
}

pub(crate) fn no_signal_is_ignored_or_blocked_at_entry(bench: &Bench) -> CaseResult {
    let out = bench
        .container(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"])?
        .output()?;
    let zeros = "0".repeat(16);
    same("masks", out, format!("SigBlk:\t{zeros}\nSigIgn:\t{zeros}\n"))
}

/// Mounts a tmpfs with one file on a folder, in this process's own mount namespace.
fn mount_tmpfs(folder: &std::path::Path) -> Result<()> {
    fs::create_dir(folder)?;
    let context = sys(mount::Context::open("tmpfs"))?;
    let mounted = sys(context.mount())?;
    sys(mount::attach(mounted, sys(path::open_directory(folder))?))?;
    Ok(fs::write(folder.join("a"), "from the shim\n")?)
}

pub(crate) fn volumes_from_the_shims_namespace_are_seen(bench: &Bench) -> CaseResult {
    let mut container = bench.script("cat /vol/a; echo inside > /vol/b")?;
    let volume = container.path("volume");
    mount_tmpfs(&volume)?;
    container
        .mount(json!({ "destination": "/vol", "type": "bind", "source": volume, "options": ["rbind", "rprivate"] }));
    let out = container.output();
    let written = fs::read_to_string(volume.join("b"));
    drop(container);
    sys(mount::unmount(&volume))?;
    same("the output", out?, "from the shim\n")?;
    same("what it wrote", written?, "inside\n")
}

pub(crate) fn read_only_volumes_are_so_all_the_way_down(bench: &Bench) -> CaseResult {
    let script = "cat /vol/below/a /etc/file; touch /vol/b || touch /vol/below/b || touch /etc/file || echo denied";
    let mut container = bench.script(script)?;
    let volume = container.path("volume");
    fs::create_dir(&volume)?;
    mount_tmpfs(&volume.join("below"))?;
    fs::write(container.path("file"), "one file\n")?;
    container.mount(json!({ "destination": "/vol", "type": "bind", "source": volume, "options": ["rbind", "rprivate", "ro", "rro"] }));
    container.mount(json!({ "destination": "/etc/file", "type": "bind", "source": container.path("file"), "options": ["rbind", "rprivate", "ro"] }));
    let ran = container.run();
    let written = volume.join("b").exists() || volume.join("below/b").exists();
    drop(container);
    sys(mount::unmount(&volume.join("below")))?;
    same("the output", ran?.out, "from the shim\none file\ndenied\n")?;
    check(!written, || "it wrote into a read-only volume".into())
}

pub(crate) fn the_hosts_mount_table_is_unchanged(bench: &Bench) -> CaseResult {
    let host = std::os::unix::process::parent_id();
    let table = |of: &str| fs::read_to_string(format!("/proc/{of}/mountinfo"));
    let shims = table("self")?;
    let container = bench.container(&["true"])?;
    let unchanged = |when: &str| {
        same(&format!("the shim's mount table {when}"), table("self")?, shims.clone())?;
        // Others may mount on this machine in the meantime: only what names the container is its.
        let hosts = table(&host.to_string())?;
        check(!hosts.contains(container.id.as_str()), || {
            format!("the container is in the host's mount table {when}")
        })
    };
    let created = container.create()?;
    unchanged("after create")?;
    container.start()?;
    unchanged("after start")?;
    same("the exit status", wait(pid(&created.init))?, 0)?;
    container.delete(false)?;
    unchanged("after delete").map_err(|failure| differs(failure.to_string()))
}
