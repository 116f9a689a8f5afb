//! A whole copy of a tree into a new folder, sharing extents where the file system can.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::error::{Error, Result};
use longshore_sys::path::{self, FileType, Metadata, OFlags, Resolve};
use longshore_sys::{Errno, data};

use crate::descent::{Descent, open_below};
use crate::error::{During, failed, shown};
use crate::source::{Entry, Next, Visitor, traverse};
use crate::xattrs;

/// Makes `parent/name`, which is not there, a copy of the folder `from`: contents, holes, hardlinks,
/// owners, modes, times, attributes, devices. Other mounts below are left out.
pub(crate) fn folder(from: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    path::make_directory(parent, name, 0o700).during(format_args!("make folder {}", shown(name)))?;
    let top = open_below(parent, name).during(format_args!("open folder {}", shown(name)))?;
    into(from, top)
}

/// Copies what is in the folder `from`, and its owner, mode and times, into the empty folder `top`.
pub(crate) fn into(from: BorrowedFd<'_>, top: OwnedFd) -> Result<()> {
    let mut copy = Copy {
        target: Descent::new(top.as_fd())?,
        top,
        linked: HashMap::new(),
        shares: true,
    };
    traverse(from, &mut copy)
}

struct Copy {
    target: Descent,
    top: OwnedFd,
    /// Files of several names: where the first one lies in the copy, by a descriptor.
    linked: HashMap<(u64, u64), Linked>,
    /// Whether sharing extents has worked so far.
    shares: bool,
}

/// The first copy of a file of several names. Its path may be too long to open at once, so a second
/// name is made from the parent's path in pieces.
struct Linked {
    path: Vec<u8>,
    left: u64,
}

impl Visitor for Copy {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<Next> {
        if entry.path.is_empty() {
            return Ok(Next::Continue);
        }
        if entry.metadata.is_directory() {
            let current = self.target.current()?;
            path::make_directory(current, entry.name(), 0o700)
                .during(format_args!("copy folder {}", shown(entry.path)))?;
            let below = open_below(current, entry.name()).during(format_args!("open copy of {}", shown(entry.path)))?;
            self.target.enter(entry.name(), below)?;
            return Ok(Next::Continue);
        }
        if let Some(key) = entry.hardlink()
            && self.link(entry, key)?
        {
            return Ok(Next::Continue);
        }
        self.thing(entry)?;
        if let Some(key) = entry.hardlink() {
            let linked = Linked {
                path: entry.path.to_vec(),
                left: entry.metadata.links - 1,
            };
            self.linked.insert(key, linked);
        }
        Ok(Next::Continue)
    }

    fn leave(&mut self, entry: &Entry<'_>) -> Result<()> {
        let current = self.target.current()?;
        attributes(entry.descriptor(), &entry.metadata, current).map_err(|e| during_copy(e, entry.path))?;
        self.target.leave();
        Ok(())
    }
}

fn during_copy(error: Error, path: &[u8]) -> Error {
    Error {
        message: format!("copying {}: {}", shown(path), error.message),
        ..error
    }
}

impl Copy {
    /// Gives an earlier copy another name; `false` when there is none yet.
    fn link(&mut self, entry: &Entry<'_>, key: (u64, u64)) -> Result<bool> {
        let Some(linked) = self.linked.get_mut(&key) else {
            return Ok(false);
        };
        linked.left -= 1;
        let (path, last) = (linked.path.clone(), linked.left == 0);
        if last {
            self.linked.remove(&key);
        }
        let parent = open_parent(self.top.as_fd(), &path)?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        path::make_link(&parent, name, self.target.current()?, entry.name())
            .during(format_args!("link copy {}", shown(entry.path)))?;
        Ok(true)
    }

    /// Copies anything but a folder.
    fn thing(&mut self, entry: &Entry<'_>) -> Result<()> {
        let shares = self.shares;
        let current = self.target.current()?;
        let name = entry.name();
        let attempted = || format!("copy {}", shown(entry.path));
        match entry.metadata.kind {
            FileType::RegularFile => {
                let source = entry.open()?;
                let target = path::make_file(current, name, 0o600).during(attempted())?;
                let shared = content(
                    &source,
                    &File::from(target.try_clone().map_err(|e| Error::io(attempted(), &e))?),
                    &entry.metadata,
                    shares,
                )
                .map_err(|e| during_copy(e, entry.path))?;
                attributes(entry.descriptor(), &entry.metadata, target.as_fd())
                    .map_err(|e| during_copy(e, entry.path))?;
                self.shares = shared;
                return Ok(());
            }
            FileType::Symlink => path::make_symlink(&entry.target()?, current, name).during(attempted())?,
            kind => {
                let (major, minor) = (entry.metadata.major, entry.metadata.minor);
                path::make_node(current, name, kind, 0o600, major, minor).during(attempted())?;
            }
        }
        let made =
            path::open(current, name, OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::Beneath).during(attempted())?;
        attributes(entry.descriptor(), &entry.metadata, made.as_fd()).map_err(|e| during_copy(e, entry.path))
    }
}

/// Opens the folder of a path that may be longer than the kernel takes at once.
fn open_parent(top: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let mut folder = top
        .try_clone_to_owned()
        .map_err(|e| Error::io("clone a tree's root", &e))?;
    let mut rest = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => path.get(..slash).unwrap_or_default(),
        None => return Ok(folder),
    };
    while !rest.is_empty() {
        let piece = match rest.get(..2048) {
            Some(start) => start.iter().rposition(|b| *b == b'/').unwrap_or(rest.len()),
            None => rest.len(),
        };
        let (now, later) = rest.split_at(piece);
        folder = path::open(&folder, now, OFlags::PATH | OFlags::DIRECTORY, 0, Resolve::Beneath)
            .during(format_args!("open folder {}", shown(path)))?;
        rest = later.strip_prefix(b"/").unwrap_or(later);
    }
    Ok(folder)
}

/// Owner, attributes, mode and times, in the order in which none undoes another.
fn attributes(from: BorrowedFd<'_>, metadata: &Metadata, to: BorrowedFd<'_>) -> Result<()> {
    likeness(from, metadata, to, |name| !is_kernels(name))
}

/// As [`attributes`], with only those extended attributes that `keep` wants.
pub(crate) fn likeness(
    from: BorrowedFd<'_>,
    metadata: &Metadata,
    to: BorrowedFd<'_>,
    keep: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    path::set_owner(to, metadata.uid, metadata.gid).during("set the owner")?;
    if !metadata.is_symlink() {
        path::set_mode(to, metadata.mode).during("set the mode")?;
    }
    xattrs::copy(from, to, keep)?;
    path::set_times(to, metadata.accessed, metadata.modified).during("set the times")
}

/// Attributes that the kernel gives by itself: a security module labels new files by its policy.
pub(crate) fn is_kernels(name: &[u8]) -> bool {
    name == b"security.selinux" || name == b"security.ima" || name == b"security.evm"
}

/// Copies a file's content; tells whether sharing extents is worth another try.
pub(crate) fn content(from: &File, to: &File, metadata: &Metadata, shares: bool) -> Result<bool> {
    if metadata.size == 0 {
        return Ok(shares);
    }
    if shares && data::share(from, to).is_ok() {
        return Ok(true);
    }
    to.set_len(metadata.size)
        .map_err(|e| Error::io("set a copy's length", &e))?;
    let mut at = 0;
    while let Some(start) = next_data(from, at, metadata.size)? {
        let end = data::next_hole(from, start).map_or(metadata.size, |hole| hole.min(metadata.size));
        range(from, to, start, end)?;
        at = end;
        if at >= metadata.size {
            break;
        }
    }
    Ok(false)
}

fn next_data(from: &File, at: u64, size: u64) -> Result<Option<u64>> {
    match data::next_data(from, at) {
        Ok(found) => Ok(found.filter(|start| *start < size)),
        // No notion of holes: all of it is data.
        Err(error) if error.is(Errno::INVAL) || error.is(Errno::OPNOTSUPP) => Ok((at < size).then_some(at)),
        Err(error) => Err(failed("find a file's data", &error)),
    }
}

fn range(from: &File, to: &File, mut start: u64, end: u64) -> Result<()> {
    while start < end {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX).min(1 << 30);
        match data::copy_range(from, to, start, length) {
            // The file was cut short meanwhile; what is missing reads as zeros.
            Ok(0) => return Ok(()),
            Ok(copied) => start += copied as u64,
            Err(error)
                if [Errno::XDEV, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS]
                    .iter()
                    .any(|e| error.is(*e)) =>
            {
                return by_hand(from, to, start, end);
            }
            Err(error) => return Err(failed("copy a file's content", &error)),
        }
    }
    Ok(())
}

fn by_hand(mut from: &File, mut to: &File, start: u64, end: u64) -> Result<()> {
    let copy = |from: &mut &File, to: &mut &File| -> std::io::Result<()> {
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        let mut left = end - start;
        let mut buffer = vec![0; 128 * 1024];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(part) = buffer.get_mut(..most) else { break };
            let length = from.read(part)?;
            if length == 0 {
                break;
            }
            to.write_all(part.get(..length).unwrap_or_default())?;
            left -= length as u64;
        }
        Ok(())
    };
    copy(&mut from, &mut to).map_err(|e| Error::io("copy a file's content", &e))
}
