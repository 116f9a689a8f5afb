//! Containers: their records, and everything that is done with them.
//!
//! A container is a row: Docker's config, the resolved run settings, its layer, its volumes, its
//! last known end. What runs is its shim's: this module asks the shim and listens to it. One file a
//! verb; [`spec`] turns a record into an OCI configuration, [`record`] is the row, [`live`] the
//! connection to a shim.

mod attach;
mod create;
mod end;
mod exec;
mod files;
mod live;
mod logs;
pub(crate) mod mounts;
mod network;
pub(crate) mod record;
mod recover;
mod remove;
mod spec;
mod spec_of;
mod start;
mod stop;
mod strangers;
mod view;
mod wait;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use longshore_core::types::ContainerId;

use crate::drivers::Drivers;
use crate::error::{Error, Result};
use crate::image::Images;
use crate::layer::Layers;
use crate::paths::Paths;
use crate::store::Store;
use crate::volume::Volumes;

pub use attach::AttachRequest;
pub use create::CreatedContainer;
pub use exec::ExecSession;
pub(crate) use live::Live;
pub use logs::LogRequest;
pub(crate) use record::Record;
pub use stop::parse_signal;
pub use view::ListRequest;
pub use wait::Waiter;

/// One container: its record, its shim's connection, and the lock that lets one verb at a time
/// change it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    record: Mutex<Record>,
    live: Mutex<Option<Arc<Live>>>,
    busy: Mutex<bool>,
    changed: Condvar,
    /// Whether its layer is known to be there whole.
    made: std::sync::atomic::AtomicBool,
    /// Whether it was removed: a verb that waited for the removal finds nothing to change.
    gone: std::sync::atomic::AtomicBool,
    /// Changes whenever something about its life has.
    lives: tokio::sync::watch::Sender<u64>,
    /// How many lives have ended.
    ends: std::sync::atomic::AtomicU64,
    /// Clients that attached before the start.
    waiting: Mutex<Vec<AttachRequest>>,
    /// Exec sessions of this life.
    execs: Mutex<HashMap<String, ExecSession>>,
}

/// The right to change a container; given back when dropped.
pub(crate) struct Busy<'a>(&'a Container);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *lock(&self.0.busy) = false;
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    fn new(id: ContainerId, record: Record) -> Arc<Self> {
        Arc::new(Self {
            id,
            record: Mutex::new(record),
            live: Mutex::default(),
            busy: Mutex::new(false),
            changed: Condvar::new(),
            made: std::sync::atomic::AtomicBool::new(false),
            gone: std::sync::atomic::AtomicBool::new(false),
            lives: tokio::sync::watch::Sender::new(0),
            ends: std::sync::atomic::AtomicU64::new(0),
            waiting: Mutex::default(),
            execs: Mutex::default(),
        })
    }

    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    fn live(&self) -> Option<Arc<Live>> {
        lock(&self.live).clone()
    }

    /// Waits until no other verb changes this container.
    fn begin(&self) -> Busy<'_> {
        let mut busy = lock(&self.busy);
        while *busy {
            busy = self.changed.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        *busy = true;
        Busy(self)
    }

    /// The same for a verb that a user asked for.
    ///
    /// # Errors
    /// `NotFound` when it was removed meanwhile.
    fn begin_verb(&self) -> Result<Busy<'_>> {
        let busy = self.begin();
        if self.is_gone() {
            return Err(Error::not_found(format!("No such container: {}", self.id)));
        }
        Ok(busy)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(std::sync::atomic::Ordering::Acquire)
    }

    fn note_gone(&self) {
        self.gone.store(true, std::sync::atomic::Ordering::Release);
    }

    /// Whether a process of it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.live().is_some_and(|live| live.is_running())
    }

    /// Wakes those who wait for something about its life.
    fn touch(&self) {
        self.lives.send_modify(|n| *n += 1);
    }

    /// Notes that its layer is there whole. Answers whether that was known.
    fn note_made(&self) -> bool {
        self.made.swap(true, std::sync::atomic::Ordering::AcqRel)
    }

    fn ends(&self) -> u64 {
        self.ends.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Whether it runs, or has ended and its end is still being taken in.
    fn is_unsettled(&self) -> bool {
        self.live().is_some_and(|live| !live.status().settled)
    }

    fn running(&self) -> Result<Arc<Live>> {
        self.live()
            .filter(|live| live.is_running())
            .ok_or_else(|| Error::in_use(format!("container {} is not running", self.id)))
    }
}

/// All containers of a data root.
#[derive(Debug)]
pub(crate) struct Containers {
    pub(crate) store: Arc<Store>,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) layers: Arc<Layers>,
    pub(crate) images: Arc<Images>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) paths: Paths,
    table: RwLock<HashMap<String, Arc<Container>>>,
    /// Containers that are on disk or run, and in no record.
    strangers: Mutex<BTreeSet<String>>,
}

impl Containers {
    pub(crate) fn new(
        store: Arc<Store>,
        drivers: Arc<Drivers>,
        layers: Arc<Layers>,
        images: Arc<Images>,
        volumes: Arc<Volumes>,
        paths: Paths,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            drivers,
            layers,
            images,
            volumes,
            paths,
            table: RwLock::default(),
            strangers: Mutex::default(),
        })
    }

    fn insert(&self, container: Arc<Container>) {
        self.table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(container.id.to_string(), container);
    }

    fn forget(&self, id: &str) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Every container, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        all.sort_by_cached_key(|container| (lock(&container.record).created.clone(), container.id.to_string()));
        all
    }

    /// What a user's word stands for: an ID, a name, or the beginning of an ID.
    pub(crate) fn resolve(&self, word: &str) -> Result<Arc<Container>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = table.get(word) {
            return Ok(Arc::clone(container));
        }
        let name = word.strip_prefix('/').unwrap_or(word);
        if let Some(container) = table.values().find(|c| lock(&c.record).name == name) {
            return Ok(Arc::clone(container));
        }
        let mut by_prefix = table
            .values()
            .filter(|c| !word.is_empty() && c.id.as_str().starts_with(word));
        match (by_prefix.next(), by_prefix.next()) {
            (Some(container), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "Multiple IDs found with provided prefix: {word}"
            ))),
            _ => {
                let shown: String = word.chars().take(100).collect();
                Err(Error::not_found(format!("No such container: {shown}")))
            }
        }
    }

    /// Which container stands on an image, and whether it runs; a running one first.
    pub(crate) fn user_of_image(&self, image: &str) -> Option<(String, bool)> {
        let mut users: Vec<_> = self
            .all()
            .iter()
            .filter(|c| lock(&c.record).image_id == image)
            .map(|c| (c.id.to_string(), c.is_running()))
            .collect();
        users.sort_by_key(|(_, running)| !running);
        users.into_iter().next()
    }

    fn save(&self, container: &Container) -> Result<()> {
        let row = lock(&container.record).to_row(container.id.as_str())?;
        self.store.write(|tx| tx.update_container(&row))
    }
}
