//! Judges whether containers can run on this machine.

use longshore_plugin::driver::{Facts, Reason};
use longshore_plugin::exec::CgroupVersion;

use crate::cgroup::Layout;

/// `mount_setattr(2)`, with which the library makes every mount.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Controllers of v1 without which the library cannot kill, freeze or confine.
const NEEDED: &[&str] = &["devices", "freezer", "memory", "pids"];

/// What was seen of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) layout: Layout,
    /// Whether the mount point of the cgroups is mounted read-only.
    pub(crate) read_only: bool,
    pub(crate) root: bool,
    /// Whether this kernel filters system calls.
    pub(crate) seccomp: bool,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            layout: Layout::parse(&mountinfo),
            read_only: crate::cgroup::mounted_read_only(&mountinfo),
            root: rustix::process::geteuid().is_root(),
            seccomp: std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        }
    }
}

fn reason(what: String, remedy: &str) -> Reason {
    Reason {
        what,
        remedy: remedy.into(),
    }
}

pub(crate) fn judge(machine: &Machine, facts: &Facts) -> Vec<Reason> {
    let mut reasons = judge_machine(machine);
    let mut numbers = facts
        .kernel
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST_KERNEL && version != (0, 0) {
        reasons.push(reason(
            format!("kernel {} has no mount_setattr(2)", facts.kernel),
            "run kernel 5.12 or newer",
        ));
    }
    reasons
}

pub(crate) fn judge_machine(machine: &Machine) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !machine.root {
        reasons.push(reason("the engine is not run by root".into(), "start it as root"));
    }
    if !machine.seccomp {
        reasons.push(reason(
            "this kernel does not filter system calls".into(),
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ));
    }
    match machine.layout.version {
        CgroupVersion::None | CgroupVersion::Unknown => reasons.push(reason(
            "no cgroups are mounted on /sys/fs/cgroup".into(),
            "mount them: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`",
        )),
        CgroupVersion::V1 | CgroupVersion::Hybrid => {
            for controller in NEEDED {
                if machine.layout.mount_of(controller).is_none() {
                    reasons.push(reason(
                        format!("cgroup controller {controller} is not mounted"),
                        "mount it below /sys/fs/cgroup, or boot with cgroup v2",
                    ));
                }
            }
        }
        CgroupVersion::V2 => {}
    }
    if machine.read_only {
        reasons.push(reason(
            "/sys/fs/cgroup is mounted read-only".into(),
            "remount it: `mount -o remount,rw /sys/fs/cgroup`; in a container, give it its own cgroup namespace",
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kernel: &str) -> Facts {
        Facts {
            filesystem: "ext4".into(),
            d_type: None,
            trusted_xattrs: None,
            user_xattrs: None,
            reflink: None,
            filesystems: vec![],
            overlay: vec![],
            overlay_mounts: None,
            kernel: kernel.into(),
            network: None,
        }
    }

    fn machine(mountinfo: &str) -> Machine {
        Machine {
            layout: Layout::parse(mountinfo),
            read_only: false,
            root: true,
            seccomp: true,
        }
    }

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_machine_with_everything_has_no_reasons() {
        assert!(judge(&machine(V2), &facts("6.1.0-13-amd64")).is_empty());
    }

    #[test]
    fn each_missing_thing_has_its_remedy() {
        assert!(judge(&machine(""), &facts("6.1.0"))[0].remedy.contains("mount"));
        assert!(judge(&machine(V2), &facts("5.4.0"))[0].remedy.contains("5.12"));
        let mut plain = machine(V2);
        plain.root = false;
        plain.seccomp = false;
        plain.read_only = true;
        assert_eq!(judge(&plain, &facts("6.1.0")).len(), 3);
        let v1 = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let missing = judge(&machine(v1), &facts("6.1.0"));
        assert_eq!(missing.len(), 3);
        assert!(missing.iter().any(|reason| reason.what.contains("freezer")));
    }
}
