//! Taking layers away: what nothing needs any more, what failed half made, what an engine that died
//! had begun, and what no record speaks of.

use std::sync::Arc;

use longshore_core::graph::LayerRef;
use longshore_core::types::{LayerId, Note};

use super::{Layers, Unrecorded, layer_ref, lock, record};
use crate::drivers::GraphSlot;
use crate::error::Result;

impl Layers {
    /// Takes back a layer that was begun, as far as it can be; what cannot stays as an operation row
    /// for the next start.
    pub(super) fn undo(&self, slot: &Arc<GraphSlot>, id: &LayerId, chain: &[LayerRef], operation: i64) {
        let layer = LayerRef {
            id: id.clone(),
            note: Note::default(),
        };
        let undone = slot
            .remove(&layer, chain)
            .and_then(|()| self.store.write(|tx| tx.end_operation(operation)));
        if let Err(error) = undone {
            tracing::warn!(layer = %id, driver = slot.name, %error, "a layer that failed could not be removed yet");
        }
    }

    /// Takes back layers that were unpacked and shall not be recorded.
    pub(crate) fn discard(&self, slot: &Arc<GraphSlot>, layers: Vec<Unrecorded>) {
        for layer in layers.into_iter().rev() {
            self.remove_record(slot, &layer.row.chain_id, &layer.replica.cache_id);
            match layer.layer_ref() {
                Ok(own) => self.undo(slot, &own.id, &[], layer.operation),
                Err(error) => tracing::warn!(%error, "a layer's own reference is malformed"),
            }
        }
    }

    /// Removes a record's files unless they are another copy's by now.
    fn remove_record(&self, slot: &GraphSlot, chain_id: &str, cache_id: &str) {
        let _files = lock(&self.files);
        if !record::check(&self.paths, &slot.folder, chain_id, cache_id)
            .is_err_and(|e| e.kind == longshore_core::ErrorKind::Corrupt)
        {
            record::remove(&self.paths, &slot.folder, chain_id);
        }
    }

    /// Takes back a copy of a layer that another operation recorded first.
    pub(crate) fn discard_copy(&self, slot: &Arc<GraphSlot>, layer: &Unrecorded) {
        if let Ok(own) = layer.layer_ref() {
            self.undo(slot, &own.id, &[], layer.operation);
        }
        let _files = lock(&self.files);
        if let Ok(Some(kept)) = self.sound_replica(&layer.row.chain_id, &slot.name)
            && record::check(&self.paths, &slot.folder, &layer.row.chain_id, &kept.cache_id).is_err()
        {
            record::rename_cache_id(&self.paths, &slot.folder, &layer.row.chain_id, &kept.cache_id);
        }
    }

    /// Removes every layer that nothing refers to any more, with all its replicas. Answers the chain
    /// IDs, topmost first.
    pub(crate) fn prune(&self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        loop {
            let unused = self.store.read(|tx| tx.unused_layers())?;
            let before = removed.len();
            for chain_id in unused {
                if self.remove_layer(&chain_id)? {
                    removed.push(chain_id);
                }
            }
            if removed.len() == before {
                return Ok(removed);
            }
        }
    }

    /// Removes a layer when nothing refers to it. That is asked in the same change that removes it:
    /// an image or a container may have come meanwhile. Answers whether it went.
    fn remove_layer(&self, chain_id: &str) -> Result<bool> {
        // Kept locked until the record is gone: who pins it after that does not find it.
        let pins = lock(&self.pins);
        if pins.contains_key(chain_id) {
            return Ok(false);
        }
        // The record goes first: a crash after it leaves trees without a record, which the next
        // start removes; the other way round would leave a record without a tree.
        let copies = self.store.write(|tx| {
            // A container's layer stands on its image's chain even when the image was removed by force.
            if !tx.unused_layers()?.iter().any(|unused| unused == chain_id) || !tx.lease_owners(chain_id)?.is_empty() {
                return Ok(None);
            }
            let whole = tx.replicas(chain_id)?;
            let mut copies = Vec::new();
            for replica in whole {
                copies.push((replica.driver.clone(), layer_ref(&replica)?));
            }
            for (driver, cache_id) in tx.take_damaged(chain_id)? {
                copies.push((driver, bare_ref(&cache_id)?));
            }
            let begun = copies
                .into_iter()
                .map(|(driver, own)| {
                    Ok((
                        tx.begin_operation("layer", &driver, own.id.as_str(), "{}")?,
                        driver,
                        own,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            tx.remove_layer(chain_id)?;
            Ok(Some(begun))
        })?;
        drop(pins);
        let Some(copies) = copies else {
            return Ok(false);
        };
        for (operation, driver, own) in copies {
            let done = self.drivers.graph(&driver).and_then(|slot| {
                self.remove_record(&slot, chain_id, own.id.as_str());
                slot.remove(&own, &[])?;
                self.store.write(|tx| tx.end_operation(operation))
            });
            if let Err(error) = done {
                tracing::warn!(chain_id, driver, %error, "a replica could not be removed yet");
            }
        }
        Ok(true)
    }

    /// Undoes what an engine that died had begun, and drops leases whose owners are gone.
    pub(crate) fn recover(&self) -> Result<()> {
        let strangers = self.store.read(|tx| tx.lease_strangers())?;
        if !strangers.is_empty() {
            self.store
                .write(|tx| strangers.iter().try_for_each(|owner| tx.drop_leases(owner)))?;
        }
        for operation in self.store.read(|tx| tx.operations())? {
            if operation.kind != "layer" {
                continue;
            }
            let slot = match self.drivers.graph(&operation.driver) {
                Ok(slot) => slot,
                Err(error) => {
                    tracing::warn!(driver = operation.driver, %error, "an unfinished layer waits for its driver");
                    continue;
                }
            };
            let id = LayerId::parse(operation.object.clone())?;
            record::remove_by_cache_id(&self.paths, &slot.folder, id.as_str());
            self.undo(&slot, &id, &[], operation.id);
        }
        Ok(())
    }

    /// Trees of layers that no record speaks of, in the configured driver and those that are open:
    /// driver and cache ID.
    pub(crate) fn unknown(&self) -> Result<Vec<(String, String)>> {
        let configured = self.drivers.chosen("graph", &crate::Choice::default());
        if let Err(error) = configured.and_then(|name| self.drivers.graph(&name)) {
            tracing::debug!(%error, "the configured driver's layers cannot be looked at");
        }
        let mut unknown = Vec::new();
        for slot in self.drivers.open_graphs() {
            // Looked at first: a layer that comes after this has its row before its tree.
            let there = slot.layers()?;
            let known = self.store.read(|tx| tx.known_cache_ids(&slot.name))?;
            let strange = there.into_iter().filter(|id| !known.contains(id));
            unknown.extend(strange.map(|id| (slot.name.clone(), id)));
        }
        Ok(unknown)
    }

    /// Removes a tree that no record speaks of.
    pub(crate) fn remove_unknown(&self, driver: &str, id: &str) -> Result<()> {
        let slot = self.drivers.graph(driver)?;
        record::remove_by_cache_id(&self.paths, &slot.folder, id);
        slot.remove(&bare_ref(id)?, &[])
    }
}

/// A layer of which no note is known.
fn bare_ref(cache_id: &str) -> Result<LayerRef> {
    Ok(LayerRef {
        id: LayerId::parse(cache_id.to_owned())?,
        note: Note::default(),
    })
}
