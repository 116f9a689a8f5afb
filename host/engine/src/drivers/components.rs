//! The folder with drivers, shim and init.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use longshore_loader::{Candidate, Isolation, Origin, Processes, Registry, Ways};
use longshore_shim::ShimBinary;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::paths::Paths;
use crate::store::PluginRow;

/// Names the component folder for embedders and tests.
const VARIABLE: &str = "LONGSHORE_COMPONENTS";

/// Where an engine finds what it does not hold itself.
#[derive(Clone, Debug)]
pub(crate) struct Components {
    folder: PathBuf,
    shim: Arc<OnceLock<ShimBinary>>,
}

impl Components {
    /// The folder that was given, else the one of `LONGSHORE_COMPONENTS`, else `../lib/longshore`
    /// beside the binary.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        let beside = || -> Option<PathBuf> {
            let exe = std::env::current_exe().ok()?;
            Some(exe.parent()?.parent()?.join("lib/longshore"))
        };
        let folder = given
            .map(Path::to_owned)
            .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from))
            .or_else(beside)
            .unwrap_or_default();
        if folder.is_dir() {
            return Ok(Self {
                folder,
                shim: Arc::default(),
            });
        }
        Err(
            Error::not_found(format!("the component folder {} is not there", folder.display())).hint(format!(
                "build it with `make build`, or name it by {VARIABLE} or EngineBuilder::components"
            )),
        )
    }

    /// The shim's program, from the folder or from `bin` of the same tree. It is read once: all shims
    /// of an engine share its pages, and speak the protocol that the engine began with.
    ///
    /// # Errors
    /// `NotFound` when it is in neither place.
    pub(crate) fn shim(&self) -> Result<&ShimBinary> {
        if let Some(shim) = self.shim.get() {
            return Ok(shim);
        }
        let read = ShimBinary::open(&self.program("longshore-shim")?)?;
        Ok(self.shim.get_or_init(|| read))
    }

    /// The init program for `--init`.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    pub(crate) fn init(&self) -> Result<PathBuf> {
        self.program("longshore-init")
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        [self.folder.join(name), self.folder.join("../../bin").join(name)]
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Error::not_found(format!("{name} is not in {}", self.folder.display()))
                    .hint("build it with `make build`")
            })
    }

    /// Where drivers can be run: beside this process, in processes of their own, which an engine of the
    /// same data root finds again; and as components.
    fn ways(&self, paths: &Paths) -> Ways {
        let processes = self.program("longshore-runner").ok().map(|runner| {
            Processes::new(runner)
                .folder(paths.run.join("plugins"))
                .cgroup(format!("/longshore/{}/plugins", paths.root_id))
        });
        let ways = Ways::default().processes(processes);
        #[cfg(feature = "wasm")]
        let ways = ways.wasm(longshore_loader::wasm::Engine::new(longshore_loader::wasm::Settings {
            cache: Some(paths.data.join("plugins/compiled")),
            // An embedder may have handlers of its own.
            signal_handlers: false,
            ..Default::default()
        }));
        ways
    }

    /// Every driver of the folder, those that config adds by path, and those that are installed and in use;
    /// of these, config's path and isolation win.
    pub(super) fn registry(&self, config: &Config, paths: &Paths, installed: &[PluginRow]) -> Registry {
        let isolation = config
            .plugins
            .iter()
            .filter_map(|(name, plugin)| Some((name.clone(), Isolation::parse(plugin.isolation.as_deref()?)?)))
            .collect();
        let mut explicit: Vec<Candidate> = config
            .plugins
            .iter()
            .filter_map(|(name, plugin)| {
                let (kind, name) = name.split_once('-')?;
                Some(Candidate {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    path: plugin.path.clone()?,
                    origin: Origin::Explicit {
                        in_process: plugin.isolation.as_deref() == Some("in-process"),
                        grants: plugin.grants.clone(),
                    },
                    isolation: plugin.isolation.as_deref().and_then(Isolation::parse),
                })
            })
            .collect();
        explicit.extend(installed.iter().filter_map(|row| candidate(row, config, paths)));
        Registry::discover_with(&self.folder, &explicit, &isolation, self.ways(paths))
    }
}

/// An installed plugin as the loader looks for it; none for one that does not serve.
fn candidate(row: &PluginRow, config: &Config, paths: &Paths) -> Option<Candidate> {
    let said = config.plugins.get(&row.name);
    if !row.current || !row.enabled || said.is_some_and(|plugin| plugin.path.is_some()) {
        return None;
    }
    let (kind, name) = row.name.split_once('-')?;
    let isolation = said
        .and_then(|plugin| plugin.isolation.as_deref())
        .unwrap_or(&row.isolation);
    Some(Candidate {
        kind: kind.to_owned(),
        name: name.to_owned(),
        path: crate::plugins::files::path(paths, &row.digest, &row.file),
        origin: Origin::Explicit {
            in_process: isolation == "in-process",
            grants: row.grants.clone(),
        },
        isolation: Isolation::parse(isolation),
    })
}
