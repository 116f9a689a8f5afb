//! File systems as a whole: what they are, what is durable.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::error::{Error, Named, Result, uninterrupted};

/// What the kernel tells of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Its magic number.
    pub magic: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// Blocks free for everybody.
    pub available: u64,
    /// All inodes.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Whether it, or this mount of it, is read-only.
    pub read_only: bool,
}

/// The file system that a descriptor lies on.
///
/// # Errors
/// The kernel's.
pub fn file_system(fd: impl AsFd) -> Result<FileSystem> {
    let stat = fs::fstatfs(&fd).named("fstatfs")?;
    let flags = fs::fstatvfs(&fd).named("fstatvfs")?.f_flag;
    #[allow(clippy::unnecessary_cast, reason = "widths and signs differ between architectures")]
    Ok(FileSystem {
        magic: stat.f_type as u64,
        block_size: stat.f_bsize as u64,
        blocks: stat.f_blocks as u64,
        available: stat.f_bavail as u64,
        inodes: stat.f_files as u64,
        free_inodes: stat.f_ffree as u64,
        read_only: flags.contains(fs::StatVfsMountFlags::RDONLY),
    })
}

/// The number of the mount that a descriptor lies on.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` before Linux 5.8.
pub fn mount_number(fd: impl AsFd) -> Result<u64> {
    let asked = fs::StatxFlags::MNT_ID;
    let found = fs::statx(fd, c"", AtFlags::EMPTY_PATH, asked).named("statx")?;
    if found.stx_mask & asked.bits() == 0 {
        return Err(Error::new("statx", Errno::OPNOTSUPP));
    }
    Ok(found.stx_mnt_id)
}

/// Makes everything written to a file system durable, and reports write errors met since the
/// descriptor was opened.
///
/// # Errors
/// The kernel's; `EIO` means that data was lost.
pub fn sync_file_system(fd: impl AsFd) -> Result<()> {
    fs::syncfs(fd).named("syncfs")
}

/// Makes one file or directory durable.
///
/// # Errors
/// The kernel's; `EIO` means that data was lost.
pub fn sync(fd: impl AsFd) -> Result<()> {
    uninterrupted(|| fs::fsync(&fd)).named("fsync")
}
