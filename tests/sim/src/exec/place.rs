//! The folder of a container in its state folder, and the processes that it names.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_core::exec::Status;
use longshore_core::types::Bytes;
use longshore_core::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::io;

/// How long killed processes may take to be gone.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn path(bytes: &Bytes) -> PathBuf {
    std::ffi::OsStr::from_bytes(bytes.as_bytes()).into()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.path())
}

fn number(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    /// One for a container that is being made. Each has a name of its own: an init whose `create` was
    /// killed looks for the old one, and ends.
    pub(crate) fn make(state_root: &Bytes) -> Result<Self> {
        let own = path(state_root).join(format!("box-{}", std::process::id()));
        fs::create_dir_all(own.join("execs")).map_err(io("make the container's folder"))?;
        Ok(Self(own))
    }

    pub(crate) fn find(state_root: &Bytes) -> Option<Self> {
        entries(&path(state_root))
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.as_bytes().starts_with(b"box-"))
            })
            .map(Self)
    }

    /// Writes a file of it, whole or not at all: init writes its number too, and others read meanwhile.
    pub(crate) fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let made = self.0.join("new");
        fs::write(&made, text).map_err(io("write the container's state"))?;
        fs::rename(made, self.0.join(name)).map_err(io("write the container's state"))
    }

    /// The container's root.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let bytes = fs::read(self.0.join("root")).map_err(io("read where the root is"))?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&bytes)))
    }

    /// Init while it lives.
    pub(crate) fn alive(&self) -> Option<u32> {
        number(&self.0.join("init")).filter(|pid| Process::read(*pid).is_some_and(Process::alive))
    }

    pub(crate) fn status(&self) -> Status {
        match (self.alive(), self.0.join("started").exists()) {
            (None, _) => Status::Stopped,
            (Some(_), false) => Status::Created,
            (Some(_), true) => Status::Running,
        }
    }

    /// The leader of init's session.
    pub(crate) fn init(&self) -> Vec<u32> {
        number(&self.0.join("init")).into_iter().collect()
    }

    /// The leaders of the sessions that joined.
    pub(crate) fn joined(&self) -> Vec<u32> {
        entries(&self.0.join("execs"))
            .filter_map(|path| number(&path))
            .collect()
    }

    /// Removes it; init may be writing its number in the meantime.
    pub(crate) fn remove(&self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while let Err(error) = fs::remove_dir_all(&self.0) {
            if !self.0.exists() {
                break;
            }
            if Instant::now() > end {
                return Err(io("remove the container's folder")(error));
            }
        }
        Ok(())
    }
}

/// Kills the sessions of these leaders and waits for their end.
pub(crate) fn kill(leaders: &[u32]) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let all = entries(Path::new("/proc")).filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        let ours = |process: Process| process.alive() && leaders.contains(&process.session);
        let alive: Vec<u32> = all.filter(|pid| Process::read(*pid).is_some_and(ours)).collect();
        if alive.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Error::unavailable("killed processes do not end"));
        }
        for pid in alive.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            // One that has ended in the meantime is fine.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug)]
struct Process {
    state: char,
    session: u32,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything. Then: state, parent, group, session.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            session: fields.nth(2)?.parse().ok()?,
        })
    }

    fn alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}
