//! Mounts that a driver counts itself: each has a row from before the driver is asked until the driver
//! has let go, so that none is forgotten, whoever dies.
//!
//! Ending one may reach a backend that is away or a plugin that hangs. So it is done beside the
//! container's end, which waits for nothing here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use longshore_core::types::MountId;

use super::{Volumes, lock};
use crate::drivers::VolumeSlot;
use crate::error::Result;
use crate::store::OperationRow;

/// What the rows of mounts are called.
pub(super) const OPERATION: &str = "volume-mount";

/// The mounts that drivers count now: the row of each, by volume and container.
#[derive(Debug, Default)]
pub(super) struct Tracked(Mutex<HashMap<(String, String), i64>>);

impl Volumes {
    /// Notes a mount before its driver is asked for it. Answers whether it is one that the driver counts.
    pub(super) fn begin_tracked(&self, slot: &VolumeSlot, name: &str, container: &str) -> Result<bool> {
        if !slot.tracks_mounts() {
            return Ok(false);
        }
        let key = (name.to_owned(), container.to_owned());
        // A second mount of one container is the same one for the driver.
        if !lock(&self.tracked.0).contains_key(&key) {
            let row = self
                .store
                .write(|tx| tx.begin_operation(OPERATION, &slot.name, name, container))?;
            lock(&self.tracked.0).insert(key, row);
        }
        Ok(true)
    }

    /// Lets the driver end a mount that it counts, on a thread of its own. Nothing to do for others.
    pub(super) fn end_tracked(self: &Arc<Self>, name: &str, container: &str) {
        let Some(row) = lock(&self.tracked.0).remove(&(name.to_owned(), container.to_owned())) else {
            return;
        };
        self.end_later(name.to_owned(), container.to_owned(), row);
    }

    fn end_later(self: &Arc<Self>, name: String, container: String, row: i64) {
        let volumes = Arc::clone(self);
        let ended = std::thread::Builder::new()
            .name(format!("unmount-{}", name.chars().take(20).collect::<String>()))
            .spawn(move || {
                let _changing = volumes.begin(&name);
                // Mounted again meanwhile: that is the mount of this row now.
                let key = (name.clone(), container.clone());
                if lock(&volumes.tracked.0).contains_key(&key) {
                    return volumes.forget_row(row);
                }
                match volumes.let_go(&name, &container) {
                    Ok(()) => volumes.forget_row(row),
                    Err(error) => {
                        tracing::warn!(volume = name, container, %error, "a mount could not be ended; the next start tries again");
                    }
                }
            });
        if let Err(error) = ended {
            tracing::warn!(%error, "no thread to end a volume's mount; the next start tries again");
        }
    }

    fn let_go(&self, name: &str, container: &str) -> Result<()> {
        let Ok(record) = self.record(name) else {
            // Removed by force: nobody counts its mounts any more.
            return Ok(());
        };
        let slot = self.drivers.volume(Some(&record.driver))?;
        let others = lock(&self.tracked.0)
            .keys()
            .filter(|(volume, _)| volume == name)
            .count();
        slot.unmount(&record.volume_ref(name)?, &MountId::parse(container)?, others)
    }

    fn forget_row(&self, row: i64) {
        if let Err(error) = self.store.write(|tx| tx.end_operation(row)) {
            tracing::warn!(%error, "the row of an ended mount stays until the next start");
        }
    }

    /// Takes up a mount of an engine before this one: still its container's, or to be ended.
    pub(super) fn recover_tracked(self: &Arc<Self>, row: &OperationRow) {
        let (name, container) = (row.object.clone(), row.doc.clone());
        let held = lock(&self.mounted)
            .get(&name)
            .is_some_and(|holders| holders.contains(&container));
        if held {
            lock(&self.tracked.0).insert((name, container), row.id);
        } else {
            self.end_later(name, container, row.id);
        }
    }
}
