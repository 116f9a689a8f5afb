//! `longshore doctor`: what of this machine and data root is well, what is not, and what to do.

use serde::Serialize;

use crate::engine::Inner;
use crate::error::Result;

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// Well.
    Ok,
    /// Something cannot be used; nothing that is in use fails.
    Warn,
    /// Something that is needed does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub state: FindingState,
    /// What was found.
    pub what: String,
    /// What to do about it; empty when nothing is to be done.
    pub remedy: String,
}

fn finding(check: &str, state: FindingState, what: impl Into<String>, remedy: &str) -> Finding {
    Finding {
        check: check.to_owned(),
        state,
        what: what.into(),
        remedy: remedy.to_owned(),
    }
}

pub(crate) fn examine(inner: &Inner) -> Result<Vec<Finding>> {
    use FindingState::{Fail, Ok as Fine, Warn};
    let mut findings = Vec::new();
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    findings.push(finding("kernel", Fine, version.trim(), ""));
    for driver in inner.drivers.views()? {
        let check = format!("driver {} {}", driver.kind, driver.name);
        let bad = if driver.default { Fail } else { Warn };
        if driver.usable {
            let place = match (driver.isolation.as_str(), driver.pid) {
                ("process", Some(pid)) => format!(", in process {pid}"),
                ("process", None) => ", in a process of its own".to_owned(),
                ("wasm", _) => ", as a Wasm component".to_owned(),
                _ => String::new(),
            };
            let what = format!("usable, version {}{place}", driver.version);
            findings.push(finding(&check, Fine, what, ""));
        }
        for reason in driver.reasons {
            findings.push(finding(
                &check,
                if driver.usable { Warn } else { bad },
                reason.what,
                &reason.remedy,
            ));
        }
    }
    findings.push(cgroups());
    findings.push(space(inner));
    if let Some(damaged) = &*inner.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        findings.push(finding(
            "database",
            Warn,
            damaged,
            "images load again from their archives; what the old database spoke of stays on disk until `longshore doctor --collect`",
        ));
    }
    for (id, alive) in inner.containers.strangers() {
        let what = if alive { "runs" } else { "lies on disk" };
        findings.push(finding(
            "unknown container",
            Warn,
            format!("container {id} {what} and is in no record"),
            &format!("end and remove it: `longshore rm --force {}`", &id[..id.len().min(12)]),
        ));
    }
    let unknown = inner.layers.unknown()?.len();
    if unknown > 0 {
        findings.push(finding(
            "unknown layers",
            Warn,
            format!("{unknown} trees of layers are in no record"),
            "remove them: `longshore doctor --collect`",
        ));
    }
    for damaged in inner.layers.damaged()? {
        findings.push(finding(
            "layer",
            Warn,
            format!(
                "the copy {} of layer {} in driver {} is damaged and not used: {}",
                damaged.cache_id, damaged.chain_id, damaged.driver, damaged.what
            ),
            "a copy in another driver takes its place; where there is none, load or import the image again",
        ));
    }
    for image in inner.images.list()? {
        if let Err(error) = inner.images.resolve(&image.id) {
            findings.push(finding("image", Fail, error.message, "load the image again"));
        }
    }
    let changed = inner.drivers.config().changed_on_disk();
    findings.push(if changed {
        finding(
            "config",
            Warn,
            "a config file has changed since it was read",
            "run `longshore engine restart`",
        )
    } else {
        finding("config", Fine, "in force as it is on disk", "")
    });
    let hard = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(line) = hard.lines().find(|line| line.starts_with("Max open files")) {
        let limit = line.split_whitespace().nth(4).unwrap_or("?");
        findings.push(finding(
            "open files",
            Fine,
            format!("at most {limit}; a container's ulimits are clamped to it"),
            "",
        ));
    }
    Ok(findings)
}

fn cgroups() -> Finding {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = |fs: &str| mounts.lines().any(|line| line.contains(&format!(" - {fs} ")));
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => finding(
            "cgroups",
            FindingState::Ok,
            "hybrid: version 1 controllers beside version 2",
            "",
        ),
        (true, false) => finding("cgroups", FindingState::Ok, "version 1", ""),
        (false, true) => finding("cgroups", FindingState::Ok, "version 2", ""),
        (false, false) => finding(
            "cgroups",
            FindingState::Fail,
            "no cgroup file system is mounted",
            "mount one: `mount -t cgroup2 none /sys/fs/cgroup`",
        ),
    }
}

fn space(inner: &Inner) -> Finding {
    let looked = std::fs::File::open(&inner.paths.data)
        .map_err(|e| e.to_string())
        .and_then(|folder| longshore_sys::path::file_system(&folder).map_err(|e| e.to_string()));
    match looked {
        Ok(fs) => {
            let (free, total) = (fs.available * fs.block_size, fs.blocks * fs.block_size);
            let percent = free.saturating_mul(100).checked_div(total).unwrap_or(100);
            let what = format!("{} GiB free in {}", free >> 30, inner.paths.data.display());
            if percent < 5 {
                finding(
                    "space",
                    FindingState::Warn,
                    what,
                    "remove images and containers that are not needed",
                )
            } else {
                finding("space", FindingState::Ok, what, "")
            }
        }
        Err(error) => finding("space", FindingState::Warn, format!("cannot be told: {error}"), ""),
    }
}
