//! Checks a driver's file before any of its code can run.
//!
//! The file is opened once, by descriptor, and everything after that is of this descriptor: what was
//! checked is what is loaded. Elsewhere: what the bytes must look like ([`crate::elf`]), what the
//! manifest may ask for ([`crate::policy`]). A file is a library or a component; its first bytes
//! tell which.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use longshore_sys::path::{self as sys, Metadata, OFlags, Resolve};
use longshore_sys::process;
use sha2::{Digest, Sha256};

use crate::elf;
use crate::manifest::{Manifest, SECTION};
use crate::refusal::{Fault, Problem, Refused};
use crate::wasm::sections;

/// Larger files are no drivers.
const MAX_FILE: u64 = 512 << 20;

/// A file that has passed all checks that need no code of it to run.
#[derive(Debug)]
pub struct Checked {
    pub(crate) file: OwnedFd,
    pub(crate) identity: Identity,
    path: PathBuf,
    size: u64,
    manifest: Manifest,
    component: bool,
}

/// What a file is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Its SHA-256; absent when somebody else has looked.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Checked {
    /// Where it was found, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it is a Wasm component; else it is a library.
    pub fn is_component(&self) -> bool {
        self.component
    }

    /// Its bytes, if they are still those that were checked.
    #[cfg(feature = "wasm")]
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Fault> {
        let file = longshore_sys::path::reopen(&self.file, OFlags::RDONLY).map_err(missing)?;
        let bytes = read(&file, self.size)?;
        if self.identity.digest != Some(Sha256::digest(&bytes).into()) {
            return Err(changes());
        }
        Ok(bytes)
    }

    /// Its SHA-256, in hex.
    pub fn digest(&self) -> String {
        hex::encode(self.identity.digest.unwrap_or_default())
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Opens a file and checks it: kind, owner and rights of file and folder, that it is a whole library
/// for this machine or a whole component, its manifest. Nothing of it runs.
///
/// # Errors
/// The first check that failed, as one sentence.
pub fn check(path: &Path) -> Result<Checked, Refused> {
    let at = |fault: Fault| fault.at(path);
    let resolved = path.canonicalize().map_err(|error| at(missing(error)))?;
    let (file, metadata) = open(&resolved).map_err(at)?;
    let bytes = read(&file, metadata.size).map_err(at)?;
    let manifest = manifest_of(&bytes, path)?;
    Ok(Checked {
        file,
        identity: Identity {
            device: metadata.device,
            inode: metadata.inode,
            digest: Some(Sha256::digest(&bytes).into()),
        },
        path: resolved,
        size: metadata.size,
        manifest,
        component: sections::is_wasm(&bytes),
    })
}

/// Checks that the bytes are a whole library for this machine, or a whole component, and reads its
/// manifest. `path` stands in the refusal.
///
/// # Errors
/// The first check that failed.
pub fn manifest_of(bytes: &[u8], path: &Path) -> Result<Manifest, Refused> {
    let manifest = if sections::is_wasm(bytes) {
        sections::manifest(bytes).and_then(Manifest::parse_component)
    } else {
        elf::section(bytes, SECTION).and_then(Manifest::parse)
    };
    manifest.map_err(|fault| fault.at(path))
}

fn missing(error: impl std::fmt::Display) -> Fault {
    Fault::new(
        Problem::Missing,
        format_args!("it cannot be opened ({error})"),
        "give the path of a driver's shared library (.so)",
    )
}

fn open(path: &Path) -> Result<(OwnedFd, Metadata), Fault> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_regular("a directory"));
    };
    let folder_fd = sys::open_directory(folder).map_err(missing)?;
    let folder_is = sys::stat(&folder_fd).map_err(missing)?;
    let place = open_place(&folder_fd, name)?;
    let metadata = sys::stat(&place).map_err(missing)?;
    if !metadata.is_file() {
        return Err(not_regular(sort_of(&metadata)));
    }
    trusted("its folder", &folder_is, &folder.display().to_string())?;
    trusted("it", &metadata, &path.display().to_string())?;
    if metadata.size > MAX_FILE {
        return Err(Fault::new(
            Problem::NotLibrary,
            format_args!("it has {} bytes, more than any driver ({MAX_FILE})", metadata.size),
            "give the path of a driver's shared library",
        ));
    }
    // Only now, when it is known to be no FIFO and no device: opening those has effects.
    let file = sys::reopen(&place, OFlags::RDONLY | OFlags::NOCTTY).map_err(missing)?;
    Ok((file, metadata))
}

fn open_place(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Fault> {
    sys::open(
        folder,
        name.as_bytes(),
        OFlags::PATH | OFlags::NOFOLLOW,
        0,
        Resolve::BeneathMounts,
    )
    .map_err(missing)
}

fn sort_of(metadata: &Metadata) -> &'static str {
    use longshore_sys::path::FileType;
    match metadata.kind {
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symbolic link",
        _ => "no regular file",
    }
}

fn not_regular(sort: &str) -> Fault {
    Fault::new(
        Problem::NotRegular,
        format_args!("it is {sort}"),
        "give the path of a driver's shared library (.so)",
    )
}

/// Nobody but root and this user may have put it there or may change it.
fn trusted(what: &str, metadata: &Metadata, path: &str) -> Result<(), Fault> {
    let (user, _) = process::effective_owner();
    if metadata.uid != 0 && metadata.uid != user {
        return Err(Fault::new(
            Problem::Untrusted,
            format_args!(
                "{what} belongs to user {}, who is neither root nor user {user}",
                metadata.uid
            ),
            format!("chown root '{path}' if you trust it"),
        ));
    }
    if metadata.mode & 0o022 != 0 {
        return Err(Fault::new(
            Problem::Untrusted,
            format_args!("{what} can be written by others (mode {:04o})", metadata.mode),
            format!("chmod go-w '{path}' if you trust it"),
        ));
    }
    Ok(())
}

fn read(file: &OwnedFd, size: u64) -> Result<Vec<u8>, Fault> {
    let file = file.try_clone().map_err(missing)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    File::from(file)
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(missing)?;
    if bytes.len() as u64 != size {
        return Err(changes());
    }
    Ok(bytes)
}

fn changes() -> Fault {
    Fault::new(
        Problem::Damaged,
        "it changes while it is read",
        "replace a driver's file by rename, never in place",
    )
}
