//! What the tests of an embedded engine share: a data root of their own, an image, a container.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    reason = "tests, and not each of them uses all of it"
)]

use std::path::{Path, PathBuf};

use longshore_engine::models::{ContainerCreateBody, HostConfig};
use longshore_engine::{Choice, Engine, EngineBuilder};

/// A data root, a run folder and a component folder of a test's own.
pub struct Bench {
    pub root: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
}

/// Whether tests can run here; the reason is printed when not.
pub fn bench() -> Option<Bench> {
    let skip = |why: &str| {
        println!("SKIP: {why}");
        None
    };
    if !std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t")) {
        return skip("needs root");
    }
    if !Path::new("/bin/busybox").exists() {
        return skip("needs /bin/busybox (apt-get install busybox-static)");
    }
    let profile = std::env::current_exe().unwrap().parent()?.parent()?.to_owned();
    let root = tempfile::tempdir().unwrap();
    let components = root.path().join("lib/longshore");
    std::fs::create_dir_all(&components).unwrap();
    for name in [
        "graph-overlay",
        "graph-vfs",
        "volume-local",
        "exec-native",
        "network-none",
        "network-host",
    ] {
        let built = profile.join(format!("liblongshore_{}.so", name.replace('-', "_")));
        if std::fs::copy(&built, components.join(format!("{name}.so"))).is_err() {
            return skip(&format!("{} is not built", built.display()));
        }
    }
    for name in ["longshore-shim", "longshore-init"] {
        if std::fs::copy(profile.join(name), components.join(name)).is_err() {
            return skip(&format!("{name} is not built"));
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    Some(Bench { root, runtime })
}

impl Bench {
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub async fn open(&self) -> Engine {
        EngineBuilder::new(self.data())
            .exec_root(self.root.path().join("run"))
            .components(self.root.path().join("lib/longshore"))
            .build()
            .await
            .unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Whatever a failed test left running goes before its folders do.
        let root = self.root.path().to_owned();
        self.runtime.block_on(async {
            let Ok(engine) = EngineBuilder::new(root.join("data"))
                .exec_root(root.join("run"))
                .components(root.join("lib/longshore"))
                .build()
                .await
            else {
                return;
            };
            for container in engine
                .list(longshore_engine::ListRequest {
                    all: true,
                    ..Default::default()
                })
                .await
                .unwrap_or_default()
            {
                let _ = engine.remove(&container.id.unwrap_or_default(), true, true).await;
            }
        });
    }
}

/// A root file system of busybox and a shell, as an archive.
pub fn archive(bench: &Bench) -> std::fs::File {
    let tree = bench.root.path().join("tree");
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let link = tree.join("bin/sh");
    if !link.exists() {
        std::os::unix::fs::symlink("busybox", link).unwrap();
    }
    let tar = bench.root.path().join("root.tar");
    let done = std::process::Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(&tree)
        .arg(".")
        .status()
        .unwrap();
    assert!(done.success());
    std::fs::File::open(tar).unwrap()
}

pub async fn import(bench: &Bench, engine: &Engine, name: &str) -> String {
    engine
        .import(
            archive(bench),
            Some(name.into()),
            Vec::new(),
            String::new(),
            Choice::default(),
        )
        .await
        .unwrap()
}

pub fn body(image: &str, script: &str, binds: &[&str]) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.into()),
        cmd: Some(vec!["/bin/sh".into(), "-c".into(), script.into()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            binds: Some(binds.iter().map(|bind| (*bind).to_owned()).collect()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Threads that listened to shims keep the database open a moment longer than the engine; closing it
/// writes to it.
pub fn wait_for_listeners() {
    let listens = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .any(|name| name.starts_with("shim-"))
    };
    for _ in 0..500 {
        if !listens() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Runs a container to its end and removes it. Answers its exit code.
pub async fn run(engine: &Engine, body: ContainerCreateBody, choice: &str) -> i64 {
    let made = engine.create(None, body, Choice::parse(choice).unwrap()).await.unwrap();
    engine.start(&made.id).await.unwrap();
    let code = engine.wait(&made.id).await.unwrap();
    engine.remove(&made.id, true, true).await.unwrap();
    code
}
