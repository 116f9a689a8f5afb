//! Moving file contents inside the kernel: shared extents, ranges, holes.

use std::os::fd::AsFd;

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, Named, Result, uninterrupted};

/// Makes `to` share all extents of `from` (`FICLONE`).
///
/// # Errors
/// The kernel's; `EOPNOTSUPP`, `EXDEV` or `EINVAL` where sharing is not possible.
pub fn share(from: impl AsFd, to: impl AsFd) -> Result<()> {
    fs::ioctl_ficlone(to, from).named("ioctl FICLONE")
}

/// Copies up to `length` bytes at `offset` of one file to the same offset of another, and tells how
/// many were copied; 0 at the end of `from`.
///
/// # Errors
/// The kernel's; `EXDEV`, `EINVAL`, `EOPNOTSUPP` or `ENOSYS` where only reading and writing works.
pub fn copy_range(from: impl AsFd, to: impl AsFd, offset: u64, length: usize) -> Result<usize> {
    uninterrupted(|| {
        let (mut source, mut target) = (offset, offset);
        fs::copy_file_range(&from, Some(&mut source), &to, Some(&mut target), length)
    })
    .named("copy_file_range")
}

/// The next data at or after `offset`; `None` when only a hole follows.
///
/// # Errors
/// The kernel's.
pub fn next_data(file: impl AsFd, offset: u64) -> Result<Option<u64>> {
    match fs::seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(Error::new("lseek", errno)),
    }
}

/// The next hole at or after `offset`; the end of the file is one.
///
/// # Errors
/// The kernel's.
pub fn next_hole(file: impl AsFd, offset: u64) -> Result<u64> {
    fs::seek(file, SeekFrom::Hole(offset)).named("lseek")
}
