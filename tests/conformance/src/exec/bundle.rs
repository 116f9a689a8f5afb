//! A container's root, made of the machine's static busybox, and its OCI spec.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Result;

const BUSYBOX: &str = "/bin/busybox";

/// Commands of busybox that the cases use.
const COMMANDS: &[&str] = &[
    "sh", "cat", "true", "false", "sleep", "id", "env", "pwd", "touch", "chmod", "ls", "stty", "tty", "mknod",
    "hostname", "readlink", "mkdir", "echo", "head", "grep", "mount", "printf", "kill", "test", "tail",
];

/// Why no container can be run on this machine by any driver.
pub(crate) fn lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("containers need root".into());
    }
    (!Path::new(BUSYBOX).exists()).then(|| format!("needs {BUSYBOX} (Debian's busybox-static)"))
}

/// Makes a root.
pub(crate) fn make_root(root: &Path) -> Result<()> {
    for name in ["bin", "proc", "sys", "dev", "tmp", "etc", "home", "vol"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    for command in COMMANDS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(command))?;
    }
    // A shell's background commands read it; where /dev is mounted over, it is not seen.
    fs::write(root.join("dev/null"), "")?;
    Ok(())
}

const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A spec that is only a root and a process.
pub(crate) fn plain_spec(args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin", "HOME=/home"],
            "cwd": "/",
        },
    })
}

/// A spec as the host writes it.
pub(crate) fn whole_spec(cgroup: &str, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "hostname": "box",
        "process": {
            "user": { "uid": 0, "gid": 0, "umask": 0o022, "additionalGids": [0] },
            "args": args,
            "env": ["PATH=/bin", "HOME=/home"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                "inheritable": [], "ambient": []
            },
        },
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "mount" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" }, { "type": "network" }
            ],
            "resources": { "devices": [
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
                { "allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm" },
                { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
            ] },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/not-there"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/not-there"],
        },
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["ro", "nosuid", "noexec", "nodev"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
    ])
}

/// A filter that denies changing modes.
pub(crate) fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{
            "names": ["chmod", "fchmod", "fchmodat", "fchmodat2"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": 95
        }],
    })
}
