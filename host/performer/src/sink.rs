//! Filling an untrusted tree, one entry of an archive after the other.
//!
//! Each entry's parent is opened inside the tree, links followed as if the tree were the root of
//! everything; its last component is made by the `*at` call there. So nothing that an archive says
//! can have an effect outside. The last entry of a name wins, whatever the earlier one was, and a
//! file is never written in place: another name of the old one, or of a lower layer's, keeps its
//! content.
//!
//! The result is the same however the driver stands for removals: with [`Whiteouts::Merged`] the tree
//! holds the lower layers' things and a whiteout deletes them; with [`Whiteouts::Overlay`] it holds
//! the difference alone, and the lower layers are seen by [`Below`] only.

mod attributes;
mod folders;
mod hide;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::graph::Whiteouts;
use longshore_sys::Errno;
use longshore_sys::path::{self, FileType, Metadata, OFlags, Resolve};

use crate::error::{During, failed, shown};
use crate::root::Tree;
use crate::{copy, remove};

pub use longshore_sys::path::Time;

/// Longest path of an entry, in bytes.
const MOST_PATH: usize = 4095;
/// How much of a file is read at once.
const PIECE: usize = 256 * 1024;

/// What an archive says of an entry beside its content.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Permission bits, 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub modified: Time,
    /// Extended attributes: names and values. Only a program's capabilities and a user's own ones
    /// are taken, others are dropped.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Something that is neither file, folder nor link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A character device.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// What lies below a tree that holds a difference alone.
#[derive(Debug)]
pub enum Below {
    /// It is not known; whiteouts are always made.
    Unknown,
    /// Nothing: the layer is a base, and whiteouts mean nothing in it.
    Nothing,
    /// The parent's whole tree, for reading: where links of lower layers lead, what folders that the
    /// archive does not mention are like, what a hardlink to a lower layer's file means.
    Tree(Tree),
}

/// What went into a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Entries, whiteouts among them.
    pub entries: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Extended attributes that were dropped.
    pub dropped: u64,
}

/// Device and inode: what a file is, whatever it is called.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.device, metadata.inode)
}

/// A tree that is being filled.
#[derive(Debug)]
pub struct TreeSink {
    top: OwnedFd,
    below: Below,
    overlay: bool,
    /// Folders whose time is set at the end, because what is made in them changes it.
    times: HashMap<Identity, (Vec<u8>, Time)>,
    /// What this archive wrote, so that a whiteout does not take it (merged trees only: a difference
    /// holds nothing else).
    written: HashSet<Identity>,
    /// The last parent, by its path: entries of a folder mostly follow each other.
    parent: Option<(Vec<u8>, Arc<OwnedFd>)>,
    filled: Filled,
}

impl TreeSink {
    /// Begins to fill the tree at `top`, which stands for removals as `whiteouts` says.
    ///
    /// # Errors
    /// `Invalid` when `top` is no folder; `Unsupported` for whiteouts that are not known here.
    pub fn new(top: OwnedFd, whiteouts: Whiteouts, below: Below) -> Result<Self> {
        let overlay = match whiteouts {
            Whiteouts::Merged => false,
            Whiteouts::Overlay => true,
            Whiteouts::Unknown => {
                return Err(Error::unsupported(
                    "this driver's way to stand for removals is not known here",
                ));
            }
        };
        let metadata = path::stat(&top).during("look at a tree's root")?;
        if !metadata.is_directory() {
            return Err(Error::invalid("a tree's root is not a folder"));
        }
        Ok(Self {
            top,
            below,
            overlay,
            times: HashMap::new(),
            written: HashSet::new(),
            parent: None,
            filled: Filled::default(),
        })
    }

    /// A folder. One that is there keeps its content; the empty path is the tree's root.
    ///
    /// # Errors
    /// `Invalid` for a path or attribute that cannot be; else what the kernel says.
    pub fn directory(&mut self, path: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let path = clean(path)?;
        self.filled.entries += 1;
        if path.is_empty() {
            let top = self.top.try_clone().map_err(|e| Error::io("clone a tree's root", &e))?;
            return self.finish_folder(&path, &top, attributes);
        }
        let (parent, name) = self.place(&path)?;
        let mut hides = false;
        match path::make_directory(&*parent, name, 0o700) {
            Ok(()) => {}
            Err(error) if error.is(Errno::EXIST) => {
                let there = path::stat_at(&*parent, name).during(format_args!("look at {}", shown(&path)))?;
                if !there.is_directory() {
                    // What was there hid a folder of a lower layer; with the folder's return its old
                    // content does not come back.
                    hides = self.overlay;
                    self.replace(&parent, name)?;
                    path::make_directory(&*parent, name, 0o700).during(format_args!("make folder {}", shown(&path)))?;
                }
            }
            Err(error) => return Err(failed(format_args!("make folder {}", shown(&path)), &error)),
        }
        let made = open_itself(&parent, name, &path)?;
        if hides {
            self.make_opaque(&made)?;
        }
        self.finish_folder(&path, &made, attributes)
    }

    /// A file, with exactly `length` bytes of `content`.
    ///
    /// # Errors
    /// As [`directory`](Self::directory); `Invalid` when the content ends too early.
    pub fn file(
        &mut self,
        path: &[u8],
        attributes: &Attributes<'_>,
        length: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.sparse_file(path, attributes, length, &[(0, length)], content)
    }

    /// A file of `length` bytes of which only the extents, given as offset and length in ascending
    /// order, are data; their bytes follow each other in `content`. The rest are holes.
    ///
    /// # Errors
    /// As [`file`](Self::file); `Invalid` when extents overlap or pass the length.
    pub fn sparse_file(
        &mut self,
        path: &[u8],
        attributes: &Attributes<'_>,
        length: u64,
        extents: &[(u64, u64)],
        content: &mut dyn Read,
    ) -> Result<()> {
        let path = clean(path)?;
        check_extents(&path, length, extents)?;
        let (parent, name) = self.place_of_thing(&path)?;
        let attempted = || format!("make file {}", shown(&path));
        let made = match path::make_file(&*parent, name, 0o600) {
            Err(error) if error.is(Errno::EXIST) => {
                self.replace(&parent, name)?;
                path::make_file(&*parent, name, 0o600).during(attempted())?
            }
            other => other.during(attempted())?,
        };
        let file = File::from(made);
        for (offset, size) in extents {
            (&file)
                .seek(SeekFrom::Start(*offset))
                .map_err(|e| Error::io(attempted(), &e))?;
            self.filled.bytes += pour(&path, content, &file, *size)?;
        }
        if extents.last().is_none_or(|(offset, size)| offset + size < length) {
            file.set_len(length).map_err(|e| Error::io(attempted(), &e))?;
        }
        self.finish_thing(&path, file.as_fd(), FileType::RegularFile, attributes)
    }

    /// A symbolic link. Its target may be anything: it is only ever followed inside the tree.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes<'_>) -> Result<()> {
        let path = clean(path)?;
        if target.is_empty() || target.len() > MOST_PATH || target.contains(&0) {
            return Err(Error::invalid(format!(
                "the target of link {} is not a path of 1 to {MOST_PATH} bytes",
                shown(&path)
            )));
        }
        let (parent, name) = self.place_of_thing(&path)?;
        match path::make_symlink(target, &*parent, name) {
            Err(error) if error.is(Errno::EXIST) => {
                self.replace(&parent, name)?;
                path::make_symlink(target, &*parent, name).during(format_args!("make link {}", shown(&path)))?;
            }
            other => other.during(format_args!("make link {}", shown(&path)))?,
        }
        let made = open_itself(&parent, name, &path)?;
        self.finish_thing(&path, made.as_fd(), FileType::Symlink, attributes)
    }

    /// Another name of a file that is in the tree, or below it.
    ///
    /// # Errors
    /// `Invalid` when the target is not there or is a folder.
    pub fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let path = clean(path)?;
        let target = clean(target)?;
        let (parent, name) = self.place_of_thing(&path)?;
        let found = self.link_target(&path, &target)?;
        let metadata = path::stat(&found).during(format_args!("look at {}", shown(&target)))?;
        self.filled.entries += 1;
        if let Some(there) = path::stat_if_there(&*parent, name).during(format_args!("look at {}", shown(&path)))? {
            if identity(&there) == identity(&metadata) {
                return Ok(());
            }
            self.replace(&parent, name)?;
        }
        path::make_link_to(&found, &*parent, name).map_err(|error| {
            let mut wrong = failed(format_args!("link {} to {}", shown(&path), shown(&target)), &error);
            if error.is(Errno::NOENT) {
                wrong.kind = ErrorKind::Invalid;
            }
            wrong
        })?;
        self.wrote(&metadata);
        Ok(())
    }

    /// A device or FIFO. It is made and never opened.
    ///
    /// # Errors
    /// As [`directory`](Self::directory); `Invalid` for the character device 0:0, which is overlay's
    /// mark for "gone".
    pub fn node(&mut self, path: &[u8], node: Node, attributes: &Attributes<'_>) -> Result<()> {
        let path = clean(path)?;
        let (kind, major, minor) = match node {
            Node::Fifo => (FileType::Fifo, 0, 0),
            Node::Character { major: 0, minor: 0 } => {
                return Err(Error::invalid(format!(
                    "{} is the character device 0:0, which no image may hold",
                    shown(&path)
                )));
            }
            Node::Character { major, minor } => (FileType::CharacterDevice, major, minor),
            Node::Block { major, minor } => (FileType::BlockDevice, major, minor),
        };
        let (parent, name) = self.place_of_thing(&path)?;
        match path::make_node(&*parent, name, kind, 0o600, major, minor) {
            Err(error) if error.is(Errno::EXIST) => {
                self.replace(&parent, name)?;
                path::make_node(&*parent, name, kind, 0o600, major, minor)
                    .during(format_args!("make device {}", shown(&path)))?;
            }
            other => other.during(format_args!("make device {}", shown(&path)))?,
        }
        let made = open_itself(&parent, name, &path)?;
        self.finish_thing(&path, made.as_fd(), kind, attributes)
    }

    /// Ends filling: sets the folders' times and tells what went in.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn finish(mut self) -> Result<Filled> {
        for (wanted, (path, time)) in std::mem::take(&mut self.times) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let Ok(folder) = path::open(&self.top, &path, flags, 0, Resolve::InRoot) else {
                continue;
            };
            let there = path::stat(&folder).during(format_args!("look at {}", shown(&path)))?;
            if identity(&there) == wanted {
                path::set_times(&folder, time, time).during(format_args!("set the times of {}", shown(&path)))?;
            }
        }
        Ok(self.filled)
    }

    /// What went in so far.
    pub fn filled(&self) -> Filled {
        self.filled
    }

    /// The parent and name of an entry that is no folder.
    fn place_of_thing<'p>(&mut self, path: &'p [u8]) -> Result<(Arc<OwnedFd>, &'p [u8])> {
        if path.is_empty() {
            return Err(Error::invalid("an entry that is no folder stands for the tree's root"));
        }
        self.place(path)
    }

    /// Removes what is in an entry's place. Whatever lay below, the cached parent may be among it.
    fn replace(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        if let Some(there) = path::stat_if_there(parent, name).during(format_args!("look at {}", shown(name)))? {
            self.written.remove(&identity(&there));
            self.times.remove(&identity(&there));
        }
        self.parent = None;
        remove::whatever(parent.as_fd(), name).map(drop)
    }

    /// Notes that this archive wrote a file.
    fn wrote(&mut self, metadata: &Metadata) {
        if !self.overlay {
            self.written.insert(identity(metadata));
        }
    }

    /// What a hardlink's target is: in the tree, else copied up from below.
    fn link_target(&mut self, path: &[u8], target: &[u8]) -> Result<OwnedFd> {
        let missing = || {
            Error::invalid(format!(
                "hard link {} to {}, which is not there",
                shown(path),
                shown(target)
            ))
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = match path::open(&self.top, target, flags, 0, Resolve::InRoot) {
            Ok(found) => found,
            Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => {
                self.copy_up(target)?.ok_or_else(missing)?
            }
            Err(error) => return Err(failed(format_args!("open {}", shown(target)), &error)),
        };
        let metadata = path::stat(&found).during(format_args!("look at {}", shown(target)))?;
        if metadata.is_directory() {
            return Err(Error::invalid(format!(
                "hard link {} to {}, which is a folder",
                shown(path),
                shown(target)
            )));
        }
        if is_whiteout(&metadata) {
            return Err(missing());
        }
        Ok(found)
    }

    /// Copies a lower layer's file into the tree at its own place; `None` when there is none.
    fn copy_up(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let Below::Tree(below) = &self.below else {
            return Ok(None);
        };
        let Ok(source) = below.open_itself(path) else {
            return Ok(None);
        };
        let metadata = path::stat(&source).during(format_args!("look at {} below", shown(path)))?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let (parent, name) = self.place(path)?;
        let made = path::make_file(&*parent, name, 0o600).during(format_args!("copy up {}", shown(path)))?;
        let from =
            File::from(path::reopen(&source, OFlags::RDONLY).during(format_args!("open {} below", shown(path)))?);
        let to = File::from(made);
        copy::content(&from, &to, &metadata, true)?;
        copy::likeness(source.as_fd(), &metadata, to.as_fd(), crate::xattrs::from_image)?;
        Ok(Some(OwnedFd::from(to)))
    }
}

/// The components of an entry's path, joined. A leading slash and `.` mean nothing; `..` is refused.
fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let wrong = |why: &str| Error::invalid(format!("entry {} {why}", shown(path.get(..200).unwrap_or(path))));
    let mut clean = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(wrong("has a `..` in its path")),
            _ if part.len() > 255 => return Err(wrong("has a name of more than 255 bytes")),
            _ if part.contains(&0) => return Err(wrong("has a NUL in its path")),
            _ => {}
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    if clean.len() > MOST_PATH {
        Err(wrong("has a path of more than 4,095 bytes"))
    } else {
        Ok(clean)
    }
}

fn check_extents(path: &[u8], length: u64, extents: &[(u64, u64)]) -> Result<()> {
    let wrong = || Error::invalid(format!("file {} has data that overlaps or passes its end", shown(path)));
    let mut end = 0;
    for (offset, size) in extents {
        if *offset < end {
            return Err(wrong());
        }
        end = offset
            .checked_add(*size)
            .filter(|end| *end <= length)
            .ok_or_else(wrong)?;
    }
    // What the kernel's offsets can hold.
    if length > i64::MAX as u64 { Err(wrong()) } else { Ok(()) }
}

/// Copies exactly `size` bytes.
fn pour(path: &[u8], content: &mut dyn Read, mut file: &File, size: u64) -> Result<u64> {
    let mut left = size;
    let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..most).unwrap_or_default();
        let length = match content.read(part) {
            Ok(0) => {
                return Err(Error::invalid(format!(
                    "the content of {} ends {left} bytes too early",
                    shown(path)
                )));
            }
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io(format!("read the content of {}", shown(path)), &error)),
        };
        file.write_all(part.get(..length).unwrap_or_default())
            .map_err(|e| Error::io(format!("write {}", shown(path)), &e))?;
        left -= length as u64;
    }
    Ok(size)
}

fn open_itself(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    path::open(parent, name, OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::Beneath)
        .during(format_args!("open {}", shown(path)))
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.kind == FileType::CharacterDevice && (metadata.major, metadata.minor) == (0, 0)
}
