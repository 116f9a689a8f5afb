//! Layers and their replicas: which driver holds which layer, and how a missing one is made.
//!
//! A chain ID names a layer, whatever driver holds it; a replica is one driver's copy. A layer is
//! written in a fixed order: data, the commit's steps, the files of the record, one `syncfs`, one
//! database commit, and only then is it spoken of. An operation row stands for each driver call that
//! makes something, from before the call until that commit.

mod active;
mod materialize;
mod record;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_archive::digest::{ChainId, Digest};
use longshore_archive::limits::Limits;
use longshore_core::graph::{self, Access, LayerRef, Role};
use longshore_core::types::{LayerId, Note};
use longshore_performer::root::Tree;
use longshore_performer::sink::Below;

pub(crate) use active::{Active, Actives};

use crate::drivers::{Drivers, GraphSlot};
use crate::error::{Error, Result};
use crate::paths::{Paths, random};
use crate::store::{LayerRow, ReplicaRow, ReplicaState, Store, Tx};

/// What unpacking a layer is told.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The digest of the uncompressed archive, where it is known beforehand.
    pub(crate) diff_id: Option<Digest>,
}

/// A layer that was unpacked, sealed and written, and is not yet recorded.
#[derive(Debug)]
pub(crate) struct Unrecorded {
    pub(crate) row: LayerRow,
    pub(crate) replica: ReplicaRow,
    operation: i64,
    tar_split: Vec<u8>,
}

impl Unrecorded {
    /// The reference that children use.
    pub(crate) fn layer_ref(&self) -> Result<LayerRef> {
        layer_ref(&self.replica)
    }
}

/// All layers of a data root.
#[derive(Debug)]
pub(crate) struct Layers {
    store: Arc<Store>,
    drivers: Arc<Drivers>,
    paths: Paths,
    actives: Actives,
    /// Layers that an operation under way builds on, with how many do.
    pins: Mutex<HashMap<String, usize>>,
    /// Held while a replica is made from another driver's: two at once would leave one without a
    /// record.
    making: Mutex<()>,
    /// Held while the files of a record come or go.
    files: Mutex<()>,
}

/// Keeps a layer while it lives, with its ancestors, from being removed as unused.
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    layers: &'a Layers,
    chain_id: String,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = lock(&self.layers.pins);
        if let Some(count) = pins.get_mut(&self.chain_id) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.chain_id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layer_ref(replica: &ReplicaRow) -> Result<LayerRef> {
    Ok(LayerRef {
        id: LayerId::parse(replica.cache_id.clone())?,
        note: Note::parse(replica.note.clone())?,
    })
}

/// The fresh ID of a layer.
pub(crate) fn new_id() -> Result<LayerId> {
    Ok(LayerId::from_random(random()?))
}

impl Layers {
    pub(crate) fn new(store: Arc<Store>, drivers: Arc<Drivers>, paths: Paths) -> Self {
        Self {
            store,
            drivers,
            paths,
            actives: Actives::default(),
            pins: Mutex::default(),
            making: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// Keeps a layer from being removed as unused until the answer is dropped.
    pub(crate) fn pin(&self, chain_id: &str) -> Pin<'_> {
        *lock(&self.pins).entry(chain_id.to_owned()).or_default() += 1;
        Pin {
            layers: self,
            chain_id: chain_id.to_owned(),
        }
    }

    /// The chain of `top` in `slot`'s driver, top first, as a child's request needs it. Layers that
    /// the driver does not hold yet are made from another driver's replica.
    pub(crate) fn chain(&self, top: Option<&str>, slot: &Arc<GraphSlot>) -> Result<Vec<LayerRef>> {
        let Some(top) = top else {
            return Ok(Vec::new());
        };
        let rows = self.store.read(|tx| tx.layer_chain(top))?;
        let mut chain: Vec<LayerRef> = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let replica = match self.sealed_replica(&row.chain_id, &slot.name)? {
                Some(replica) => replica,
                None => self.materialize(row, &chain, slot)?,
            };
            chain.insert(0, layer_ref(&replica)?);
        }
        Ok(chain)
    }

    /// Whether every layer of a chain is in a driver already.
    pub(crate) fn is_complete(&self, top: Option<&str>, driver: &str) -> Result<bool> {
        let Some(top) = top else {
            return Ok(true);
        };
        for row in self.store.read(|tx| tx.layer_chain(top))? {
            if self.sealed_replica(&row.chain_id, driver)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether any driver holds a layer whole.
    pub(crate) fn is_usable(&self, chain_id: &str) -> Result<bool> {
        Ok(self
            .store
            .read(|tx| tx.replicas(chain_id))?
            .iter()
            .any(|replica| replica.state == ReplicaState::Sealed))
    }

    /// A layer's tree, mounted for reading in a driver that holds it, and its tar-split: what its
    /// archive is put together from.
    pub(crate) fn source(&self, row: &LayerRow) -> Result<(Arc<Active>, Vec<u8>)> {
        let mut last = Error::corrupt(format!("no driver holds layer {}", row.chain_id)).hint("load the image again");
        for replica in self.store.read(|tx| tx.replicas(&row.chain_id))? {
            if replica.state != ReplicaState::Sealed {
                continue;
            }
            match self.source_in(row, &replica) {
                Ok(source) => return Ok(source),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn source_in(&self, row: &LayerRow, replica: &ReplicaRow) -> Result<(Arc<Active>, Vec<u8>)> {
        let slot = self.drivers.graph(&replica.driver)?;
        record::check(&self.paths, &slot.folder, &row.chain_id, &replica.cache_id)?;
        let chain = self.existing_chain(row.parent.as_deref(), &slot)?;
        let active = self.activate(&slot, &layer_ref(replica)?, &chain, Access::Read)?;
        Ok((active, record::tar_split(&self.paths, &slot.folder, &row.chain_id)?))
    }

    pub(crate) fn sealed_replica(&self, chain_id: &str, driver: &str) -> Result<Option<ReplicaRow>> {
        Ok(self
            .store
            .read(|tx| tx.replica(chain_id, driver))?
            .filter(|replica| replica.state == ReplicaState::Sealed))
    }

    /// Unpacks one layer from its uncompressed or compressed archive into a new replica.
    ///
    /// # Errors
    /// A hostile or damaged archive is refused whole, and nothing of it stays.
    pub(crate) fn unpack(
        &self,
        slot: &Arc<GraphSlot>,
        parent: Option<&str>,
        chain: &[LayerRef],
        archive: &mut dyn Read,
        expected: &Expected,
    ) -> Result<Unrecorded> {
        let id = new_id()?;
        let operation = self
            .store
            .write(|tx| tx.begin_operation("layer", &slot.name, id.as_str(), "{}"))?;
        let made = self.unpack_into(slot, &id, parent, chain, archive, expected);
        match made {
            Ok((row, note, tar_split)) => Ok(Unrecorded {
                tar_split,
                replica: ReplicaRow {
                    chain_id: row.chain_id.clone(),
                    driver: slot.name.clone(),
                    cache_id: id.to_string(),
                    state: ReplicaState::Sealed,
                    note: note.into_vec(),
                },
                row,
                operation,
            }),
            Err(error) => {
                self.undo(slot, &id, chain, operation);
                Err(error)
            }
        }
    }

    fn unpack_into(
        &self,
        slot: &Arc<GraphSlot>,
        id: &LayerId,
        parent: Option<&str>,
        chain: &[LayerRef],
        archive: &mut dyn Read,
        expected: &Expected,
    ) -> Result<(LayerRow, Note, Vec<u8>)> {
        let mut layer = slot.create(id, chain, Role::Layer)?;
        let unpacked = {
            let (mount, whiteouts) = slot.activate(&layer, chain, Access::Unpack)?;
            let below = self.below(slot, chain, whiteouts)?;
            let unpacked = longshore_archive::unpack_over(archive, mount, whiteouts, below, &Limits::default())
                .map_err(|e| crate::archive_error("unpack a layer", &e))?;
            slot.deactivate(&layer, Access::Unpack)?;
            unpacked
        };
        if let Some(diff_id) = &expected.diff_id
            && *diff_id != unpacked.diff_id
        {
            return Err(Error::invalid(format!(
                "a layer's content has digest {}, the image's config says {diff_id}",
                unpacked.diff_id
            ))
            .hint("the archive is damaged or was altered; save it again"));
        }
        slot.commit(&mut layer, chain)?;
        let chain_id = match parent {
            Some(parent) => ChainId::child(&parse_chain(parent)?, &unpacked.diff_id),
            None => ChainId::base(&unpacked.diff_id),
        };
        let row = LayerRow {
            chain_id: chain_id.to_string(),
            diff_id: unpacked.diff_id.to_string(),
            parent: parent.map(str::to_owned),
            size: i64::try_from(unpacked.bytes).unwrap_or(i64::MAX),
        };
        Ok((row, layer.note, unpacked.tar_split))
    }

    /// Writes the files of a layer's record. They become durable with the layer's own flush.
    pub(crate) fn write_record(&self, slot: &GraphSlot, layer: &Unrecorded) -> Result<()> {
        let _files = lock(&self.files);
        record::write(
            &self.paths,
            &slot.folder,
            &layer.row,
            &layer.replica.cache_id,
            &layer.tar_split,
        )
    }

    /// What lies below a layer that is being filled: where it holds a difference alone, the parent's
    /// tree says what links and folders of lower layers mean.
    fn below(&self, slot: &Arc<GraphSlot>, chain: &[LayerRef], whiteouts: graph::Whiteouts) -> Result<Below> {
        let Some((parent, ancestors)) = chain.split_first() else {
            return Ok(Below::Nothing);
        };
        if whiteouts == graph::Whiteouts::Merged {
            return Ok(Below::Unknown);
        }
        let (mount, _) = slot.activate(parent, ancestors, Access::Read)?;
        Ok(Below::Tree(Tree::new(mount)?))
    }

    /// Takes back a layer that was begun, as far as it can be; what cannot stays as an operation row
    /// for the next start.
    fn undo(&self, slot: &Arc<GraphSlot>, id: &LayerId, chain: &[LayerRef], operation: i64) {
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
        if let Ok(Some(kept)) = self.sealed_replica(&layer.row.chain_id, &slot.name)
            && record::check(&self.paths, &slot.folder, &layer.row.chain_id, &kept.cache_id).is_err()
        {
            record::rename_cache_id(&self.paths, &slot.folder, &layer.row.chain_id, &kept.cache_id);
        }
    }

    /// Makes unpacked layers durable: one flush of the file system that holds them.
    pub(crate) fn sync(&self, slot: &GraphSlot) -> Result<()> {
        if crate::naive("layer-sync") {
            return Ok(());
        }
        slot.sync()?;
        // The records lie in the data root; a driver's root on a file system of its own is another
        // one to flush.
        crate::drivers::sync_folder(&self.paths.data)
    }

    /// Records layers inside the caller's change.
    pub(crate) fn record(tx: &Tx<'_>, layers: &[Unrecorded]) -> Result<()> {
        for layer in layers {
            tx.put_layer(&layer.row)?;
            tx.put_replica(&layer.replica)?;
            tx.end_operation(layer.operation)?;
        }
        Ok(())
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
        let (replicas, operations) = self.store.write(|tx| {
            if !tx.unused_layers()?.iter().any(|unused| unused == chain_id) || used_by_container(tx, chain_id)? {
                return Ok((Vec::new(), None));
            }
            let replicas = tx.replicas(chain_id)?;
            let operations = replicas
                .iter()
                .map(|replica| tx.begin_operation("layer", &replica.driver, &replica.cache_id, "{}"))
                .collect::<Result<Vec<_>>>()?;
            tx.remove_layer(chain_id)?;
            Ok((replicas, Some(operations)))
        })?;
        drop(pins);
        let Some(operations) = operations else {
            return Ok(false);
        };
        for (replica, operation) in replicas.iter().zip(operations) {
            let own = layer_ref(replica)?;
            let done = self.drivers.graph(&replica.driver).and_then(|slot| {
                self.remove_record(&slot, chain_id, &replica.cache_id);
                slot.remove(&own, &[])?;
                self.store.write(|tx| tx.end_operation(operation))
            });
            if let Err(error) = done {
                tracing::warn!(chain_id, driver = replica.driver, %error, "a replica could not be removed yet");
            }
        }
        Ok(true)
    }

    /// Undoes what an engine that died had begun, and puts right what does not agree.
    pub(crate) fn recover(&self) -> Result<()> {
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

    /// Makes a container's writable layer over a chain.
    pub(crate) fn create_container_layer(
        &self,
        slot: &Arc<GraphSlot>,
        id: &LayerId,
        chain: &[LayerRef],
    ) -> Result<LayerRef> {
        slot.create(id, chain, Role::Container)
    }

    /// Removes a container's writable layer.
    ///
    /// # Errors
    /// `InUse` while it is active.
    pub(crate) fn remove_container_layer(&self, slot: &Arc<GraphSlot>, layer: &LayerRef) -> Result<()> {
        if self.actives.is_active(&slot.name, layer.id.as_str()) && !crate::naive("lease-counting") {
            return Err(Error::in_use(format!("layer {} is mounted", layer.id)));
        }
        slot.remove(layer, &[])
    }

    /// Activates a layer, or shares its activation.
    pub(crate) fn activate(
        &self,
        slot: &Arc<GraphSlot>,
        layer: &LayerRef,
        chain: &[LayerRef],
        access: Access,
    ) -> Result<Arc<Active>> {
        self.actives.activate(slot, layer, chain, access)
    }
}

/// A container's layer stands on its image's chain even when the image was removed by force.
fn used_by_container(tx: &Tx<'_>, chain_id: &str) -> Result<bool> {
    let needle = format!("\"{chain_id}\"");
    Ok(tx.containers()?.iter().any(|container| container.doc.contains(&needle)))
}

fn parse_chain(text: &str) -> Result<ChainId> {
    Digest::parse(text)
        .map(ChainId::from_digest)
        .map_err(|e| Error::corrupt(format!("chain ID {text:?} of a record: {e}")))
}
