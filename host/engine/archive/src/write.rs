//! The one writer of tars: ustar headers, PAX records where a field does not fit.
//!
//! The same entries give the same bytes, always.

use std::fmt;
use std::io::{self, Read, Write};

use crate::error::{Error, Result};
use crate::tar::{BLOCK, Entry, Kind, Time, checksum, padding};

const BUFFER: usize = 256 << 10;
const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;
/// Where the records of an entry stand, for readers that do not know PAX.
const PAX_FOLDER: &[u8] = b"PaxHeaders.0/";

/// Writes entries one after another.
pub struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// An archive that begins.
    pub fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::new(),
        }
    }

    /// Adds an entry; of a regular file `content` gives exactly its size.
    ///
    /// Sparse files are written dense: `content` is the file as it appears.
    ///
    /// # Errors
    /// Writing fails, or the content has another size than the entry.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let size = match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        };
        self.append_with(entry, size, &mut |out| copy_exactly(entry, size, content, out))
    }

    /// Adds a regular file of `size` bytes that `content` writes.
    ///
    /// # Errors
    /// Writing fails, or the content is longer or shorter.
    pub fn append_with(
        &mut self,
        entry: &Entry,
        size: u64,
        content: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let (block, records) = encode(entry, size);
        if !records.is_empty() {
            let name = [PAX_FOLDER, last_part(&entry.name)].concat();
            self.bytes(&extension_block(&name, records.len() as u64))?;
            self.bytes(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.bytes(&block)?;
        let mut counted = Counted {
            out: &mut self.out,
            left: size,
        };
        content(&mut counted)?;
        if counted.left != 0 {
            return Err(Error::entry(&entry.name, "its content is shorter than its size"));
        }
        self.pad(size)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self) -> Result<W> {
        self.bytes(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|error| Error::writing("an archive", error))?;
        Ok(self.out)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|error| Error::writing("an archive", error))
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        self.buffer.clear();
        self.buffer.resize(padding(size), 0);
        self.out
            .write_all(&self.buffer)
            .map_err(|error| Error::writing("an archive", error))
    }
}

impl<W> fmt::Debug for TarWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarWriter").finish_non_exhaustive()
    }
}

/// Lets no more through than is announced in the header.
struct Counted<'a, W> {
    out: &'a mut W,
    left: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.left {
            return Err(io::Error::other("the content is longer than its size"));
        }
        let n = self.out.write(buffer)?;
        self.left -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn copy_exactly(entry: &Entry, size: u64, content: &mut dyn Read, out: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER))];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(BUFFER).min(buffer.len());
        match content.read(&mut buffer[..most]) {
            Ok(0) => return Err(Error::entry(&entry.name, "its content is shorter than its size")),
            Ok(n) => {
                out.write_all(&buffer[..n])
                    .map_err(|error| Error::writing("an archive", error))?;
                left -= n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::tree("reading", &entry.name, error)),
        }
    }
    Ok(())
}

/// The header block and the PAX records of an entry.
fn encode(entry: &Entry, size: u64) -> ([u8; BLOCK], Vec<u8>) {
    let mut block = [0; BLOCK];
    let mut records = Vec::new();
    name_fields(&mut block, &entry.name, &mut records);
    let (flag, target, device) = kind_fields(&entry.kind);
    if let Some(target) = target {
        if target.len() > 100 || !target.is_ascii() {
            record(&mut records, b"linkpath", target);
        }
        put(&mut block[157..257], target);
    }
    octal(&mut block[100..108], u64::from(entry.mode), OCTAL_7);
    if !octal(&mut block[108..116], u64::from(entry.uid), OCTAL_7) {
        record(&mut records, b"uid", entry.uid.to_string().as_bytes());
    }
    if !octal(&mut block[116..124], u64::from(entry.gid), OCTAL_7) {
        record(&mut records, b"gid", entry.gid.to_string().as_bytes());
    }
    if !octal(&mut block[124..136], size, OCTAL_11) {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(u64::MAX);
    if !octal(&mut block[136..148], seconds, OCTAL_11) || entry.mtime.nanoseconds != 0 {
        record(&mut records, b"mtime", time(entry.mtime).as_bytes());
    }
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = device.unwrap_or_default();
    octal(&mut block[329..337], u64::from(major), OCTAL_7);
    octal(&mut block[337..345], u64::from(minor), OCTAL_7);
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    seal(&mut block);
    (block, records)
}

type KindFields<'a> = (u8, Option<&'a [u8]>, Option<(u32, u32)>);

fn kind_fields(kind: &Kind) -> KindFields<'_> {
    match kind {
        Kind::File { .. } => (b'0', None, None),
        Kind::Hardlink { target } => (b'1', Some(target), None),
        Kind::Symlink { target } => (b'2', Some(target), None),
        Kind::Character { major, minor } => (b'3', None, Some((*major, *minor))),
        Kind::Block { major, minor } => (b'4', None, Some((*major, *minor))),
        Kind::Directory => (b'5', None, None),
        Kind::Fifo => (b'6', None, None),
    }
}

/// The name, in its two fields where it fits, else in a record.
fn name_fields(block: &mut [u8; BLOCK], name: &[u8], records: &mut Vec<u8>) {
    let fits = name.is_ascii();
    if fits && name.len() <= 100 {
        put(&mut block[..100], name);
        return;
    }
    if let Some((prefix, rest)) = fits.then(|| split_name(name)).flatten() {
        put(&mut block[345..500], prefix);
        put(&mut block[..100], rest);
        return;
    }
    record(records, b"path", name);
    put(&mut block[..100], name);
}

/// Splits a long name at a slash, so that both parts fit their fields.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    // The slash at the very end of a directory's name stays with the name.
    let last = name.len().checked_sub(1)?;
    let slash = (0..last.min(156)).rev().find(|&i| name[i] == b'/')?;
    let rest = &name[slash + 1..];
    (slash > 0 && rest.len() <= 100).then_some((&name[..slash], rest))
}

fn last_part(name: &[u8]) -> &[u8] {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let part = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
    &part[..part.len().min(100 - PAX_FOLDER.len())]
}

fn extension_block(name: &[u8], size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block[..100], name);
    octal(&mut block[100..108], 0o644, OCTAL_7);
    octal(&mut block[108..116], 0, OCTAL_7);
    octal(&mut block[116..124], 0, OCTAL_7);
    octal(&mut block[124..136], size, OCTAL_11);
    octal(&mut block[136..148], 0, OCTAL_11);
    block[156] = b'x';
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

/// Copies as much as fits.
fn put(field: &mut [u8], bytes: &[u8]) {
    let n = bytes.len().min(field.len());
    field[..n].copy_from_slice(&bytes[..n]);
}

/// Writes a number, or zero when it is above `most`; tells whether it fitted.
fn octal(field: &mut [u8], value: u64, most: u64) -> bool {
    let fits = value <= most;
    let mut rest = if fits { value } else { 0 };
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        // Below 8.
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    fits
}

fn seal(block: &mut [u8; BLOCK]) {
    let sum = checksum(block);
    octal(&mut block[148..155], u64::from(sum), 0o77_7777);
    block[155] = b' ';
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // A time is rounded down, its text is cut towards zero.
    let (sign, whole, fraction) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanoseconds),
        _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::limits::Limits;
    use crate::tar::Reader;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        Entry {
            name: name.to_vec(),
            kind,
            mode: 0o4755,
            uid: 1000,
            gid: 4_294_967_294,
            mtime: Time {
                seconds: 1_700_000_000,
                nanoseconds: 123_000_000,
            },
            xattrs: vec![
                (b"user.empty".to_vec(), Vec::new()),
                (b"user.x".to_vec(), b"a=b\n\0\xff".to_vec()),
            ],
        }
    }

    fn round_trip(entries: &[(Entry, Vec<u8>)]) {
        let mut writer = TarWriter::new(Vec::new());
        for (entry, content) in entries {
            writer.append(entry, &mut &content[..]).unwrap();
        }
        let archive = writer.finish().unwrap();
        let mut reader = Reader::new(&archive[..], &Limits::default());
        for (expected, content) in entries {
            assert_eq!(&reader.next_entry().unwrap().unwrap(), expected);
            let mut found = Vec::new();
            reader.read_to_end(&mut found).unwrap();
            assert_eq!(&found, content);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let file = |n: usize| Kind::File {
            size: n as u64,
            stored: n as u64,
            regions: None,
        };
        let long = [&b"d/".repeat(90)[..], &b"n".repeat(90)].concat();
        let longest = b"component/".repeat(60);
        round_trip(&[
            (entry(b"./", Kind::Directory), vec![]),
            (entry(b"empty", file(0)), vec![]),
            (entry(b"full", file(512)), vec![7; 512]),
            (entry(b"odd", file(100_001)), vec![8; 100_001]),
            (entry(&long, file(1)), vec![9]),
            (entry(&longest, Kind::Directory), vec![]),
            (entry("grüße".as_bytes(), file(0)), vec![]),
            (entry(b"\xff\xfe", file(0)), vec![]),
            (
                entry(
                    b"link",
                    Kind::Symlink {
                        target: b"t".repeat(300),
                    },
                ),
                vec![],
            ),
            (
                entry(
                    b"hard",
                    Kind::Hardlink {
                        target: b"full".to_vec(),
                    },
                ),
                vec![],
            ),
            (entry(b"null", Kind::Character { major: 1, minor: 3 }), vec![]),
            (
                entry(
                    b"sda",
                    Kind::Block {
                        major: 8,
                        minor: 1_048_575,
                    },
                ),
                vec![],
            ),
            (entry(b"pipe", Kind::Fifo), vec![]),
        ]);
    }

    #[test]
    fn names_are_split_where_both_parts_fit() {
        for (length, parts) in [(101, 2), (200, 2), (255, 2), (256, 2)] {
            let mut name = b"a/".repeat(length / 2);
            name.resize(length, b'z');
            let split = split_name(&name);
            assert_eq!(split.is_some(), parts == 2, "{length}");
        }
        assert!(split_name(&b"x".repeat(101)).is_none());
        assert!(split_name(&[b"/".to_vec(), b"x".repeat(100)].concat()).is_none());
    }

    #[test]
    fn a_size_unlike_the_content_is_an_error() {
        let kind = Kind::File {
            size: 5,
            stored: 5,
            regions: None,
        };
        let entry = entry(b"f", kind);
        assert!(TarWriter::new(Vec::new()).append(&entry, &mut &b"1234"[..]).is_err());
        let mut long = |out: &mut dyn Write| out.write_all(b"123456").map_err(|e| Error::writing("x", e));
        assert!(TarWriter::new(Vec::new()).append_with(&entry, 5, &mut long).is_err());
    }

    #[test]
    fn times_before_1970_are_written_as_they_are_read() {
        for (seconds, nanoseconds, text) in [
            (-2, 500_000_000, "-1.5"),
            (-1, 500_000_000, "-0.5"),
            (1, 1, "1.000000001"),
        ] {
            assert_eq!(time(Time { seconds, nanoseconds }), text);
        }
    }
}
