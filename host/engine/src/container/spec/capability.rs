//! Which capabilities a container has.

use serde_json::{Value, json};

use super::Host;

/// Docker's default set.
const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All capabilities, by their number (linux/capability.h).
pub(super) const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const EVERY: &str = "ALL";

/// The capabilities after `--cap-add` and `--cap-drop`, by Docker's rules. `ALL` means all that this
/// machine's engine has itself; one asked for by name that it lacks is refused.
pub(super) fn granted(add: &[String], drop: &[String], privileged: bool, host: &Host) -> Result<Vec<String>, String> {
    let add = names(add)?;
    let drop = names(drop)?;
    let everything = || ALL.iter().filter(|name| host.has(name)).map(|name| (*name).to_owned());
    if privileged {
        return Ok(everything().collect());
    }
    if let Some(missing) = add.iter().find(|name| *name != EVERY && !host.has(name)) {
        return Err(format!(
            "capability {missing} cannot be added: the engine has not got it itself"
        ));
    }
    let mut granted: Vec<String> = if add.iter().any(|name| name == EVERY) {
        everything().filter(|name| !drop.contains(name)).collect()
    } else if drop.iter().any(|name| name == EVERY) {
        add
    } else {
        let kept = DEFAULT
            .iter()
            .map(|name| (*name).to_owned())
            .filter(|name| host.has(name) && !drop.contains(name));
        kept.chain(add).collect()
    };
    let mut seen = std::collections::HashSet::new();
    granted.retain(|name| seen.insert(name.clone()));
    Ok(granted)
}

fn names(given: &[String]) -> Result<Vec<String>, String> {
    given
        .iter()
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            if upper == EVERY {
                return Ok(upper);
            }
            let full = if upper.starts_with("CAP_") {
                upper
            } else {
                format!("CAP_{upper}")
            };
            if ALL.contains(&full.as_str()) {
                Ok(full)
            } else {
                Err(format!("there is no capability {name:?}"))
            }
        })
        .collect()
}

/// The five sets. A user other than root gets a bound only, as `execve(2)` would leave it;
/// inheritable and ambient are always empty (CVE-2022-24769), and said to be, because a set that is
/// not said is inherited from the shim.
pub(super) fn sets(granted: &[String], uid: u32) -> Value {
    let own: &[String] = if uid == 0 { granted } else { &[] };
    json!({ "bounding": granted, "effective": own, "permitted": own, "inheritable": [], "ambient": [] })
}
