//! Opening an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::container::Containers;
use crate::drivers::{Components, Drivers};
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::image::Images;
use crate::layer::Layers;
use crate::paths::{Lock, Paths};
use crate::plugins::Plugins;
use crate::store::Store;
use crate::volume::Volumes;

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct EngineBuilder {
    data_root: PathBuf,
    exec_root: PathBuf,
    components: Option<PathBuf>,
    config: Config,
}

impl EngineBuilder {
    /// An engine over that data root, with the built-in config.
    pub fn new(data_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: PathBuf::from("/run/longshore"),
            components: None,
            config: Config::built_in(),
        }
    }

    /// Where run folders are; `/run/longshore` unless said otherwise.
    #[must_use]
    pub fn exec_root(mut self, exec_root: impl Into<PathBuf>) -> Self {
        self.exec_root = exec_root.into();
        self
    }

    /// The folder with drivers, shim and init. Unless said otherwise `LONGSHORE_COMPONENTS`, else
    /// `../lib/longshore` beside the binary.
    #[must_use]
    pub fn components(mut self, folder: impl Into<PathBuf>) -> Self {
        self.components = Some(folder.into());
        self
    }

    /// The config.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Opens the engine: takes the data root's lock, puts right what an engine that died left half
    /// done, takes running containers up again.
    ///
    /// # Errors
    /// `InUse` when another process has the data root; `Invalid` for the config; what opening met.
    pub async fn build(self) -> Result<Engine> {
        tokio::task::spawn_blocking(move || self.open()).await.map_err(|e| {
            Error::new(
                longshore_core::ErrorKind::Broken,
                format!("opening the engine ended early: {e}"),
            )
        })?
    }

    fn open(self) -> Result<Engine> {
        let paths = Paths::prepare(&self.data_root, &self.exec_root)?;
        let lock = Lock::take(&paths)?;
        empty(&paths.tmp());
        let (store, damaged) = Store::open(&paths.database())?;
        let store = Arc::new(store);
        let boot = longshore_sys::process::boot().unwrap_or_default();
        let epoch = if paths.take_clean_mark(&boot) {
            store.read(|tx| tx.epoch())?
        } else {
            store.write(|tx| tx.next_epoch())?
        };
        let components = Components::find(self.components.as_deref())?;
        let drivers = Arc::new(Drivers::new(
            components,
            self.config,
            paths.clone(),
            store.read(|tx| tx.plugins())?,
        )?);
        let plugins = Plugins::new(Arc::clone(&store), Arc::clone(&drivers), paths.clone())?;
        let layers = Arc::new(Layers::new(
            Arc::clone(&store),
            Arc::clone(&drivers),
            paths.clone(),
            epoch,
        ));
        let images = Arc::new(Images::new(Arc::clone(&store), Arc::clone(&layers), paths.clone()));
        let volumes = Arc::new(Volumes::new(Arc::clone(&store), Arc::clone(&drivers), paths.clone()));
        let containers = Containers::new(
            Arc::clone(&store),
            Arc::clone(&drivers),
            Arc::clone(&layers),
            Arc::clone(&images),
            Arc::clone(&volumes),
            paths.clone(),
        );
        // Containers first: their layers and volumes are then known to be used.
        for (what, done) in [
            ("containers", containers.recover()),
            ("layers", layers.recover()),
            ("volumes", volumes.recover()),
            ("layers without an image", layers.prune().map(drop)),
        ] {
            if let Err(error) = done {
                tracing::error!(%error, "start-up could not put all {what} right");
            }
        }
        Ok(Engine::new(Inner {
            paths,
            _lock: lock,
            drivers,
            plugins,
            layers,
            images,
            volumes,
            containers,
            store,
            boot,
            damaged: std::sync::Mutex::new(damaged),
        }))
    }
}

/// Empties a scratch folder.
fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let done = if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = done {
            tracing::warn!(path = %path.display(), %error, "a leftover could not be removed");
        }
    }
}
