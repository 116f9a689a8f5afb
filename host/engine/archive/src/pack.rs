//! Making a layer's archive from a tree: the difference of a container, a whole root filesystem.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use longshore_core::graph::{Change, ChangeKind, Whiteouts};
use longshore_performer::root::Tree;
use longshore_performer::source::{self, Next};
use longshore_sys::path::{self, FileType, Metadata, OFlags};

use crate::digest::{Digest, HashWriter};
use crate::error::{Error, Result, Shown};
use crate::tar::{Entry, Kind, Time, Xattrs, name};
use crate::write::TarWriter;

/// How a tree becomes an archive.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// How the tree marks what is gone.
    pub whiteouts: Whiteouts,
    /// Whether the root directory itself, with its mode and owner, is an entry.
    pub root: bool,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the archive.
    pub diff_id: Digest,
    /// Bytes of the archive.
    pub size: u64,
    /// Entries in it.
    pub entries: u64,
    /// Objects that no layer can hold and that were left out: sockets, and names that would be read
    /// as whiteouts.
    pub left_out: Vec<Vec<u8>>,
}

/// Packs a tree. The same tree gives the same bytes.
///
/// # Errors
/// Reading the tree or writing fails; a file changed its size while it was read.
pub fn create_layer(tree: impl AsFd, packing: Packing, out: &mut dyn Write) -> Result<Packed> {
    let mut packer = Packer::new(out);
    let mut failed = None;
    let walked = source::walk(tree.as_fd(), |entry| match packer.met(entry, packing) {
        Ok(()) => Ok(Next::Continue),
        Err(error) => {
            let stop = longshore_core::Error::new(error.kind(), error.to_string());
            failed = Some(error);
            Err(stop)
        }
    });
    // The walk passes errors of its own kind; the one behind it says more.
    if let Some(error) = failed {
        return Err(error);
    }
    walked.map_err(|error| Error::Sink {
        entry: Shown::new(b"/"),
        error,
    })?;
    packer.finish()
}

/// Packs the changes that a driver told of a whole tree.
///
/// # Errors
/// As [`create_layer`]; `changes` names something outside the tree.
pub fn create_layer_of_changes(tree: OwnedFd, changes: &[Change], out: &mut dyn Write) -> Result<Packed> {
    let tree = Tree::new(tree).map_err(|error| Error::Sink {
        entry: Shown::new(b"/"),
        error,
    })?;
    let mut sorted: Vec<&Change> = changes.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut packer = Packer::new(out);
    for change in sorted {
        packer.change(&tree, change)?;
    }
    packer.finish()
}

struct Packer<'a> {
    tar: TarWriter<HashWriter<&'a mut dyn Write>>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    left_out: Vec<Vec<u8>>,
    entries: u64,
}

impl<'a> Packer<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self {
            tar: TarWriter::new(HashWriter::new(out)),
            links: HashMap::new(),
            left_out: Vec::new(),
            entries: 0,
        }
    }

    fn finish(self) -> Result<Packed> {
        let (_, diff_id, size) = self.tar.finish()?.finish();
        Ok(Packed {
            diff_id,
            size,
            entries: self.entries,
            left_out: self.left_out,
        })
    }

    /// Something that the walk met.
    fn met(&mut self, found: &source::Entry<'_>, packing: Packing) -> Result<()> {
        let failed = |error| Error::Sink {
            entry: Shown::new(found.path),
            error,
        };
        if found.path.is_empty() {
            if packing.root {
                let xattrs = found.image_attributes().map_err(failed)?;
                self.put(&described(b"./", Kind::Directory, &found.metadata, xattrs), None)?;
            }
            if packing.whiteouts == Whiteouts::Overlay && found.is_opaque().map_err(failed)? {
                self.mark(&[], name::OPAQUE, &found.metadata)?;
            }
            return Ok(());
        }
        if packing.whiteouts == Whiteouts::Overlay && found.is_whiteout() {
            let (parent, base) = name::split(found.path);
            return self.mark(parent, &[name::WHITEOUT, base].concat(), &found.metadata);
        }
        if !self.can_hold(found.path, &found.metadata) {
            return Ok(());
        }
        if self.linked(found.path, &found.metadata)? {
            return Ok(());
        }
        let kind = match found.metadata.kind {
            FileType::Symlink => Kind::Symlink {
                target: found.target().map_err(failed)?,
            },
            _ => kind(&found.metadata),
        };
        let xattrs = match kind {
            Kind::Symlink { .. } => Vec::new(),
            _ => found.image_attributes().map_err(failed)?,
        };
        let file = match kind {
            Kind::File { .. } => Some(found.open().map_err(failed)?),
            _ => None,
        };
        self.put(&described(found.path, kind, &found.metadata, xattrs), file)?;
        if packing.whiteouts == Whiteouts::Overlay && found.is_opaque().map_err(failed)? {
            self.mark(found.path, name::OPAQUE, &found.metadata)?;
        }
        Ok(())
    }

    fn change(&mut self, tree: &Tree, change: &Change) -> Result<()> {
        let limits = crate::limits::Limits::default();
        let at = name::relative(change.path.as_bytes(), &limits)?;
        if change.is == ChangeKind::Deleted {
            let (parent, base) = name::split(&at);
            let entry = marker(
                &name::join(parent, &[name::WHITEOUT, base].concat()),
                0,
                0,
                Time::default(),
            );
            return self.put(&entry, None);
        }
        let failed = |error| Error::Sink {
            entry: Shown::new(&at),
            error,
        };
        let found = tree.open_itself(&at).map_err(failed)?;
        let metadata = path::stat(&found).map_err(|error| Error::tree("looking at", &at, error))?;
        if !self.can_hold(&at, &metadata) || self.linked(&at, &metadata)? {
            return Ok(());
        }
        let kind = match metadata.kind {
            FileType::Symlink => Kind::Symlink {
                target: path::read_link_itself(&found).map_err(|error| Error::tree("reading link", &at, error))?,
            },
            _ => kind(&metadata),
        };
        let xattrs = match kind {
            Kind::Symlink { .. } => Vec::new(),
            _ => attributes(&found, &at)?,
        };
        let file = match kind {
            Kind::File { .. } => {
                let opened = path::reopen(&found, OFlags::RDONLY);
                Some(opened.map_err(|error| Error::tree("opening", &at, error))?.into())
            }
            _ => None,
        };
        self.put(&described(&at, kind, &metadata, xattrs), file)
    }

    /// Whether a layer can hold the object; what it cannot is noted.
    fn can_hold(&mut self, path: &[u8], metadata: &Metadata) -> bool {
        let is_device_0 = metadata.kind == FileType::CharacterDevice && (metadata.major, metadata.minor) == (0, 0);
        let hidden = path.split(|&b| b == b'/').any(|part| part.starts_with(name::WHITEOUT));
        if !matches!(metadata.kind, FileType::Socket | FileType::Unknown) && !is_device_0 && !hidden {
            return true;
        }
        self.left_out.push(path.to_vec());
        false
    }

    /// Writes a further name of a file that was written already.
    fn linked(&mut self, path: &[u8], metadata: &Metadata) -> Result<bool> {
        if metadata.is_directory() || metadata.links < 2 {
            return Ok(false);
        }
        let inode = (metadata.device, metadata.inode);
        let Some(first) = self.links.get(&inode) else {
            self.links.insert(inode, path.to_vec());
            return Ok(false);
        };
        let entry = described(path, Kind::Hardlink { target: first.clone() }, metadata, Vec::new());
        self.put(&entry, None)?;
        Ok(true)
    }

    fn mark(&mut self, parent: &[u8], base: &[u8], like: &Metadata) -> Result<()> {
        let mtime = time(like);
        self.put(&marker(&name::join(parent, base), like.uid, like.gid, mtime), None)
    }

    fn put(&mut self, entry: &Entry, file: Option<std::fs::File>) -> Result<()> {
        self.entries += 1;
        match file {
            Some(mut file) => self.tar.append(entry, &mut file),
            None => self.tar.append(entry, &mut std::io::empty()),
        }
    }
}

/// What the entry of an object says of it.
fn described(path: &[u8], kind: Kind, metadata: &Metadata, xattrs: Xattrs) -> Entry {
    let mut name = path.to_vec();
    if kind == Kind::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    Entry {
        name,
        kind,
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: time(metadata),
        xattrs,
    }
}

/// An empty file that stands for an absence.
fn marker(name: &[u8], uid: u32, gid: u32, mtime: Time) -> Entry {
    Entry {
        name: name.to_vec(),
        kind: Kind::File {
            size: 0,
            stored: 0,
            regions: None,
        },
        mode: 0o600,
        uid,
        gid,
        mtime,
        xattrs: Vec::new(),
    }
}

fn time(metadata: &Metadata) -> Time {
    Time {
        seconds: metadata.modified.seconds,
        nanoseconds: metadata.modified.nanoseconds,
    }
}

/// Everything but links and what no layer can hold.
fn kind(metadata: &Metadata) -> Kind {
    let Metadata { major, minor, size, .. } = *metadata;
    match metadata.kind {
        FileType::Directory => Kind::Directory,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::Character { major, minor },
        FileType::BlockDevice => Kind::Block { major, minor },
        _ => Kind::File {
            size,
            stored: size,
            regions: None,
        },
    }
}

fn attributes(found: &OwnedFd, at: &[u8]) -> Result<Xattrs> {
    let failed = |error| Error::tree("reading attributes of", at, error);
    let mut all = Vec::new();
    for attribute in longshore_sys::xattr::list(found).map_err(failed)? {
        if name::keeps_xattr(&attribute)
            && let Some(value) = longshore_sys::xattr::get(found, &attribute).map_err(failed)?
        {
            all.push((attribute, value));
        }
    }
    Ok(all)
}
