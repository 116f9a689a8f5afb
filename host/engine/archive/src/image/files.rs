//! The files of an image archive, wherever they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use longshore_sys::path::{self, OFlags, Resolve};

use crate::decompress::Decompressor;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::tar::{Kind, Reader, name};

/// Links that are followed from one name.
const HOPS: usize = 16;
const BUFFER: usize = 1 << 20;

/// A set of files by path.
#[derive(Debug)]
pub(super) enum Files {
    /// The content of a tar, one file after another in an unnamed file.
    Spool {
        file: Arc<File>,
        members: HashMap<Vec<u8>, Member>,
    },
    /// A directory.
    Directory(OwnedFd),
}

/// A file, or a link to one, of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    File { offset: u64, size: u64 },
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
}

/// An open file: a part of the spool, or a file of the directory.
#[derive(Debug)]
pub(super) struct Open {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Open {
    pub(super) fn size(&self) -> u64 {
        self.left
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Files {
    pub(super) fn directory(directory: OwnedFd) -> Self {
        Self::Directory(directory)
    }

    /// Takes all files out of a tar.
    pub(super) fn spool(stream: &mut dyn Read, folder: BorrowedFd<'_>, limits: &Limits) -> Result<Self> {
        let plain = Decompressor::new(stream, limits)?;
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER, plain), limits);
        let mut file = unnamed_file(folder)?;
        let mut members = HashMap::new();
        let mut offset = 0;
        while let Some(entry) = reader.next_entry()? {
            let path = name::relative(&entry.name, limits)?;
            let member = match entry.kind {
                Kind::Directory => continue,
                Kind::File {
                    size, regions: None, ..
                } => {
                    let begin = offset;
                    copy(&mut reader, &mut file)?;
                    offset += size;
                    Member::File { offset: begin, size }
                }
                Kind::Symlink { target } => Member::Symlink(target),
                Kind::Hardlink { target } => Member::Hardlink(target),
                _ => {
                    return Err(Error::entry(
                        &entry.name,
                        "an image archive has files, directories and links alone",
                    ));
                }
            };
            members.insert(path, member);
        }
        // What follows is read to the end, so that a damaged stream is not taken for a whole one.
        reader.drain(|_| Ok(()))?;
        Ok(Self::Spool {
            file: Arc::new(file),
            members,
        })
    }

    /// The file that a path means, links followed; `None` when there is none.
    pub(super) fn find(&self, path: &[u8], limits: &Limits) -> Result<Option<Open>> {
        let path = name::relative(path, limits)?;
        match self {
            Self::Spool { file, members } => {
                let place = resolve(members, path, limits)?;
                Ok(place.map(|(offset, size)| Open {
                    file: Arc::clone(file),
                    offset,
                    left: size,
                }))
            }
            Self::Directory(directory) => in_directory(directory, &path),
        }
    }

    /// Opens a file that must be there.
    pub(super) fn open(&self, path: &[u8], limits: &Limits) -> Result<Open> {
        self.find(path, limits)?
            .ok_or_else(|| Error::image(format!("{} is not in it", crate::error::Shown::new(path))))
    }

    /// Reads a small file whole.
    pub(super) fn read(&self, path: &[u8], most: u64, limits: &Limits) -> Result<Vec<u8>> {
        let shown = crate::error::Shown::new(path);
        let mut file = self.open(path, limits)?;
        if file.size() > most {
            return Err(Error::image(format!("{shown} is larger than {most} bytes")));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)
            .map_err(|error| Error::reading("the image archive", error))?;
        Ok(content)
    }
}

fn copy(reader: &mut impl Read, file: &mut File) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => file
                .write_all(&buffer[..n])
                .map_err(|error| Error::writing("the spooled image archive", error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::reading("the image archive", error)),
        }
    }
}

/// A file without a name: it is gone when its last descriptor is, also after a crash.
fn unnamed_file(folder: BorrowedFd<'_>) -> Result<File> {
    let failed = |error: longshore_sys::Error| Error::writing("the spooled image archive", error.into());
    if let Ok(fd) = path::open(folder, b".", OFlags::TMPFILE | OFlags::RDWR, 0, Resolve::Beneath) {
        return Ok(fd.into());
    }
    // Not every file system has unnamed files.
    let random: [u8; 8] = path::random().map_err(failed)?;
    let name = format!("spool-{}", hex::encode(random));
    let fd = path::make_file(folder, name.as_bytes(), 0o600).map_err(failed)?;
    path::remove_file(folder, name.as_bytes()).map_err(failed)?;
    let fd = path::reopen(fd, OFlags::RDWR).map_err(failed)?;
    let mut file = File::from(fd);
    file.rewind()
        .map_err(|error| Error::writing("the spooled image archive", error))?;
    Ok(file)
}

/// Follows links by name, inside the archive.
fn resolve(members: &HashMap<Vec<u8>, Member>, mut path: Vec<u8>, limits: &Limits) -> Result<Option<(u64, u64)>> {
    for _ in 0..HOPS {
        path = match members.get(&path) {
            None => return Ok(None),
            Some(Member::File { offset, size }) => return Ok(Some((*offset, *size))),
            Some(Member::Hardlink(target)) => name::relative(target, limits)?,
            Some(Member::Symlink(target)) => follow(&path, target)?,
        };
    }
    Err(Error::entry(&path, "it is a link to a link, too many times"))
}

/// The path that a relative link means.
fn follow(link: &[u8], target: &[u8]) -> Result<Vec<u8>> {
    let outside = || Error::entry(link, "it is a link that leads out of the archive");
    if target.starts_with(b"/") {
        return Err(outside());
    }
    let (parent, _) = name::split(link);
    let mut parts: Vec<&[u8]> = parent.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
    for part in target
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        match part {
            b".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// Opens a regular file of a directory; links resolve inside, nothing else is opened for its data.
fn in_directory(directory: &OwnedFd, path: &[u8]) -> Result<Option<Open>> {
    let failed = |error: longshore_sys::Error| Error::tree("opening", path, error);
    let found = match path::open(directory, path, OFlags::PATH, 0, Resolve::InRoot) {
        Ok(found) => found,
        Err(error) => {
            let error = io::Error::from(error);
            let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            return if is_gone {
                Ok(None)
            } else {
                Err(Error::tree("opening", path, error))
            };
        }
    };
    let metadata = path::stat(&found).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::entry(path, "it is no regular file"));
    }
    let file = path::reopen(&found, OFlags::RDONLY).map_err(failed)?;
    Ok(Some(Open {
        file: Arc::new(file.into()),
        offset: 0,
        left: metadata.size,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn links_are_followed_inside_the_archive_alone() {
        let link = |target: &str| Member::Symlink(target.as_bytes().to_vec());
        let members: HashMap<Vec<u8>, Member> = [
            ("x.tar", Member::File { offset: 5, size: 7 }),
            ("a/layer.tar", link("../x.tar")),
            ("b/layer.tar", link("../a/./layer.tar")),
            ("hard", Member::Hardlink(b"./x.tar".to_vec())),
            ("out", link("../x.tar")),
            ("absolute", link("/x.tar")),
            ("loop", link("loop")),
            ("gone", link("nothing")),
        ]
        .into_iter()
        .map(|(path, member)| (path.as_bytes().to_vec(), member))
        .collect();
        let of = |path: &str| resolve(&members, path.as_bytes().to_vec(), &Limits::default());
        for path in ["x.tar", "a/layer.tar", "b/layer.tar", "hard"] {
            assert_eq!(of(path).unwrap(), Some((5, 7)), "{path}");
        }
        for path in ["gone", "nothing"] {
            assert_eq!(of(path).unwrap(), None, "{path}");
        }
        for path in ["out", "absolute", "loop"] {
            assert!(of(path).is_err(), "{path}");
        }
    }
}
