//! The last word on containers' cgroups: everything in one is killed and it is removed, with what is
//! below it and in every hierarchy. The exec driver does that in the ordinary course; here it is done
//! for those that no driver answers for any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_sys::process;

use crate::error::{Error, Result};

/// Where hierarchies are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";
/// How long the dead may take to leave their cgroup.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// Deepest cgroup below one of ours that is looked at.
const MAX_DEPTH: u8 = 32;

/// Every directory that stands for `path` in a mounted hierarchy.
fn places(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let base = Path::new(MOUNTED);
    let mut found = vec![base.join(relative)];
    if let Ok(entries) = fs::read_dir(base) {
        // `cpu` and `cpuacct` are links to the one hierarchy that both are in.
        let hierarchies = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        found.extend(hierarchies.map(|entry| entry.path().join(relative)));
    }
    found.retain(|place| place.join("cgroup.procs").exists());
    found
}

/// Adds a cgroup and those below it, the lowest first.
fn collect(place: &Path, depth: u8, found: &mut Vec<PathBuf>) {
    if depth < MAX_DEPTH
        && let Ok(entries) = fs::read_dir(place)
    {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            collect(&entry.path(), depth + 1, found);
        }
    }
    found.push(place.to_owned());
}

/// Every cgroup at and below `path`, the lowest first.
fn all(path: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in places(path) {
        collect(&place, 0, &mut found);
    }
    found
}

fn processes(place: &Path) -> Vec<i32> {
    fs::read_to_string(place.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}

fn kill(place: &Path) {
    let _ = fs::write(place.join("cgroup.kill"), "1");
    for pid in processes(place) {
        // A number that was given to another process meanwhile is not in this cgroup: the descriptor is
        // opened before the cgroup is read again.
        if let Ok(pidfd) = process::open(pid)
            && processes(place).contains(&pid)
        {
            let _ = process::signal(&pidfd, 9);
        }
    }
    // A frozen process does not die before it is thawed.
    let _ = fs::write(place.join("freezer.state"), "THAWED");
}

/// Whether there is a cgroup at `path` in any hierarchy.
pub(crate) fn exists(path: &str) -> bool {
    !places(path).is_empty()
}

/// The names of the cgroups directly below `path`, in any hierarchy.
pub(crate) fn below(path: &str) -> BTreeSet<String> {
    places(path)
        .iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Kills every process in the cgroup at `path` and removes it, in every hierarchy. Done when there is
/// none.
///
/// # Errors
/// `Unavailable` when it is still there after some seconds: a process in it waits in the kernel.
pub(crate) fn remove(path: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = all(path);
        let Some(top) = found.last() else {
            return Ok(());
        };
        if started.elapsed() > PATIENCE {
            return Err(Error::unavailable(format!(
                "cannot remove the cgroup {}: it is still in use",
                top.display()
            ))
            .hint("a process in it waits in the kernel; look for state D in ps, then try again"));
        }
        let busy = found.iter().filter(|place| !processes(place).is_empty()).count() > 0;
        for place in &found {
            kill(place);
        }
        if busy {
            std::thread::sleep(PAUSE);
        }
        for place in &found {
            // What cannot go yet is looked at again.
            let _ = fs::remove_dir(place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::process::{Child, Command};

    /// A cgroup of a test's own below every hierarchy that takes one, gone with this.
    struct Made(String);

    impl Made {
        fn new(name: &str) -> Option<Self> {
            let made = Self(format!("/longshore-test-{}-{name}", std::process::id()));
            let hierarchy = Path::new(MOUNTED).join("freezer");
            if !hierarchy.join("cgroup.procs").exists()
                || fs::create_dir(hierarchy.join(made.0.trim_start_matches('/'))).is_err()
            {
                println!("SKIP: no freezer of cgroup v1 that a test may use");
                return None;
            }
            Some(made)
        }

        fn place(&self) -> PathBuf {
            Path::new(MOUNTED).join("freezer").join(self.0.trim_start_matches('/'))
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    fn sleeper(place: &Path) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(place.join("cgroup.procs"), child.id().to_string()).unwrap();
        child
    }

    #[test]
    fn root_a_frozen_process_below_a_cgroup_is_killed_and_all_of_it_removed() {
        let Some(made) = Made::new("nested") else { return };
        let inner = made.place().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut child = sleeper(&inner);
        fs::write(made.place().join("freezer.state"), "FROZEN").unwrap();
        assert_eq!(below(&made.0), BTreeSet::from(["inner".to_owned()]));
        assert!(exists(&made.0));
        let removed = std::thread::spawn({
            let path = made.0.clone();
            move || remove(&path)
        });
        assert!(!child.wait().unwrap().success());
        removed.join().unwrap().unwrap();
        assert!(!exists(&made.0));
    }

    #[test]
    fn what_is_not_there_is_removed() {
        let path = "/longshore-test-nothing";
        assert!(!exists(path) && below(path).is_empty());
        remove(path).unwrap();
    }
}
