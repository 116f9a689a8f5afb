//! The graph suite on a btrfs file system of the test's own, and what only subvolumes can do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use longshore_conformance::{Target, report, run};
use longshore_graph_btrfs::Btrfs;
use longshore_loader::{Loaded, Origin};
use longshore_plugin::Context;
use longshore_plugin::graph::{Commit, Create, Ended, GraphDriver, GraphKind, LayerRef, Remove, Role};
use longshore_plugin::serve::Static;
use longshore_plugin::types::{LayerId, Note};

/// A loop file with btrfs, mounted; gone with the value.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None` where none can be made, which the test prints.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: mounts need root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        match Command::new("mkfs.btrfs").arg("-q").arg(&file).status() {
            Ok(status) if status.success() => {}
            other => {
                println!("SKIP: no mkfs.btrfs here ({other:?})");
                return None;
            }
        }
        let at = folder.path().join("fs");
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .arg(&file)
            .arg(&at)
            .status()
            .unwrap();
        if !mounted.success() {
            println!("SKIP: this kernel mounts no btrfs");
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("fs")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.path()).status();
        assert!(std::thread::panicking() || done.is_ok_and(|status| status.success()));
    }
}

fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors()
        .map(|folder| folder.join("liblongshore_graph_btrfs.so"))
        .find(|path| path.is_file())
        .expect("the library is built with its tests")
}

fn passes(loaded: Loaded, at: &Path) {
    let target = Target {
        loaded: Arc::new(loaded),
        options: vec![],
        folder: Some(at.to_owned()),
    };
    let ended = run(&target, "").unwrap();
    let counts = report::count(&ended);
    let text = report::text("btrfs", &ended);
    println!("{text}");
    assert!(counts.failed == 0 && counts.passed > 0, "{text}");
}

#[test]
fn root_the_suite_passes_linked_in() {
    let Some(disk) = Disk::new() else { return };
    passes(
        Loaded::over(Arc::new(Static::<Btrfs, GraphKind>::new())).unwrap(),
        &disk.path(),
    );
}

#[test]
fn root_the_suite_passes_as_a_library() {
    let Some(disk) = Disk::new() else { return };
    let origin = Origin::Explicit {
        in_process: true,
        grants: vec!["acts".into()],
    };
    passes(Loaded::from_path(&library(), &origin).unwrap(), &disk.path());
}

fn layer(letter: &str) -> LayerRef {
    LayerRef {
        id: LayerId::parse(letter.repeat(64)).unwrap(),
        note: Note::default(),
    }
}

fn driver(at: &Path) -> Arc<dyn GraphDriver> {
    let loaded = Loaded::over(Arc::new(Static::<Btrfs, GraphKind>::new())).unwrap();
    let root = std::fs::File::open(at).unwrap();
    loaded.open_graph(root.into(), at, vec![]).unwrap()
}

fn create(driver: &dyn GraphDriver, id: &LayerRef, chain: &[LayerRef]) {
    let request = Create {
        id: id.id.clone(),
        chain: chain.to_vec(),
        role: Role::Container,
        options: vec![],
    };
    driver.create(&Context::background(), request).unwrap();
}

fn btrfs(arguments: &[&str], at: &[&Path]) {
    let done = Command::new("btrfs").args(arguments).args(at).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn root_what_a_container_nested_goes_with_its_layer() {
    let Some(disk) = Disk::new() else { return };
    let driver = driver(&disk.path());
    let own = layer("c");
    create(&*driver, &own, &[]);
    let top = disk.path().join("subvolumes").join(own.id.as_str());
    // A read-only one that holds another: neither can be removed as it is.
    btrfs(&["subvolume", "create"], &[&top.join("a")]);
    btrfs(&["subvolume", "create"], &[&top.join("a/b")]);
    std::fs::write(top.join("a/b/file"), "x").unwrap();
    btrfs(
        &["property", "set", "-ts"],
        &[&top.join("a"), Path::new("ro"), Path::new("true")],
    );
    let removed = driver
        .remove(
            &Context::background(),
            Remove {
                layer: own,
                chain: vec![],
            },
        )
        .unwrap();
    assert_eq!(removed.outcome, Ended::Done);
    assert!(!top.exists());
}

#[test]
fn root_a_parent_goes_after_its_children() {
    let Some(disk) = Disk::new() else { return };
    let driver = driver(&disk.path());
    let (parent, child) = (layer("a"), layer("b"));
    create(&*driver, &parent, &[]);
    let commit = Commit {
        layer: parent.clone(),
        chain: vec![],
    };
    driver.commit(&Context::background(), commit).unwrap();
    create(&*driver, &child, std::slice::from_ref(&parent));
    let remove = |layer: &LayerRef| {
        driver.remove(
            &Context::background(),
            Remove {
                layer: layer.clone(),
                chain: vec![],
            },
        )
    };
    let error = remove(&parent).unwrap_err();
    assert_eq!(error.kind, longshore_plugin::ErrorKind::InUse, "{error}");
    remove(&child).unwrap();
    remove(&parent).unwrap();
}
