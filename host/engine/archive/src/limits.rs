//! How much of everything is accepted from an archive.

/// Bounds for one archive. The defaults are far above every honest image and far below what would
/// take a machine down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Uncompressed bytes for each compressed one, once `ratio_from` bytes have come out. Deflate
    /// cannot pack more than 1032 into one.
    pub ratio: u64,
    /// Where the ratio begins to count: a small archive of zeros is no bomb.
    pub ratio_from: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of a path or a link target.
    pub path: usize,
    /// Bytes of one file as it appears, holes included.
    pub file: u64,
    /// Data regions of one sparse file.
    pub regions: usize,
    /// Extended attributes of one entry.
    pub xattrs: usize,
    /// Bytes of one attribute's value; the kernel takes no more than 64 KiB.
    pub xattr_value: usize,
    /// Bytes of the recorded headers and padding, compressed.
    pub split: usize,
    /// Bytes kept of files that the same layer replaces again.
    pub superseded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 40,
            ratio: 1100,
            ratio_from: 4 << 30,
            entries: 2_000_000,
            path: 4095,
            file: 1 << 43,
            regions: 1 << 16,
            xattrs: 256,
            xattr_value: 64 << 10,
            split: 256 << 20,
            superseded: 64 << 20,
        }
    }
}
