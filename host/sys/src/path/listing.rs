//! What is in a directory.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{self, FileType, Mode, OFlags};

use crate::error::{Named, Result};

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode.
    pub inode: u64,
    /// Its type; `None` where the file system does not tell.
    pub kind: Option<Kind>,
}

/// A file's type as listings tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// The entries of a directory, sorted by name, without `.` and `..`. The descriptor's own position
/// is not moved, and `O_PATH` will do.
///
/// # Errors
/// The kernel's.
pub fn list(dir: impl AsFd) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for_each_entry(dir, |name, inode, kind| {
        entries.push(Entry {
            name: name.to_bytes().to_vec(),
            inode,
            kind: match kind {
                FileType::Unknown => None,
                FileType::Directory => Some(Kind::Directory),
                _ => Some(Kind::Other),
            },
        });
        true
    })?;
    entries.sort_unstable();
    Ok(entries)
}

/// Whether a directory has no entry.
///
/// # Errors
/// The kernel's.
pub fn is_empty(dir: impl AsFd) -> Result<bool> {
    let mut empty = true;
    for_each_entry(dir, |_, _, _| {
        empty = false;
        false
    })?;
    Ok(empty)
}

fn for_each_entry(dir: impl AsFd, mut visit: impl FnMut(&CStr, u64, FileType) -> bool) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = fs::openat(dir, c".", flags, Mode::empty()).named("openat")?;
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = fs::RawDir::new(own, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.named("getdents64")?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if !visit(entry.file_name(), entry.ino(), entry.file_type()) {
            break;
        }
    }
    Ok(())
}
