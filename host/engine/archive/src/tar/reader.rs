//! Going through an archive entry by entry.

use std::fmt;
use std::io::{self, Read};

use super::header::{Format, Header, text};
use super::pax::Records;
use super::sparse;
use super::{BLOCK, Entry, Kind, Time, Xattrs, padding};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// Longest body of a header that describes the next one: long names and PAX records.
const EXTENSION: u64 = 1 << 20;
/// Most such headers before one entry.
const EXTENSIONS: usize = 64;
/// Owner and group -1 mean "unchanged" to the kernel.
const OWNERS: std::ops::Range<i64> = 0..u32::MAX as i64;

/// Reads the entries of a plain archive, in order.
///
/// Between two calls of [`next_entry`](Self::next_entry) the stored bytes of a file are read through
/// `Read`; what is not read is skipped.
pub struct Reader<R> {
    inner: R,
    pub(super) limits: Limits,
    /// Stored bytes of the current file that were not read yet, and the padding after them.
    pub(super) body: u64,
    pad: usize,
    /// Where the next byte is read.
    at: u64,
    entries: u64,
    ended: bool,
    recording: bool,
    raw: Vec<u8>,
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    any: bool,
}

impl<R: Read> Reader<R> {
    /// Around a plain archive.
    pub fn new(inner: R, limits: &Limits) -> Self {
        Self {
            inner,
            limits: limits.clone(),
            body: 0,
            pad: 0,
            at: 0,
            entries: 0,
            ended: false,
            recording: false,
            raw: Vec::new(),
        }
    }

    /// Keeps headers and padding for [`take_raw`](Self::take_raw).
    pub fn recording(mut self) -> Self {
        self.recording = true;
        self
    }

    /// Everything but the stored bytes of files since the last call: padding and headers.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    /// The next entry; `None` at the end of the archive, behind which more bytes may follow.
    ///
    /// # Errors
    /// The source fails, or the archive is not one that every reader reads alike.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_body()?;
        if self.ended {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        for _ in 0..EXTENSIONS {
            let at = self.at;
            let Some(header) = self.header()? else {
                self.ended = true;
                return match extensions.any {
                    true => Err(Error::Header {
                        at,
                        reason: "a long name or PAX header without its entry",
                    }),
                    false => Ok(None),
                };
            };
            let malformed = |reason| Error::Header { at, reason };
            match header.flag() {
                b'x' | b'g' | b'L' | b'K' => self.extension(&header, at, &mut extensions)?,
                _ => {
                    self.entries += 1;
                    if self.entries > self.limits.entries {
                        return Err(Error::Limit {
                            what: "entries",
                            limit: self.limits.entries,
                        });
                    }
                    return self
                        .entry(&header, &extensions)
                        .map(Some)
                        .map_err(|problem| match problem {
                            Problem::Reason(reason) => malformed(reason),
                            Problem::Error(error) => error,
                        });
                }
            }
        }
        Err(Error::Header {
            at: self.at,
            reason: "too many headers before one entry",
        })
    }

    /// Gives away what follows the end of the archive, in pieces.
    ///
    /// # Errors
    /// The source's, or `each`'s.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.inner.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => each(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::reading("the archive", error)),
            }
        }
    }

    /// The reader that it is around.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn skip_body(&mut self) -> Result<()> {
        let left = self.body;
        let skipped = io::copy(&mut self.by_ref().take(left), &mut io::sink())
            .map_err(|error| Error::reading("an entry", error))?;
        debug_assert_eq!(skipped, left);
        self.skip_padding()
    }

    /// Skips the padding after a body. Where the archive ends in it or before it, that is its end, as
    /// it is for Go: some writers forget the end mark and the last padding with it.
    fn skip_padding(&mut self) -> Result<()> {
        let mut block = [0; BLOCK];
        let pad = std::mem::take(&mut self.pad);
        let mut filled = 0;
        while filled < pad {
            match self.inner.read(&mut block[filled..pad]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::reading("the archive", error)),
            }
        }
        self.at += filled as u64;
        if self.recording {
            self.raw.extend_from_slice(&block[..filled]);
        }
        Ok(())
    }

    /// Fills the buffer; 0 when the source has ended right before it.
    pub(super) fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(0),
                Ok(0) => return Err(Error::Truncated(what)),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::reading("the archive", error)),
            }
        }
        self.at += filled as u64;
        if self.recording {
            self.raw.extend_from_slice(buffer);
        }
        Ok(filled)
    }

    /// One header block; `None` at an end mark or at the end of the source.
    fn header(&mut self) -> Result<Option<Header>> {
        let at = self.at;
        let mut block = [0; BLOCK];
        if self.fill(&mut block, "a header")? == 0 {
            return Ok(None);
        }
        if block == [0; BLOCK] {
            if self.fill(&mut block, "its end mark")? == 0 || block == [0; BLOCK] {
                return Ok(None);
            }
            return Err(Error::Header {
                at,
                reason: "an empty block is followed by another header",
            });
        }
        Header::parse(block)
            .map(Some)
            .map_err(|reason| Error::Header { at, reason })
    }

    /// Reads a header that describes the next one.
    fn extension(&mut self, header: &Header, at: u64, into: &mut Extensions) -> Result<()> {
        let malformed = |reason| Error::Header { at, reason };
        let size = header.size().map_err(malformed)?;
        if size > EXTENSION {
            return Err(malformed("a long name or PAX header is longer than 1 MiB"));
        }
        let is_gnu = matches!(header.flag(), b'L' | b'K');
        if is_gnu != (header.format == Format::Gnu) {
            return Err(malformed("an extension header of another format than its own"));
        }
        let mut body = vec![0; usize::try_from(size).unwrap_or(0) + padding(size)];
        if self.fill(&mut body, "a long name or PAX header")? != body.len() {
            return Err(Error::Truncated("a long name or PAX header"));
        }
        body.truncate(usize::try_from(size).unwrap_or(0));
        match header.flag() {
            b'L' => into.name = Some(self.long(&body)?),
            b'K' => into.link = Some(self.long(&body)?),
            b'g' if into.any => return Err(malformed("a global PAX header between an entry's own headers")),
            b'g' => {
                if Records::parse(&body).map_err(malformed)?.changes_entries() {
                    return Err(malformed("a global PAX header that renames or resizes entries"));
                }
                return Ok(());
            }
            _ if !into.records.is_empty() => return Err(malformed("two PAX headers before one entry")),
            _ => into.records = Records::parse(&body).map_err(malformed)?,
        }
        into.any = true;
        Ok(())
    }

    fn long(&self, body: &[u8]) -> Result<Vec<u8>> {
        let name = text(body);
        // Above any path that can be made, and still short enough to keep many of them.
        if name.len() > 4 * self.limits.path {
            return Err(Error::entry(
                name,
                format!("its name is longer than {} bytes", self.limits.path),
            ));
        }
        Ok(name.to_vec())
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> Result<Entry, Problem> {
        let records = &extensions.records;
        let pax_name = records.get("GNU.sparse.name").or(records.get("path"));
        let name = match (&extensions.name, pax_name) {
            (Some(long), _) if !long.is_empty() => long.clone(),
            (_, Some(pax)) => pax.to_vec(),
            _ => header.name(),
        };
        let refused = |reason: &str| Problem::Error(Error::entry(&name, reason));
        let link = match (&extensions.link, records.get("linkpath")) {
            (Some(long), _) if !long.is_empty() => long.as_slice(),
            (_, Some(pax)) => pax,
            _ => header.link(),
        };
        if link.len() > self.limits.path {
            return Err(refused("its link target is too long"));
        }
        let size = records.size("size")?.map_or_else(|| header.size(), Ok)?;
        let kind = self.kind(header, records, &name, link, size)?;
        let owner = |told: Option<i64>, field: i64| {
            let id = told.unwrap_or(field);
            // In range of u32, so the conversion cannot fail.
            OWNERS
                .contains(&id)
                .then(|| u32::try_from(id).unwrap_or(0))
                .ok_or_else(|| refused("its owner is out of range"))
        };
        Ok(Entry {
            kind,
            mode: header.mode()?,
            uid: owner(records.number("uid")?, header.uid()?)?,
            gid: owner(records.number("gid")?, header.gid()?)?,
            mtime: bounded(records.time("mtime")?.unwrap_or(Time {
                seconds: header.mtime()?,
                nanoseconds: 0,
            })),
            xattrs: self.xattrs(records).map_err(refused)?,
            name,
        })
    }

    fn xattrs(&self, records: &Records) -> Result<Xattrs, &'static str> {
        let mut all = Vec::new();
        for (name, value) in records.xattrs() {
            if name.is_empty() || name.len() > 255 {
                return Err("an extended attribute's name is empty or longer than 255 bytes");
            }
            if value.len() > self.limits.xattr_value {
                return Err("an extended attribute is larger than 64 KiB");
            }
            if all.len() == self.limits.xattrs {
                return Err("it has too many extended attributes");
            }
            all.push((name.to_vec(), value.to_vec()));
        }
        Ok(all)
    }

    /// What the entry makes; sets up its body.
    fn kind(
        &mut self,
        header: &Header,
        records: &Records,
        name: &[u8],
        link: &[u8],
        size: u64,
    ) -> Result<Kind, Problem> {
        let refused = |reason: String| Problem::Error(Error::entry(name, reason));
        let flag = match header.flag() {
            0 if name.ends_with(b"/") => b'5',
            0 => b'0',
            flag => flag,
        };
        if matches!(flag, b'0' | b'S') {
            return self.file(header, records, name, size, flag == b'S');
        }
        // For a hardlink all readers take the size as that of the file it names.
        if size != 0 && flag != b'1' && matches!(flag, b'2'..=b'6') {
            return Err(refused("it has a size, but is no file".into()));
        }
        let target = || match link {
            [] => Err(refused("it is a link to nothing".into())),
            link if link.contains(&0) => Err(refused("its link target has a NUL byte".into())),
            link => Ok(link.to_vec()),
        };
        Ok(match flag {
            b'1' => Kind::Hardlink { target: target()? },
            b'2' => Kind::Symlink { target: target()? },
            b'3' | b'4' => {
                let (major, minor) = header.device()?;
                match flag {
                    b'3' if (major, minor) == (0, 0) => {
                        return Err(refused(
                            "it is a character device 0:0, which only the machine's own layers may have".into(),
                        ));
                    }
                    b'3' => Kind::Character { major, minor },
                    _ => Kind::Block { major, minor },
                }
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            flag => return Err(refused(format!("its type {:?} is not known", char::from(flag)))),
        })
    }

    fn file(
        &mut self,
        header: &Header,
        records: &Records,
        name: &[u8],
        packed: u64,
        old_sparse: bool,
    ) -> Result<Kind, Problem> {
        self.check_file_size(name, packed)?;
        self.body = packed;
        self.pad = padding(packed);
        let (regions, size) = if old_sparse {
            self.old_sparse(header)?
        } else {
            match self.pax_sparse(records)? {
                Some(map) => map,
                None => {
                    return Ok(Kind::File {
                        size: packed,
                        stored: packed,
                        regions: None,
                    });
                }
            }
        };
        self.check_file_size(name, size)?;
        if regions.len() > self.limits.regions {
            return Err(Problem::Error(Error::entry(
                name,
                "its sparse map has too many regions",
            )));
        }
        let stored = self.body;
        sparse::check(&regions, size, stored).map_err(|reason| Error::entry(name, reason))?;
        Ok(Kind::File {
            size,
            stored,
            regions: Some(regions),
        })
    }

    fn check_file_size(&self, name: &[u8], size: u64) -> Result<()> {
        if size > self.limits.file {
            return Err(Error::entry(
                name,
                format!("it is larger than {} bytes", self.limits.file),
            ));
        }
        Ok(())
    }
}

/// What goes wrong inside an entry: a reason that still lacks its place, or a whole error.
pub(super) enum Problem {
    Reason(&'static str),
    Error(Error),
}

impl From<&'static str> for Problem {
    fn from(reason: &'static str) -> Self {
        Self::Reason(reason)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Times that file systems and `struct timespec` in nanoseconds cannot hold become 1970, as Docker
/// has it.
fn bounded(time: Time) -> Time {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    if (0..LAST).contains(&time.seconds) {
        time
    } else {
        Time::default()
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.body).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(Error::Truncated("an entry").into_io());
        }
        self.body -= n as u64;
        self.at += n as u64;
        Ok(n)
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.at)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
