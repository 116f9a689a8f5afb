//! The mounts of a container, in the order in which they are made.

use serde_json::{Value, json};

use super::{INIT_TARGET, SpecInput};

/// A volume or a path of the host, where the shim will have attached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BindMount {
    /// Where it is attached.
    pub source: String,
    /// Where it stands in the container.
    pub target: String,
    /// Whether it cannot be written there.
    pub read_only: bool,
    /// `rprivate` where there is none.
    pub propagation: Option<String>,
    /// Whether mounts below the source come along; they do unless said otherwise.
    pub recursive: bool,
    /// More options, as mount(8) names them.
    pub options: Vec<String>,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    /// Where it stands in the container.
    pub target: String,
    /// Options over the default ones: `size=64m`, `exec`.
    pub options: Vec<String>,
}

struct Default {
    target: &'static str,
    kind: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

const DEFAULTS: &[Default] = &[
    Default {
        target: "/proc",
        kind: "proc",
        source: "proc",
        options: &["nosuid", "noexec", "nodev"],
    },
    Default {
        target: "/dev",
        kind: "tmpfs",
        source: "tmpfs",
        options: &["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    Default {
        target: "/dev/pts",
        kind: "devpts",
        source: "devpts",
        options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    Default {
        target: "/sys",
        kind: "sysfs",
        source: "sysfs",
        options: &["nosuid", "noexec", "nodev", "ro"],
    },
    Default {
        target: "/sys/fs/cgroup",
        kind: "cgroup",
        source: "cgroup",
        options: &["ro", "nosuid", "noexec", "nodev"],
    },
    Default {
        target: "/dev/mqueue",
        kind: "mqueue",
        source: "mqueue",
        options: &["nosuid", "noexec", "nodev"],
    },
    Default {
        target: "/dev/shm",
        kind: "tmpfs",
        source: "shm",
        options: &["nosuid", "noexec", "nodev", "mode=1777"],
    },
];

/// Mounts that stay writable with a read-only root.
const ALWAYS_WRITABLE: &[&str] = &["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];

const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// All mounts: the default ones that no user's mount takes the place of, then the user's, parents
/// before children.
pub(super) fn all(input: &SpecInput) -> Result<Vec<Value>, String> {
    let mut users = Vec::new();
    for bind in &input.mounts {
        users.push((target(&bind.target)?, bound(bind)?));
    }
    for tmpfs in &input.tmpfs {
        users.push((target(&tmpfs.target)?, in_memory(tmpfs)));
    }
    for (index, (path, _)) in users.iter().enumerate() {
        if users[..index].iter().any(|(other, _)| other == path) {
            return Err(format!("two mounts for {path}"));
        }
    }
    // A stable sort: equally deep mounts stay in the user's order.
    users.sort_by_key(|(path, _)| path.split('/').count());
    let taken = |path: &str| {
        users
            .iter()
            .any(|(user, _)| user == path || (user == "/dev" && path.starts_with("/dev/")))
    };
    let mut mounts: Vec<Value> = DEFAULTS
        .iter()
        .filter(|default| !taken(default.target))
        .map(|default| standard(default, input))
        .collect();
    mounts.extend(users.into_iter().map(|(_, mount)| mount));
    if let Some(init) = &input.init {
        mounts.push(json!({
            "destination": INIT_TARGET, "type": "bind", "source": init, "options": ["bind", "ro"],
        }));
    }
    Ok(mounts)
}

fn standard(default: &Default, input: &SpecInput) -> Value {
    let mut options: Vec<String> = default.options.iter().map(|option| (*option).to_owned()).collect();
    if default.target == "/dev/shm" {
        options.push(format!("size={}", input.shm_size));
    }
    if input.privileged {
        options.retain(|option| option != "ro");
    }
    let writable = ALWAYS_WRITABLE.contains(&default.target);
    if input.read_only_root && !writable && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    json!({ "destination": default.target, "type": default.kind, "source": default.source, "options": options })
}

fn bound(bind: &BindMount) -> Result<Value, String> {
    let propagation = bind
        .propagation
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or("rprivate");
    if !PROPAGATIONS.contains(&propagation) {
        return Err(format!(
            "mount {}: there is no propagation {propagation:?}",
            bind.target
        ));
    }
    let mut options = vec![if bind.recursive { "rbind" } else { "bind" }, propagation];
    if bind.read_only {
        options.push("ro");
        // Mounts below the source too: since kernel 5.12 one call does it.
        if bind.recursive {
            options.push("rro");
        }
    }
    options.extend(bind.options.iter().map(String::as_str));
    Ok(json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": options }))
}

/// Options that switch off what a default one switches on.
const OPPOSITES: &[(&str, &str)] = &[("exec", "noexec"), ("suid", "nosuid"), ("dev", "nodev"), ("rw", "ro")];

fn in_memory(tmpfs: &Tmpfs) -> Value {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for option in &tmpfs.options {
        let opposite = OPPOSITES.iter().find_map(|(on, off)| match option.as_str() {
            option if option == *on => Some(*off),
            option if option == *off => Some(*on),
            _ => None,
        });
        options.retain(|other| Some(other.as_str()) != opposite && other != option);
        // These are the kernel's defaults; naming one has done its work by removing the other.
        if !OPPOSITES.iter().any(|(on, _)| on == option) {
            options.push(option.clone());
        }
    }
    json!({ "destination": tmpfs.target, "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// A target's path without its trailing slash.
fn target(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(format!("the mount target {path:?} is not an absolute path"));
    }
    let plain: String = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .flat_map(|p| ["/", p])
        .collect();
    // Over /proc a mount would hide what is masked there.
    if plain.is_empty() || plain == "/proc" {
        return Err(format!("the mount target {path:?} cannot be replaced"));
    }
    Ok(plain)
}

/// How the root's mounts are propagated: as far as the furthest of the user's.
pub(super) fn root_propagation(mounts: &[BindMount]) -> Option<&'static str> {
    let any = |names: [&str; 2]| {
        mounts
            .iter()
            .any(|m| m.propagation.as_deref().is_some_and(|p| names.contains(&p)))
    };
    if any(["shared", "rshared"]) {
        Some("shared")
    } else if any(["slave", "rslave"]) {
        Some("slave")
    } else {
        None
    }
}
