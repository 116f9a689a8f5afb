//! Layers and their replicas: which driver holds which layer, and how a missing one is made.
//!
//! A chain ID names a layer, whatever driver holds it; a replica is one driver's copy. A layer is
//! written in a fixed order: data, the commit's steps, the files of the record, one `syncfs`, one
//! database commit, and only then is it spoken of. An operation row stands for each driver call that
//! makes something, from before the call until that commit.

mod active;
mod materialize;
mod record;
mod remove;
mod seal;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_archive::digest::{ChainId, Digest};
use longshore_archive::limits::Limits;
use longshore_core::graph::{self, Access, LayerRef, Role};
use longshore_core::types::{LayerId, Note};
use longshore_performer::root::Tree;
use longshore_performer::sink::Below;

pub(crate) use active::{Active, Actives, Lease};

use crate::drivers::{Drivers, GraphSlot};
use crate::error::{Error, Result};
use crate::keyed::{Keyed, Places};
use crate::paths::{Paths, random};
use crate::store::{LayerRow, ReplicaRow, Store, Tx};
use seal::Checked;

/// Most layers that are unpacked at once.
const UNPACKING: usize = 4;

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
    /// Layers whose replicas are being made from another driver's: two of one at once would leave one
    /// without a record.
    making: Arc<Keyed>,
    /// Replicas that are being compared with their seals.
    checking: Arc<Keyed>,
    checked: Checked,
    unpacking: Places,
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
    /// All layers; what was not made or checked in this epoch is checked before it is used.
    pub(crate) fn new(store: Arc<Store>, drivers: Arc<Drivers>, paths: Paths, epoch: i64) -> Self {
        Self {
            store,
            drivers,
            paths,
            actives: Actives::default(),
            pins: Mutex::default(),
            making: Arc::default(),
            checking: Arc::default(),
            checked: Checked::in_epoch(epoch),
            unpacking: Places::new(UNPACKING),
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
            chain.insert(0, self.over(row, &chain, slot)?);
        }
        Ok(chain)
    }

    /// A layer in `slot`'s driver, made from another driver's replica where it is not there yet.
    /// `chain` is what lies below it.
    fn over(&self, row: &LayerRow, chain: &[LayerRef], slot: &Arc<GraphSlot>) -> Result<LayerRef> {
        match self.sound_replica(&row.chain_id, &slot.name)? {
            Some(replica) => layer_ref(&replica),
            None => layer_ref(&self.materialize(row, chain, slot)?),
        }
    }

    /// The same for a layer by its chain ID.
    pub(crate) fn layer_over(&self, chain_id: &str, chain: &[LayerRef], slot: &Arc<GraphSlot>) -> Result<LayerRef> {
        let row = self
            .store
            .read(|tx| tx.layer(chain_id))?
            .ok_or_else(|| Error::corrupt(format!("layer {chain_id} has no record")))?;
        self.over(&row, chain, slot)
    }

    /// Whether every layer of a chain is in a driver already.
    pub(crate) fn is_complete(&self, top: Option<&str>, driver: &str) -> Result<bool> {
        let Some(top) = top else {
            return Ok(true);
        };
        for row in self.store.read(|tx| tx.layer_chain(top))? {
            if self.sound_replica(&row.chain_id, driver)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes of a layer's files and of all below it.
    pub(crate) fn size(&self, top: &str) -> Result<i64> {
        let chain = self.store.read(|tx| tx.layer_chain(top))?;
        Ok(chain.iter().fold(0, |all, row| all.saturating_add(row.size)))
    }

    /// What all image layers take on disk, in every driver: the drivers' words, else what was
    /// unpacked.
    pub(crate) fn size_of_all(&self) -> Result<i64> {
        let mut all = 0_i64;
        for replica in self.store.read(|tx| tx.all_replicas())? {
            let told = self.drivers.graph(&replica.driver).and_then(|slot| {
                let row = self.store.read(|tx| tx.layer(&replica.chain_id))?;
                let chain = self.existing_chain(row.and_then(|row| row.parent).as_deref(), &slot)?;
                Ok(slot.usage(&layer_ref(&replica)?, &chain)?.exclusive)
            });
            let bytes = match told {
                Ok(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
                Err(_) => self
                    .store
                    .read(|tx| tx.layer(&replica.chain_id))?
                    .map_or(0, |row| row.size),
            };
            all = all.saturating_add(bytes);
        }
        Ok(all)
    }

    /// Whether any driver holds a layer whole.
    pub(crate) fn is_usable(&self, chain_id: &str) -> Result<bool> {
        Ok(!self.sound_replicas(chain_id)?.is_empty())
    }

    /// A layer's tree, mounted for reading in a driver that holds it, and its tar-split: what its
    /// archive is put together from.
    pub(crate) fn source(&self, row: &LayerRow) -> Result<(Arc<Active>, Vec<u8>)> {
        let mut last = lost(row);
        for replica in self.sound_replicas(&row.chain_id)? {
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
        let _place = self.unpacking.take();
        let id = new_id()?;
        let operation = self
            .store
            .write(|tx| tx.begin_operation("layer", &slot.name, id.as_str(), "{}"))?;
        let made = self.unpack_into(slot, &id, parent, chain, archive, expected);
        match made {
            Ok((row, note, seal, tar_split)) => Ok(Unrecorded {
                tar_split,
                replica: ReplicaRow {
                    chain_id: row.chain_id.clone(),
                    driver: slot.name.clone(),
                    cache_id: id.to_string(),
                    note: note.into_vec(),
                    seal: Some(seal),
                    epoch: self.checked.epoch(),
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
    ) -> Result<(LayerRow, Note, String, Vec<u8>)> {
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
        let seal = Self::seal(slot, &layer)?;
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
        Ok((row, layer.note, seal, unpacked.tar_split))
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

    /// Takes up the lease of a container that outlived the engine that started it.
    pub(crate) fn hold(&self, driver: &str, layer: &str, container: &str) -> Lease {
        Lease::Held(self.actives.hold(driver, layer, container))
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

/// No driver holds this layer whole.
fn lost(row: &LayerRow) -> Error {
    Error::corrupt(format!("no driver holds a whole copy of layer {}", row.chain_id))
        .hint("load or import the image again: only what is missing is unpacked")
}

fn parse_chain(text: &str) -> Result<ChainId> {
    Digest::parse(text)
        .map(ChainId::from_digest)
        .map_err(|e| Error::corrupt(format!("chain ID {text:?} of a record: {e}")))
}
