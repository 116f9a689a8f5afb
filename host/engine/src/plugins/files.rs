//! The folder of installed files: `plugins/<sha256>/<kind>-<name>.so`, the digest being the file's own.
//! A file is whole and on disk before anything names it; a folder that nothing names is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longshore_loader::Checked;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::paths::Paths;

/// Where a file of that digest lies.
pub(crate) fn path(paths: &Paths, digest: &str, file: &str) -> PathBuf {
    paths.data.join("plugins").join(digest).join(file)
}

/// Copies a checked file into the folder of its digest. Only bytes of that digest get there.
pub(super) fn keep(paths: &Paths, checked: &Checked, file: &str) -> Result<()> {
    let digest = checked.digest();
    let kept = path(paths, &digest, file);
    if digest_of(&kept, u64::MAX).is_ok_and(|(there, _)| there == digest) {
        return Ok(());
    }
    let folder = paths.data.join("plugins").join(&digest);
    let io = |what: &str, at: &Path, error: &std::io::Error| Error::io(format!("{what} {}", at.display()), error);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io("make the folder", &folder, &error));
        }
        _ => {}
    }
    let done = (|| {
        let (found, bytes) = digest_of(checked.path(), checked.size()).map_err(|e| io("read", checked.path(), &e))?;
        if found != digest {
            return Err(
                Error::invalid(format!("{} changed while it was read", checked.path().display()))
                    .hint("install it when nothing writes to it any more"),
            );
        }
        let part = folder.join(".part");
        let _ = fs::remove_file(&part);
        let write = || -> std::io::Result<()> {
            let mut to = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&part)?;
            to.write_all(&bytes)?;
            to.sync_all()?;
            fs::rename(&part, &kept)?;
            File::open(&folder)?.sync_all()?;
            File::open(paths.data.join("plugins"))?.sync_all()
        };
        write().map_err(|e| io("write", &kept, &e))
    })();
    if done.is_err() {
        // What is left is swept at the next start too.
        let _ = fs::remove_dir_all(&folder);
    }
    done
}

/// The digest of a file and its bytes, no more than `most`.
fn digest_of(path: &Path, most: u64) -> std::io::Result<(String, Vec<u8>)> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((hex::encode(Sha256::digest(&bytes)), bytes))
}

/// Removes the folders that are named by a digest and that no generation needs.
pub(super) fn sweep(paths: &Paths, needed: &dyn Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(paths.data.join("plugins")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_digest = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if is_digest
            && !needed(&name)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(folder = name, %error, "files of a plugin that is gone could not be removed");
        }
    }
}
