//! docker-archive: `manifest.json` names the config, the layers and the tags of each image.

use std::sync::Arc;

use serde::Deserialize;

use super::files::Files;
use super::{ArchiveImage, CONFIG, IMAGES, LayerBlob, MANIFEST, blob_digest, check_tag, diff_ids, expect, json};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::tar::name;

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Option<Vec<String>>,
}

pub(super) fn images(files: &Arc<Files>, limits: &Limits) -> Result<Vec<ArchiveImage>> {
    let text = files.read(b"manifest.json", MANIFEST, limits)?;
    let items: Vec<Item> = json::strict(&text, "manifest.json")?;
    if items.len() > IMAGES {
        return Err(Error::image(format!("more than {IMAGES} images are in it")));
    }
    items.into_iter().map(|item| image(files, item, limits)).collect()
}

fn image(files: &Arc<Files>, item: Item, limits: &Limits) -> Result<ArchiveImage> {
    let config_path = name::relative(item.config.as_bytes(), limits)?;
    let config = files.read(&config_path, CONFIG, limits)?;
    let config_digest = Digest::of(&config);
    let size = config.len() as u64;
    if let Some(told) = told_digest(&config_path) {
        expect("the config", (config_digest, size), (told, size))?;
    }
    let paths = item.layers.unwrap_or_default();
    let diff_ids = diff_ids(&config, paths.len())?;
    let layers = paths
        .iter()
        .zip(diff_ids)
        .map(|(path, diff_id)| layer(files, path, diff_id, limits));
    let tags = item.tags.unwrap_or_default();
    if tags.len() > IMAGES {
        return Err(Error::image(format!("an image has more than {IMAGES} tags")));
    }
    tags.iter().try_for_each(|tag| check_tag(tag))?;
    Ok(ArchiveImage {
        layers: layers.collect::<Result<_>>()?,
        config,
        config_digest,
        tags,
        name: None,
    })
}

fn layer(files: &Arc<Files>, path: &str, diff_id: Digest, limits: &Limits) -> Result<LayerBlob> {
    let path = name::relative(path.as_bytes(), limits)?;
    Ok(LayerBlob {
        size: files.open(&path, limits)?.size(),
        digest: blob_digest(&path),
        files: Arc::clone(files),
        path,
        diff_id,
    })
}

/// The digest that a config's name tells: `<64 digits>.json`, or a blob.
fn told_digest(path: &[u8]) -> Option<Digest> {
    let name = std::str::from_utf8(path).ok()?;
    blob_digest(path).or_else(|| Digest::from_hex(name.strip_suffix(".json")?))
}
