//! What the shim does with a container's cgroups by itself: killing, thawing, seeing kills for want
//! of memory.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use longshore_core::exec::{CgroupVersion, Cgroups};
use longshore_sys::{event, process};

const KILL: i32 = 9;

/// The path of the cgroup of one controller; `""` for the unified hierarchy.
fn path_of(cgroups: &Cgroups, controller: &str) -> Option<PathBuf> {
    cgroups
        .paths
        .iter()
        .find(|entry| entry.controller == controller)
        .map(|entry| PathBuf::from(OsStr::from_bytes(entry.path.as_bytes())))
}

/// Kills everything in the container's cgroup.
pub(crate) fn kill(cgroups: &Cgroups) {
    if cgroups.version == CgroupVersion::V2 {
        let Some(path) = path_of(cgroups, "") else { return };
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            kill_each(&path);
        }
        return;
    }
    let found = ["freezer", "pids", "memory", "cpu", "name=systemd"]
        .iter()
        .find_map(|controller| path_of(cgroups, controller))
        .or_else(|| {
            cgroups
                .paths
                .first()
                .map(|entry| PathBuf::from(OsStr::from_bytes(entry.path.as_bytes())))
        });
    let Some(path) = found else { return };
    // Frozen, a fork bomb cannot outrun the list.
    let frozen = fs::write(path.join("freezer.state"), "FROZEN").is_ok();
    kill_each(&path);
    if frozen {
        let _ = fs::write(path.join("freezer.state"), "THAWED");
    }
}

/// Thaws the container's processes: a frozen one does not die on cgroup v1.
pub(crate) fn thaw(cgroups: &Cgroups) {
    let written = match path_of(cgroups, "freezer") {
        Some(path) => fs::write(path.join("freezer.state"), "THAWED"),
        None => path_of(cgroups, "").map_or(Ok(()), |path| fs::write(path.join("cgroup.freeze"), "0")),
    };
    // A cgroup that is gone has nothing frozen.
    drop(written);
}

fn kill_each(path: &std::path::Path) {
    let Ok(list) = fs::read_to_string(path.join("cgroup.procs")) else {
        return;
    };
    for pidfd in list
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .filter_map(|pid| process::open(pid).ok())
    {
        let _ = process::signal(pidfd, KILL);
    }
}

/// Watches for kills for want of memory.
#[derive(Debug)]
pub(crate) struct OomWatch {
    fd: OwnedFd,
    /// The file with the line `oom_kill <n>`.
    counter: PathBuf,
    v1: bool,
    seen: u64,
}

impl OomWatch {
    /// Watches the memory cgroup; `None` where there is none.
    pub(crate) fn new(cgroups: &Cgroups) -> Option<Self> {
        let watched = match path_of(cgroups, "memory") {
            Some(path) => Self::v1(path),
            None => Self::v2(path_of(cgroups, "")?),
        };
        watched.ok()
    }

    /// An eventfd that the kernel raises, registered in `cgroup.event_control`.
    fn v1(cgroup: PathBuf) -> io::Result<Self> {
        let counter = cgroup.join("memory.oom_control");
        let fd = event::counter()?;
        let control = fs::File::open(&counter)?;
        fs::write(
            cgroup.join("cgroup.event_control"),
            format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
        )?;
        let seen = read_counter(&counter).unwrap_or(0);
        Ok(Self {
            fd,
            counter,
            v1: true,
            seen,
        })
    }

    fn v2(cgroup: PathBuf) -> io::Result<Self> {
        let counter = cgroup.join("memory.events");
        let seen = read_counter(&counter)?;
        let fd = event::watch(&counter)?;
        Ok(Self {
            fd,
            counter,
            v1: false,
            seen,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many kills there were since the last look. `None`: the cgroup is gone, which raises the
    /// eventfd too.
    pub(crate) fn look(&mut self) -> Option<u64> {
        let raised = if self.v1 {
            event::clear(&self.fd).unwrap_or(0)
        } else {
            let _ = event::drain(&self.fd);
            0
        };
        match read_counter(&self.counter) {
            Ok(now) => {
                let kills = now.saturating_sub(self.seen);
                self.seen = now;
                Some(kills)
            }
            // Before Linux 4.13 the file counts nothing: then the eventfd does.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(raised),
            Err(_) => None,
        }
    }
}

fn read_counter(path: &std::path::Path) -> io::Result<u64> {
    let mut text = String::new();
    fs::File::open(path)?.take(4096).read_to_string(&mut text)?;
    parse_counter(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_counter(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_kills_is_found_in_both_files() {
        for (text, kills) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            ("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n", Some(1)),
            ("oom_kill_disable 0\nunder_oom 0\n", None),
            ("", None),
        ] {
            assert_eq!(parse_counter(text), kills, "{text}");
        }
    }
}
