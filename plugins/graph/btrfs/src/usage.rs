//! What removing a layer would free: its extents that nothing else refers to
//! (`FIEMAP_EXTENT_SHARED`, Documentation/filesystems/fiemap.rst).

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use fiemap::{Fiemap, FiemapExtentFlags, FiemapFlags};
use longshore_plugin::graph::Used;
use longshore_plugin::{Context, Error, Result};
use rustix::fs::{FileType, OFlags};

use crate::subvolume::Subvolume;
use crate::walk::Top;

/// Adds up a layer's own extents. Not precise: metadata is not counted, nor is what two files of this
/// one layer share.
///
/// # Errors
/// When the tree cannot be read; `Cancelled` and `Deadline` of the call.
pub(crate) fn count(cx: &Context, layer: &Subvolume) -> Result<Used> {
    let top = Top::open(layer.path())?;
    let mut exclusive = 0;
    let mut inodes = 0;
    // Files of several names count once.
    let mut linked = BTreeSet::new();
    top.walk(cx, |path, kind| {
        if kind != FileType::RegularFile {
            inodes += 1;
            return Ok(());
        }
        // What is gone or replaced meanwhile does not count.
        let Ok(file) = top.beneath(path, OFlags::NOFOLLOW) else {
            return Ok(());
        };
        let found = rustix::fs::fstat(&file).map_err(|e| Error::io("look at a layer's file", &e.into()))?;
        if found.st_nlink == 1 || linked.insert((found.st_dev, found.st_ino)) {
            inodes += 1;
            exclusive += own_bytes(file);
        }
        Ok(())
    })?;
    Ok(Used {
        exclusive,
        inodes: Some(inodes),
        precise: false,
    })
}

fn own_bytes(file: OwnedFd) -> u64 {
    Fiemap::with_flags(file, FiemapFlags::SYNC)
        .map_while(std::result::Result::ok)
        .filter(|extent| !extent.fe_flags.contains(FiemapExtentFlags::SHARED))
        .map(|extent| extent.fe_length)
        .sum()
}
