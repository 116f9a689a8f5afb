//! Why a file is not loaded: one sentence that names the file, what is wrong, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// Which check a file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not there, or cannot be opened or read.
    Missing,
    /// It is no regular file.
    NotRegular,
    /// Somebody else owns it or its folder, or may write there.
    Untrusted,
    /// It is no shared library.
    NotLibrary,
    /// It is no Wasm component.
    NotComponent,
    /// It is made for another machine.
    Architecture,
    /// It is cut short, or its headers contradict each other.
    Damaged,
    /// It has no manifest, several, or one that cannot be read.
    Manifest,
    /// It wants what it is not granted, or may not run in this process.
    Policy,
    /// It has no interface version in common with this host.
    Interface,
    /// It imports what no host offers a driver.
    Import,
    /// The system's loader, or the compiler of components, refused it.
    Load,
    /// It does not export the root module.
    Symbol,
    /// Its ABI has another version or another layout.
    Abi,
    /// It is of another kind, or another driver, than asked for.
    Kind,
    /// What it says of itself and what stands in its manifest differ.
    Description,
    /// Another file provides the same driver in the same version.
    Duplicate,
}

/// A failed check, before it is known of which file.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) problem: Problem,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Fault {
    pub(crate) fn new(problem: Problem, what: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self {
            problem,
            what: what.to_string(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn at(self, path: &Path) -> Refused {
        Refused {
            path: path.to_owned(),
            problem: self.problem,
            what: self.what,
            remedy: self.remedy,
        }
    }
}

/// A file that is not loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {what}; {remedy}", path.display())]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// Which check failed.
    pub problem: Problem,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl From<Refused> for longshore_core::Error {
    fn from(refused: Refused) -> Self {
        Self::unavailable(refused.to_string())
    }
}
