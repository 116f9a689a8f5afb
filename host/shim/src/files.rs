//! The files that a shim leaves: who it is, what it knows, how its container ended. All JSON, all
//! replaced by rename, so that a reader sees a whole one or none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use longshore_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::places;
use crate::protocol::Report;

/// Longest file that is read here.
const MAX_FILE: u64 = 1 << 20;

/// A process that is not mistaken for a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process ID.
    pub pid: u32,
    /// When it began, in clock ticks since the boot.
    pub start_time: u64,
    /// The boot's ID.
    pub boot_id: String,
    /// Version of the shim's build.
    pub build: String,
    /// The protocol that it speaks.
    pub protocol: u16,
}

impl Identity {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of_this_process() -> Result<Self> {
        let pid = longshore_sys::process::own_number();
        let failed = |error: longshore_sys::Error| Error::io("identify this process", &error.into());
        Ok(Self {
            pid: pid.unsigned_abs(),
            start_time: longshore_sys::process::start_time(pid).map_err(failed)?,
            boot_id: longshore_sys::process::boot().map_err(failed)?,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: crate::protocol::VERSION,
        })
    }

    /// Whether this very process still runs. A zombie does not.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn is_alive(&self) -> Result<bool> {
        let failed = |error: longshore_sys::Error| Error::io(format!("look for process {}", self.pid), &error.into());
        if self.boot_id != longshore_sys::process::boot().map_err(failed)? {
            return Ok(false);
        }
        let number = i32::try_from(self.pid).unwrap_or(0);
        match longshore_sys::process::start_time(number) {
            Ok(start) if start == self.start_time => Ok(!is_zombie(number)),
            Ok(_) => Ok(false),
            Err(error) if error.is(longshore_sys::Errno::SRCH) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether a process has ended and was not reaped. One that cannot be looked at has been.
fn is_zombie(number: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{number}/stat"))
        .map_or(true, |text| matches!(parse_state(&text), None | Some('Z' | 'X')))
}

/// What lies in a container's run folder when an engine looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// A shim runs: connect.
    Alive(Identity),
    /// It was there and is gone. What its container's cgroup still holds is to be killed; an exit
    /// record tells whether the container ended before.
    Gone(Identity),
    /// No shim ever came so far.
    Never,
}

/// Who the shim of a run folder is or was; `None` when there was none, or it left in good order.
///
/// # Errors
/// `Corrupt` for a file that no shim wrote; what reading met.
pub fn read_identity(run_dir: BorrowedFd<'_>) -> Result<Option<Identity>> {
    read(run_dir, places::IDENTITY)
}

/// Looks whether the shim of a run folder still runs.
///
/// # Errors
/// `Corrupt` for a file that no shim wrote; what reading met.
pub fn adopt(run_dir: BorrowedFd<'_>) -> Result<Adoption> {
    let Some(identity) = read_identity(run_dir)? else {
        return Ok(Adoption::Never);
    };
    Ok(if identity.is_alive()? {
        Adoption::Alive(identity)
    } else {
        Adoption::Gone(identity)
    })
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Its code; 128 and the signal's number when it died of one.
    pub code: u8,
    /// The signal.
    pub signal: Option<u8>,
    /// Whether it was killed for want of memory.
    pub oom: bool,
    /// When, as RFC 3339 in UTC.
    pub time: String,
}

/// The exit record in a container's folder on disk.
///
/// # Errors
/// `Corrupt` for a file that no shim wrote; what reading met.
pub fn read_exit(data_dir: BorrowedFd<'_>) -> Result<Option<ExitRecord>> {
    read(data_dir, places::EXIT)
}

/// What the last shim of a run folder knew.
///
/// # Errors
/// `Corrupt` for a file that no shim wrote; what reading met.
pub fn read_state(run_dir: BorrowedFd<'_>) -> Result<Option<Report>> {
    read(run_dir, places::STATE)
}

/// Whether a replaced file must be there after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It must: the file and its folder are flushed.
    Disk,
    /// It need not.
    None,
}

/// Replaces the file `name` of a folder by rename.
///
/// # Errors
/// What writing met; the old file is then untouched.
pub fn replace<T: Serialize>(folder: BorrowedFd<'_>, name: &str, value: &T, durability: Durability) -> Result<()> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|error| Error::invalid(format!("cannot write {name}: {error}")))?;
    bytes.push(b'\n');
    write_and_rename(folder, name, &bytes, durability)
        .map_err(|error| Error::io(format!("replace the file {name}"), &error))
}

fn write_and_rename(folder: BorrowedFd<'_>, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let new = format!(".{name}.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(beneath(folder, &new))?;
    file.write_all(bytes)?;
    if durability == Durability::Disk {
        file.sync_data()?;
    }
    std::fs::rename(beneath(folder, &new), beneath(folder, name))?;
    if durability == Durability::Disk {
        File::open(beneath(folder, "."))?.sync_all()?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(folder: BorrowedFd<'_>, name: &str) -> Result<Option<T>> {
    let mut bytes = Vec::new();
    match File::open(beneath(folder, name)).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("read the shim's file {name}"), &error)),
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::corrupt(format!("the shim's file {name} is damaged: {error}")))
}

/// A path for `name` in an open folder. Works however long the folder's own path is, and also after
/// it was moved; both folders are the host's alone (0700), so no name in them is a trap.
pub fn beneath(folder: BorrowedFd<'_>, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// The state, field 3 of proc_pid_stat(5). The second field may hold blanks and brackets, so counting
/// begins after the last bracket.
fn parse_state(text: &str) -> Option<char> {
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_state_is_read_after_the_last_bracket() {
        for (text, state) in [
            ("12 (true) S 1", Some('S')),
            ("12 (x) R 1 (y) Z 2", Some('Z')),
            ("12 (a", None),
            ("", None),
        ] {
            assert_eq!(parse_state(text), state);
        }
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let this = Identity::of_this_process().unwrap();
        assert!(this.is_alive().unwrap());
        let earlier = Identity {
            start_time: this.start_time - 1,
            ..this.clone()
        };
        assert!(!earlier.is_alive().unwrap());
        let other_boot = Identity {
            boot_id: "another".into(),
            ..this
        };
        assert!(!other_boot.is_alive().unwrap());
    }

    #[test]
    fn a_replaced_file_is_read_back_and_an_absent_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let fd = File::open(folder.path()).unwrap();
        assert_eq!(read_exit(fd.as_fd()).unwrap(), None);
        assert_eq!(adopt(fd.as_fd()).unwrap(), Adoption::Never);
        let mut record = ExitRecord {
            code: 137,
            signal: Some(9),
            oom: true,
            time: "2024-01-01T00:00:00Z".into(),
        };
        for code in [137, 0] {
            record.code = code;
            replace(fd.as_fd(), places::EXIT, &record, Durability::Disk).unwrap();
            assert_eq!(read_exit(fd.as_fd()).unwrap().as_ref(), Some(&record));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(places::IDENTITY), b"{").unwrap();
        let fd = File::open(folder.path()).unwrap();
        let error = adopt(fd.as_fd()).unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::Corrupt);
    }
}
