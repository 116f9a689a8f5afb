//! Volumes: names and options in the store, content with their drivers, secrets apart ([`secret`]),
//! mounts that a driver counts in rows ([`tracked`]).

mod secret;
mod tracked;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bollard_stubs::models;
use longshore_core::driver::OptionValue;
use longshore_core::types::{MountId, Note, VolumeName};
use longshore_core::volume::VolumeRef;
use serde::{Deserialize, Serialize};

use crate::container::mounts::VolumeSpec;
use crate::container::record::Mount;
use crate::drivers::Drivers;
use crate::error::{Error, Result};
use crate::paths::{Paths, random};
use crate::store::{OperationRow, Store, VolumeRow};
use crate::time::now;
use secret::Secrets;

/// What is kept of a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    driver: String,
    /// Without the secrets.
    options: BTreeMap<String, String>,
    /// Which options are secrets.
    #[serde(default)]
    secrets: Vec<String>,
    labels: HashMap<String, String>,
    note: Vec<u8>,
    created: String,
    anonymous: bool,
}

impl Record {
    fn volume_ref(&self, name: &str) -> Result<VolumeRef> {
        Ok(VolumeRef {
            name: VolumeName::parse(name)?,
            note: Note::parse(self.note.clone())?,
            options: self.option_values(),
        })
    }

    fn option_values(&self) -> Vec<OptionValue> {
        secret::values(&self.options, &self.secrets)
    }
}

/// All volumes of a data root.
#[derive(Debug)]
pub(crate) struct Volumes {
    store: Arc<Store>,
    drivers: Arc<Drivers>,
    paths: Paths,
    /// Which containers hold which volume mounted.
    mounted: Mutex<HashMap<String, HashSet<String>>>,
    /// Names that are being made, removed or mounted: one verb a name at a time.
    changing: Mutex<HashSet<String>>,
    changed: Condvar,
    /// The one mount of a volume that all consumers share, while anyone has it.
    shared: Mutex<HashMap<String, OwnedFd>>,
    tracked: tracked::Tracked,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to change one volume; given back when dropped.
struct Changing<'a> {
    volumes: &'a Volumes,
    name: String,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        lock(&self.volumes.changing).remove(&self.name);
        self.volumes.changed.notify_all();
    }
}

impl Volumes {
    pub(crate) fn new(store: Arc<Store>, drivers: Arc<Drivers>, paths: Paths) -> Self {
        Self {
            store,
            drivers,
            paths,
            mounted: Mutex::default(),
            changing: Mutex::default(),
            changed: Condvar::new(),
            shared: Mutex::default(),
            tracked: tracked::Tracked::default(),
        }
    }

    /// Waits until no other verb changes this volume.
    fn begin(&self, name: &str) -> Changing<'_> {
        let mut changing = lock(&self.changing);
        while !changing.insert(name.to_owned()) {
            changing = self.changed.wait(changing).unwrap_or_else(PoisonError::into_inner);
        }
        Changing {
            volumes: self,
            name: name.to_owned(),
        }
    }

    fn record(&self, name: &str) -> Result<Record> {
        let row = self.store.read(|tx| tx.volume(name))?.ok_or_else(|| {
            Error::not_found(format!(
                "get {}: no such volume",
                name.chars().take(100).collect::<String>()
            ))
        })?;
        Ok(serde_json::from_str(&row.doc)?)
    }

    /// Makes a volume for a container that is being made, or takes the one that is there, and holds
    /// it: until [`unmount`](Self::unmount) it cannot be removed.
    pub(crate) fn ensure_held(&self, name: &str, container: &str, spec: VolumeSpec, anonymous: bool) -> Result<()> {
        let _changing = self.begin(name);
        self.ensure(name, spec.driver.as_deref(), spec.options, spec.labels, anonymous)?;
        self.hold(name, container);
        Ok(())
    }

    /// Makes a volume, or takes the one that was made with the same driver and options.
    fn ensure(
        &self,
        name: &str,
        driver: Option<&str>,
        options: HashMap<String, String>,
        labels: HashMap<String, String>,
        anonymous: bool,
    ) -> Result<()> {
        let checked = VolumeName::parse(name)?;
        let there = self.record(name).ok();
        let slot = self
            .drivers
            .volume(driver.or(there.as_ref().map(|there| there.driver.as_str())))?;
        let unsaid = options.is_empty();
        let (options, secrets) = secret::cut(options, slot.options())?;
        if let Some(there) = there {
            let same =
                slot.name == there.driver && (unsaid || (there.options == options && self.secrets(name)? == secrets));
            return if same {
                Ok(())
            } else {
                Err(Error::already_exists(format!(
                    "volume {name} exists already with driver {} and other options",
                    there.driver
                ))
                .hint("remove it first, or choose another name"))
            };
        }
        let mut record = Record {
            driver: slot.name.clone(),
            options,
            secrets: secrets.names(),
            labels,
            note: Vec::new(),
            created: now(),
            anonymous,
        };
        slot.check_options(&record.option_values())?;
        let operation = self
            .store
            .write(|tx| tx.begin_operation("volume", &slot.name, name, "{}"))?;
        let made = slot.create(&checked, record.option_values()).and_then(|note| {
            record.note = note.into_vec();
            slot.sync()?;
            let row = VolumeRow {
                name: name.to_owned(),
                doc: serde_json::to_string(&record)?,
            };
            self.store.write(|tx| {
                tx.put_volume(&row)?;
                for (option, value) in secrets.iter() {
                    tx.put_secret(name, option, value)?;
                }
                tx.end_operation(operation)
            })
        });
        if made.is_err() {
            self.undo(&record, name, operation);
        }
        made
    }

    fn secrets(&self, name: &str) -> Result<Secrets> {
        Ok(self.store.read(|tx| tx.secrets(name))?.into())
    }

    fn undo(&self, record: &Record, name: &str, operation: i64) {
        let undone = self
            .drivers
            .volume(Some(&record.driver))
            .and_then(|slot| slot.remove(&record.volume_ref(name)?, true))
            .and_then(|()| self.store.write(|tx| tx.end_operation(operation)));
        if let Err(error) = undone {
            tracing::warn!(volume = name, %error, "a volume that failed could not be removed yet");
        }
    }

    /// Undoes what an engine before this one began. One that has to ask a plugin, which may hang, is not
    /// waited for.
    fn undo_beside(self: &Arc<Self>, record: Record, operation: OperationRow) {
        if self.drivers.is_own("volume", &record.driver) {
            return self.undo(&record, &operation.object, operation.id);
        }
        let volumes = Arc::clone(self);
        let undone = std::thread::Builder::new().name("undo-volume".into()).spawn(move || {
            let _changing = volumes.begin(&operation.object);
            if volumes.record(&operation.object).is_err() {
                volumes.undo(&record, &operation.object, operation.id);
            } else if let Err(error) = volumes.store.write(|tx| tx.end_operation(operation.id)) {
                // Made again meanwhile, under a row of its own: it stays.
                tracing::warn!(%error, "the row of a volume's undo stays until the next start");
            }
        });
        if let Err(error) = undone {
            tracing::warn!(%error, "no thread to undo a volume; the next start tries again");
        }
    }

    /// Makes a volume as the API asks for it; without a name it is anonymous.
    pub(crate) fn create(&self, request: models::VolumeCreateRequest) -> Result<models::Volume> {
        if request.cluster_volume_spec.is_some() {
            return Err(Error::unsupported(
                "ClusterVolumeSpec: cluster volumes are not available",
            ));
        }
        let anonymous = request.name.as_deref().unwrap_or_default().is_empty();
        let name = match request.name {
            Some(name) if !name.is_empty() => name,
            _ => hex::encode(random::<32>()?),
        };
        let driver = request.driver.filter(|driver| !driver.is_empty());
        let _changing = self.begin(&name);
        self.ensure(
            &name,
            driver.as_deref(),
            request.driver_opts.unwrap_or_default(),
            request.labels.unwrap_or_default(),
            anonymous,
        )?;
        self.inspect(&name)
    }

    /// Removes a volume that nobody has mounted and no container names. `users` is asked last: a
    /// container that is being made holds the volume until it is among them.
    pub(crate) fn remove(&self, name: &str, force: bool, users: &dyn Fn() -> Vec<String>) -> Result<()> {
        let _changing = self.begin(name);
        let record = match self.record(name) {
            Ok(record) => record,
            Err(error) if force && error.kind == longshore_core::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut holders: Vec<String> = lock(&self.mounted).get(name).into_iter().flatten().cloned().collect();
        if holders.is_empty() {
            holders = users();
        }
        if !holders.is_empty() {
            return Err(
                Error::in_use(format!("remove {name}: volume is in use - [{}]", holders.join(", ")))
                    .hint("remove the container first, or give it another volume"),
            );
        }
        let slot = self.drivers.volume(Some(&record.driver))?;
        let operation = self.store.write(|tx| {
            tx.remove_volume(name)?;
            tx.begin_operation("volume", &slot.name, name, "{}")
        })?;
        slot.remove(&record.volume_ref(name)?, force)?;
        self.store.write(|tx| tx.end_operation(operation))
    }

    pub(crate) fn inspect(&self, name: &str) -> Result<models::Volume> {
        let record = self.record(name)?;
        Ok(self.view(name, &record))
    }

    pub(crate) fn list(&self) -> Result<Vec<(models::Volume, bool)>> {
        self.store
            .read(|tx| tx.volumes())?
            .iter()
            .map(|row| {
                let record: Record = serde_json::from_str(&row.doc)?;
                Ok((self.view(&row.name, &record), record.anonymous))
            })
            .collect()
    }

    fn view(&self, name: &str, record: &Record) -> models::Volume {
        models::Volume {
            name: name.to_owned(),
            driver: record.driver.clone(),
            mountpoint: self.mountpoint(name),
            created_at: Some(record.created.clone()),
            labels: record.labels.clone(),
            scope: Some(models::VolumeScopeEnum::LOCAL),
            options: secret::shown(&record.options, &record.secrets),
            // In JSON this is Docker's object of statuses, the sentence its key.
            status: self
                .drivers
                .why_not("volume", &record.driver)
                .map(|why| vec![format!("unavailable: {why}")]),
            ..Default::default()
        }
    }

    /// What a volume's own folder takes on disk.
    pub(crate) fn usage(&self, name: &str) -> Result<u64> {
        let record = self.record(name)?;
        let slot = self.drivers.volume(Some(&record.driver))?;
        slot.usage(&VolumeName::parse(name)?)
    }

    /// Docker's mount point: where a plain volume's content lies.
    pub(crate) fn mountpoint(&self, name: &str) -> String {
        self.paths
            .data
            .join("volumes")
            .join(name)
            .join("_data")
            .to_string_lossy()
            .into_owned()
    }

    pub(crate) fn driver_of(&self, name: &str) -> Option<String> {
        self.record(name).ok().map(|record| record.driver)
    }

    /// Mounts a volume for a container, fills it from the image when it is empty, and answers the
    /// detached mount.
    pub(crate) fn mount(&self, name: &str, container: &str, mount: &Mount, root: BorrowedFd<'_>) -> Result<OwnedFd> {
        let _changing = self.begin(name);
        let record = self.record(name)?;
        let slot = self.drivers.volume(Some(&record.driver))?;
        let shared = lock(&self.shared)
            .get(name)
            .map(|fd| longshore_performer::plan::clone_mount(std::os::fd::AsFd::as_fd(fd)))
            .transpose()?;
        let others = lock(&self.mounted).get(name).map_or(0, HashSet::len);
        // Held from here on: a start that fails gives back every volume of its container.
        self.hold(name, container);
        // The driver mounts for writing, so that the image's content can be taken in; what the
        // container may do is put on its own clone.
        let (fd, mounted) = match shared {
            Some(fd) => (fd, None),
            None => {
                let id = MountId::parse(container)?;
                let secrets = self.secrets(name)?;
                self.begin_tracked(&slot, name, container)?;
                let (fd, mounted) = slot.mount(&record.volume_ref(name)?, &id, mount.read_only, others, &|n| {
                    secrets.get(n)
                })?;
                (fd, Some(mounted))
            }
        };
        if let Some(mounted) = &mounted {
            if mounted.fill && mount.copy_up && !mount.read_only {
                longshore_performer::fill::copy_up(root, mount.target.as_bytes(), std::os::fd::AsFd::as_fd(&fd))?;
            }
            if mounted.shared {
                let kept = longshore_performer::plan::clone_mount(std::os::fd::AsFd::as_fd(&fd))?;
                lock(&self.shared).insert(name.to_owned(), kept);
            }
        }
        match &mount.subpath {
            Some(path) => Ok(longshore_performer::plan::subpath(fd, path.as_bytes())?),
            None => Ok(fd),
        }
    }

    /// Forgets a container's mount of a volume.
    pub(crate) fn unmount(self: &Arc<Self>, name: &str, container: &str) {
        {
            let mut mounted = lock(&self.mounted);
            if let Some(holders) = mounted.get_mut(name) {
                holders.remove(container);
                if holders.is_empty() {
                    mounted.remove(name);
                    lock(&self.shared).remove(name);
                }
            }
        }
        self.end_tracked(name, container);
    }

    /// Notes that a container holds a volume.
    pub(crate) fn hold(&self, name: &str, container: &str) {
        lock(&self.mounted)
            .entry(name.to_owned())
            .or_default()
            .insert(container.to_owned());
    }

    /// Undoes what an engine that died had begun.
    pub(crate) fn recover(self: &Arc<Self>) -> Result<()> {
        for operation in self.store.read(|tx| tx.operations())? {
            if operation.kind == tracked::OPERATION {
                self.recover_tracked(&operation);
            } else if operation.kind == "volume" {
                let record = Record {
                    driver: operation.driver.clone(),
                    options: BTreeMap::new(),
                    secrets: Vec::new(),
                    labels: HashMap::new(),
                    note: Vec::new(),
                    created: String::new(),
                    anonymous: false,
                };
                self.undo_beside(record, operation);
            }
        }
        Ok(())
    }
}
