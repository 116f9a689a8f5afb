//! Subvolumes of one root: the technology. Every change is an ioctl that the file system makes whole
//! or not at all (`btrfs-subvolume(8)`), so there is no half-made layer.
//!
//! `libbtrfsutil` takes paths; they lead through the descriptor of the root (`/proc/self/fd`), whose
//! one folder nobody but the engine writes to, and a checked ID.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use btrfsutil::subvolume::{DeleteFlags, Subvolume as Raw};
use longshore_plugin::types::LayerId;
use longshore_plugin::{Context, Error, ErrorKind, Result};
use rustix::fs::{FileType, OFlags};

use crate::walk::Top;

/// The folder of all layers, as Docker has it.
const FOLDER: &str = "subvolumes";
/// A layer's place beneath the root.
pub(crate) const TEMPLATE: &str = "subvolumes/{}";

/// The subvolumes of a root.
#[derive(Debug)]
pub(crate) struct Store {
    root: OwnedFd,
}

/// One layer's subvolume.
#[derive(Debug)]
pub(crate) struct Subvolume {
    raw: Raw,
}

/// What the library says, and what the kernel told it: it names the call, the kernel the reason.
fn failed(attempted: impl std::fmt::Display, error: &btrfsutil::error::LibError) -> Error {
    let errno = io::Error::last_os_error();
    Error::io(format!("{attempted} ({error})"), &errno)
}

impl Store {
    /// Opens a root that lies on btrfs.
    ///
    /// # Errors
    /// `Unavailable` when it does not; `Corrupt` when what lies there is not this driver's.
    pub(crate) fn open(root: OwnedFd) -> Result<Self> {
        const BTRFS: rustix::fs::FsWord = 0x9123_683E;
        let kind = rustix::fs::fstatfs(&root).map_err(|e| Error::io("look at the root", &e.into()))?;
        if kind.f_type != BTRFS {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the root does not lie on btrfs: mount a btrfs file system at the data root",
            ));
        }
        let store = Self { root };
        let folder = store.folder();
        match std::fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("{FOLDER} in the root is not a folder: it was not made by this driver"),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                use std::os::unix::fs::DirBuilderExt as _;
                store.check_unused()?;
                std::fs::DirBuilder::new()
                    .mode(0o710)
                    .create(&folder)
                    .map_err(|e| Error::io(format!("make {FOLDER} in the root"), &e))?;
            }
            Err(error) => return Err(Error::io(format!("look at {FOLDER} in the root"), &error)),
        }
        Ok(store)
    }

    fn top(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    fn folder(&self) -> PathBuf {
        self.top().join(FOLDER)
    }

    /// A root without our folder must be nobody else's. What the host keeps there begins with a dot.
    fn check_unused(&self) -> Result<()> {
        let unreadable = |e| Error::io("list the root", &e);
        for entry in std::fs::read_dir(self.top()).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if !name.as_encoded_bytes().starts_with(b".") {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!(
                        "the root holds {}, and no {FOLDER}: it is another driver's",
                        name.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn path(&self, id: &LayerId) -> PathBuf {
        self.folder().join(id.as_str())
    }

    /// A layer's subvolume; none when there is nothing of that name.
    ///
    /// # Errors
    /// `Corrupt` when there is something else.
    pub(crate) fn find(&self, id: &LayerId) -> Result<Option<Subvolume>> {
        let path = self.path(id);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("look at layer {id}"), &error)),
            Ok(found) if !found.is_dir() => return Err(not_a_subvolume(id)),
            Ok(_) => {}
        }
        match Raw::get(&*path) {
            Ok(raw) => Ok(Some(Subvolume { raw })),
            Err(btrfsutil::error::LibError::NotSubvolume) => Err(not_a_subvolume(id)),
            Err(error) => Err(failed(format!("open layer {id}"), &error)),
        }
    }

    /// Makes an empty subvolume.
    pub(crate) fn create(&self, id: &LayerId) -> Result<()> {
        Raw::create(&*self.path(id), None)
            .map(drop)
            .map_err(|error| failed(format!("make a subvolume for layer {id}"), &error))
    }

    /// Makes a writable snapshot.
    pub(crate) fn snapshot(&self, of: &Subvolume, id: &LayerId) -> Result<()> {
        of.raw
            .snapshot(&*self.path(id), None, None)
            .map(drop)
            .map_err(|error| failed(format!("make a snapshot for layer {id}"), &error))
    }

    /// The IDs of all layers, ascending. What is named otherwise is nobody's layer.
    pub(crate) fn ids(&self) -> Result<Vec<LayerId>> {
        let unreadable = |e| Error::io(format!("list {FOLDER} in the root"), &e);
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(self.folder()).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            ids.extend(name.to_str().and_then(|name| LayerId::parse(name).ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The layer of which this one is a snapshot.
    pub(crate) fn parent(&self, of: &Subvolume) -> Result<Option<LayerId>> {
        match of.identity()?.parent {
            None => Ok(None),
            Some(wanted) => self.search(|other| other.own == wanted),
        }
    }

    /// A layer that is a snapshot of this one.
    pub(crate) fn child_of(&self, of: &Subvolume) -> Result<Option<LayerId>> {
        let wanted = of.identity()?.own;
        self.search(|other| other.parent == Some(wanted))
    }

    fn search(&self, is_it: impl Fn(&Identity) -> bool) -> Result<Option<LayerId>> {
        for id in self.ids()? {
            // Something that is no layer is for `find` to report, when it is asked for.
            if let Ok(Some(found)) = self.find(&id)
                && is_it(&found.identity()?)
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

fn not_a_subvolume(id: &LayerId) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("what lies at layer {id} is not a subvolume; it was not made by this driver"),
    )
}

/// UUIDs of a subvolume and of what it is a snapshot of.
struct Identity {
    own: [u8; 16],
    parent: Option<[u8; 16]>,
}

impl Subvolume {
    pub(crate) fn path(&self) -> &Path {
        self.raw.path()
    }

    fn identity(&self) -> Result<Identity> {
        let info = self
            .raw
            .info()
            .map_err(|error| failed("read a subvolume's UUID", &error))?;
        Ok(Identity {
            own: *info.uuid.as_bytes(),
            parent: info.parent_uuid.map(|uuid| *uuid.as_bytes()),
        })
    }

    pub(crate) fn is_sealed(&self) -> Result<bool> {
        self.raw
            .is_ro()
            .map_err(|error| failed("read a subvolume's flags", &error))
    }

    /// Makes it read-only for good.
    pub(crate) fn seal(&self) -> Result<()> {
        set_read_only(&self.raw, true)
    }

    /// Removes it with the subvolumes that its container made inside.
    pub(crate) fn remove(self, cx: &Context) -> Result<()> {
        // Nothing can be removed from a read-only one.
        if self.is_sealed()? {
            set_read_only(&self.raw, false)?;
        }
        if self.raw.clone().delete(DeleteFlags::RECURSIVE).is_ok() {
            return Ok(());
        }
        // A nested one that is read-only and has nested ones itself.
        make_nested_writable(cx, self.path())?;
        self.raw
            .delete(DeleteFlags::RECURSIVE)
            .map_err(|error| failed("remove a subvolume", &error))
    }
}

fn set_read_only(raw: &Raw, read_only: bool) -> Result<()> {
    raw.set_ro(read_only)
        .map_err(|error| failed("set a subvolume's flags", &error))
}

/// The library's iterator answers paths from the file system's top, which may not be mounted: so the
/// tree is walked, and a subvolume known by its root's inode number.
fn make_nested_writable(cx: &Context, path: &Path) -> Result<()> {
    const ROOT_INODE: u64 = 256;
    let top = Top::open(path)?;
    top.walk(cx, |below, kind| {
        if kind != FileType::Directory {
            return Ok(());
        }
        let Ok(folder) = top.beneath(below, OFlags::DIRECTORY) else {
            return Ok(());
        };
        let found = rustix::fs::fstat(&folder).map_err(|e| Error::io("look at a layer's folder", &e.into()))?;
        if found.st_ino != ROOT_INODE {
            return Ok(());
        }
        let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let nested = Raw::get(&*through).map_err(|error| failed("open a nested subvolume", &error))?;
        set_read_only(&nested, false)
    })
}
