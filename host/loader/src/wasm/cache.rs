//! Compiled code that this host keeps from one start to the next.
//!
//! Compiled code is machine code that runs in this process unchecked, so only what this host wrote may
//! come back: the folder belongs to this user and nobody else can get into it, each file is read by a
//! descriptor beneath it, and its content is sealed with a key that is made here and lies in that
//! folder. A file that was cut, flipped, or copied from another host does not fit its seal, and what it
//! held is compiled again. The name holds what the code was made of: the component's digest, and
//! wasmtime's version and settings.
#![allow(unsafe_code, reason = "compiled code is taken for what this host wrote")]

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use longshore_sys::path::{self as sys, Metadata, OFlags, Resolve, Target};
use longshore_sys::process;
use sha2::{Digest, Sha256};
use wasmtime::component::Component as Compiled;

/// More compiled code than this is no driver's.
const MAX_FILE: u64 = 512 << 20;
/// Files that are kept; beyond that the oldest go.
const MOST_FILES: usize = 64;
const KEY_FILE: &[u8] = b"key";
const SUFFIX: &str = ".compiled";
const SEAL: usize = 32;

type Key = [u8; 32];

pub(super) struct Cache {
    folder: OwnedFd,
    key: Key,
}

/// Why there is no cache, or not this file of it.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    System(#[from] longshore_sys::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Because(String),
}

impl Cache {
    /// Opens the folder, made where it is not there. `None`, and a warning, when it cannot be trusted:
    /// then everything is compiled at every start.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let opened = Self::open_folder(path);
        if let Err(reason) = &opened {
            tracing::warn!(
                folder = %path.display(),
                "compiled components are not kept: {reason}; give a folder that is yours alone (chmod 700)"
            );
        }
        opened.ok()
    }

    fn open_folder(path: &Path) -> Result<Self, Unusable> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = sys::open_directory(path)?;
        private(&sys::stat(&folder)?)?;
        let key = key(&folder)?;
        Ok(Self { folder, key })
    }

    /// The compiled code of a component, if this host has compiled it like this before.
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &[u8; 32]) -> Option<Compiled> {
        let name = name(engine, digest);
        let sealed = match read(&self.folder, name.as_bytes()) {
            Ok(sealed) => sealed?,
            Err(reason) => return self.ignored(&name, &reason),
        };
        let Some((seal, code)) = sealed.split_at_checked(SEAL) else {
            return self.ignored(&name, &"it is cut short");
        };
        if !same(seal, &self.seal(&name, code)) {
            return self.ignored(&name, &"it is not as this host wrote it");
        }
        // SAFETY: the seal says that these bytes are what `serialize` gave this host, whose key nobody
        // else has; wasmtime compares its version and settings by itself.
        match unsafe { Compiled::deserialize(engine, code) } {
            Ok(compiled) => Some(compiled),
            Err(reason) => self.ignored(&name, &reason),
        }
    }

    fn ignored(&self, name: &str, reason: &dyn std::fmt::Display) -> Option<Compiled> {
        tracing::warn!(file = name, "compiled code is not used: {reason}; it is compiled again");
        // Absent is as good as ignored, and a leftover would be named at every start.
        let _ = sys::remove_file(&self.folder, name.as_bytes());
        None
    }

    /// Keeps compiled code. A failure costs the next start some time and nothing else.
    pub(super) fn store(&self, engine: &wasmtime::Engine, digest: &[u8; 32], compiled: &Compiled) {
        let name = name(engine, digest);
        let stored = compiled
            .serialize()
            .map_err(|error| Unusable::Because(error.to_string()))
            .and_then(|code| {
                let seal = self.seal(&name, &code);
                write(&self.folder, name.as_bytes(), &[&seal, &code], Target::Replace)
            })
            .and_then(|()| self.forget_the_oldest());
        if let Err(reason) = stored {
            tracing::warn!(file = name, "compiled code is not kept: {reason}");
        }
    }

    fn forget_the_oldest(&self) -> Result<(), Unusable> {
        let mut files = Vec::new();
        for entry in fs::read_dir(sys::through_proc(&self.folder))? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str()
                && name.ends_with(SUFFIX)
            {
                files.push((entry.metadata()?.modified()?, name.to_owned()));
            }
        }
        files.sort_unstable();
        let surplus = files.len().saturating_sub(MOST_FILES);
        for (_, name) in files.iter().take(surplus) {
            sys::remove_file(&self.folder, name.as_bytes())?;
        }
        Ok(())
    }

    fn seal(&self, name: &str, code: &[u8]) -> [u8; SEAL] {
        authenticate(&self.key, &[name.as_bytes(), &[0], code])
    }
}

/// What the code was made of.
fn name(engine: &wasmtime::Engine, digest: &[u8; 32]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}{SUFFIX}", hex::encode(digest), hasher.finish())
}

/// The key of this folder; made when there is none.
fn key(folder: &OwnedFd) -> Result<Key, Unusable> {
    if read(folder, KEY_FILE)?.is_none() {
        let fresh: Key = sys::random()?;
        match write(folder, KEY_FILE, &[&fresh], Target::Keep) {
            Ok(()) => {}
            // Another process was faster.
            Err(Unusable::System(error)) if error.errno() == EEXIST => {}
            Err(other) => return Err(other),
        }
    }
    read(folder, KEY_FILE)?
        .and_then(|bytes| Key::try_from(bytes).ok())
        .ok_or_else(|| Unusable::Because("its key is not one; remove the folder".into()))
}

const EEXIST: i32 = 17;
const ENOENT: i32 = 2;

/// This user's, and nobody else's business.
fn private(metadata: &Metadata) -> Result<(), Unusable> {
    let (user, _) = process::effective_owner();
    if metadata.uid == user && metadata.mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Unusable::Because(format!(
        "it belongs to user {} and has mode {:04o}",
        metadata.uid,
        metadata.mode & 0o7777
    )))
}

/// A private file of the folder; `None` when it is not there.
fn read(folder: &OwnedFd, name: &[u8]) -> Result<Option<Vec<u8>>, Unusable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match sys::open(folder, name, flags, 0, Resolve::Beneath) {
        Ok(file) => file,
        Err(error) if error.errno() == ENOENT => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = sys::stat(&file)?;
    private(&metadata)?;
    if !metadata.is_file() || metadata.size > MAX_FILE {
        return Err(Unusable::Because("it is no file of ours".into()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.size).unwrap_or(0));
    File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes a file under another name and renames it: nobody sees half of it.
fn write(folder: impl AsFd, name: &[u8], parts: &[&[u8]], target: Target) -> Result<(), Unusable> {
    let number: [u8; 8] = sys::random()?;
    let scratch = format!(".{}.new", hex::encode(number)).into_bytes();
    let mut file = File::from(sys::make_file(&folder, &scratch, 0o600)?);
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .map_err(Unusable::from)
        .and_then(|()| Ok(sys::rename(&folder, &scratch, &folder, name, target)?));
    if written.is_err() {
        let _ = sys::remove_file(&folder, &scratch);
    }
    written
}

/// HMAC with SHA-256 (RFC 2104).
fn authenticate(key: &Key, parts: &[&[u8]]) -> [u8; SEAL] {
    const BLOCK: usize = 64;
    let pad = |byte: u8| {
        let mut block = [byte; BLOCK];
        block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    for part in parts {
        inner.update(part);
    }
    Sha256::new_with_prefix(pad(0x5c))
        .chain_update(inner.finalize())
        .finalize()
        .into()
}

/// Compares in a time that tells nothing.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 6 has a longer key; case 1 with its key filled up to a whole one is the same.
    #[test]
    fn the_seal_is_hmac_with_sha_256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex::encode(authenticate(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn a_flipped_bit_is_not_the_same() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
    }
}
