//! What the entry may not do: capabilities, filters, devices, paths, the host's files.

use std::fs;

use longshore_core::ErrorKind;
use longshore_core::exec::CgroupVersion;
use serde_json::{Value, json};

use super::bundle::profile;
use super::container::until;
use super::helper::Bench;
use super::traces::CGROUPS;
use super::{Result, differs, refused, same};
use crate::{CaseResult, Failure, check};

const STATUS: &[&str] = &["grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status"];

fn status(text: &str, field: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    number.ok_or_else(|| differs(format!("{field} is not in {text:?}")))
}

/// Inheritable, permitted, effective, bounding, ambient.
fn sets(text: &str) -> Result<Vec<u64>> {
    let fields = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    fields.iter().map(|field| status(text, field)).collect()
}

/// The seven of the bundle: CHOWN 0, DAC_OVERRIDE 1, KILL 5, SETGID 6, SETUID 7, SYS_CHROOT 18, MKNOD 27.
const SEVEN: u64 = 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 18 | 1 << 27;

pub(crate) fn capability_sets_are_exact_and_inheritable_is_empty(bench: &Bench) -> CaseResult {
    let out = bench.container(STATUS)?.output()?;
    same("the sets", sets(&out)?, vec![0, SEVEN, SEVEN, SEVEN, 0])?;
    same("NoNewPrivs", status(&out, "NoNewPrivs")?, 0)
}

pub(crate) fn capabilities_of_another_user_are_a_bound_only(bench: &Bench) -> CaseResult {
    let mut container = bench.container(STATUS)?;
    container.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000] });
    let bounding = container.spec["process"]["capabilities"]["bounding"].clone();
    // Sets that are not said are empty, not the caller's.
    container.spec["process"]["capabilities"] = json!({ "bounding": bounding });
    same("the sets", sets(&container.output()?)?, vec![0, 0, 0, SEVEN, 0])
}

pub(crate) fn no_new_privileges_holds(bench: &Bench) -> CaseResult {
    let mut container = bench.container(STATUS)?;
    let filter = bench.capabilities.seccomp;
    if filter {
        container.spec["linux"]["seccomp"] = profile();
    }
    // "false" is as good as nothing said, and the filter loads all the same.
    for said in [true, false] {
        container.spec["process"]["noNewPrivileges"] = json!(said);
        let out = container.output()?;
        same("NoNewPrivs", status(&out, "NoNewPrivs")?, u64::from(said))?;
        same("Seccomp", status(&out, "Seccomp")?, if filter { 2 } else { 0 })?;
        container.delete(false)?;
    }
    Ok(())
}

pub(crate) fn seccomp_denies_what_the_profile_denies_or_create_is_unsupported(bench: &Bench) -> CaseResult {
    let mut container = bench.script("chmod 700 /tmp")?;
    container.spec["linux"]["seccomp"] = profile();
    if !bench.capabilities.seccomp {
        refused(container.create(), ErrorKind::Unsupported, None)?;
        return container.nothing_left();
    }
    let ran = container.run()?;
    check(ran.code != 0 && ran.err.contains("not supported"), || {
        format!("not denied: {ran:?}")
    })?;
    same(
        "without it, the exit status",
        bench.script("chmod 700 /tmp")?.run()?.code,
        0,
    )
}

pub(crate) fn a_profile_that_notifies_is_unsupported(bench: &Bench) -> CaseResult {
    let mut container = bench.container(&["true"])?;
    container.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["chmod"], "action": "SCMP_ACT_NOTIFY" }],
    });
    refused(container.create(), ErrorKind::Unsupported, None)?;
    container.nothing_left()
}

pub(crate) fn device_rules_hold_on_v1_and_v2_or_create_is_unsupported(bench: &Bench) -> CaseResult {
    // Making a node is allowed for all character devices, opening it only by a rule.
    let script = "echo x > /dev/null && cat /dev/zero | head -c 1 > /dev/null && mknod /tmp/kmsg c 1 11 \
        && ! cat /tmp/kmsg 2>/tmp/why; cat /tmp/why";
    let container = bench.script(script)?;
    let version = match container.create() {
        Err(error) if error.kind == ErrorKind::Unsupported => return container.nothing_left(),
        created => created?.cgroups.version,
    };
    container.delete(true)?;
    let applies = match version {
        CgroupVersion::V2 => bench.capabilities.device_rules_v2,
        _ => bench.capabilities.device_rules_v1,
    };
    check(applies, || "the driver took rules that it says it cannot apply".into())?;
    let ran = container.run()?;
    check(ran.out.contains("not permitted"), || {
        format!("the rules do not hold: {ran:?}")
    })
}

pub(crate) fn masked_and_read_only_paths_hold(bench: &Bench) -> CaseResult {
    let script = "test -c /proc/kcore && cat /proc/keys; ls /sys/firmware; \
        echo 1 > /proc/sys/kernel/printk || true";
    let ran = bench.script(script)?.run()?;
    same("what can be read", ran.out.as_str(), "")?;
    check(ran.err.contains("Read-only"), || format!("it could write: {ran:?}"))
}

pub(crate) fn a_read_only_root_is_read_only(bench: &Bench) -> CaseResult {
    let mut container = bench.script("touch /x || touch /dev/shm/y && echo shm")?;
    container.spec["root"]["readonly"] = json!(true);
    let ran = container.run()?;
    check(ran.err.contains("Read-only") && ran.out == "shm\n", || {
        format!("it saw {ran:?}")
    })?;
    check(!container.root().join("x").exists(), || "it wrote into its root".into())
}

pub(crate) fn cgroups_are_seen_but_not_written_from_inside(bench: &Bench) -> CaseResult {
    let script = "grep ' /sys/fs/cgroup/' /proc/self/mountinfo | grep -v ' ro,' && echo writable; \
        ls -d /sys/fs/cgroup/*/release_agent 2>/dev/null; \
        for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do \
            if test -e $f; then echo 1 > $f; fi; done; mkdir /sys/fs/cgroup/x; \
        cat /sys/fs/cgroup/pids/cgroup.procs | head -1";
    let ran = bench.script(script)?.run()?;
    let v1 = fs::metadata(format!("{CGROUPS}/pids")).is_ok();
    same("the output", ran.out.as_str(), if v1 { "1\n" } else { "" })?;
    check(ran.err.contains("Read-only"), || format!("it could write: {ran:?}"))
}

pub(crate) fn labels_that_the_driver_cannot_apply_are_refused_before_any_effect(bench: &Bench) -> CaseResult {
    let capabilities = &bench.capabilities;
    if capabilities.apparmor && capabilities.selinux {
        return Err(Failure::NotHere(
            "the driver says that it applies both sorts of labels".into(),
        ));
    }
    for (applies, field, label) in [
        (capabilities.apparmor, "apparmorProfile", "docker-default"),
        (capabilities.selinux, "selinuxLabel", "system_u:system_r:container_t:s0"),
    ] {
        if !applies {
            let mut container = bench.container(&["true"])?;
            container.spec["process"][field] = json!(label);
            refused(container.create(), ErrorKind::Unsupported, None)?;
            container.nothing_left()?;
        }
    }
    Ok(())
}

pub(crate) fn a_spec_without_a_process_is_invalid(bench: &Bench) -> CaseResult {
    let mut container = bench.container(&["true"])?;
    if let Some(spec) = container.spec.as_object_mut() {
        spec.remove("process");
    }
    refused(container.create(), ErrorKind::Invalid, None)?;
    container.nothing_left()?;
    container.spec = Value::String("no spec".into());
    refused(container.create(), ErrorKind::Invalid, None)?;
    container.nothing_left()
}

/// Looks at every process that it sees for one that runs another file than its own shell's, holds
/// that file, and tries to write it.
const HUNT: &str = "echo > /vol/ready
while ! test -e /vol/stop; do
    for p in /proc/[0-9]*; do
        test $p/exe -ef /bin/busybox && continue
        (exec 9< $p/exe; test /proc/self/fd/9 -ef /bin/busybox && exit
         echo held >> /vol/held; : >> /proc/self/fd/9; echo written >> /vol/held) 2>> /vol/why
    done
done";

pub(crate) fn the_runtime_binary_cannot_be_opened_for_writing_from_inside(bench: &Bench) -> CaseResult {
    let container = bench.script(HUNT)?;
    container.running()?;
    until("the entry's start", || Ok(container.root().join("vol/ready").exists()))?;
    for _ in 0..20 {
        same("an exec's status", container.exec_script("exit 0")?.code, 0)?;
    }
    let read = |name: &str| fs::read_to_string(container.root().join(name)).unwrap_or_default();
    let (held, why) = (read("vol/held"), read("vol/why"));
    check(!held.contains("written"), || {
        "the runtime's file was opened for writing (CVE-2019-5736)".into()
    })?;
    // That it is busy protects it only as long as it runs.
    check(held.is_empty() || !why.contains("busy"), || {
        "the runtime's file was held open from inside: it can be written when the runtime has ended".into()
    })
}
