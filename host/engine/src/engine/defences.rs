//! What holds the data together: each test fails when the defence that it is about is taken out
//! (`make mutants` does that).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_archive::digest::Digest;
use longshore_core::ErrorKind;

use super::Engine;
use crate::{Choice, EngineBuilder, models};

const BUSYBOX: &str = "/bin/busybox";

/// The folder that `make build` leaves, or why the test cannot be run here.
fn components(needs: &[&str]) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: mounts need root");
        return None;
    }
    if let Some(missing) = needs.iter().find(|file| !Path::new(file).exists()) {
        println!("SKIP: {missing} is not there");
        return None;
    }
    let built = std::env::current_exe()
        .unwrap()
        .ancestors()
        .map(|folder| folder.join("longshore/lib/longshore"))
        .find(|folder| folder.is_dir());
    if built.is_none() {
        println!("SKIP: the drivers are not built: run `make build`");
    }
    built
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn done(command: &mut Command) -> bool {
    command.status().unwrap().success()
}

/// An archive of a root file system with busybox and some files to lose.
fn archive(folder: &Path) -> fs::File {
    let root = folder.join("rootfs");
    for name in ["bin", "data", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    if Path::new(BUSYBOX).exists() {
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    }
    for nth in 0..16_u8 {
        fs::write(root.join(format!("data/{nth}")), vec![nth + 1; 50_000]).unwrap();
    }
    let tar = folder.join("rootfs.tar");
    assert!(done(
        Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg(".")
    ));
    fs::File::open(tar).unwrap()
}

async fn import(engine: &Engine, folder: &Path) -> String {
    engine
        .import(
            archive(folder),
            Some("box".into()),
            vec![],
            String::new(),
            Choice::default(),
        )
        .await
        .unwrap()
}

#[test]
fn a_second_writer_of_a_data_root_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let components = folder.path().join("components");
    fs::create_dir(&components).unwrap();
    let open = || {
        EngineBuilder::new(folder.path().join("data"))
            .exec_root(folder.path().join("run"))
            .components(&components)
            .build()
    };
    runtime().block_on(async {
        let first = open().await.unwrap();
        let refused = open().await.map(drop).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InUse, "{refused}");
        drop(first);
        open().await.unwrap();
    });
}

/// A file system in a file, mounted until dropped.
struct Loop(PathBuf);

impl Loop {
    fn mount(image: &Path, at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        done(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&at)).then_some(Self(at))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let gone = done(Command::new("umount").arg(&self.0));
        assert!(gone || std::thread::panicking(), "{} stays mounted", self.0.display());
    }
}

/// Every regular file of a data root that is of a layer or an image, with its digest. The file of
/// names mirrors the database after the commit, for other readers: nothing rests on it.
fn files(data: &Path) -> BTreeMap<PathBuf, String> {
    fn visit(top: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                visit(top, &path, found);
            } else if kind.is_file() && !path.ends_with("repositories.json") {
                let digest = Digest::of(&fs::read(&path).unwrap()).to_string();
                found.insert(path.strip_prefix(top).unwrap().to_owned(), digest);
            }
        }
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tmp", "lost+found", "containers"].contains(&name) {
            visit(data, &path, &mut found);
        }
    }
    found
}

#[test]
fn root_an_acknowledged_layer_survives_a_power_cut() {
    let Some(components) = components(&["/dev/loop-control"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
    if !done(Command::new("mkfs.ext4").arg("-q").arg(&image)) {
        println!("SKIP: mkfs.ext4 does not work here");
        return;
    }
    let Some(disk) = Loop::mount(&image, folder.path().join("disk-at")) else {
        println!("SKIP: loop devices cannot be mounted here");
        return;
    };
    let (cut, data) = (folder.path().join("cut"), disk.0.join("data"));
    let open = |data: &Path| {
        EngineBuilder::new(data)
            .exec_root(folder.path().join("run"))
            .components(&components)
            .build()
    };
    let runtime = runtime();
    let id = runtime.block_on(async {
        let engine = open(&data).await.unwrap();
        let id = import(&engine, folder.path()).await;
        // What the disk has at this moment: what the file system keeps in memory alone is not in it.
        fs::copy(&image, &cut).unwrap();
        id
    });
    let acknowledged = files(&data);
    assert!(acknowledged.len() > 16, "{acknowledged:?}");
    drop(disk);
    let after = Loop::mount(&cut, folder.path().join("cut-at")).unwrap();
    let left = files(&after.0.join("data"));
    for (path, digest) in &acknowledged {
        assert_eq!(left.get(path), Some(digest), "{} after the cut", path.display());
    }
    runtime.block_on(async {
        let engine = open(&after.0.join("data")).await.unwrap();
        let images = engine.images().await.unwrap();
        assert!(images.iter().any(|image| image.id == id), "{images:?}");
    });
}

/// A container that is removed whatever happens; without an ID it was handed on.
struct Running<'a> {
    runtime: &'a tokio::runtime::Runtime,
    engine: &'a Engine,
    id: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let removed = self.runtime.block_on(self.engine.remove(&self.id, true, true));
        let root_id = &self.engine.paths().root_id;
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            drop(fs::remove_dir(entry.path().join("longshore").join(root_id)));
        }
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

#[test]
fn root_a_layer_of_a_running_container_is_not_removed() {
    let Some(components) = components(&[BUSYBOX]) else {
        return;
    };
    // Overlay's upper layer cannot be on every temporary folder; beside the build it can.
    let folder = tempfile::tempdir_in(components.ancestors().nth(3).unwrap()).unwrap();
    let runtime = runtime();
    let build = || {
        EngineBuilder::new(folder.path().join("data"))
            .exec_root(folder.path().join("run"))
            .components(&components)
            .build()
    };
    let engine = runtime.block_on(build()).unwrap();
    runtime.block_on(import(&engine, folder.path()));
    let body = models::ContainerCreateBody {
        image: Some("box".into()),
        cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "1000".into()]),
        host_config: Some(models::HostConfig {
            network_mode: Some("none".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let created = runtime.block_on(engine.create(None, body, Choice::default())).unwrap();
    let running = Running {
        runtime: &runtime,
        engine: &engine,
        id: created.id,
    };
    runtime.block_on(engine.start(&running.id)).unwrap();
    let refused = |engine: &Engine, id: String| {
        let removed = runtime.block_on(engine.run(move |inner| {
            let record = inner.containers.resolve(&id)?.record();
            let owners = inner.store.read(|tx| tx.lease_owners(&record.layer))?;
            assert_eq!(owners, [id]);
            let slot = inner.drivers.graph(&record.driver)?;
            inner.layers.remove_container_layer(&slot, &record.layer_ref()?)
        }));
        assert_eq!(removed.unwrap_err().kind, ErrorKind::InUse);
    };
    refused(&engine, running.id.clone());
    // An engine that follows knows of it: the rows say who needs the layer, the shim that it lives.
    let mut running = running;
    let id = std::mem::take(&mut running.id);
    drop(running);
    drop(engine);
    let engine = runtime.block_on(build()).unwrap();
    let running = Running {
        runtime: &runtime,
        engine: &engine,
        id,
    };
    refused(&engine, running.id.clone());
}

#[test]
fn root_a_load_does_not_wait_for_a_load_of_another_image() {
    let Some(components) = components(&[BUSYBOX]) else {
        return;
    };
    let folder = tempfile::tempdir_in(components.ancestors().nth(3).unwrap()).unwrap();
    let runtime = runtime();
    let build = EngineBuilder::new(folder.path().join("data"))
        .exec_root(folder.path().join("run"))
        .components(&components)
        .build();
    let engine = runtime.block_on(build).unwrap();
    runtime.block_on(import(&engine, folder.path()));
    let saved = folder.path().join("saved.tar");
    let to = fs::File::create(&saved).unwrap();
    runtime.block_on(engine.save(vec!["box".into()], to)).unwrap();
    runtime.block_on(engine.remove_image("box", true)).unwrap();
    let load = || engine.load(fs::File::open(&saved).unwrap());
    // Another load is in the middle of this layer; it does not end before this one has.
    let other = engine.inner.images.loading("sha256:another");
    runtime.block_on(load()).unwrap();
    drop(other);
    // Of the same layer it is waited for.
    runtime.block_on(engine.remove_image("box", true)).unwrap();
    let chain = runtime
        .block_on(async {
            load().await.unwrap();
            engine.run(|inner| Ok(inner.images.resolve_row("box")?.chain)).await
        })
        .unwrap()
        .unwrap();
    runtime.block_on(engine.remove_image("box", true)).unwrap();
    let same = engine.inner.images.loading(&chain);
    let waiting = runtime.spawn({
        let (engine, saved) = (engine.clone(), saved.clone());
        async move { engine.load(fs::File::open(saved).unwrap()).await }
    });
    assert!(runtime.block_on(engine.images()).unwrap().is_empty());
    drop(same);
    runtime.block_on(waiting).unwrap().unwrap();
    assert_eq!(runtime.block_on(engine.images()).unwrap().len(), 1);
}
