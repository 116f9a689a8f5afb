//! The volumes of a server: a driver's answers performed below its data root, and each volume that somebody
//! has mounted shown at `SERVED/NAME/_data`, once for all who have it.
//!
//! One verb a volume at a time; verbs of other volumes wait for nothing.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use longshore_core::context::Context;
use longshore_core::driver::{Description, OptionKind};
use longshore_core::error::{Error, Result};
use longshore_core::steps::TreeStep;
use longshore_core::types::{MountId, Note, VolumeName};
use longshore_core::volume::{
    Access, Create, Mount, Mounted, Remove, Scope as Reach, Stat, Unmount, VolumeCapabilities, VolumeDriver, VolumeRef,
};
use longshore_loader::Loaded;
use longshore_performer::plan::{self, Builder, PlanScope};
use longshore_performer::root::{self, Root};
use longshore_performer::tree::{self, Scope};
use longshore_shim::ShimBinary;
use longshore_shim::perform::Performer;
use longshore_sys::path::OFlags;

use super::ledger::{Ledger, Record, State};
use super::messages;
use super::options::{self, Texts};
use super::place::Served;

/// Most volumes of a server.
const MOST: usize = 10_000;
/// Most mounts of one volume.
const MOST_MOUNTS: usize = 4_096;
/// How long another machine may take to let itself be mounted.
const LIMIT: Duration = Duration::from_secs(60);

/// A driver and its volumes.
pub(super) struct Volumes {
    driver: Arc<dyn VolumeDriver>,
    about: Description,
    can: VolumeCapabilities,
    grants: Vec<String>,
    root: Root,
    data: PathBuf,
    served: Served,
    ledger: Mutex<Ledger>,
    busy: Mutex<HashSet<String>>,
    freed: Condvar,
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volumes")
            .field("driver", &self.about.name)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to change one volume; given back when dropped.
struct Turn<'a> {
    volumes: &'a Volumes,
    name: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.volumes.busy).remove(self.name);
        self.volumes.freed.notify_all();
    }
}

impl Volumes {
    /// Opens a driver below a data root that this server holds.
    pub(super) fn open(loaded: &Loaded, data: &Path, served: &Path) -> Result<Self> {
        let about = loaded.description().clone();
        let can = about.capabilities.volume()?.clone();
        let folder = data.join(about.folder.as_deref().unwrap_or(&about.name));
        super::make_folder(&folder, 0o701)?;
        let root = Root::open(&folder)?;
        let driver = loaded.open_volume(root.open_beneath(b"", OFlags::DIRECTORY)?, &folder, Vec::new())?;
        tree::empty_trash(&root)?;
        Ok(Self {
            driver,
            can,
            grants: loaded
                .manifest()
                .map(|manifest| manifest.grants.clone())
                .unwrap_or_default(),
            about,
            root,
            data: data.to_owned(),
            served: Served::new(served),
            ledger: Mutex::new(Ledger::open(data)?),
            busy: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// `local` or `global`, as Docker writes it.
    pub(super) fn scope(&self) -> &'static str {
        match self.can.scope {
            Reach::Global => "global",
            Reach::Local | Reach::Unknown => "local",
        }
    }

    /// Undoes what a server before this one had begun, shows again what it showed, and shows nothing else.
    pub(super) fn recover(&self) {
        let all: Vec<(String, Record)> = lock(&self.ledger)
            .all()
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect();
        let mut wanted = HashSet::new();
        for (name, record) in all {
            let done = match record.state {
                State::Making | State::Removing => self.finish_removal(&name, &record, true),
                State::Ready if record.mounts.is_empty() => Ok(()),
                State::Ready => {
                    wanted.insert(name.clone());
                    self.show_all(&name, &record)
                }
            };
            if let Err(error) = done {
                eprintln!("longshore-runner: volume {name}: {error}; the next server or call tries again");
            }
        }
        for name in self.served.names().into_iter().filter(|name| !wanted.contains(name)) {
            self.served.hide_or_say(&name);
        }
    }

    /// Shows nothing any more. Who has a volume mounted keeps what it has, and is known to the next server.
    pub(super) fn stop(&self) {
        let names = self.served.names();
        names.iter().for_each(|name| self.served.hide_or_say(name));
    }

    /// Makes a volume, or takes the one that was made with the same options.
    pub(super) fn create(&self, name: &str, given: Texts) -> Result<()> {
        let checked = VolumeName::parse(name)?;
        let _turn = self.turn(name);
        let (plain, secrets) = options::sort(given, &self.about.options)?;
        match self.record(name) {
            Ok(there) if there.state != State::Ready => self.finish_removal(name, &there, true)?,
            Ok(there) if there.options == plain && there.secrets == secrets => return Ok(()),
            Ok(_) => {
                return Err(Error::already_exists(format!(
                    "volume {name} exists already with other options: remove it first, or choose another name"
                )));
            }
            Err(_) if lock(&self.ledger).all().count() >= MOST => {
                return Err(Error::exhausted(format!(
                    "there are {MOST} volumes already: remove some"
                )));
            }
            Err(_) => {}
        }
        let mut record = Record {
            state: State::Making,
            options: plain,
            secrets,
            note: Vec::new(),
            created: longshore_shim::time::rfc3339(SystemTime::now()),
            mounts: Default::default(),
        };
        self.set(name, Some(record.clone()))?;
        let request = Create {
            name: checked.clone(),
            options: options::values(&record.options, &record.secrets),
        };
        let made = self.driver.create(&Context::background(), request).and_then(|created| {
            self.perform(&checked, &created.steps)?;
            self.root.sync()?;
            record.note = created.note.into_vec();
            record.state = State::Ready;
            self.set(name, Some(record.clone()))
        });
        if made.is_err() {
            // What was begun is not there for anybody; what cannot be undone now is undone by the next server.
            record.state = State::Removing;
            if let Err(error) = self.finish_removal(name, &record, true) {
                eprintln!("longshore-runner: volume {name}, which failed, could not be removed yet: {error}");
            }
        }
        made
    }

    /// Removes a volume that nobody has mounted.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        VolumeName::parse(name)?;
        let _turn = self.turn(name);
        let mut record = self.record(name)?;
        if !record.mounts.is_empty() {
            let holders: Vec<&str> = record.mounts.iter().take(5).map(String::as_str).collect();
            return Err(Error::in_use(format!(
                "volume {name} has {} mounts: {}",
                record.mounts.len(),
                holders.join(", ")
            )));
        }
        record.state = State::Removing;
        self.set(name, Some(record.clone()))?;
        self.finish_removal(name, &record, false)
    }

    fn finish_removal(&self, name: &str, record: &Record, force: bool) -> Result<()> {
        let volume = self.volume_ref(name, record)?;
        let checked = volume.name.clone();
        let removed = self.driver.remove(&Context::background(), Remove { volume, force })?;
        self.perform(&checked, &removed.steps)?;
        self.set(name, None)
    }

    /// Counts a mount, and answers where the volume is to be found. The same ID again is the same mount.
    pub(super) fn mount(&self, name: &str, id: &str) -> Result<String> {
        VolumeName::parse(name)?;
        let checked = MountId::parse(id)?;
        let _turn = self.turn(name);
        let before = self.ready(name)?;
        let mut record = before.clone();
        let new = record.mounts.insert(id.to_owned());
        if record.mounts.len() > MOST_MOUNTS {
            return Err(Error::exhausted(format!(
                "volume {name} has {MOST_MOUNTS} mounts already"
            )));
        }
        if new {
            self.set(name, Some(record.clone()))?;
        }
        let shown = self.show(name, &record, &checked);
        if shown.is_err() && new {
            self.set(name, Some(before))?;
        }
        shown
    }

    /// Ends a mount; one that is not known has ended.
    pub(super) fn unmount(&self, name: &str, id: &str) -> Result<()> {
        VolumeName::parse(name)?;
        let checked = MountId::parse(id)?;
        let _turn = self.turn(name);
        let mut record = self.record(name)?;
        if !record.mounts.remove(id) {
            return Ok(());
        }
        let others = record.mounts.len();
        if !self.can.tracks_mounts {
            // Written first: a mount that nobody counts any more is taken away by the next server.
            self.set(name, Some(record))?;
            return if others == 0 { self.served.hide(name) } else { Ok(()) };
        }
        if others == 0 {
            self.served.hide(name)?;
        }
        let request = Unmount {
            volume: self.volume_ref(name, &record)?,
            mount_id: checked,
            others: u32::try_from(others).unwrap_or(u32::MAX),
        };
        self.driver.unmount(&Context::background(), request)?;
        self.set(name, Some(record))
    }

    /// Where a volume is to be found now; nowhere while nobody has it mounted.
    pub(super) fn path(&self, name: &str) -> Result<String> {
        self.get(name).map(|volume| volume.mountpoint)
    }

    /// One volume.
    pub(super) fn get(&self, name: &str) -> Result<messages::Volume> {
        VolumeName::parse(name)?;
        let record = self.record(name)?;
        self.view(name, &record)
    }

    /// All volumes.
    pub(super) fn list(&self) -> Result<Vec<messages::Volume>> {
        let all: Vec<(String, Record)> = lock(&self.ledger)
            .all()
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect();
        all.iter().map(|(name, record)| self.view(name, record)).collect()
    }

    fn view(&self, name: &str, record: &Record) -> Result<messages::Volume> {
        let mountpoint = match (self.directory(name), record.mounts.is_empty()) {
            (Some(directory), _) => directory,
            (None, true) => String::new(),
            (None, false) => self.served.of(name)?,
        };
        let mut status = Texts::new();
        if record.state != State::Ready {
            status.insert("state".into(), "removing".into());
        }
        Ok(messages::Volume {
            name: name.to_owned(),
            mountpoint,
            created_at: record.created.clone(),
            status,
        })
    }

    /// The folder of the host that holds the content at any time, of a driver that has one.
    fn directory(&self, name: &str) -> Option<String> {
        if !self.can.lists {
            return None;
        }
        let name = VolumeName::parse(name).ok()?;
        let told = self.driver.stat(&Context::background(), Stat { name }).ok()?;
        let place = told.directory?;
        // Opened by the rules of places, so that no link leads out of the driver's root.
        self.root.open_place(&self.about.areas, &place).ok()?;
        let below = root::resolve(&self.about.areas, &place).ok()?;
        let path = self.root.path().join(std::ffi::OsStr::from_bytes(&below));
        path.to_str().map(str::to_owned)
    }

    fn show_all(&self, name: &str, record: &Record) -> Result<()> {
        record
            .mounts
            .iter()
            .try_for_each(|id| self.show(name, record, &MountId::parse(id.as_str())?).map(drop))
    }

    /// Has the volume at its place, for one more who has it.
    fn show(&self, name: &str, record: &Record, id: &MountId) -> Result<String> {
        let directory = self.directory(name);
        let there = directory.is_some() || self.served.has(name)?;
        if !there || self.can.tracks_mounts {
            let request = Mount {
                volume: self.volume_ref(name, record)?,
                mount_id: id.clone(),
                access: Access::Write,
                others: u32::try_from(record.mounts.len().saturating_sub(1)).unwrap_or(u32::MAX),
            };
            let mounted = self.driver.mount(&Context::background(), request)?;
            if !there {
                let detached = self.build(name, record, &mounted)?;
                self.served.show(name, &detached)?;
            }
        }
        match directory {
            Some(directory) => Ok(directory),
            None => self.served.of(name),
        }
    }

    /// Checks a driver's plan and builds it, attached nowhere.
    fn build(&self, name: &str, record: &Record, mounted: &Mounted) -> Result<OwnedFd> {
        let host_paths: Vec<&[u8]> = self
            .about
            .options
            .iter()
            .filter(|spec| spec.kind == OptionKind::HostPath)
            .filter_map(|spec| record.options.get(&spec.name))
            .map(|path| path.as_bytes())
            .collect();
        let grants: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let private = [self.data.as_path(), self.served.path()];
        let secrets = |number| options::secret(&record.secrets, number);
        let scope = PlanScope {
            volume: true,
            grants: &grants,
            host_paths: &host_paths,
            private: &private,
            secrets: Some(&secrets),
            ..PlanScope::new(&self.root, &self.about.areas, name, &[])
        };
        match plan::check_plan(&mounted.plan, &scope, plan::Access::Write)?.builder() {
            Builder::Here(checked) => plan::build(checked),
            Builder::Killable(remote) => Performer::start(&shim()?)?.build(&remote, LIMIT),
        }
    }

    fn turn<'a>(&'a self, name: &'a str) -> Turn<'a> {
        let mut busy = lock(&self.busy);
        while !busy.insert(name.to_owned()) {
            busy = self.freed.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { volumes: self, name }
    }

    fn record(&self, name: &str) -> Result<Record> {
        lock(&self.ledger)
            .get(name)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("no such volume: {name}")))
    }

    fn ready(&self, name: &str) -> Result<Record> {
        let record = self.record(name)?;
        match record.state {
            State::Ready => Ok(record),
            _ => Err(Error::in_use(format!(
                "volume {name} is being removed: remove it again"
            ))),
        }
    }

    fn set(&self, name: &str, record: Option<Record>) -> Result<()> {
        lock(&self.ledger).set(name, record)
    }

    fn volume_ref(&self, name: &str, record: &Record) -> Result<VolumeRef> {
        Ok(VolumeRef {
            name: VolumeName::parse(name)?,
            note: Note::parse(record.note.clone())?,
            options: options::values(&record.options, &record.secrets),
        })
    }

    fn perform(&self, name: &VolumeName, steps: &[TreeStep]) -> Result<()> {
        let scope = Scope {
            root: &self.root,
            areas: &self.about.areas,
            object: name.as_str(),
            ancestors: &[],
            clone_source: None,
        };
        tree::perform_steps(steps, &scope)
    }
}

/// The program that builds mounts which may have to wait for another machine.
fn shim() -> Result<ShimBinary> {
    let own = std::env::current_exe().map_err(|error| Error::io("find this program's folder", &error))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let found = ["longshore-shim", "../lib/longshore/longshore-shim"]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => ShimBinary::open(&path),
        None => Err(Error::not_found(format!(
            "longshore-shim is not beside {}: keep both in one folder",
            own.display()
        ))),
    }
}
