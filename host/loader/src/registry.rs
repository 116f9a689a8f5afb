//! The drivers of this host: what is loaded, what is not and why, and which one a name means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::error::{Error, Result};

use crate::discovery::{self, Candidate, Isolation};
use crate::file::Checked;
use crate::open::Loaded;
use crate::policy::Origin;
use crate::process::Processes;
use crate::refusal::{Fault, Problem, Refused};

/// All drivers that were found, in the order in which they were looked for.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
    ways: Ways,
}

/// What a host has, beside itself, to run drivers in.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    processes: Option<Processes>,
    #[cfg(feature = "wasm")]
    wasm: Option<Arc<crate::wasm::Engine>>,
}

impl Ways {
    /// With processes of their own; without, libraries run in this process only.
    #[must_use]
    pub fn processes(mut self, processes: Option<Processes>) -> Self {
        self.processes = processes;
        self
    }

    /// With the sandbox of components.
    #[cfg(feature = "wasm")]
    #[must_use]
    pub fn wasm(mut self, engine: Arc<crate::wasm::Engine>) -> Self {
        self.wasm = Some(engine);
        self
    }
}

/// A driver that was found.
#[derive(Clone)]
pub struct Entry {
    /// Its kind, as its manifest says, or its file's name where that cannot be read.
    pub kind: String,
    /// Its name, likewise.
    pub name: String,
    /// Its version; empty where that cannot be read.
    pub version: String,
    /// Its file; none for a driver that is linked in.
    pub path: Option<PathBuf>,
    /// Where its code runs, or should; none where nobody said and it cannot be loaded.
    pub isolation: Option<Isolation>,
    /// The driver, or why it cannot be used.
    pub state: std::result::Result<Arc<Loaded>, Refused>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} {}: ", self.kind, self.name, self.version)?;
        match &self.state {
            Ok(loaded) => f.write_str(loaded.transport()),
            Err(refused) => refused.fmt(f),
        }
    }
}

impl Registry {
    /// Looks for the drivers of the folder of components and of the paths in config, and loads what
    /// may be loaded. Explicit paths come first, so they are what a bare name means.
    pub fn discover(components: &Path, explicit: &[Candidate]) -> Self {
        Self::discover_with(components, explicit, &BTreeMap::new(), Ways::default())
    }

    /// As [`Self::discover`], with ways to isolate drivers, and the isolation of bundled ones by kind and
    /// name (`graph-overlay`).
    pub fn discover_with(
        components: &Path,
        explicit: &[Candidate],
        isolation: &BTreeMap<String, Isolation>,
        ways: Ways,
    ) -> Self {
        let mut registry = Self {
            entries: Vec::new(),
            ways,
        };
        let bundled = discovery::bundled(components).into_iter().map(|mut candidate| {
            candidate.isolation = isolation
                .get(&format!("{}-{}", candidate.kind, candidate.name))
                .copied();
            if candidate.isolation == Some(Isolation::Wasm) {
                candidate.path.set_extension("wasm");
            }
            candidate
        });
        for candidate in explicit.iter().cloned().chain(bundled) {
            registry.add_candidate(&candidate);
        }
        if let Some(processes) = &registry.ways.processes {
            processes.sweep();
        }
        registry
    }

    /// Adds a driver's file. A file that is refused stays listed with the reason.
    pub fn add_candidate(&mut self, candidate: &Candidate) {
        let at = |fault: Fault| fault.at(&candidate.path);
        let present = candidate.there().map_err(at);
        let loaded = present
            .and_then(|()| crate::file::check(&candidate.path))
            .and_then(|checked| {
                candidate.expect(checked.manifest()).map_err(at)?;
                self.load(checked, candidate)
            });
        let entry = match loaded {
            Ok(loaded) => {
                let description = loaded.description();
                Entry {
                    kind: description.kind.clone(),
                    name: description.name.clone(),
                    version: description.version.clone(),
                    path: Some(candidate.path.clone()),
                    isolation: Isolation::parse(loaded.isolation()),
                    state: self.unless_there(loaded),
                }
            }
            Err(refused) => {
                tracing::warn!("{refused}");
                Entry {
                    kind: candidate.kind.clone(),
                    name: candidate.name.clone(),
                    version: String::new(),
                    path: Some(candidate.path.clone()),
                    isolation: candidate.isolation,
                    state: Err(refused),
                }
            }
        };
        self.entries.push(entry);
    }

    /// Adds a driver that is linked in.
    pub fn add_linked(&mut self, loaded: Loaded) {
        let description = loaded.description().clone();
        self.entries.push(Entry {
            kind: description.kind,
            name: description.name,
            version: description.version,
            path: None,
            isolation: None,
            state: Ok(Arc::new(loaded)),
        });
    }

    /// Loads a file as its candidate says, or as is usual for what it is and where it comes from.
    fn load(&self, checked: Checked, candidate: &Candidate) -> std::result::Result<Loaded, Refused> {
        let usual = match &candidate.origin {
            _ if checked.is_component() => Isolation::Wasm,
            Origin::Bundled => Isolation::InProcess,
            Origin::Explicit { in_process: true, .. } => Isolation::InProcess,
            // Its code is the shim's to load; whether it may be is the policy's to say.
            Origin::Explicit { .. } if candidate.kind == longshore_core::exec::KIND => Isolation::InProcess,
            Origin::Explicit { .. } => Isolation::Process,
        };
        let absent = |what: &str, remedy: &str| Fault::new(Problem::Policy, what, remedy).at(&candidate.path);
        match candidate.isolation.unwrap_or(usual) {
            Isolation::InProcess => Loaded::from_checked(checked, &candidate.origin),
            Isolation::Process => match &self.ways.processes {
                Some(processes) => Loaded::from_checked_process(checked, &candidate.origin, processes),
                None => Err(absent(
                    "it shall run in a process of its own, and this host has no longshore-runner",
                    "put longshore-runner beside the components, or write isolation = \"in-process\" if you trust it",
                )),
            },
            Isolation::Wasm => self.load_component(checked, candidate),
        }
    }

    #[cfg(feature = "wasm")]
    fn load_component(&self, checked: Checked, candidate: &Candidate) -> std::result::Result<Loaded, Refused> {
        match &self.ways.wasm {
            Some(engine) => Loaded::from_checked_component(checked, &candidate.origin, engine),
            None => Err(Fault::new(
                Problem::Policy,
                "it shall run as a Wasm component, which this host was told not to do",
                "use the driver's shared library",
            )
            .at(&candidate.path)),
        }
    }

    #[cfg(not(feature = "wasm"))]
    #[allow(
        clippy::unused_self,
        clippy::needless_pass_by_value,
        reason = "the signature of the other build"
    )]
    fn load_component(&self, _checked: Checked, candidate: &Candidate) -> std::result::Result<Loaded, Refused> {
        Err(Fault::new(
            Problem::Policy,
            "it shall run as a Wasm component, and this host is built without them",
            "use the driver's shared library, or a host with the feature `wasm`",
        )
        .at(&candidate.path))
    }

    /// Records the calls of every driver from now on, or no more.
    pub fn record(&self, recorder: Option<&Arc<crate::record::Recorder>>) {
        for loaded in self.entries.iter().filter_map(|entry| entry.state.as_ref().ok()) {
            loaded.record(recorder);
        }
    }

    /// Ends the processes of drivers, see [`Loaded::end`].
    pub fn end(&self) {
        for loaded in self.entries.iter().filter_map(|entry| entry.state.as_ref().ok()) {
            loaded.end();
        }
    }

    fn unless_there(&self, loaded: Loaded) -> std::result::Result<Arc<Loaded>, Refused> {
        let description = loaded.description();
        let path = loaded.path().unwrap_or(Path::new(""));
        let other = self.entries.iter().find(|entry| {
            entry.state.is_ok()
                && entry.kind == description.kind
                && entry.name == description.name
                && entry.version == description.version
        });
        match other {
            None => Ok(Arc::new(loaded)),
            Some(other) => Err(Fault::new(
                Problem::Duplicate,
                format_args!(
                    "{} driver {} {} is already there, from {}",
                    description.kind,
                    description.name,
                    description.version,
                    other.path.as_deref().unwrap_or(Path::new("this program")).display()
                ),
                "remove one of the files, or give one another version",
            )
            .at(path)),
        }
    }

    /// Everything that was found.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The driver of that kind and name, or alias. Of several versions: the one asked for, else the
    /// first that was found.
    ///
    /// # Errors
    /// `Unavailable` with the reason for a driver that cannot be used; `NotFound` with the names that
    /// there are.
    pub fn find(&self, kind: &str, name: &str, version: Option<&str>) -> Result<Arc<Loaded>> {
        let mut refused = None;
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.kind == kind && entry.is_called(name))
        {
            match &entry.state {
                Ok(loaded) if version.is_none_or(|version| version == entry.version) => return Ok(Arc::clone(loaded)),
                Ok(_) => {}
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        if let Some(reason) = refused {
            return Err(Error::unavailable(format!(
                "{kind} driver {name} cannot be used: {reason}"
            )));
        }
        let names: Vec<_> = self.usable(kind).map(|entry| entry.name.as_str()).collect();
        let what = version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"));
        Err(Error::not_found(if names.is_empty() {
            format!("there is no {kind} driver {what}, nor any other: is the folder of components complete?")
        } else {
            format!("there is no {kind} driver {what}; there is {}", names.join(", "))
        }))
    }

    /// The drivers of that kind that can be used.
    pub fn usable(&self, kind: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.kind == kind && entry.state.is_ok())
    }
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        self.name == name
            || self
                .state
                .as_ref()
                .is_ok_and(|loaded| loaded.description().aliases.iter().any(|alias| alias == name))
    }
}
