//! `import`: an image of one layer from a root file system's archive.

use std::io::Read;
use std::sync::Arc;

use longshore_archive::digest::Digest;

use super::Images;
use super::config::{History, ImageFile, RootFs, RunConfig};
use crate::drivers::GraphSlot;
use crate::error::Result;
use crate::layer::{Expected, Layers};
use crate::reference::Reference;
use crate::store::ImageRow;
use crate::time::{now, now_seconds};

impl Images {
    /// Makes the image. Answers its ID. A failure leaves nothing.
    pub(crate) fn import(
        &self,
        archive: &mut dyn Read,
        name: Option<&str>,
        changes: &[String],
        message: &str,
        slot: &Arc<GraphSlot>,
    ) -> Result<String> {
        let reference = name.filter(|name| !name.is_empty()).map(Reference::parse).transpose()?;
        let mut run = RunConfig::default();
        for change in changes {
            run.change(change)?;
        }
        let layer = self
            .layers
            .unpack(slot, None, &[], archive, &Expected { diff_id: None })
            .map_err(|e| e.context("import the archive"))?;
        let file = ImageFile {
            architecture: architecture().to_owned(),
            os: "linux".into(),
            created: Some(now()),
            config: Some(run),
            rootfs: RootFs {
                typ: "layers".into(),
                diff_ids: vec![layer.row.diff_id.clone()],
            },
            history: vec![History {
                created: Some(now()),
                comment: Some(if message.is_empty() {
                    "Imported from -".to_owned()
                } else {
                    message.to_owned()
                }),
                ..History::default()
            }],
            ..ImageFile::default()
        };
        let recorded = serde_json::to_vec(&file).map_err(Into::into).and_then(|raw| {
            let row = ImageRow {
                id: Digest::of(&raw).to_string(),
                chain: Some(layer.row.chain_id.clone()),
                size: layer.row.size,
                created: now_seconds(),
            };
            self.record(&row, &raw, std::slice::from_ref(&layer), reference.as_slice(), slot)?;
            Ok(row.id)
        });
        if recorded.is_err() {
            self.layers.discard(slot, vec![layer]);
        }
        recorded
    }

    /// Makes an image durable: config and layers on disk, one flush, one commit.
    pub(super) fn record(
        &self,
        row: &ImageRow,
        raw: &[u8],
        layers: &[crate::layer::Unrecorded],
        names: &[Reference],
        slot: &Arc<GraphSlot>,
    ) -> Result<()> {
        let recording = super::lock(&self.recording);
        // From here on no layer that is there goes, and none comes but by this.
        let _pins: Vec<_> = layers
            .iter()
            .map(|layer| self.layers.pin(&layer.row.chain_id))
            .collect();
        for layer in layers {
            if self.layers.sound_replica(&layer.row.chain_id, &slot.name)?.is_none() {
                self.layers.write_record(slot, layer)?;
            }
        }
        self.write_config(&row.id, raw)?;
        self.layers.sync(slot)?;
        let fresh = self.store.write(|tx| {
            // A layer that another operation recorded meanwhile is there already: this copy of it
            // goes.
            let fresh: Vec<bool> = layers
                .iter()
                .map(|layer| Ok(tx.replica(&layer.row.chain_id, &slot.name)?.is_none()))
                .collect::<Result<_>>()?;
            for (layer, _) in layers.iter().zip(&fresh).filter(|(_, fresh)| **fresh) {
                Layers::record(tx, std::slice::from_ref(layer))?;
            }
            tx.put_image(row)?;
            names
                .iter()
                .try_for_each(|name| tx.put_name(&name.canonical(), &row.id))?;
            Ok(fresh)
        })?;
        drop(recording);
        for (layer, _) in layers.iter().zip(&fresh).filter(|(_, fresh)| !**fresh) {
            self.layers.discard_copy(slot, layer);
        }
        self.mirror_names();
        Ok(())
    }
}

/// This machine's architecture in OCI's words (Go's `GOARCH`).
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
