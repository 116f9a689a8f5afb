//! Extended attributes by descriptor, also of what only an `O_PATH` descriptor names.
//!
//! They go through `/proc/self/fd`, because the `f*xattr` calls refuse `O_PATH` descriptors, and
//! the only descriptor of a link or a device that may be had is one of those.

use std::os::fd::AsFd;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use crate::error::{Error, Named, Result};
use crate::path::through_proc;

/// The kernel's limit for a value and for a list of names.
const MOST_BYTES: usize = 64 * 1024;

/// One attribute; `None` when it is not there.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` where the file system or the file's type has no such attributes.
pub fn get(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; 256];
    loop {
        match fs::getxattr(through_proc(&fd), name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA) => return Ok(None),
            Err(Errno::RANGE) if value.len() < MOST_BYTES => value.resize(MOST_BYTES, 0),
            Err(errno) => return Err(Error::new("getxattr", errno)),
        }
    }
}

/// The names of all attributes, sorted; none where the file system has no attributes.
///
/// # Errors
/// The kernel's.
pub fn list(fd: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 1024];
    loop {
        match fs::listxattr(through_proc(&fd), names.as_mut_slice()) {
            Ok(length) => {
                names.truncate(length);
                let mut all: Vec<Vec<u8>> = names
                    .split(|b| *b == 0)
                    .filter(|n| !n.is_empty())
                    .map(<[u8]>::to_vec)
                    .collect();
                all.sort_unstable();
                return Ok(all);
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if names.len() < MOST_BYTES => names.resize(MOST_BYTES, 0),
            Err(errno) => return Err(Error::new("listxattr", errno)),
        }
    }
}

/// Sets one attribute, new or not.
///
/// # Errors
/// The kernel's.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    fs::setxattr(through_proc(fd), name, value, XattrFlags::empty()).named("setxattr")
}

/// Removes one attribute; one that is not there is fine.
///
/// # Errors
/// The kernel's.
pub fn remove(fd: impl AsFd, name: &[u8]) -> Result<()> {
    match fs::removexattr(through_proc(fd), name) {
        Err(Errno::NODATA) => Ok(()),
        other => other.named("removexattr"),
    }
}
