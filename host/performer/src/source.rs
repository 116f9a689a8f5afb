//! Reading trees: a sorted walk by descriptor, and the difference of two trees.
//!
//! A walk follows no link, enters no other mount, and holds few descriptors whatever the depth.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::error::{Error, Result};
use longshore_core::graph::{Change, ChangeKind, Used};
use longshore_core::types::Bytes;
use longshore_sys::Errno;
use longshore_sys::path::{self, FileType, Metadata, OFlags, Resolve};

use crate::descent::Descent;
use crate::error::{During, failed, shown};
use crate::xattrs::{self, Attribute};

/// One thing that a walk meets.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its path below the tree's root, without a leading slash; empty for the root itself.
    pub path: &'a [u8],
    /// What the kernel tells of it.
    pub metadata: Metadata,
    parent: Option<BorrowedFd<'a>>,
    fd: BorrowedFd<'a>,
}

impl Entry<'_> {
    /// Its last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// A descriptor that names it (`O_PATH`).
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd
    }

    /// A link's target.
    ///
    /// # Errors
    /// `Invalid` for anything but a link.
    pub fn target(&self) -> Result<Vec<u8>> {
        match self.parent {
            Some(parent) => path::read_link(parent, self.name()).during(format_args!("read link {}", shown(self.path))),
            None => Err(Error::invalid("a tree's root is no link")),
        }
    }

    /// Opens a regular file for reading: the very inode that was met.
    ///
    /// # Errors
    /// `Invalid` for anything else, so that no device or FIFO is ever opened.
    pub fn open(&self) -> Result<File> {
        if !self.metadata.is_file() {
            return Err(Error::invalid(format!("{} is not a regular file", shown(self.path))));
        }
        path::reopen(self.fd, OFlags::RDONLY)
            .during(format_args!("open {}", shown(self.path)))
            .map(File::from)
    }

    /// All its extended attributes, sorted by name, but overlay's bookkeeping.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attributes(&self) -> Result<Vec<Attribute>> {
        xattrs::read(self.fd, |name| !xattrs::is_overlays(name))
    }

    /// The attributes that an image may hold: capabilities of a program and a user's own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn image_attributes(&self) -> Result<Vec<Attribute>> {
        xattrs::read(self.fd, xattrs::from_image)
    }

    /// What is equal for all names of one file; `None` for a folder and for a file of one name.
    pub fn hardlink(&self) -> Option<(u64, u64)> {
        let several = self.metadata.links > 1 && !self.metadata.is_directory();
        several.then_some((self.metadata.device, self.metadata.inode))
    }

    /// Whether it is overlay's mark for "gone": a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.metadata.kind == FileType::CharacterDevice && (self.metadata.major, self.metadata.minor) == (0, 0)
    }

    /// Whether it is a folder that hides what lies below it in an overlay.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_opaque(&self) -> Result<bool> {
        if !self.metadata.is_directory() {
            return Ok(false);
        }
        // Not the one of user.*: a container may set that on its own folders, and it means nothing to
        // an overlay of this sort.
        match longshore_sys::xattr::get(self.fd, b"trusted.overlay.opaque") {
            Ok(value) => Ok(value.is_some_and(|value| value == b"y")),
            Err(error) if xattrs::is_unsupported(&error) => Ok(false),
            Err(error) => Err(failed(format_args!("read attributes of {}", shown(self.path)), &error)),
        }
    }
}

/// What a walk does after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Goes on, into a folder too.
    Continue,
    /// Does not go into this folder.
    Skip,
}

/// Is told what a walk meets.
pub(crate) trait Visitor {
    /// An entry, each folder before what is in it, names in the order of their bytes.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<Next>;
    /// A folder that was entered is done.
    fn leave(&mut self, entry: &Entry<'_>) -> Result<()>;
}

impl<F: FnMut(&Entry<'_>) -> Result<Next>> Visitor for F {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<Next> {
        self(entry)
    }

    fn leave(&mut self, _: &Entry<'_>) -> Result<()> {
        Ok(())
    }
}

/// Walks a tree: the root first, each folder before what is in it, names sorted by their bytes.
///
/// # Errors
/// The visitor's; `Corrupt` when a folder is replaced under the walk. What vanishes under the walk
/// is left out.
pub fn walk(tree: BorrowedFd<'_>, mut visit: impl FnMut(&Entry<'_>) -> Result<Next>) -> Result<()> {
    traverse(tree, &mut visit)
}

/// What a tree takes on disk: its blocks, a file of several names counted once.
///
/// # Errors
/// As [`walk`].
pub fn usage(tree: BorrowedFd<'_>) -> Result<Used> {
    let mut seen = HashSet::new();
    let mut used = Used {
        exclusive: 0,
        inodes: Some(0),
        precise: true,
    };
    walk(tree, |entry| {
        if entry.hardlink().is_none_or(|key| seen.insert(key)) {
            used.exclusive = used.exclusive.saturating_add(entry.metadata.blocks.saturating_mul(512));
            used.inodes = used.inodes.map(|count| count + 1);
        }
        Ok(Next::Continue)
    })?;
    Ok(used)
}

/// A folder that is being listed: what of it is still to come, last first.
struct Pending {
    names: Vec<Vec<u8>>,
    path_length: usize,
}

pub(crate) fn traverse(tree: BorrowedFd<'_>, visitor: &mut dyn Visitor) -> Result<()> {
    let mut descent = Descent::new(tree)?;
    let mut path = Vec::new();
    let root = Entry {
        path: &[],
        metadata: path::stat(tree).during("look at a tree's root")?,
        parent: None,
        fd: tree,
    };
    if visitor.entry(&root)? == Next::Skip {
        return Ok(());
    }
    let mut stack = vec![pending(tree, 0)?];
    while let Some(level) = stack.last_mut() {
        path.truncate(level.path_length);
        let Some(name) = level.names.pop() else {
            stack.pop();
            let here = descent.current()?;
            let entry = Entry {
                path: &path,
                metadata: path::stat(here).during(format_args!("look at {}", shown(&path)))?,
                parent: None,
                fd: here,
            };
            visitor.leave(&entry)?;
            descent.leave();
            continue;
        };
        join(&mut path, &name);
        if let Some(folder) = meet(&mut descent, &path, &name, visitor)? {
            stack.push(pending(folder.as_fd(), path.len())?);
            descent.enter(&name, folder)?;
        }
    }
    Ok(())
}

/// Tells the visitor of one entry; the opened folder when it is to be entered.
fn meet(descent: &mut Descent, path: &[u8], name: &[u8], visitor: &mut dyn Visitor) -> Result<Option<OwnedFd>> {
    let parent = descent.current()?;
    let fd = match open_entry(parent, name) {
        Ok(fd) => fd,
        Err(error) if error.is(Errno::NOENT) => return Ok(None),
        // The root of another mount: not part of this tree.
        Err(error) if error.is(Errno::XDEV) => return Ok(None),
        Err(error) => return Err(failed(format_args!("open {}", shown(path)), &error)),
    };
    let metadata = path::stat(&fd).during(format_args!("look at {}", shown(path)))?;
    let entry = Entry {
        path,
        metadata,
        parent: Some(parent),
        fd: fd.as_fd(),
    };
    let next = visitor.entry(&entry)?;
    Ok((metadata.is_directory() && next == Next::Continue).then_some(fd))
}

fn open_entry(parent: BorrowedFd<'_>, name: &[u8]) -> longshore_sys::Result<OwnedFd> {
    path::open(parent, name, OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::Beneath)
}

fn pending(folder: BorrowedFd<'_>, path_length: usize) -> Result<Pending> {
    let entries = match path::list(folder) {
        Ok(entries) => entries,
        // Removed after it was opened.
        Err(error) if error.is(Errno::NOENT) => Vec::new(),
        Err(error) => return Err(failed("list a folder", &error)),
    };
    Ok(Pending {
        names: entries.into_iter().rev().map(|entry| entry.name).collect(),
        path_length,
    })
}

fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// One side's entry of a comparison.
struct Side {
    fd: OwnedFd,
    metadata: Metadata,
}

impl Side {
    fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Self>> {
        match open_entry(parent, name) {
            Ok(fd) => {
                let metadata = path::stat(&fd).during(format_args!("look at {}", shown(name)))?;
                Ok(Some(Self { fd, metadata }))
            }
            Err(error) if error.is(Errno::NOENT) || error.is(Errno::XDEV) => Ok(None),
            Err(error) => Err(failed(format_args!("open {}", shown(name)), &error)),
        }
    }
}

/// A pair of folders that is being compared.
struct Pair {
    /// Names of both, sorted backwards; which side has each.
    names: Vec<(Vec<u8>, Ordering)>,
    path_length: usize,
    /// Which folder stands at this level of which descent.
    lower: bool,
    /// Where in the list of changes this folder's own line would stand.
    mark: usize,
    reported: bool,
}

/// The difference of two whole trees, told by type, mode, owner, size, time of the last change of
/// content, device numbers, link target and attributes; sorted, each folder before what is in it.
/// As Docker tells it: a folder in which something changed is modified itself, except the root; of
/// a removed folder only its own line is told.
///
/// Content is not read: two files of equal size and equal time are taken as equal.
///
/// # Errors
/// What the kernel says; `Corrupt` when a folder is replaced meanwhile.
pub fn compare(lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<Vec<Change>> {
    Comparison {
        lower: Descent::new(lower)?,
        upper: Descent::new(upper)?,
        path: Vec::new(),
        changes: Vec::new(),
    }
    .run()
}

struct Comparison {
    lower: Descent,
    upper: Descent,
    path: Vec<u8>,
    changes: Vec<Change>,
}

impl Comparison {
    fn run(mut self) -> Result<Vec<Change>> {
        let first = self.pair(true, true)?;
        let mut stack = vec![first];
        while let Some(level) = stack.last_mut() {
            self.path.truncate(level.path_length);
            let Some((name, side)) = level.names.pop() else {
                if let Some(done) = stack.pop() {
                    self.finish(&done, stack.is_empty());
                }
                continue;
            };
            let both_possible = level.lower;
            join(&mut self.path, &name);
            if let Some(below) = self.visit(&name, side, both_possible)? {
                stack.push(below);
            }
        }
        Ok(self.changes)
    }

    /// Names of the current folders on both sides.
    fn pair(&mut self, lower: bool, reported: bool) -> Result<Pair> {
        let mut names = Vec::new();
        let mut left = if lower {
            path::list(self.lower.current()?).during("list a folder")?
        } else {
            Vec::new()
        }
        .into_iter()
        .peekable();
        let mut right = path::list(self.upper.current()?)
            .during("list a folder")?
            .into_iter()
            .peekable();
        loop {
            let side = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            let from_left = if side == Ordering::Greater { None } else { left.next() };
            let from_right = if side == Ordering::Less { None } else { right.next() };
            if let Some(entry) = from_left.or(from_right) {
                names.push((entry.name, side));
            }
        }
        names.reverse();
        Ok(Pair {
            names,
            path_length: self.path.len(),
            lower,
            mark: self.changes.len(),
            reported,
        })
    }

    /// Compares one name; the pair of folders below it when there is more to compare.
    fn visit(&mut self, name: &[u8], side: Ordering, both_possible: bool) -> Result<Option<Pair>> {
        let old = match side {
            Ordering::Greater => None,
            _ if both_possible => Side::open(self.lower.current()?, name)?,
            _ => None,
        };
        let new = match side {
            Ordering::Less => None,
            _ => Side::open(self.upper.current()?, name)?,
        };
        let (old, new) = match (old, new) {
            (None, None) => return Ok(None),
            (Some(_), None) => {
                self.tell(ChangeKind::Deleted);
                return Ok(None);
            }
            (old, Some(new)) => (old, new),
        };
        let mark = self.changes.len();
        let kind = match &old {
            None => Some(ChangeKind::Added),
            Some(old) => differs(old, &new)?.then_some(ChangeKind::Modified),
        };
        if let Some(kind) = kind {
            self.tell(kind);
        }
        if !new.metadata.is_directory() {
            return Ok(None);
        }
        self.upper.enter(name, new.fd)?;
        let old_folder = old.filter(|old| old.metadata.is_directory());
        let both = old_folder.is_some();
        if let Some(old) = old_folder {
            self.lower.enter(name, old.fd)?;
        }
        let pair = self.pair(both, kind.is_some())?;
        Ok(Some(Pair { mark, ..pair }))
    }

    /// Leaves a pair of folders, and tells the folder itself when only something in it changed.
    fn finish(&mut self, done: &Pair, is_root: bool) {
        self.upper.leave();
        if done.lower {
            self.lower.leave();
        }
        if !done.reported && !is_root && self.changes.len() > done.mark {
            let change = self.change(ChangeKind::Modified);
            self.changes.insert(done.mark, change);
        }
    }

    fn change(&self, is: ChangeKind) -> Change {
        let mut path = b"/".to_vec();
        path.extend_from_slice(&self.path);
        Change {
            path: Bytes::from(path),
            is,
        }
    }

    fn tell(&mut self, is: ChangeKind) {
        let change = self.change(is);
        self.changes.push(change);
    }
}

fn differs(old: &Side, new: &Side) -> Result<bool> {
    let (a, b) = (&old.metadata, &new.metadata);
    if (a.kind, a.mode, a.uid, a.gid) != (b.kind, b.mode, b.uid, b.gid) {
        return Ok(true);
    }
    let differs = match a.kind {
        // Size and time of a folder change with what is in it, which is told by itself.
        FileType::Directory => false,
        FileType::BlockDevice | FileType::CharacterDevice => (a.major, a.minor) != (b.major, b.minor),
        FileType::Symlink => a.size != b.size || target(&old.fd)? != target(&new.fd)?,
        _ => a.size != b.size || a.modified != b.modified,
    };
    if differs || a.is_symlink() {
        return Ok(differs);
    }
    let keep = |name: &[u8]| !xattrs::is_overlays(name);
    Ok(xattrs::read(old.fd.as_fd(), keep)? != xattrs::read(new.fd.as_fd(), keep)?)
}

/// The target of the link that a descriptor names.
fn target(link: &OwnedFd) -> Result<Vec<u8>> {
    path::read_link_itself(link).during("read a link")
}
