//! The files of a layer's record, where Docker has them: `image/<folder>/layerdb/sha256/<chain>/`.

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::paths::{Paths, make_dir, read_bounded, write_whole};
use crate::store::LayerRow;

/// Largest compressed tar-split file that is read back.
const MAX_SPLIT: u64 = 256 << 20;

fn hex_of(chain_id: &str) -> &str {
    chain_id.strip_prefix("sha256:").unwrap_or(chain_id)
}

fn folder_of(paths: &Paths, folder: &str, chain_id: &str) -> PathBuf {
    paths.layer_record(folder, hex_of(chain_id))
}

/// Writes the files. They become durable with the layer's own flush.
pub(crate) fn write(paths: &Paths, folder: &str, row: &LayerRow, cache_id: &str, tar_split: &[u8]) -> Result<()> {
    let at = folder_of(paths, folder, &row.chain_id);
    make_dir(&at, 0o700)?;
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        ("cache-id", cache_id.into()),
        ("diff", row.diff_id.clone().into()),
        ("size", row.size.to_string().into()),
        ("tar-split.json.gz", tar_split.to_vec()),
    ];
    if let Some(parent) = &row.parent {
        files.push(("parent", parent.clone().into()));
    }
    for (name, content) in files {
        write_whole(&at.join(name), &content, 0o644, false)?;
    }
    Ok(())
}

/// The recorded tar-split of a layer.
pub(crate) fn tar_split(paths: &Paths, folder: &str, chain_id: &str) -> Result<Vec<u8>> {
    read_bounded(&folder_of(paths, folder, chain_id).join("tar-split.json.gz"), MAX_SPLIT)
}

/// Removes a layer's files, where they are.
pub(crate) fn remove(paths: &Paths, folder: &str, chain_id: &str) {
    let at = folder_of(paths, folder, chain_id);
    if let Err(error) = fs::remove_dir_all(&at)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %at.display(), %error, "a layer's record could not be removed");
    }
}

/// Removes the files of the layer with that cache ID: what an unfinished operation left.
pub(crate) fn remove_by_cache_id(paths: &Paths, folder: &str, cache_id: &str) {
    let all = paths.data.join("image").join(folder).join("layerdb/sha256");
    let Ok(entries) = fs::read_dir(&all) else {
        return;
    };
    for entry in entries.flatten() {
        if fs::read_to_string(entry.path().join("cache-id")).is_ok_and(|id| id == cache_id) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Puts the cache ID of the replica that stays into a layer's record.
pub(crate) fn rename_cache_id(paths: &Paths, folder: &str, chain_id: &str, cache_id: &str) {
    let at = folder_of(paths, folder, chain_id).join("cache-id");
    if let Err(error) = write_whole(&at, cache_id.as_bytes(), 0o644, false) {
        tracing::warn!(path = %at.display(), %error, "a layer's record names a copy that is gone");
    }
}

/// Checks that a layer's record names the cache ID that the database names.
pub(crate) fn check(paths: &Paths, folder: &str, chain_id: &str, cache_id: &str) -> Result<()> {
    let at = folder_of(paths, folder, chain_id).join("cache-id");
    let written = read_bounded(&at, 256)?;
    if written == cache_id.as_bytes() {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "{} names another layer than the database does",
        at.display()
    )))
}
