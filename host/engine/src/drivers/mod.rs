//! The engine's drivers: which are there, which is chosen, and each one opened over its root.
//!
//! Everything here goes by kind, name and capability; no driver is known. A driver is opened when it
//! is first needed and stays open. [`graph`] and [`volume`] join a driver's answers with the
//! performer that carries them out.

mod choice;
mod components;
mod docker;
mod graph;
mod network;
mod perform;
mod view;
mod volume;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use longshore_core::driver::{OptionValue, Probed};
use longshore_loader::{Loaded, Registry};
use longshore_performer::root::Root;

pub use choice::Choice;
pub(crate) use components::Components;
pub(crate) use graph::GraphSlot;
pub(crate) use network::NetworkSlot;
pub use view::{DriverReason, DriverView};
pub(crate) use volume::VolumeSlot;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::paths::Paths;
use crate::store::PluginRow;

/// Flushes the file system that holds a folder.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let folder = std::fs::File::open(path).map_err(|e| Error::io(format!("open {}", path.display()), &e))?;
    longshore_sys::path::sync_file_system(&folder)
        .map_err(|e| Error::io(format!("flush the file system of {}", path.display()), &e.into()))
}

/// Asks a driver whether it can work over a root, with the facts that the host gathers.
fn probe(found: &Loaded, root: &Root, path: &Path, options: &[OptionValue]) -> Result<Probed> {
    let facts = longshore_performer::facts::gather(root)?;
    Ok(found.probe(Some(folder_of(root)?), path, options.to_vec(), facts)?)
}

/// What the plugin's manifest wants and the policy granted.
fn grants(found: &Loaded) -> Vec<String> {
    found
        .manifest()
        .map(|manifest| manifest.grants.clone())
        .unwrap_or_default()
}

/// A descriptor of a driver's root, for one that acts.
fn folder_of(root: &Root) -> Result<OwnedFd> {
    Ok(root.open_beneath(b"", longshore_sys::path::OFlags::DIRECTORY)?)
}

/// The exec driver's library, for a shim to open.
#[derive(Debug)]
pub(crate) struct ExecLibrary {
    pub(crate) file: OwnedFd,
    pub(crate) digest: String,
    pub(crate) options: Vec<OptionValue>,
}

/// All drivers of an engine.
#[derive(Debug)]
pub(crate) struct Drivers {
    components: Components,
    paths: Paths,
    registry: RwLock<Arc<Registry>>,
    config: RwLock<Config>,
    /// The plugins that are installed, every generation.
    installed: RwLock<Vec<PluginRow>>,
    graphs: Mutex<HashMap<String, Arc<GraphSlot>>>,
    volumes: Mutex<HashMap<String, Arc<VolumeSlot>>>,
    docker_volumes: Mutex<HashMap<String, Arc<VolumeSlot>>>,
    networks: Mutex<HashMap<String, Arc<NetworkSlot>>>,
    /// The graph drivers' folders whose trash this engine has emptied. Not again when a driver is opened
    /// anew: what lies there then is being removed.
    emptied: Arc<Mutex<HashSet<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins or ends the record of drivers' calls, as config says.
fn record(registry: &Registry, config: &Config) -> Result<()> {
    let recorder = match &config.record {
        Some(path) => Some(
            longshore_loader::record::Recorder::open(path)
                .map_err(|error| Error::io(format!("open the record {}", path.display()), &error))?,
        ),
        None => None,
    };
    registry.record(recorder.as_ref());
    Ok(())
}

/// A driver's options from config, as the driver takes them.
fn values(config: &Config, found: &Loaded) -> Vec<OptionValue> {
    let description = found.description();
    let mut names: Vec<&str> = description.aliases.iter().map(String::as_str).collect();
    names.push(&description.name);
    config
        .options(&description.kind, &names)
        .iter()
        .map(|(name, value)| OptionValue::text(name, value))
        .collect()
}

impl Drivers {
    pub(crate) fn new(components: Components, config: Config, paths: Paths, installed: Vec<PluginRow>) -> Result<Self> {
        let registry = components.registry(&config, &paths, &installed);
        record(&registry, &config)?;
        Ok(Self {
            components,
            paths,
            registry: RwLock::new(Arc::new(registry)),
            config: RwLock::new(config),
            installed: RwLock::new(installed),
            graphs: Mutex::default(),
            volumes: Mutex::default(),
            docker_volumes: Mutex::default(),
            networks: Mutex::default(),
            emptied: Arc::default(),
        })
    }

    pub(crate) fn components(&self) -> &Components {
        &self.components
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was measured of all drivers, as Prometheus reads it.
    pub(crate) fn metrics(&self) -> String {
        let registry = self.registry();
        let loaded = registry
            .entries()
            .iter()
            .filter_map(|entry| entry.state.as_deref().ok());
        longshore_loader::prometheus(loaded)
    }

    /// Ends the processes of drivers: this engine ends, and its containers need none of them.
    pub(crate) fn end(&self) {
        self.registry().end();
    }

    pub(crate) fn config(&self) -> Config {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another config in force when every driver that it names is there and can be opened with
    /// its options.
    pub(crate) fn reload(&self, config: Config) -> Result<()> {
        let before = self.config();
        if config.plugins != before.plugins {
            return self.reload_plugins(config);
        }
        if config.record != before.record {
            record(&self.registry(), &config)?;
        }
        for kind in ["graph", "volume", "exec", "network"] {
            let Some(name) = config.kind(kind).and_then(|section| section.driver.clone()) else {
                continue;
            };
            let found = self.find(kind, &name)?;
            let options = values(&config, &found);
            if kind == "graph" && options != values(&before, &found) {
                let slot = self.open_graph(&found, options)?;
                lock(&self.graphs).insert(slot.name.clone(), slot);
            } else if kind == "graph" {
                self.graph(&name)?;
            }
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// As [`Self::reload`], when other plugins are named, or others' isolation: the drivers are looked for
    /// and loaded anew, beside those that are there. When every one that config names can be used they
    /// take the others' place; calls that are under way end where they began.
    fn reload_plugins(&self, config: Config) -> Result<()> {
        let fresh = self.prepare(config, self.installed())?;
        self.adopt(fresh);
        Ok(())
    }

    /// The drivers as they would be with these plugins installed, loaded beside those that serve. `name` is
    /// the one that changed, and must be usable where it is enabled.
    pub(crate) fn prepare_plugins(&self, rows: &[PluginRow], name: &str) -> Result<Self> {
        let fresh = self.prepare(self.config(), rows.to_vec())?;
        let serves = rows.iter().any(|row| row.name == name && row.current && row.enabled);
        if let Some((kind, name)) = name.split_once('-').filter(|_| serves) {
            fresh.open(kind, name)?;
        }
        Ok(fresh)
    }

    fn prepare(&self, config: Config, installed: Vec<PluginRow>) -> Result<Self> {
        let mut fresh = Self::new(self.components.clone(), config, self.paths.clone(), installed)?;
        fresh.emptied = Arc::clone(&self.emptied);
        for kind in ["graph", "volume", "exec", "network"] {
            let Some(name) = fresh.config().kind(kind).and_then(|section| section.driver.clone()) else {
                continue;
            };
            fresh.open(kind, &name)?;
        }
        Ok(fresh)
    }

    /// Opens a driver, or finds that it can be.
    fn open(&self, kind: &str, name: &str) -> Result<()> {
        match kind {
            "graph" => drop(self.graph(name)?),
            "volume" => drop(self.volume(Some(name))?),
            "network" => drop(self.network(name)?),
            _ => drop(self.find(kind, name)?),
        }
        Ok(())
    }

    /// Lets prepared drivers serve in place of these. One after the other: who asks in between gets a driver
    /// of one or the other, never none.
    pub(crate) fn adopt(&self, fresh: Self) {
        *self.installed.write().unwrap_or_else(PoisonError::into_inner) = fresh.installed();
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = fresh.registry();
        *lock(&self.graphs) = std::mem::take(&mut *lock(&fresh.graphs));
        *lock(&self.volumes) = std::mem::take(&mut *lock(&fresh.volumes));
        *lock(&self.networks) = std::mem::take(&mut *lock(&fresh.networks));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = fresh.config();
    }

    fn installed(&self) -> Vec<PluginRow> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The installed plugins that were put out of use.
    fn disabled(&self) -> Vec<PluginRow> {
        let mut rows = self.installed();
        rows.retain(|row| row.current && !row.enabled);
        rows
    }

    /// Whether a driver of that kind and name was found, usable or not.
    pub(crate) fn is_there(&self, kind: &str, name: &str) -> bool {
        let registry = self.registry();
        registry
            .entries()
            .iter()
            .any(|entry| entry.kind == kind && entry.name == name)
    }

    /// Why a driver of ours cannot be used; none for one that can, or that a Docker plugin may be.
    pub(crate) fn why_not(&self, kind: &str, name: &str) -> Option<String> {
        match self.find(kind, name) {
            Err(error) if error.kind != longshore_core::ErrorKind::NotFound => Some(error.message),
            Ok(found) => found.quarantined(),
            Err(_) => None,
        }
    }

    fn find(&self, kind: &str, name: &str) -> Result<Arc<Loaded>> {
        let label = format!("{kind}-{name}");
        if self.disabled().iter().any(|row| row.name == label) {
            return Err(Error::unavailable(format!("{kind} driver {name} is disabled"))
                .hint(format!("longshore plugin enable {label}")));
        }
        self.registry().find(kind, name, None).map_err(|error| {
            Error::from(error)
                .hint("see `longshore driver ls` for the drivers that are here and why one cannot be used")
        })
    }

    /// The driver of a kind that a request, else config, chooses: its own name.
    pub(crate) fn chosen(&self, kind: &str, choice: &Choice) -> Result<String> {
        let from_config = || self.config().kind(kind).and_then(|section| section.driver.clone());
        let name = choice
            .get(kind)
            .map(str::to_owned)
            .or_else(from_config)
            .ok_or_else(|| Error::invalid(format!("no {kind} driver is configured")))?;
        Ok(self.find(kind, &name)?.description().name.clone())
    }

    /// A graph driver, open.
    pub(crate) fn graph(&self, name: &str) -> Result<Arc<GraphSlot>> {
        let found = self.find("graph", name)?;
        let mut open = lock(&self.graphs);
        if let Some(slot) = open.get(&found.description().name) {
            return Ok(Arc::clone(slot));
        }
        let slot = self.open_graph(&found, values(&self.config(), &found))?;
        open.insert(slot.name.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    fn open_graph(&self, found: &Loaded, options: Vec<OptionValue>) -> Result<Arc<GraphSlot>> {
        let slot = GraphSlot::open(found, &self.paths, options)?;
        if lock(&self.emptied).insert(slot.folder.clone()) {
            slot.empty_trash()?;
        }
        Ok(Arc::new(slot))
    }

    /// The graph drivers that are open.
    pub(crate) fn open_graphs(&self) -> Vec<Arc<GraphSlot>> {
        lock(&self.graphs).values().cloned().collect()
    }

    /// A volume driver, open; without a name the configured one.
    pub(crate) fn volume(&self, name: Option<&str>) -> Result<Arc<VolumeSlot>> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.chosen("volume", &Choice::default())?,
        };
        let found = match self.find("volume", &name) {
            Err(error) if error.kind == longshore_core::ErrorKind::NotFound => {
                return self.docker_volume(&name)?.ok_or(error);
            }
            found => found?,
        };
        let mut open = lock(&self.volumes);
        if let Some(slot) = open.get(&found.description().name) {
            return Ok(Arc::clone(slot));
        }
        let slot = Arc::new(VolumeSlot::open(
            &found,
            &self.paths,
            self.components.clone(),
            values(&self.config(), &found),
        )?);
        open.insert(slot.name.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// A network driver, open.
    pub(crate) fn network(&self, name: &str) -> Result<Arc<NetworkSlot>> {
        let found = self.find("network", name)?;
        let mut open = lock(&self.networks);
        if let Some(slot) = open.get(&found.description().name) {
            return Ok(Arc::clone(slot));
        }
        let slot = Arc::new(NetworkSlot::open(&found, &self.paths, values(&self.config(), &found))?);
        open.insert(slot.name.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Whether containers of a network stay in the host's namespace.
    pub(crate) fn network_shares_host(&self, name: &str) -> Result<bool> {
        Ok(self.network(name)?.capabilities.shares_host)
    }

    /// The library of an exec driver, checked, for a shim to open.
    pub(crate) fn exec_library(&self, name: &str) -> Result<ExecLibrary> {
        let found = self.find("exec", name)?;
        // The descriptor that was checked, not whatever its path names by now.
        let file = found
            .file()
            .ok_or_else(|| Error::unsupported(format!("exec driver {name} is linked in; a shim needs a library")))?
            .try_clone_to_owned()
            .map_err(|e| Error::io(format!("pass on the library of exec driver {name}"), &e))?;
        Ok(ExecLibrary {
            file,
            digest: found.digest().unwrap_or_default().to_owned(),
            options: values(&self.config(), &found),
        })
    }
}
