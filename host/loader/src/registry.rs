//! The drivers of this host: what is loaded, what is not and why, and which one a name means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::error::{Error, Result};

use crate::discovery::{self, Candidate};
use crate::open::Loaded;
use crate::refusal::{Fault, Problem, Refused};

/// All drivers that were found, in the order in which they were looked for.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
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
        let mut registry = Self::default();
        for candidate in explicit.iter().cloned().chain(discovery::bundled(components)) {
            registry.add_candidate(&candidate);
        }
        registry
    }

    /// Adds a driver's file. A file that is refused stays listed with the reason.
    pub fn add_candidate(&mut self, candidate: &Candidate) {
        let loaded = crate::file::check(&candidate.path).and_then(|checked| {
            candidate
                .expect(checked.manifest())
                .map_err(|fault| fault.at(&candidate.path))?;
            Loaded::from_checked(checked, &candidate.origin)
        });
        let entry = match loaded {
            Ok(loaded) => {
                let description = loaded.description();
                Entry {
                    kind: description.kind.clone(),
                    name: description.name.clone(),
                    version: description.version.clone(),
                    path: Some(candidate.path.clone()),
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
            state: Ok(Arc::new(loaded)),
        });
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
