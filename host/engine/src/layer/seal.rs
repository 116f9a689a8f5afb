//! Seals: what a committed replica's tree is known by, and comparing the two after a stop that was
//! not clean.
//!
//! A seal counts entries and bytes and holds a digest of all that the kernel tells of them: names,
//! types, modes, owners, lengths, times of files, links' targets, an image's extended attributes. It
//! is of the layer's own folders, so that a chain of forty layers is forty small walks, and contents
//! are not read: what a power cut takes is lengths, names and whole files. A file that was written
//! over in place without a change of its time is not seen.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use longshore_archive::digest::HashWriter;
use longshore_core::ErrorKind;
use longshore_core::graph::LayerRef;
use longshore_performer::source::{self, Entry, Next};

use super::{Layers, layer_ref, lock};
use crate::drivers::GraphSlot;
use crate::error::{Error, Result};
use crate::store::{DamagedRow, ReplicaRow};

/// The replicas that need no check.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// What was made or checked in this epoch has its number in its row.
    epoch: i64,
    /// What was checked since the engine started: its rows are written at the next orderly stop.
    since: Mutex<HashSet<String>>,
}

impl Checked {
    pub(super) fn in_epoch(epoch: i64) -> Self {
        Self {
            epoch,
            since: Mutex::default(),
        }
    }

    pub(super) fn epoch(&self) -> i64 {
        self.epoch
    }

    fn covers(&self, replica: &ReplicaRow) -> bool {
        replica.epoch == self.epoch || replica.seal.is_none() || lock(&self.since).contains(&replica.cache_id)
    }
}

/// The seal of a tree that lies in these folders.
fn seal_of(folders: &[(usize, OwnedFd)]) -> Result<String> {
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let mut out = BufWriter::with_capacity(64 << 10, HashWriter::new(std::io::sink()));
    for (area, folder) in folders {
        source::walk(folder.as_fd(), |entry| {
            entries += 1;
            if entry.metadata.is_file() {
                bytes += entry.metadata.size;
            }
            let written = write_entry(&mut out, *area, entry);
            written.map(|()| Next::Continue)
        })?;
    }
    let hash = out
        .into_inner()
        .map_err(|e| Error::io("count a layer's entries", e.error()))?;
    let (_, digest, _) = hash.finish();
    Ok(format!("{entries} entries {bytes} bytes {digest}"))
}

fn write_entry(out: &mut impl Write, area: usize, entry: &Entry<'_>) -> longshore_core::Result<()> {
    let about = &entry.metadata;
    let failed = |e: std::io::Error| longshore_core::Error::io("count a layer's entries", &e);
    let mut line = Vec::with_capacity(entry.path.len() + 64);
    // Lengths stand before what has no fixed length: no two trees give one text.
    let mut put = |bytes: &[u8]| {
        line.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        line.extend_from_slice(bytes);
    };
    put(entry.path);
    let words = format!(
        "{area} {:o} {:o} {}:{} {}:{}",
        about.kind.as_raw_mode(),
        about.mode,
        about.uid,
        about.gid,
        about.major,
        about.minor
    );
    put(words.as_bytes());
    if about.is_file() {
        let time = about.modified;
        put(format!("{} {}.{}", about.size, time.seconds, time.nanoseconds).as_bytes());
    }
    if about.is_symlink() {
        put(&entry.target()?);
    } else {
        for (name, value) in entry.image_attributes()? {
            put(&name);
            put(&value);
        }
        if entry.is_opaque()? {
            put(b"opaque");
        }
    }
    out.write_all(&line).map_err(failed)
}

impl Layers {
    /// The seal of a layer that was committed.
    pub(super) fn seal(slot: &GraphSlot, layer: &LayerRef) -> Result<String> {
        seal_of(&slot.folders(&layer.id)?)
    }

    /// The replica of a layer in a driver, compared with its seal where that is due. One that is not
    /// as its seal says is put aside, and is as good as absent.
    pub(crate) fn sound_replica(&self, chain_id: &str, driver: &str) -> Result<Option<ReplicaRow>> {
        match self.store.read(|tx| tx.replica(chain_id, driver))? {
            Some(replica) if self.is_sound(&replica)? => Ok(Some(replica)),
            _ => Ok(None),
        }
    }

    /// Every sound replica of a layer.
    pub(super) fn sound_replicas(&self, chain_id: &str) -> Result<Vec<ReplicaRow>> {
        let mut sound = Vec::new();
        for replica in self.store.read(|tx| tx.replicas(chain_id))? {
            match self.is_sound(&replica) {
                Ok(true) => sound.push(replica),
                Ok(false) => {}
                // Its driver cannot be asked: another one may do.
                Err(error) => tracing::warn!(chain_id, driver = replica.driver, %error, "a copy cannot be checked"),
            }
        }
        Ok(sound)
    }

    fn is_sound(&self, replica: &ReplicaRow) -> Result<bool> {
        if self.checked.covers(replica) {
            return Ok(true);
        }
        let _turn = self.checking.take(&replica.cache_id);
        if self.checked.covers(replica) {
            return Ok(true);
        }
        let slot = self.drivers.graph(&replica.driver)?;
        let found = self.compare(&slot, replica)?;
        let Some(what) = found else {
            lock(&self.checked.since).insert(replica.cache_id.clone());
            return Ok(true);
        };
        tracing::error!(
            chain_id = replica.chain_id,
            driver = replica.driver,
            cache_id = replica.cache_id,
            what,
            "a copy of a layer is damaged and is not used any more"
        );
        self.store.write(|tx| tx.isolate(replica, &what))?;
        Ok(false)
    }

    /// What of a replica is not as its seal says.
    fn compare(&self, slot: &Arc<GraphSlot>, replica: &ReplicaRow) -> Result<Option<String>> {
        if crate::naive("seals") {
            return Ok(None);
        }
        let sealed = replica.seal.as_deref().unwrap_or_default();
        match Self::seal(slot, &layer_ref(replica)?) {
            Ok(now) if now == sealed => Ok(None),
            Ok(now) => Ok(Some(format!("sealed with {}, found {}", counts(sealed), counts(&now)))),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(Some(error.message)),
            Err(error) => Err(error.context(format_args!(
                "check layer {} of driver {}",
                replica.cache_id, replica.driver
            ))),
        }
    }

    /// Every damaged replica.
    pub(crate) fn damaged(&self) -> Result<Vec<DamagedRow>> {
        self.store.read(|tx| tx.damaged())
    }

    /// Writes down what was checked since the engine started: a clean stop follows.
    pub(crate) fn note_checked(&self) -> Result<()> {
        let since = std::mem::take(&mut *lock(&self.checked.since));
        if since.is_empty() {
            return Ok(());
        }
        self.store
            .write(|tx| since.iter().try_for_each(|id| tx.note_checked(id, self.checked.epoch)))
    }
}

/// A seal as people read it: the counts, and the digest's beginning.
fn counts(seal: &str) -> String {
    match seal.split_once(" bytes sha256:") {
        Some((counts, digest)) => format!("{counts} bytes ({})", digest.get(..12).unwrap_or(digest)),
        None => seal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn seal(path: &std::path::Path) -> String {
        let fd = longshore_sys::path::open_directory(path).unwrap();
        seal_of(&[(0, fd)]).unwrap()
    }

    #[test]
    fn a_seal_sees_lengths_modes_names_and_targets_and_not_reading() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/file"), b"content").unwrap();
        std::os::unix::fs::symlink("file", at("d/link")).unwrap();
        let first = seal(top.path());
        assert!(first.starts_with("4 entries 7 bytes sha256:"), "{first}");
        std::fs::read(at("d/file")).unwrap();
        assert_eq!(seal(top.path()), first);
        let modified = std::fs::metadata(at("d/file")).unwrap().modified().unwrap();
        let put_back = |content: &[u8]| {
            std::fs::write(at("d/file"), content).unwrap();
            let file = std::fs::File::options().write(true).open(at("d/file")).unwrap();
            file.set_modified(modified).unwrap();
        };
        put_back(b"");
        assert_ne!(seal(top.path()), first, "a file without its content");
        put_back(b"content");
        assert_eq!(seal(top.path()), first);
        std::fs::rename(at("d/file"), at("d/other")).unwrap();
        assert_ne!(seal(top.path()), first, "another name");
        std::fs::rename(at("d/other"), at("d/file")).unwrap();
        std::fs::remove_file(at("d/link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", at("d/link")).unwrap();
        assert_ne!(seal(top.path()), first, "another target");
    }
}
