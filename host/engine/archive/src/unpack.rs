//! Unpacking a layer: one pass that decompresses, hashes, checks, writes and records.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::ops::Bound;

use crate::crc64::Crc64;
use crate::decompress::Decompressor;
use crate::digest::{Digest, HashReader};
use crate::error::{Error, Result, Shown};
use crate::limits::Limits;
use crate::sink::{Attributes, Content, Device, Sink};
use crate::split::SplitWriter;
use crate::tar::name::{self, Place};
use crate::tar::{Entry, Kind, Reader, Region};

const BUFFER: usize = 256 << 10;

/// What came out of an archive.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The digest of the whole uncompressed archive, what follows its end included.
    pub diff_id: Digest,
    /// Bytes of the files in it, as they appear.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// The record from which the archive comes back byte for byte, as `tar-split.json.gz` holds it.
    pub tar_split: Vec<u8>,
}

/// Unpacks an archive, compressed or not, into a sink.
///
/// Whiteouts hide what lower layers have; what the same archive brings, before or after them, stays.
///
/// # Errors
/// The archive is refused at the first entry that is; what was unpacked until then is in the sink, for
/// the caller to throw away.
pub fn unpack_into(archive: &mut dyn Read, sink: &mut dyn Sink, limits: &Limits) -> Result<Unpacked> {
    let plain = HashReader::new(Decompressor::new(archive, limits)?);
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, plain), limits).recording();
    let mut unpacking = Unpacking {
        sink,
        limits,
        split: SplitWriter::new(limits),
        files: BTreeMap::new(),
        superseded: 0,
        bytes: 0,
        entries: 0,
    };
    while let Some(entry) = reader.next_entry()? {
        unpacking.split.segment(&reader.take_raw())?;
        unpacking.entry(&entry, &mut reader)?;
    }
    unpacking.split.segment(&reader.take_raw())?;
    reader.drain(|rest| unpacking.split.segment(rest))?;
    unpacking.sink.finish().map_err(|error| Error::Sink {
        entry: Shown::new(b"/"),
        error,
    })?;
    let (diff_id, _) = reader.into_inner().into_inner().finish();
    Ok(Unpacked {
        diff_id,
        bytes: unpacking.bytes,
        entries: unpacking.entries,
        tar_split: unpacking.split.finish()?,
    })
}

/// A regular file with content that this archive brought.
struct Written {
    position: u64,
    stored: u64,
    regions: Option<Vec<Region>>,
}

struct Unpacking<'a> {
    sink: &'a mut dyn Sink,
    limits: &'a Limits,
    split: SplitWriter,
    /// By path in the tree.
    files: BTreeMap<Vec<u8>, Written>,
    superseded: u64,
    bytes: u64,
    entries: u64,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &Entry, body: &mut impl Read) -> Result<()> {
        self.entries += 1;
        let failed = |error| Error::Sink {
            entry: Shown::new(&entry.name),
            error,
        };
        match name::place(&entry.name, self.limits)? {
            Place::Aufs => self.keep_raw(body),
            Place::Whiteout(path) => {
                self.keep_raw(body)?;
                self.sink.whiteout(&path).map_err(failed)
            }
            Place::Opaque(path) => {
                self.keep_raw(body)?;
                self.sink.opaque(&path).map_err(failed)
            }
            Place::Root if entry.kind == Kind::Directory => self.object(&[], entry, body),
            Place::Root => Err(Error::entry(&entry.name, "it would replace the tree's root")),
            Place::Object(path) => {
                self.check_parents(&path, entry)?;
                self.supersede(&path, entry.kind != Kind::Directory)?;
                self.object(&path, entry, body)
            }
        }
    }

    /// The payload of an entry that makes no file: it is in no tree, so the record keeps it.
    fn keep_raw(&mut self, body: &mut impl Read) -> Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match body
                .read(&mut buffer)
                .map_err(|error| Error::reading("an entry", error))?
            {
                0 => return Ok(()),
                n => self.split.segment(&buffer[..n])?,
            }
        }
    }

    /// An archive that puts something below its own file is read in two ways by different readers.
    fn check_parents(&self, path: &[u8], entry: &Entry) -> Result<()> {
        let mut parent = name::split(path).0;
        while !parent.is_empty() {
            if self.files.contains_key(parent) {
                return Err(Error::entry(&entry.name, "it lies below a file of the same archive"));
            }
            parent = name::split(parent).0;
        }
        Ok(())
    }

    fn object(&mut self, path: &[u8], entry: &Entry, body: &mut impl Read) -> Result<()> {
        let failed = |error| Error::Sink {
            entry: Shown::new(&entry.name),
            error,
        };
        let xattrs: Vec<_> = entry
            .xattrs
            .iter()
            .filter(|(name, _)| name::keeps_xattr(name))
            .cloned()
            .collect();
        let attributes = Attributes {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: &xattrs,
        };
        match &entry.kind {
            Kind::File { size, stored, regions } => {
                return self.file(path, entry, (*size, *stored, regions.as_deref()), &attributes, body);
            }
            Kind::Directory => self.sink.directory(path, &attributes),
            Kind::Symlink { target } => self.sink.symlink(path, target, &attributes),
            Kind::Hardlink { target } => {
                let target = self.link_target(path, entry, target)?;
                self.sink.hardlink(path, &target)
            }
            Kind::Character { major, minor } => {
                let device = Device {
                    block: false,
                    major: *major,
                    minor: *minor,
                };
                self.sink.device(path, device, &attributes)
            }
            Kind::Block { major, minor } => {
                let device = Device {
                    block: true,
                    major: *major,
                    minor: *minor,
                };
                self.sink.device(path, device, &attributes)
            }
            Kind::Fifo => self.sink.fifo(path, &attributes),
        }
        .map_err(failed)?;
        self.split.entry(&entry.name, 0, [0; 8], None).map(|_| ())
    }

    fn link_target(&self, path: &[u8], entry: &Entry, target: &[u8]) -> Result<Vec<u8>> {
        let refused =
            |reason: &str| Error::entry(&entry.name, format!("its link target {} {reason}", Shown::new(target)));
        match name::place(target, self.limits) {
            Ok(Place::Object(target)) if target == path => Err(refused("is the entry itself")),
            Ok(Place::Object(target)) => Ok(target),
            Ok(Place::Root) => Err(refused("is a directory")),
            Ok(_) => Err(refused("is no object of the tree")),
            Err(_) => Err(refused("leads out of the tree or is malformed")),
        }
    }

    fn file(
        &mut self,
        path: &[u8],
        entry: &Entry,
        (size, stored, regions): (u64, u64, Option<&[Region]>),
        attributes: &Attributes<'_>,
        body: &mut impl Read,
    ) -> Result<()> {
        let mut checked = Checked {
            inner: body,
            crc: Crc64::new(),
            left: stored,
            failed: None,
        };
        let content = Content {
            size,
            regions,
            body: &mut checked,
        };
        let result = self.sink.file(path, content, attributes);
        // The sink words a failing source its own way; the archive's own error says more.
        if let Some(error) = checked.failed.take() {
            return Err(error);
        }
        result.map_err(|error| Error::Sink {
            entry: Shown::new(&entry.name),
            error,
        })?;
        if checked.left != 0 {
            let error = longshore_core::Error::broken("its content was not read to the end");
            return Err(Error::Sink {
                entry: Shown::new(&entry.name),
                error,
            });
        }
        let position = self.split.entry(&entry.name, stored, checked.crc.finish(), regions)?;
        if stored > 0 {
            let regions = regions.map(<[Region]>::to_vec);
            self.files.insert(
                path.to_vec(),
                Written {
                    position,
                    stored,
                    regions,
                },
            );
        }
        self.bytes = self.bytes.saturating_add(size);
        Ok(())
    }

    /// Keeps the content of this archive's files at a path, and below it, before they go: the tree
    /// will not have it when the archive is put together again.
    fn supersede(&mut self, path: &[u8], below: bool) -> Result<()> {
        let mut gone = Vec::new();
        if self.files.contains_key(path) {
            gone.push(path.to_vec());
        }
        if below {
            let prefix = [path, b"/"].concat();
            let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
            let inside = self.files.range(from).take_while(|(path, _)| path.starts_with(&prefix));
            gone.extend(inside.map(|(path, _)| path.clone()));
        }
        for path in gone {
            if let Some(written) = self.files.remove(&path) {
                self.keep_content(&path, &written)?;
            }
        }
        Ok(())
    }

    fn keep_content(&mut self, path: &[u8], written: &Written) -> Result<()> {
        self.superseded += written.stored;
        if self.superseded > self.limits.superseded {
            let limit = self.limits.superseded;
            return Err(Error::Limit {
                what: "bytes of files that the same archive replaces",
                limit,
            });
        }
        let whole = [Region {
            offset: 0,
            length: written.stored,
        }];
        let mut buffer = vec![0; BUFFER];
        for region in written.regions.as_deref().unwrap_or(&whole) {
            let (mut offset, mut left) = (region.offset, region.length);
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                self.sink
                    .read_back(path, offset, &mut buffer[..most])
                    .map_err(|error| Error::Sink {
                        entry: Shown::new(path),
                        error,
                    })?;
                self.split.superseded(written.position, &buffer[..most])?;
                offset += most as u64;
                left -= most as u64;
            }
        }
        Ok(())
    }
}

/// Sums what the sink reads, and keeps the error that ended it.
struct Checked<'a, R> {
    inner: &'a mut R,
    crc: Crc64,
    left: u64,
    failed: Option<Error>,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.crc.update(&buffer[..n]);
                self.left -= n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let error = Error::reading("an entry", error);
                let told = io::Error::other(error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}
