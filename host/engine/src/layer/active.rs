//! Activations of layers: at most one a layer at a time, shared by descriptor.
//!
//! The kernel does not refuse a second mount of one upper layer, and breaks the first. So whoever
//! needs a layer asks here, and gets the one activation that there is. A layer is activated and
//! deactivated under a lock of its own: two callers make one activation, the end of one cannot undo
//! the next, and a slow driver call keeps no other layer waiting.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use longshore_core::graph::{Access, LayerRef};

use crate::drivers::GraphSlot;
use crate::error::{Error, Result};
use crate::keyed::Keyed;

/// What makes and ends activations: a driver.
pub(crate) trait Activator: std::fmt::Debug {
    fn name(&self) -> &str;
    fn mount(&self, layer: &LayerRef, chain: &[LayerRef], access: Access) -> Result<OwnedFd>;
    fn unmount(&self, layer: &LayerRef, access: Access) -> Result<()>;
}

impl Activator for GraphSlot {
    fn name(&self) -> &str {
        &self.name
    }

    fn mount(&self, layer: &LayerRef, chain: &[LayerRef], access: Access) -> Result<OwnedFd> {
        self.activate(layer, chain, access).map(|(mount, _)| mount)
    }

    fn unmount(&self, layer: &LayerRef, access: Access) -> Result<()> {
        self.deactivate(layer, access)
    }
}

/// One mounted layer. Dropping the last share ends the activation.
#[derive(Debug)]
pub(crate) struct Active<S: Activator = GraphSlot> {
    slot: Arc<S>,
    layer: LayerRef,
    access: Access,
    mount: OwnedFd,
    key: String,
    actives: Arc<Shared<S>>,
}

impl<S: Activator> Active<S> {
    /// The detached mount.
    pub(crate) fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

impl<S: Activator> Drop for Active<S> {
    fn drop(&mut self) {
        let _turn = self.actives.turns.take(&self.key);
        if let Err(error) = self.slot.unmount(&self.layer, self.access) {
            tracing::warn!(layer = %self.layer.id, driver = self.slot.name(), %error, "a layer could not be deactivated");
        }
        self.actives.lock().active.remove(&self.key);
        self.actives.ended.notify_all();
    }
}

/// The right to a layer that a shim holds mounted, from before this engine started: its descriptor is
/// the shim's, so that nobody shares it.
#[derive(Debug)]
pub(crate) struct Held<S: Activator = GraphSlot> {
    key: String,
    actives: Arc<Shared<S>>,
}

impl<S: Activator> Drop for Held<S> {
    fn drop(&mut self) {
        self.actives.lock().held.remove(&self.key);
    }
}

/// What keeps a running container's layer from being removed.
#[derive(Debug)]
#[allow(dead_code, reason = "a lease is held, not looked at")]
pub(crate) enum Lease {
    /// A share of this engine's activation.
    Mounted(Arc<Active>),
    /// A mount that outlived the engine that made it.
    Held(Held),
}

#[derive(Debug)]
struct Table<S: Activator> {
    /// An entry whose activation is gone is being deactivated.
    active: HashMap<String, Weak<Active<S>>>,
    /// Layers that shims hold, with their containers.
    held: HashMap<String, String>,
}

#[derive(Debug)]
struct Shared<S: Activator> {
    table: Mutex<Table<S>>,
    ended: Condvar,
    turns: Arc<Keyed>,
}

impl<S: Activator> Shared<S> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Table<S>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the end of a layer's activation, where one is under way, is through.
    fn wait_for_end(&self, key: &str) {
        let mut table = self.lock();
        while table.active.get(key).is_some_and(|active| active.strong_count() == 0) {
            table = self.ended.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The activations of this engine.
#[derive(Debug)]
pub(crate) struct Actives<S: Activator = GraphSlot>(Arc<Shared<S>>);

impl<S: Activator> Default for Actives<S> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            table: Mutex::new(Table {
                active: HashMap::new(),
                held: HashMap::new(),
            }),
            ended: Condvar::new(),
            turns: Arc::default(),
        }))
    }
}

fn key_of(driver: &str, id: &str) -> String {
    format!("{driver}/{id}")
}

impl<S: Activator> Actives<S> {
    /// Whether a layer is active, here or in a shim.
    pub(crate) fn is_active(&self, driver: &str, id: &str) -> bool {
        let key = key_of(driver, id);
        let table = self.0.lock();
        table.active.contains_key(&key) || table.held.contains_key(&key)
    }

    /// Notes that a container's shim holds a layer mounted.
    pub(crate) fn hold(&self, driver: &str, id: &str, container: &str) -> Held<S> {
        let key = key_of(driver, id);
        self.0.lock().held.insert(key.clone(), container.to_owned());
        Held {
            key,
            actives: Arc::clone(&self.0),
        }
    }

    /// The activation of a layer: a new one, or a share of the one there is when it allows what is
    /// asked.
    pub(crate) fn activate(
        &self,
        slot: &Arc<S>,
        layer: &LayerRef,
        chain: &[LayerRef],
        access: Access,
    ) -> Result<Arc<Active<S>>> {
        let key = key_of(slot.name(), layer.id.as_str());
        loop {
            self.0.wait_for_end(&key);
            let turn = self.0.turns.take(&key);
            let there = {
                let table = self.0.lock();
                if let Some(container) = table.held.get(&key) {
                    return Err(Error::in_use(format!(
                        "layer {} is mounted by container {container} since before this engine started",
                        layer.id
                    ))
                    .hint("restart the container"));
                }
                table.active.get(&key).map(Weak::upgrade)
            };
            match there {
                None => return self.begin(key, slot, layer, chain, access),
                // Its end waits for this turn.
                Some(None) => continue,
                Some(Some(active)) => {
                    // Given back first: this share may be the last by now.
                    drop(turn);
                    if active.access == access || active.access == Access::Write {
                        return Ok(active);
                    }
                    return Err(Error::in_use(format!("layer {} is mounted for another use", layer.id)));
                }
            }
        }
    }

    /// Makes an activation; the layer's turn is the caller's.
    fn begin(
        &self,
        key: String,
        slot: &Arc<S>,
        layer: &LayerRef,
        chain: &[LayerRef],
        access: Access,
    ) -> Result<Arc<Active<S>>> {
        let active = Arc::new(Active {
            mount: slot.mount(layer, chain, access)?,
            slot: Arc::clone(slot),
            layer: layer.clone(),
            access,
            key: key.clone(),
            actives: Arc::clone(&self.0),
        });
        self.0.lock().active.insert(key, Arc::downgrade(&active));
        Ok(active)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use longshore_core::types::{LayerId, Note};

    use super::*;

    /// A driver that tracks what is active, and breaks at a second activation.
    #[derive(Debug, Default)]
    struct Tracking {
        mounted: Mutex<HashMap<String, usize>>,
        mounts: AtomicUsize,
        /// Where a layer of that name waits.
        slow: Option<(String, Barrier, Barrier)>,
    }

    impl Activator for Tracking {
        fn name(&self) -> &str {
            "tracking"
        }

        fn mount(&self, layer: &LayerRef, _: &[LayerRef], _: Access) -> Result<OwnedFd> {
            if let Some((name, entered, go)) = &self.slow
                && *name == layer.id.as_str()
            {
                entered.wait();
                go.wait();
            }
            let mut mounted = self.mounted.lock().unwrap();
            let count = mounted.entry(layer.id.to_string()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "a second activation of {}", layer.id);
            self.mounts.fetch_add(1, Ordering::Relaxed);
            Ok(std::fs::File::open("/dev/null").unwrap().into())
        }

        fn unmount(&self, layer: &LayerRef, _: Access) -> Result<()> {
            let mut mounted = self.mounted.lock().unwrap();
            let count = mounted.entry(layer.id.to_string()).or_default();
            assert_eq!(*count, 1, "{} is not active", layer.id);
            *count -= 1;
            Ok(())
        }
    }

    fn layer(digit: char) -> LayerRef {
        LayerRef {
            id: LayerId::parse(digit.to_string().repeat(64)).unwrap(),
            note: Note::default(),
        }
    }

    #[test]
    fn many_callers_of_one_layer_make_one_activation_at_a_time() {
        let (actives, slot) = (Actives::default(), Arc::new(Tracking::default()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        drop(actives.activate(&slot, &layer('a'), &[], Access::Read).unwrap());
                    }
                });
            }
        });
        assert!(!actives.is_active("tracking", layer('a').id.as_str()));
        assert!(slot.mounts.load(Ordering::Relaxed) >= 1);
        assert!(slot.mounted.lock().unwrap().values().all(|count| *count == 0));
    }

    #[test]
    fn a_slow_activation_keeps_no_other_layer_waiting() {
        let slow = (layer('a').id.to_string(), Barrier::new(2), Barrier::new(2));
        let slot = Arc::new(Tracking {
            slow: Some(slow),
            ..Tracking::default()
        });
        let actives = Actives::default();
        std::thread::scope(|scope| {
            let (done, is_done) = mpsc::channel();
            scope.spawn(|| drop(actives.activate(&slot, &layer('a'), &[], Access::Read).unwrap()));
            let (_, entered, go) = slot.slow.as_ref().unwrap();
            entered.wait();
            scope.spawn({
                let (actives, slot) = (&actives, &slot);
                move || {
                    drop(actives.activate(slot, &layer('b'), &[], Access::Read).unwrap());
                    done.send(()).unwrap();
                }
            });
            is_done.recv().unwrap();
            go.wait();
        });
    }

    #[test]
    fn a_layer_that_a_shim_holds_is_active_and_not_mounted_again() {
        let (actives, slot) = (Actives::default(), Arc::new(Tracking::default()));
        let held = actives.hold("tracking", layer('a').id.as_str(), "web");
        assert!(actives.is_active("tracking", layer('a').id.as_str()));
        let refused = actives.activate(&slot, &layer('a'), &[], Access::Write).unwrap_err();
        assert!(refused.message.contains("container web"), "{refused}");
        drop(held);
        assert!(!actives.is_active("tracking", layer('a').id.as_str()));
        drop(actives.activate(&slot, &layer('a'), &[], Access::Write).unwrap());
    }

    #[test]
    fn another_use_is_refused_also_when_the_first_ends_meanwhile() {
        let (actives, slot) = (Actives::default(), Arc::new(Tracking::default()));
        let first = actives.activate(&slot, &layer('a'), &[], Access::Read).unwrap();
        assert!(actives.activate(&slot, &layer('a'), &[], Access::Write).is_err());
        drop(first);
        drop(actives.activate(&slot, &layer('a'), &[], Access::Write).unwrap());
    }
}
