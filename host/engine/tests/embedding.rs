//! The engine as one who embeds it uses it: through `EngineBuilder` alone, with the components that
//! the workspace builds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use longshore_engine::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use longshore_engine::{Choice, Engine, EngineBuilder, ErrorKind};

/// A data root, a run folder and a component folder of a test's own.
struct Bench {
    root: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// Whether tests can run here; the reason is printed when not.
fn bench() -> Option<Bench> {
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
    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    async fn open(&self) -> Engine {
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
fn archive(bench: &Bench) -> std::fs::File {
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

async fn import(bench: &Bench, engine: &Engine, name: &str) -> String {
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

fn body(image: &str, script: &str, binds: &[&str]) -> ContainerCreateBody {
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

async fn run(engine: &Engine, body: ContainerCreateBody, choice: &str) -> i64 {
    let made = engine.create(None, body, Choice::parse(choice).unwrap()).await.unwrap();
    engine.start(&made.id).await.unwrap();
    let code = engine.wait(&made.id).await.unwrap();
    engine.remove(&made.id, true, true).await.unwrap();
    code
}

#[test]
fn root_an_image_runs_on_either_driver_and_keeps_its_id() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        let id = import(&bench, &engine, "box").await;
        assert_eq!(run(&engine, body("box", "exit 7", &[]), "graph=overlay").await, 7);
        assert_eq!(run(&engine, body("box", "exit 8", &[]), "graph=vfs").await, 8);
        assert_eq!(engine.inspect_image("box").await.unwrap().id, Some(id));
        // The volume outlives the container that made it; a missing source of a bind is made.
        let made = bench.root.path().join("made/here");
        let bind = format!("{}:/x", made.display());
        assert_eq!(
            run(
                &engine,
                body("box", "echo hi > /v/f && echo x > /x/f", &["data:/v", &bind]),
                ""
            )
            .await,
            0
        );
        assert!(made.join("f").exists());
        assert_eq!(
            run(&engine, body("box", "read a < /v/f && [ $a = hi ]", &["data:/v"]), "").await,
            0
        );
        engine.remove_volume("data", false).await.unwrap();
    });
}

#[test]
fn root_what_is_in_use_is_not_removed_and_what_failed_is_given_back() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let bad = ContainerCreateBody {
            cmd: Some(vec!["/missing".into()]),
            ..body("box", "", &["data:/v"])
        };
        let made = engine.create(Some("web"), bad, Choice::default()).await.unwrap();
        assert_eq!(
            engine.remove_image("box", false).await.unwrap_err().kind,
            ErrorKind::InUse
        );
        assert_eq!(
            engine.remove_volume("data", false).await.unwrap_err().kind,
            ErrorKind::InUse
        );
        assert!(
            engine
                .start(&made.id)
                .await
                .unwrap_err()
                .message
                .contains("no such file")
        );
        let state = engine.inspect(&made.id).await.unwrap().state.unwrap();
        assert_eq!(state.exit_code, Some(127));
        engine.remove("web", false, true).await.unwrap();
        assert_eq!(
            engine.remove("web", false, true).await.unwrap_err().kind,
            ErrorKind::NotFound
        );
        engine.remove_volume("data", false).await.unwrap();
        engine.remove_image("box", false).await.unwrap();
    });
}

#[test]
fn root_a_hundred_creates_and_removals_of_one_name_have_one_winner() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let engine = engine.clone();
            tasks.spawn(async move {
                engine
                    .create(Some("one"), body("box", "true", &["/anonymous"]), Choice::default())
                    .await
                    .is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
        assert_eq!(
            engine.prune_volumes(true).await.unwrap(),
            Vec::<String>::new(),
            "the losers' volumes are gone"
        );
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let engine = engine.clone();
            tasks.spawn(async move { engine.remove("one", true, true).await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let engine = engine.clone();
            tasks.spawn(async move {
                let labels = [("n".to_owned(), n.to_string())].into();
                let request = VolumeCreateRequest {
                    name: Some("vol".into()),
                    labels: Some(labels),
                    ..Default::default()
                };
                engine.create_volume(request).await.unwrap().labels
            });
        }
        let labels = tasks.join_all().await;
        assert!(labels.iter().all(|found| *found == labels[0]), "all see the first one");
    });
}

#[test]
fn root_imports_and_removals_at_once_leave_whole_images() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        let _tar = archive(&bench);
        let tar = bench.root.path().join("root.tar");
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..12 {
            let (engine, tar) = (engine.clone(), tar.clone());
            tasks.spawn(async move {
                let name = format!("box:{n}");
                let file = std::fs::File::open(tar).unwrap();
                engine
                    .import(file, Some(name.clone()), Vec::new(), name.clone(), Choice::default())
                    .await
                    .unwrap();
                if n % 2 == 1 {
                    engine.remove_image(&name, false).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        for n in (0..12).step_by(2) {
            assert_eq!(run(&engine, body(&format!("box:{n}"), "exit 3", &[]), "").await, 3);
            engine.remove_image(&format!("box:{n}"), false).await.unwrap();
        }
        assert!(engine.images().await.unwrap().is_empty());
    });
}

/// Threads that listened to shims keep the database open a moment longer than the engine; closing it
/// writes to it.
fn wait_for_listeners() {
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

#[test]
fn root_a_damaged_config_isolates_one_image_and_a_lost_database_is_named() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        let bad = import(&bench, &engine, "bad").await;
        let tar = std::fs::File::open(bench.root.path().join("root.tar")).unwrap();
        engine
            .import(
                tar,
                Some("good".into()),
                vec!["ENV A=1".into()],
                String::new(),
                Choice::default(),
            )
            .await
            .unwrap();
        let file = engine.paths().image_config(bad.strip_prefix("sha256:").unwrap());
        std::fs::write(&file, b"{}").unwrap();
        let error = engine
            .create(None, body("bad", "true", &[]), Choice::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains(&bad), "{error}");
        assert_eq!(run(&engine, body("good", "exit 5", &[]), "").await, 5);
        assert_eq!(engine.images().await.unwrap().len(), 2);
        let database = engine.paths().database();
        drop(engine);
        wait_for_listeners();
        for content in [&b""[..], &[0xa5; 20_000]] {
            std::fs::write(&database, content).unwrap();
            let engine = bench.open().await;
            let findings = format!("{:?}", engine.doctor().await.unwrap());
            assert!(findings.contains("longshore.db"), "{findings}");
            import(&bench, &engine, "again").await;
            assert_eq!(run(&engine, body("again", "exit 6", &[]), "").await, 6);
            drop(engine);
            wait_for_listeners();
        }
    });
}
