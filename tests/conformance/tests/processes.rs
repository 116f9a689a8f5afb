//! The bundled drivers through their suites in processes of their own, made of the same libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use longshore_conformance::{Target, names, report, run};
use longshore_loader::{Loaded, Origin, Processes};

/// A file that was built beside this test.
fn built(file: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors()
        .map(|folder| folder.join(file))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{file} is not built: run `cargo build --workspace`"))
}

fn passes(name: &str) {
    // A file system that overlay can have its upper layer on: beside the build.
    let folder = std::env::current_exe().unwrap().parent().unwrap().join("conformance");
    std::fs::create_dir_all(&folder).unwrap();
    passes_in(name, &folder);
}

fn passes_in(name: &str, folder: &Path) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: mounts need root");
        return;
    }
    let kind = name.split_once('_').unwrap().0;
    if names(kind).is_empty() {
        println!("SKIP: there is no suite for drivers of kind {kind} yet");
        return;
    }
    let file = built(&format!("liblongshore_{name}.so"));
    let grants = longshore_loader::check(&file).unwrap().manifest().grants.clone();
    let origin = Origin::Explicit {
        in_process: false,
        grants,
    };
    let processes = Processes::new(built("longshore-runner"));
    let loaded = Arc::new(Loaded::from_process(&file, &origin, &processes).unwrap());
    let target = Target {
        loaded: Arc::clone(&loaded),
        options: vec![],
        folder: Some(folder.to_owned()),
    };
    let ended = run(&target, "").unwrap();
    let counts = report::count(&ended);
    let text = report::text("", &ended);
    println!("{text}");
    assert!(counts.failed == 0 && counts.passed > 0, "{text}");
    assert_eq!((loaded.transport(), loaded.process().unwrap().starts), ("process", 1));
}

#[test]
fn root_overlay_in_a_process_of_its_own() {
    passes("graph_overlay");
}

#[test]
fn root_vfs_in_a_process_of_its_own() {
    passes("graph_vfs");
}

#[test]
fn root_local_in_a_process_of_its_own() {
    passes("volume_local");
}

#[test]
fn root_none_in_a_process_of_its_own() {
    passes("network_none");
}

#[test]
fn root_host_in_a_process_of_its_own() {
    passes("network_host");
}

#[test]
fn root_bridge_in_a_process_of_its_own() {
    passes("network_bridge");
}

#[test]
fn root_ipam_default_in_a_process_of_its_own() {
    passes("ipam_default");
}

/// A btrfs in a file, mounted; gone with the value.
struct Btrfs(tempfile::TempDir);

impl Btrfs {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let there = done(Command::new("mkfs.btrfs").arg("-q").arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).args([&image, &mounted]));
        there.then_some(Self(folder))
    }

    fn mounted(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mounted()).status();
    }
}

/// Set inside the mount namespace that the next test makes: what it mounts is nobody else's leftover.
const INSIDE: &str = "LONGSHORE_TEST_INSIDE";

#[test]
fn root_btrfs_in_a_process_of_its_own() {
    if std::env::var_os(INSIDE).is_some() {
        match Btrfs::new() {
            Some(btrfs) => passes_in("graph_btrfs", &btrfs.mounted()),
            None => println!("SKIP: no btrfs can be made and mounted here"),
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: mounts need root");
        return;
    }
    let status = Command::new("unshare")
        .arg("--mount")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "root_btrfs_in_a_process_of_its_own", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}
