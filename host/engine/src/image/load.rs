//! `load`: images from an archive of `docker save` or an OCI layout.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use longshore_archive::digest::ChainId;
use longshore_archive::image::{ArchiveImage, ImageArchive};
use longshore_archive::limits::Limits;

use super::Images;
use crate::drivers::GraphSlot;
use crate::error::{Error, Result};
use crate::layer::{Expected, Pin, Unrecorded};
use crate::reference::Reference;
use crate::store::ImageRow;
use crate::time::now_seconds;

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: String,
    /// Its names, as users see them.
    pub names: Vec<String>,
}

impl Images {
    /// Loads every image of an archive. An archive that is refused leaves nothing; images of the same
    /// archive that were loaded before it failed stay.
    pub(crate) fn load(&self, archive: &mut dyn Read, slot: &Arc<GraphSlot>) -> Result<Vec<Loaded>> {
        let tmp = self.paths.tmp();
        let folder = std::fs::File::open(&tmp).map_err(|e| Error::io(format!("open {}", tmp.display()), &e))?;
        let archive = ImageArchive::from_stream(archive, folder.as_fd(), &Limits::default())
            .map_err(|e| crate::archive_error("load the archive", &e))?;
        // All names are judged before anything is unpacked.
        let names = archive.images.iter().map(references).collect::<Result<Vec<_>>>()?;
        archive
            .images
            .iter()
            .zip(names)
            .map(|(image, names)| self.load_image(image, &names, slot))
            .collect()
    }

    fn load_image(&self, image: &ArchiveImage, names: &[Reference], slot: &Arc<GraphSlot>) -> Result<Loaded> {
        super::config::ImageFile::parse(&image.config)?;
        let _loading = super::lock(&self.loading);
        let mut fresh = Vec::new();
        let mut pins = Vec::new();
        let done = self
            .load_layers(image, slot, &mut fresh, &mut pins)
            .and_then(|(chain, size)| {
                let row = ImageRow {
                    id: image.config_digest.to_string(),
                    chain,
                    size,
                    created: now_seconds(),
                };
                self.record(&row, &image.config, &fresh, names, slot)?;
                Ok(row.id)
            });
        match done {
            Ok(id) => Ok(Loaded {
                id,
                names: names.iter().map(Reference::familiar).collect(),
            }),
            Err(error) => {
                self.layers.discard(slot, fresh);
                drop(pins);
                // What was kept for this load may have lost its last user meanwhile.
                if let Err(error) = self.layers.prune() {
                    tracing::warn!(%error, "layers that nothing needs could not be removed yet");
                }
                Err(error)
            }
        }
    }

    /// Unpacks the layers that are not here yet. Answers the topmost chain ID and the size of all.
    fn load_layers<'a>(
        &'a self,
        image: &ArchiveImage,
        slot: &Arc<GraphSlot>,
        fresh: &mut Vec<Unrecorded>,
        pins: &mut Vec<Pin<'a>>,
    ) -> Result<(Option<String>, i64)> {
        let mut parent: Option<ChainId> = None;
        let mut size = 0_i64;
        for blob in &image.layers {
            let chain_id = match &parent {
                Some(parent) => ChainId::child(parent, &blob.diff_id),
                None => ChainId::base(&blob.diff_id),
            };
            let below = parent.map(|id| id.to_string());
            parent = Some(chain_id);
            pins.push(self.layers.pin(&chain_id.to_string()));
            let known = self.store.read(|tx| tx.layer(&chain_id.to_string()))?;
            if let Some(known) = known {
                size = size.saturating_add(known.size);
                // It is here, maybe in another driver; this one has it made from that when needed.
                if self.layers.is_usable(&chain_id.to_string())? {
                    continue;
                }
            }
            let mut chain = fresh
                .iter()
                .rev()
                .map(Unrecorded::layer_ref)
                .collect::<Result<Vec<_>>>()?;
            let recorded = fresh.first().map_or(below.clone(), |lowest| lowest.row.parent.clone());
            chain.extend(self.layers.chain(recorded.as_deref(), slot)?);
            let mut reader = blob.open().map_err(|e| crate::archive_error("open a layer", &e))?;
            let expected = Expected {
                diff_id: Some(blob.diff_id),
            };
            let layer = self
                .layers
                .unpack(slot, below.as_deref(), &chain, &mut reader, &expected)?;
            // What follows the archive's own end is read too: it counts to the blob's digest.
            let rest = std::io::copy(&mut reader, &mut std::io::sink());
            size = size.saturating_add(layer.row.size);
            fresh.push(layer);
            rest.map_err(|e| Error::invalid(format!("load the archive: {blob}: {e}")))?;
        }
        Ok((parent.map(|id| id.to_string()), size))
    }
}

/// The names that an archive gives an image, judged.
fn references(image: &ArchiveImage) -> Result<Vec<Reference>> {
    let mut names = image
        .tags
        .iter()
        .map(|tag| Reference::parse(tag))
        .collect::<Result<Vec<_>>>()?;
    // An OCI layout's name may be a bare tag, which names no repository.
    if names.is_empty()
        && let Some(name) = image.name.as_deref().filter(|name| name.contains(['/', ':']))
        && let Ok(reference) = Reference::parse(name)
    {
        names.push(reference);
    }
    Ok(names)
}
