//! Making a layer's replica in one driver from another driver's replica.
//!
//! The layer's archive is put together byte for byte from its recorded tar-split and the tree of the
//! other replica, and unpacked into the new one; the diff ID must come out the same. So a driver can
//! be swapped by config and no image is lost.

use std::sync::Arc;

use longshore_archive::digest::Digest;
use longshore_core::graph::LayerRef;

use super::{Expected, Layers, layer_ref};
use crate::drivers::GraphSlot;
use crate::error::{Error, Result};
use crate::store::{LayerRow, ReplicaRow};

impl Layers {
    /// Makes the replica of `row` in `slot`, over `chain` which is there already, and records it.
    pub(super) fn materialize(&self, row: &LayerRow, chain: &[LayerRef], slot: &Arc<GraphSlot>) -> Result<ReplicaRow> {
        let _making = self.making.take(&row.chain_id);
        if let Some(replica) = self.sound_replica(&row.chain_id, &slot.name)? {
            return Ok(replica);
        }
        let sources: Vec<ReplicaRow> = self
            .sound_replicas(&row.chain_id)?
            .into_iter()
            .filter(|replica| replica.driver != slot.name)
            .collect();
        let mut last = super::lost(row);
        for source in sources {
            match self.copy_replica(row, &source, chain, slot) {
                Ok(replica) => return Ok(replica),
                Err(error) => {
                    tracing::warn!(chain_id = row.chain_id, from = source.driver, to = slot.name, %error, "cannot make a replica");
                    last = error;
                }
            }
        }
        Err(last.context(format_args!("bring layer {} to driver {}", row.chain_id, slot.name)))
    }

    fn copy_replica(
        &self,
        row: &LayerRow,
        source: &ReplicaRow,
        chain: &[LayerRef],
        slot: &Arc<GraphSlot>,
    ) -> Result<ReplicaRow> {
        let (active, split) = self.source_in(row, source)?;
        let expected = Expected {
            diff_id: Some(
                Digest::parse(&row.diff_id).map_err(|e| Error::corrupt(format!("diff ID of a record: {e}")))?,
            ),
        };
        let unpacked = std::thread::scope(|scope| -> Result<_> {
            let (mut reader, writer) = std::io::pipe().map_err(|e| Error::io("make a pipe", &e))?;
            let assembler = scope.spawn(|| {
                let mut writer = std::io::BufWriter::with_capacity(1 << 20, writer);
                longshore_archive::assemble(&split, active.mount(), &mut writer)
                    .map_err(|e| crate::archive_error("put a layer's archive together", &e))
            });
            let result = self.unpack(slot, row.parent.as_deref(), chain, &mut reader, &expected);
            // A writer whose reader has given up gets a broken pipe and ends.
            drop(reader);
            match assembler.join() {
                Ok(Ok(())) => result,
                // The reader's own reason says more than the pipe that it broke.
                Ok(Err(_)) if result.is_err() => result,
                Ok(Err(error)) => {
                    if let Ok(unrecorded) = result {
                        self.discard(slot, vec![unrecorded]);
                    }
                    Err(error)
                }
                Err(_) => Err(Error::corrupt("the archive of a layer could not be put together")),
            }
        })?;
        if let Err(error) = self.write_record(slot, &unpacked).and_then(|()| self.sync(slot)) {
            self.discard(slot, vec![unpacked]);
            return Err(error);
        }
        let replica = unpacked.replica.clone();
        self.store
            .write(|tx| Self::record(tx, std::slice::from_ref(&unpacked)))?;
        Ok(replica)
    }

    /// The chain of a layer in a driver that holds all of it.
    pub(super) fn existing_chain(&self, top: Option<&str>, slot: &Arc<GraphSlot>) -> Result<Vec<LayerRef>> {
        let Some(top) = top else {
            return Ok(Vec::new());
        };
        self.store
            .read(|tx| tx.layer_chain(top))?
            .iter()
            .map(|row| match self.sound_replica(&row.chain_id, &slot.name)? {
                Some(replica) => layer_ref(&replica),
                None => Err(Error::corrupt(format!(
                    "driver {} holds a layer whose ancestor {} it does not hold",
                    slot.name, row.chain_id
                ))),
            })
            .collect()
    }
}
