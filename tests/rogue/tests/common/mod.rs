//! Where the libraries of this package's examples are, copied to a folder that a loader trusts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use longshore_core::graph::{LayerRef, Remove};
use longshore_core::types::{LayerId, Note};
use longshore_loader::{Loaded, Origin, Refused};
use tempfile::TempDir;

/// `target/<profile>`, seen from `target/<profile>/deps/<this test>`.
fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().parent().unwrap().to_owned()
}

fn built(name: &str) -> PathBuf {
    let file = format!("lib{name}.so");
    let path = profile_folder().join("examples").join(&file);
    assert!(
        path.exists(),
        "{} is missing: run all targets of this package, cargo then builds its examples",
        path.display()
    );
    path
}

/// A folder of one's own with copies of libraries.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The example's library under another name.
    pub fn copy(&self, example: &str, name: &str) -> PathBuf {
        self.put(name, &fs::read(built(example)).unwrap())
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }
}

pub fn bytes(example: &str) -> Vec<u8> {
    fs::read(built(example)).unwrap()
}

/// The library of a package that this one depends on: cargo builds both forms of it.
pub fn dependency(name: &str) -> Vec<u8> {
    fs::read(profile_folder().join("deps").join(format!("lib{name}.so"))).unwrap()
}

pub fn load(path: &Path) -> Result<Loaded, Refused> {
    let origin = Origin::Explicit {
        in_process: true,
        grants: vec![],
    };
    Loaded::from_path(path, &origin)
}

/// A driver's root, opened.
pub fn root(folder: &Folder) -> std::os::fd::OwnedFd {
    fs::File::open(folder.path()).unwrap().into()
}

pub fn layer(word: &str) -> LayerRef {
    LayerRef {
        id: LayerId::parse(format!("{word}-{}", "0".repeat(40))).unwrap(),
        note: Note::default(),
    }
}

pub fn remove(word: &str) -> Remove {
    Remove {
        layer: layer(word),
        chain: vec![],
    }
}
