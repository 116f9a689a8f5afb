//! `load`: images from an archive of `docker save` or an OCI layout.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use longshore_archive::digest::ChainId;
use longshore_archive::image::{ArchiveImage, ImageArchive};
use longshore_archive::limits::Limits;
use longshore_core::graph::LayerRef;

use super::Images;
use crate::drivers::GraphSlot;
use crate::error::{Error, Result};
use crate::keyed::Taken;
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

/// What a load has begun, until its image is recorded.
#[derive(Debug, Default)]
struct Begun<'a> {
    fresh: Vec<Unrecorded>,
    pins: Vec<Pin<'a>>,
    turns: Vec<Taken>,
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
            .map(|(image, names)| {
                self.load_image(image, &names, slot)
                    .map_err(|e| e.context(format_args!("load {}", shown(image))))
            })
            .collect()
    }

    fn load_image(&self, image: &ArchiveImage, names: &[Reference], slot: &Arc<GraphSlot>) -> Result<Loaded> {
        super::config::ImageFile::parse(&image.config)?;
        let mut begun = Begun::default();
        let done = self.load_layers(image, slot, &mut begun).and_then(|(chain, size)| {
            let row = ImageRow {
                id: image.config_digest.to_string(),
                chain,
                size,
                created: now_seconds(),
            };
            self.record(&row, &image.config, &begun.fresh, names, slot)?;
            Ok(row.id)
        });
        match done {
            Ok(id) => Ok(Loaded {
                id,
                names: names.iter().map(Reference::familiar).collect(),
            }),
            Err(error) => {
                self.layers.discard(slot, begun.fresh);
                drop(begun.pins);
                // What was kept for this load may have lost its last user meanwhile.
                if let Err(error) = self.layers.prune() {
                    tracing::warn!(%error, "layers that nothing needs could not be removed yet");
                }
                Err(error)
            }
        }
    }

    /// Unpacks the layers that are not here yet. Answers the topmost chain ID and the size of all.
    ///
    /// Each missing layer is taken by its chain ID until the image is recorded, the lowest first: of
    /// two loads that share one, the second waits and finds it; loads that share none do not wait.
    fn load_layers<'a>(
        &'a self,
        image: &ArchiveImage,
        slot: &Arc<GraphSlot>,
        begun: &mut Begun<'a>,
    ) -> Result<(Option<String>, i64)> {
        let mut parent: Option<ChainId> = None;
        let mut size = 0_i64;
        // Top first; what is here already is brought into this driver when something stands on it.
        let mut chain: Vec<LayerRef> = Vec::new();
        let mut unresolved: Vec<String> = Vec::new();
        for blob in &image.layers {
            let chain_id = match &parent {
                Some(parent) => ChainId::child(parent, &blob.diff_id),
                None => ChainId::base(&blob.diff_id),
            };
            let below = parent.map(|id| id.to_string());
            parent = Some(chain_id);
            let chain_id = chain_id.to_string();
            begun.pins.push(self.layers.pin(&chain_id));
            if let Some(there) = self.find_layer(&chain_id, begun)? {
                size = size.saturating_add(there);
                unresolved.push(chain_id);
                continue;
            }
            for there in unresolved.drain(..) {
                chain.insert(0, self.layers.layer_over(&there, &chain, slot)?);
            }
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
            chain.insert(0, layer.layer_ref()?);
            begun.fresh.push(layer);
            rest.map_err(|e| Error::invalid(format!("{blob}: {e}")))?;
        }
        Ok((parent.map(|id| id.to_string()), size))
    }

    /// The size of a layer that is here, in whatever driver. Of one that is not, the right to make it
    /// is taken.
    fn find_layer(&self, chain_id: &str, begun: &mut Begun<'_>) -> Result<Option<i64>> {
        let here = || -> Result<Option<i64>> {
            match self.store.read(|tx| tx.layer(chain_id))? {
                Some(row) if self.layers.is_usable(chain_id)? => Ok(Some(row.size)),
                _ => Ok(None),
            }
        };
        if let Some(size) = here()? {
            return Ok(Some(size));
        }
        let turn = self.loading.take(chain_id);
        let size = here()?;
        if size.is_none() {
            begun.turns.push(turn);
        }
        Ok(size)
    }
}

/// How an error names an image of the archive: as its user does, where it has a name.
fn shown(image: &ArchiveImage) -> String {
    match image.tags.first().or(image.name.as_ref()) {
        Some(name) => format!("image {name} of the archive"),
        None => format!("image {} of the archive", image.config_digest),
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
