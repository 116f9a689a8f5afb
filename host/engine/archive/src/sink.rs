//! Where unpacked entries go.

use std::io::Read;

use longshore_core::Result;

use crate::tar::{Region, Time};

/// What all entries but hardlinks have.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Permission bits, at most 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Extended attributes that are kept, by full name.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// The content of a regular file.
pub struct Content<'a> {
    /// Bytes of the file as it appears.
    pub size: u64,
    /// Where the bytes of `body` go, in order; absent when they are the whole file.
    pub regions: Option<&'a [Region]>,
    /// The stored bytes.
    pub body: &'a mut dyn Read,
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// A device's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A tree that is filled entry by entry.
///
/// Paths are relative to the tree's root, non-empty except for the root directory itself, without
/// `.`, `..`, NUL or empty parts. The sink resolves links on the way inside the tree, makes missing
/// parents, and puts an object in the place of whatever had its name, a directory over a directory
/// excepted.
pub trait Sink {
    /// A directory, or the attributes of one that is there.
    fn directory(&mut self, path: &[u8], attributes: &Attributes<'_>) -> Result<()>;
    /// A regular file; all of the content is read.
    fn file(&mut self, path: &[u8], content: Content<'_>, attributes: &Attributes<'_>) -> Result<()>;
    /// A symbolic link.
    fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes<'_>) -> Result<()>;
    /// Another name of a file that is in the tree.
    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()>;
    /// A device, which is never opened.
    fn device(&mut self, path: &[u8], device: Device, attributes: &Attributes<'_>) -> Result<()>;
    /// A FIFO.
    fn fifo(&mut self, path: &[u8], attributes: &Attributes<'_>) -> Result<()>;
    /// Hides what lower layers have at the path; what was put into the tree since its beginning stays.
    fn whiteout(&mut self, path: &[u8]) -> Result<()>;
    /// Hides what lower layers have in the directory; what was put into the tree since its beginning
    /// stays.
    fn opaque(&mut self, path: &[u8]) -> Result<()>;
    /// Fills the buffer from a regular file that was put here before.
    fn read_back(&mut self, path: &[u8], offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Ends: sets what could not be set before, such as the times of directories.
    fn finish(&mut self) -> Result<()>;
}
