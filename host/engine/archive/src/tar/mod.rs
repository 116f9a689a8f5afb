//! The parser of tar archives: ustar, PAX, GNU and old formats, one strict reading of each.
//!
//! Two parsers that read one archive differently are how a file gets past a check. So the entries here
//! are those that both Go's `archive/tar` (what builds and reads most images) and GNU tar see; where
//! the two differ, or a field is not what its format says, the archive is refused.
//!
//! ```
//! use longshore_archive::limits::Limits;
//! use longshore_archive::tar::Reader;
//!
//! let archive = [0; 1024];
//! let mut reader = Reader::new(&archive[..], &Limits::default());
//! assert!(reader.next_entry()?.is_none());
//! # Ok::<(), longshore_archive::error::Error>(())
//! ```

mod header;
pub mod name;
mod pax;
mod reader;
mod sparse;

pub use reader::Reader;

pub(crate) use header::checksum;

/// A tar's unit: headers, padding and end marks come in blocks of this size.
pub const BLOCK: usize = 512;

/// Bytes from the end of content of `size` to the next block.
pub(crate) fn padding(size: u64) -> usize {
    const UNIT: u64 = BLOCK as u64;
    let over = size % UNIT;
    // Below 512, so it fits.
    ((UNIT - over) % UNIT) as usize
}

/// A moment as seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// A run of stored bytes in a sparse file; what is between runs reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Extended attributes: full names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file. Its stored bytes are read from the [`Reader`] before the next entry.
    File {
        /// Bytes of the file as it appears.
        size: u64,
        /// Bytes stored in the archive: less than `size` for a sparse file.
        stored: u64,
        /// Where the stored bytes go; absent for a file without holes.
        regions: Option<Vec<Region>>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to: any bytes.
        target: Vec<u8>,
    },
    /// Another name of a file in the same archive.
    Hardlink {
        /// The name of that file, as it stands in the archive.
        target: Vec<u8>,
    },
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
    /// A FIFO.
    Fifo,
}

/// One entry of an archive, its fields checked for range; its name is not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub name: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Permission bits, at most 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Extended attributes by full name, sorted.
    pub xattrs: Xattrs,
}
