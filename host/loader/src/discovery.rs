//! Where drivers are looked for: the folder of components, and paths that somebody wrote down.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::policy::Origin;
use crate::refusal::{Fault, Problem};

/// Where a driver's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// As a library in this process.
    InProcess,
    /// As a library in a process of its own.
    Process,
    /// As a component in a sandbox.
    Wasm,
}

impl Isolation {
    /// All of them, as config writes them.
    pub const WORDS: [&'static str; 3] = ["in-process", "process", "wasm"];

    /// The isolation of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "in-process" => Self::InProcess,
            "process" => Self::Process,
            "wasm" => Self::Wasm,
            _ => return None,
        })
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Process => "process",
            Self::Wasm => "wasm",
        }
    }
}

/// A file that may be a driver.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The kind that it should be of.
    pub kind: String,
    /// The name that it should have.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
    /// Where its code shall run. Without a word: bundled libraries in this process, components in a
    /// sandbox, other libraries in a process of their own.
    pub isolation: Option<Isolation>,
}

impl Candidate {
    /// Checks that there is a component where one is wanted: a release need not have any.
    pub(crate) fn there(&self) -> Result<(), Fault> {
        if self.isolation != Some(Isolation::Wasm) || self.path.exists() {
            return Ok(());
        }
        Err(Fault::new(
            Problem::Missing,
            "there is no such component of the driver",
            "choose another isolation, or build components (the target wasm32-wasip2 must be installed)",
        ))
    }

    /// Checks that the file is the driver that it should be.
    pub(crate) fn expect(&self, manifest: &Manifest) -> Result<(), Fault> {
        if manifest.kind() == self.kind && manifest.name == self.name {
            return Ok(());
        }
        let remedy = match self.origin {
            Origin::Bundled => format!("rename it to {}.so", manifest.label()),
            Origin::Explicit { .. } => format!("write it under [plugin.{}]", manifest.label()),
        };
        Err(Fault::new(
            Problem::Kind,
            format_args!(
                "it is the {} driver {}, not the {} driver {}",
                manifest.kind(),
                manifest.name,
                self.kind,
                self.name
            ),
            remedy,
        ))
    }
}

/// The files of the folder of components that are named as drivers are (`graph-overlay.so`), sorted.
/// A folder that is not there holds none.
pub(crate) fn bundled(components: &Path) -> Vec<Candidate> {
    let Ok(entries) = components.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let (kind, name) = split(&entry.file_name())?;
            Some(Candidate {
                kind,
                name,
                path: entry.path(),
                origin: Origin::Bundled,
                isolation: None,
            })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// `graph` and `overlay` of `graph-overlay.so`.
fn split(file_name: &OsStr) -> Option<(String, String)> {
    let stem = file_name.as_bytes().strip_suffix(b".so")?;
    let (kind, name) = std::str::from_utf8(stem).ok()?.split_once('-')?;
    crate::open::host_interface(kind)?;
    Some((kind.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_file_is_named_by_kind_and_name() {
        let is = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
        assert_eq!(split(OsStr::new("graph-overlay.so")), is("graph", "overlay"));
        assert_eq!(split(OsStr::new("volume-my-own.so")), is("volume", "my-own"));
        for other in [
            "libc.so",
            "graph.so",
            "graph-overlay.so.1",
            "longshore-init",
            "engine-x.so",
        ] {
            assert_eq!(split(OsStr::new(other)), None, "{other}");
        }
    }
}
