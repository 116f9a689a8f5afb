//! Putting a layer's archive together again.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use longshore_sys::path::{self, OFlags, Resolve};

use crate::crc64::Crc64;
use crate::error::{Error, Result, Shown};
use crate::limits::Limits;
use crate::split::{self, FileItem, Item, SplitReader};
use crate::tar::{Region, name};

const BUFFER: usize = 256 << 10;

/// Writes the archive that `record` describes, with the content of files taken from the tree.
///
/// What comes out is the archive as it was unpacked, to the byte, or an error: each file is checked
/// while it is read. On an error part of the archive has been written already.
///
/// # Errors
/// The record is malformed, a file is not what it was, or reading or writing fails.
pub fn assemble(record: &[u8], tree: impl AsFd, out: &mut dyn Write) -> Result<()> {
    let limits = Limits::default();
    let kept = split::superseded(record, &limits)?;
    let mut reader = SplitReader::new(record);
    let mut buffer = vec![0; BUFFER];
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Segment(raw) => write(out, &raw)?,
            Item::Superseded { .. } => {}
            Item::File(file) if file.size == 0 => {}
            Item::File(file) => match kept.get(&file.position) {
                Some(content) => from_record(&file, content, out)?,
                None => from_tree(&file, tree.as_fd(), &limits, &mut buffer, out)?,
            },
        }
    }
    out.flush().map_err(|error| Error::writing("a layer's archive", error))
}

fn write(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes)
        .map_err(|error| Error::writing("a layer's archive", error))
}

fn altered(file: &FileItem, reason: &'static str) -> Error {
    Error::Altered {
        path: Shown::new(&file.name),
        reason,
    }
}

fn check(file: &FileItem, crc: Crc64) -> Result<()> {
    if crc.finish() == file.crc {
        return Ok(());
    }
    Err(altered(file, "its content is not what was unpacked"))
}

fn from_record(file: &FileItem, content: &[u8], out: &mut dyn Write) -> Result<()> {
    if content.len() as u64 != file.size {
        return Err(altered(file, "the record does not hold all of it"));
    }
    let mut crc = Crc64::new();
    crc.update(content);
    check(file, crc)?;
    write(out, content)
}

fn from_tree(
    file: &FileItem,
    tree: BorrowedFd<'_>,
    limits: &Limits,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<()> {
    let path = name::relative(&file.name, limits)?;
    let (opened, size) = open(file, tree, &path)?;
    let whole = [Region {
        offset: 0,
        length: file.size,
    }];
    let regions = file.regions.as_deref().unwrap_or(&whole);
    if file.regions.is_none() && size != file.size {
        return Err(altered(file, "its size is not what was unpacked"));
    }
    let mut crc = Crc64::new();
    for region in regions {
        let (mut offset, mut left) = (region.offset, region.length);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(buffer.len());
            let n = opened
                .read_at(&mut buffer[..most], offset)
                .map_err(|error| Error::tree("reading", &path, error))?;
            if n == 0 {
                return Err(altered(file, "it is shorter than what was unpacked"));
            }
            crc.update(&buffer[..n]);
            write(out, &buffer[..n])?;
            offset += n as u64;
            left -= n as u64;
        }
    }
    check(file, crc)
}

/// Opens a regular file inside the tree: links on the way resolve inside, one at the end is refused,
/// and nothing that is no file is opened for its data.
fn open(file: &FileItem, tree: BorrowedFd<'_>, path: &[u8]) -> Result<(File, u64)> {
    let failed = |error: longshore_sys::Error| Error::tree("opening", path, error);
    let found = path::open(tree, path, OFlags::PATH | OFlags::NOFOLLOW, 0, Resolve::InRoot).map_err(failed)?;
    let metadata = path::stat(&found).map_err(failed)?;
    if !metadata.is_file() {
        return Err(altered(file, "it is no regular file any more"));
    }
    let opened = path::reopen(&found, OFlags::RDONLY).map_err(failed)?;
    Ok((opened.into(), metadata.size))
}
