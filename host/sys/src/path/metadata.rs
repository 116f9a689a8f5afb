//! What the kernel tells of a file.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::component;
use crate::error::{Named, Result};

/// A time of a file: seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Self {
            tv_sec: time.seconds,
            tv_nsec: i64::from(time.nanoseconds.min(999_999_999)),
        }
    }
}

/// What the kernel tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub kind: FileType,
    /// Permission bits, 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Names of the inode.
    pub links: u64,
    /// File system.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Of a device: its major number.
    pub major: u32,
    /// Of a device: its minor number.
    pub minor: u32,
    /// Last read.
    pub accessed: Time,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
}

impl Metadata {
    fn new(stat: &fs::Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| Time {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        #[allow(clippy::unnecessary_cast, reason = "widths and signs differ between architectures")]
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            links: stat.st_nlink as u64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            major: fs::major(stat.st_rdev as u64),
            minor: fs::minor(stat.st_rdev as u64),
            accessed: time(stat.st_atime as i64, stat.st_atime_nsec as u64),
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileType::Symlink
    }
}

/// Metadata of what a descriptor names, `O_PATH` too.
///
/// # Errors
/// The kernel's.
pub fn stat(fd: impl AsFd) -> Result<Metadata> {
    fs::fstat(fd).named("fstat").map(|s| Metadata::new(&s))
}

/// Metadata of a name in a directory; a link's own.
///
/// # Errors
/// The kernel's.
pub fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Metadata> {
    let name = component(name, "fstatat")?;
    fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .named("fstatat")
        .map(|s| Metadata::new(&s))
}

/// As [`stat_at`], with absence as a value.
///
/// # Errors
/// The kernel's but `ENOENT`.
pub fn stat_if_there(dir: impl AsFd, name: &[u8]) -> Result<Option<Metadata>> {
    match stat_at(dir, name) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.is(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
