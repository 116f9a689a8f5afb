//! What a configuration depends on of the machine.

use std::collections::{BTreeMap, BTreeSet};

use super::capability::ALL;

/// The machine and the engine's own rights on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// The architecture by Docker's (Go's) name, such as `amd64`.
    pub architecture: String,
    /// Kernel version and patch level.
    pub kernel: (u32, u32),
    /// Whether `/sys/fs/cgroup` is the unified hierarchy.
    pub cgroup_v2: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Capabilities that the engine has itself.
    pub capabilities: BTreeSet<String>,
    /// The engine's own hard limits, by Docker's name (`nofile`).
    pub hard_limits: BTreeMap<String, u64>,
    /// The engine's own score, below which it may not go without `CAP_SYS_RESOURCE`.
    pub oom_score_adj: i32,
}

impl Host {
    /// Looks at this machine. What cannot be read counts as absent.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            architecture: docker_architecture(std::env::consts::ARCH).to_owned(),
            kernel: parse_release(&read("/proc/sys/kernel/osrelease")),
            cgroup_v2: std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            swap_limit: std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
                || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            capabilities: parse_bounding(&read("/proc/self/status")),
            hard_limits: parse_limits(&read("/proc/self/limits")),
            oom_score_adj: read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0),
        }
    }

    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}

fn docker_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Version and patch level of a release such as `6.18.5-foo`.
pub(super) fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The bounding set in `/proc/self/status`.
pub(super) fn parse_bounding(status: &str) -> BTreeSet<String> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let held = ALL.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    held.map(|(_, name)| (*name).to_owned()).collect()
}

/// Lines of `/proc/self/limits` by Docker's name.
const LIMIT_LINES: &[(&str, &str)] = &[
    ("Max cpu time", "cpu"),
    ("Max file size", "fsize"),
    ("Max data size", "data"),
    ("Max stack size", "stack"),
    ("Max core file size", "core"),
    ("Max resident set", "rss"),
    ("Max processes", "nproc"),
    ("Max open files", "nofile"),
    ("Max locked memory", "memlock"),
    ("Max address space", "as"),
    ("Max file locks", "locks"),
    ("Max pending signals", "sigpending"),
    ("Max msgqueue size", "msgqueue"),
    ("Max nice priority", "nice"),
    ("Max realtime priority", "rtprio"),
    ("Max realtime timeout", "rttime"),
];

/// The hard limits in `/proc/self/limits`.
pub(super) fn parse_limits(limits: &str) -> BTreeMap<String, u64> {
    let hard = |line: &str, title: &str| {
        let value = line.strip_prefix(title)?.split_whitespace().nth(1)?;
        if value == "unlimited" {
            Some(u64::MAX)
        } else {
            value.parse().ok()
        }
    };
    LIMIT_LINES
        .iter()
        .filter_map(|(title, name)| {
            let value = limits.lines().find_map(|line| hard(line, title))?;
            Some(((*name).to_owned(), value))
        })
        .collect()
}

/// A score no lower than this engine may set, and the sentence that says so.
pub(super) fn clamped_oom_score(wanted: Option<i32>, host: &Host) -> (Option<i32>, Option<String>) {
    match wanted {
        Some(score) if score < host.oom_score_adj && !host.has("CAP_SYS_RESOURCE") => (
            Some(host.oom_score_adj),
            Some(format!(
                "oom_score_adj {score} became {}: the engine has no CAP_SYS_RESOURCE to go lower",
                host.oom_score_adj
            )),
        ),
        other => (other, None),
    }
}
