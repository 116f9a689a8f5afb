//! What a case may not leave, and taking it away all the same: processes, cgroups, state folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_sys::process;

use super::container::STATE;
use super::helper::Bench;
use super::{Result, differs, sys};
use crate::CaseResult;

/// How long a process that was killed may take to be gone.
const GRACE: Duration = Duration::from_secs(3);

/// Where the kernel's cgroups are.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// The cgroup above all containers of a case's process.
pub(crate) fn cgroup_parent(pid: u32) -> String {
    format!("longshore-conformance-{pid}")
}

/// Looks for what is left in the case's own process and below its folder, and takes it away.
pub(crate) fn take_away(bench: &Bench) -> CaseResult {
    let mut left = bench.late.take();
    left.extend(children_left()?);
    left.extend(state_left(bench)?);
    if let Err(failure) = take_away_cgroups(std::process::id()) {
        left.push(failure.to_string());
    }
    crate::check(left.is_empty(), || left.join("; "))
}

/// A folder's entries; none where it is absent.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path()).collect()
}

/// Reaps what ended. A child that lives on, also an adopted one, is one too many.
fn children_left() -> Result<Vec<String>> {
    let begin = Instant::now();
    let mut left = Vec::new();
    loop {
        while sys(process::try_wait_any())?.is_some() {}
        let alive = children(std::process::id());
        if alive.is_empty() {
            return Ok(left);
        }
        if left.is_empty() && begin.elapsed() > GRACE {
            left = alive
                .iter()
                .map(|(pid, name)| format!("process {pid} ({name}) was left behind"))
                .collect();
        }
        if !left.is_empty() {
            alive.iter().for_each(|(pid, _)| kill(*pid));
        }
        if begin.elapsed() > GRACE * 3 {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(pid: i32) {
    // One that is gone by now needs no killing.
    drop(process::open(pid).and_then(|pidfd| process::signal(pidfd, 9)));
}

/// Children that have not ended, with their names.
fn children(parent: u32) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for folder in entries(Path::new("/proc")) {
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else {
            continue;
        };
        // The name, in parentheses, may hold anything.
        let Some((front, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        let (state, owner) = (fields.next(), fields.next());
        let Some((pid, name)) = front.split_once('(') else {
            continue;
        };
        if state != Some("Z") && owner == Some(parent.to_string().as_str()) {
            found.extend(pid.trim().parse().ok().map(|pid| (pid, name.to_owned())));
        }
    }
    found
}

/// Kills all that descends from a process, which itself stays.
pub(crate) fn kill_all_below(parent: u32) {
    for (pid, _) in children(parent) {
        kill_all_below(pid.unsigned_abs());
        kill(pid);
    }
}

fn state_left(bench: &Bench) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for container in entries(&bench.folder) {
        for path in entries(&container.join(STATE)) {
            left.push(format!(
                "{} was left in a state folder",
                path.strip_prefix(&bench.folder).unwrap_or(&path).display()
            ));
        }
    }
    Ok(left)
}

/// The folders of a cgroup in every hierarchy.
pub(crate) fn cgroup_folders(below: &str) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from(CGROUPS)];
    all.extend(entries(Path::new(CGROUPS)));
    all.iter()
        .map(|hierarchy| hierarchy.join(below.trim_start_matches('/')))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// Removes the cgroups of a case's process.
///
/// # Errors
/// When there were any beside the empty one above all containers.
pub(crate) fn take_away_cgroups(pid: u32) -> CaseResult {
    let mut left = Vec::new();
    for top in cgroup_folders(&cgroup_parent(pid)) {
        for below in entries(&top).iter().filter(|path| path.is_dir()) {
            left.push(format!("cgroup {} was left behind", below.display()));
        }
        remove_cgroup(&top);
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(differs(left.join("; ")))
    }
}

/// Removes a cgroup with all below and in it.
fn remove_cgroup(folder: &Path) {
    entries(folder)
        .iter()
        .filter(|path| path.is_dir())
        .for_each(|path| remove_cgroup(path));
    let begin = Instant::now();
    while fs::remove_dir(folder).is_err() && folder.exists() && begin.elapsed() < GRACE {
        let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        inside.lines().filter_map(|pid| pid.parse().ok()).for_each(kill);
        std::thread::sleep(Duration::from_millis(2));
    }
}
