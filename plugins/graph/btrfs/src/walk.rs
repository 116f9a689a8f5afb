//! Walking a layer's tree, which a container may have filled and may still change: every path is
//! opened beneath the top, following nothing (openat2(2)).

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use longshore_plugin::{Context, Error, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

/// The top of a layer's tree.
#[derive(Debug)]
pub(crate) struct Top(OwnedFd);

impl Top {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(Self)
            .map_err(|e| Error::io("open a layer", &e.into()))
    }

    /// Opens a path beneath it; an empty one is the top.
    pub(crate) fn beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::fs::openat2(
            &self.0,
            path,
            flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Shows every entry beneath it. A folder that is replaced meanwhile is passed over.
    ///
    /// # Errors
    /// When a folder cannot be read; `Cancelled` and `Deadline` of the call.
    pub(crate) fn walk(&self, cx: &Context, mut see: impl FnMut(&Path, FileType) -> Result<()>) -> Result<()> {
        let unreadable = |e: rustix::io::Errno| Error::io("read a layer's folder", &e.into());
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            cx.check()?;
            let Ok(opened) = self.beneath(&folder, OFlags::DIRECTORY) else {
                continue;
            };
            for entry in Dir::new(opened).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let path = folder.join(std::ffi::OsStr::from_bytes(name));
                see(&path, entry.file_type())?;
                if entry.file_type() == FileType::Directory {
                    folders.push(path);
                }
            }
        }
        Ok(())
    }
}
