//! Activations of layers: at most one a layer at a time, shared by descriptor.
//!
//! The kernel does not refuse a second mount of one upper layer, and breaks the first. So whoever
//! needs a layer asks here, and gets the one activation that there is.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use longshore_core::graph::{Access, LayerRef};

use crate::drivers::GraphSlot;
use crate::error::{Error, Result};

type Key = (String, String);

/// One mounted layer. Dropping the last share ends the activation.
#[derive(Debug)]
pub(crate) struct Active {
    slot: Arc<GraphSlot>,
    layer: LayerRef,
    access: Access,
    mount: OwnedFd,
}

impl Active {
    /// The detached mount.
    pub(crate) fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Err(error) = self.slot.deactivate(&self.layer, self.access) {
            tracing::warn!(layer = %self.layer.id, driver = self.slot.name, %error, "a layer could not be deactivated");
        }
    }
}

/// The activations of this engine.
#[derive(Debug, Default)]
pub(crate) struct Actives {
    table: Mutex<HashMap<Key, Weak<Active>>>,
}

impl Actives {
    /// Whether a layer is active.
    pub(crate) fn is_active(&self, driver: &str, id: &str) -> bool {
        self.lock()
            .get(&(driver.to_owned(), id.to_owned()))
            .is_some_and(|active| active.strong_count() > 0)
    }

    /// The activation of a layer: a new one, or a share of the one there is when it allows what is
    /// asked.
    pub(crate) fn activate(
        &self,
        slot: &Arc<GraphSlot>,
        layer: &LayerRef,
        chain: &[LayerRef],
        access: Access,
    ) -> Result<Arc<Active>> {
        let key = (slot.name.clone(), layer.id.to_string());
        if let Some(active) = self.lock().get(&key).and_then(Weak::upgrade) {
            if active.access == access || active.access == Access::Write {
                return Ok(active);
            }
            return Err(Error::in_use(format!("layer {} is mounted for another use", layer.id)));
        }
        let (mount, _) = slot.activate(layer, chain, access)?;
        let active = Arc::new(Active {
            slot: Arc::clone(slot),
            layer: layer.clone(),
            access,
            mount,
        });
        let mut table = self.lock();
        table.retain(|_, active| active.strong_count() > 0);
        // Two callers may have got here at once only for a layer that is read: a writable layer is
        // under its container's own lock.
        if let Some(first) = table.get(&key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        table.insert(key, Arc::downgrade(&active));
        Ok(active)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Active>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
