//! What lies on disk and what comes of it when some of it is damaged, lost, or secret.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{Bench, bench, body, import, run, wait_for_listeners};
use longshore_engine::models::{
    HostConfig, Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig, VolumeCreateRequest,
};
use longshore_engine::{Choice, Engine, ErrorKind, ListRequest};

/// Ends an engine in good order.
fn end(engine: Engine) {
    drop(engine);
    wait_for_listeners();
}

/// What an engine that was killed leaves: everything but its word that all is well.
fn as_if_killed(bench: &Bench) {
    std::fs::remove_file(bench.data().join("clean")).unwrap();
}

/// Every regular file below a folder.
fn files(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Takes the content of a program away in every layer of a driver, as a power cut may.
fn empty_busybox(folder: &Path) {
    let programs: Vec<PathBuf> = files(folder)
        .into_iter()
        .filter(|path| path.ends_with("bin/busybox"))
        .collect();
    assert!(!programs.is_empty());
    for program in programs {
        std::fs::File::create(program).unwrap();
    }
}

async fn doctor(engine: &Engine) -> String {
    format!("{:?}", engine.doctor().await.unwrap())
}

#[test]
fn root_a_copy_that_is_not_as_sealed_is_put_aside_and_made_again_from_another_drivers() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        assert_eq!(run(&engine, body("box", "exit 3", &[]), "graph=vfs").await, 3);
        end(engine);
        as_if_killed(&bench);
        empty_busybox(&bench.data().join("overlay2"));
        let engine = bench.open().await;
        assert_eq!(run(&engine, body("box", "exit 4", &[]), "graph=overlay").await, 4);
        let said = doctor(&engine).await;
        assert!(
            said.contains("is damaged and not used") && said.contains("driver overlay"),
            "{said}"
        );
        // With its layer the damaged tree goes too.
        engine.remove_image("box", true).await.unwrap();
        assert!(!doctor(&engine).await.contains("damaged"));
        assert!(files(&bench.data().join("overlay2")).is_empty());
    });
}

#[test]
fn root_the_only_copy_damaged_is_named_with_the_remedy_and_the_remedy_works() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let saved = bench.root.path().join("saved.tar");
        engine
            .save(vec!["box".into()], std::fs::File::create(&saved).unwrap())
            .await
            .unwrap();
        end(engine);
        as_if_killed(&bench);
        empty_busybox(&bench.data().join("overlay2"));
        let engine = bench.open().await;
        assert_eq!(engine.images().await.unwrap().len(), 1, "never fatal");
        let error = engine
            .create(None, body("box", "true", &[]), Choice::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains("image box"), "{error}");
        assert!(error.hint.unwrap().contains("load or import the image again"));
        engine.load(std::fs::File::open(&saved).unwrap()).await.unwrap();
        assert_eq!(run(&engine, body("box", "exit 5", &[]), "").await, 5);
    });
}

#[test]
fn root_after_a_stop_in_good_order_nothing_is_compared() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        end(engine);
        // A change that only a comparison would see.
        let program = files(&bench.data().join("overlay2"))
            .into_iter()
            .find(|path| path.ends_with("bin/busybox"))
            .unwrap();
        std::fs::File::options()
            .write(true)
            .open(program)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        let engine = bench.open().await;
        assert_eq!(run(&engine, body("box", "exit 6", &[]), "").await, 6);
        assert!(!doctor(&engine).await.contains("damaged"));
        end(engine);
        as_if_killed(&bench);
        let engine = bench.open().await;
        let refused = engine.create(None, body("box", "true", &[]), Choice::default()).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Corrupt);
    });
}

#[test]
fn root_a_running_container_outlives_the_database_that_spoke_of_it() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let made = engine
            .create(Some("web"), body("box", "sleep 1000", &[]), Choice::default())
            .await
            .unwrap();
        engine.start(&made.id).await.unwrap();
        let pid = engine.inspect(&made.id).await.unwrap().state.unwrap().pid.unwrap();
        let lives = || Path::new(&format!("/proc/{pid}/root")).exists();
        let database = engine.paths().database();
        drop(engine);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        for _ in 0..2 {
            let engine = bench.open().await;
            assert!(lives(), "killed without a word");
            let said = doctor(&engine).await;
            assert!(
                said.contains(&format!("container {} runs and is in no record", made.id)),
                "{said}"
            );
            drop(engine);
        }
        let engine = bench.open().await;
        import(&bench, &engine, "again").await;
        assert_eq!(run(&engine, body("again", "exit 7", &[]), "").await, 7);
        assert_eq!(engine.collect().await.unwrap_err().kind, ErrorKind::InUse);
        engine.remove(&made.id[..12], true, false).await.unwrap();
        assert!(!lives());
        let removed = engine.collect().await.unwrap();
        // The image's layer and the container's.
        assert_eq!(removed.len(), 2, "{removed:?}");
        let said = doctor(&engine).await;
        assert!(!said.contains("in no record") && !said.contains("was gone"), "{said}");
        assert_eq!(run(&engine, body("again", "exit 8", &[]), "").await, 8);
    });
}

/// Everything that is logged, as text.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const SECRET: &str = "hunter2-of-the-share";

fn share(password: &str) -> HashMap<String, String> {
    [
        ("type", "cifs".to_owned()),
        ("device", "//127.0.0.1/share".to_owned()),
        ("o", format!("username=u,password={password},vers=3.0")),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

fn volume(name: &str, options: HashMap<String, String>) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(name.into()),
        driver_opts: Some(options),
        ..Default::default()
    }
}

/// Every text of every table but the one of secrets.
fn rows(database: &Path) -> String {
    let connection = rusqlite::Connection::open(database).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'secrets'")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut all = String::new();
    for table in tables {
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                all.push_str(&format!("{:?}\n", row.get_ref(column).unwrap()));
                if let Ok(text) = row.get_ref(column).unwrap().as_bytes() {
                    all.push_str(&String::from_utf8_lossy(text));
                }
            }
        }
    }
    all
}

#[test]
fn root_a_secret_is_in_no_message_log_record_or_listing() {
    let Some(bench) = bench() else { return };
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let said = bench.runtime.block_on(async {
        let mut said = String::new();
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let made = engine.create_volume(volume("share", share(SECRET))).await.unwrap();
        assert_eq!(made.options["o"], "username=u,vers=3.0,password=***");
        said.push_str(&format!("{made:?}"));
        engine.create_volume(volume("share", share(SECRET))).await.unwrap();
        for wrong in [
            volume("share", share(&format!("{SECRET}-other"))),
            volume("two", share(&format!("{SECRET},password={SECRET}"))),
            volume("three", share(&SECRET.repeat(20))),
            volume(
                "four",
                HashMap::from([
                    ("o".into(), format!("bind,PASSWORD={SECRET}")),
                    ("device".into(), "/srv".into()),
                ]),
            ),
        ] {
            said.push_str(&format!("{:?}", engine.create_volume(wrong).await.unwrap_err()));
        }
        said.push_str(&format!("{:?}", engine.volumes().await.unwrap()));
        said.push_str(&format!("{:?}", engine.inspect_volume("share").await.unwrap()));
        let mut asked = body("box", "true", &[]);
        asked.host_config = Some(HostConfig {
            network_mode: Some("none".into()),
            mounts: Some(vec![Mount {
                target: Some("/share".into()),
                source: Some("mounted".into()),
                typ: Some(MountType::VOLUME),
                volume_options: Some(MountVolumeOptions {
                    driver_config: Some(MountVolumeOptionsDriverConfig {
                        name: None,
                        options: Some(share(SECRET)),
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }]),
            ..Default::default()
        });
        said.push_str(&format!(
            "{:?}",
            engine.explain(asked.clone(), Choice::default()).await.unwrap()
        ));
        let container = engine.create(None, asked, Choice::default()).await.unwrap();
        // No server of that sort answers here, if the kernel knows the file system at all.
        said.push_str(&format!("{:?}", engine.start(&container.id).await.unwrap_err()));
        said.push_str(&format!("{:?}", engine.inspect(&container.id).await.unwrap()));
        let everything = ListRequest {
            all: true,
            ..Default::default()
        };
        said.push_str(&format!("{:?}", engine.list(everything).await.unwrap()));
        said.push_str(&doctor(&engine).await);
        let database = engine.paths().database();
        said.push_str(&rows(&database));
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        for file in files(&bench.data())
            .into_iter()
            .chain(files(&bench.root.path().join("run")))
        {
            if shown(&file).starts_with(&shown(&database)) {
                use std::os::unix::fs::PermissionsExt;
                let mode = std::fs::metadata(&file).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}", file.display());
            } else {
                let content = std::fs::read(&file).unwrap();
                let found = content.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!found, "{}", file.display());
            }
        }
        let secrets = || -> i64 {
            let connection = rusqlite::Connection::open(&database).unwrap();
            connection
                .query_row(
                    "SELECT count(*) FROM secrets WHERE value = CAST(?1 AS BLOB)",
                    [SECRET],
                    |row| row.get(0),
                )
                .unwrap()
        };
        assert_eq!(secrets(), 2, "the store has them");
        engine.remove(&container.id, true, true).await.unwrap();
        for name in ["share", "mounted"] {
            engine.remove_volume(name, false).await.unwrap();
        }
        assert_eq!(secrets(), 0, "they go with their volumes");
        said
    });
    assert!(said.contains("***"));
    assert!(!said.contains(SECRET), "{said}");
    let logged = String::from_utf8_lossy(&logged.0.lock().unwrap()).into_owned();
    assert!(!logged.is_empty() && !logged.contains(SECRET), "{logged}");
}

#[test]
fn root_what_a_container_writes_is_its_size_on_either_driver() {
    let Some(bench) = bench() else { return };
    bench.runtime.block_on(async {
        let engine = bench.open().await;
        import(&bench, &engine, "box").await;
        let image = engine.inspect_image("box").await.unwrap().size.unwrap();
        for driver in ["graph=overlay", "graph=vfs"] {
            let script = body("box", "dd if=/dev/urandom of=/big bs=1024 count=3000", &[]);
            let made = engine
                .create(None, script, Choice::parse(driver).unwrap())
                .await
                .unwrap();
            let before = engine.size(&made.id).await.unwrap();
            assert!(before.own < 1 << 20, "{driver}: {before:?}");
            engine.start(&made.id).await.unwrap();
            assert_eq!(engine.wait(&made.id).await.unwrap(), 0);
            let size = engine.size(&made.id).await.unwrap();
            assert!((3_000_000..4 << 20).contains(&size.own), "{driver}: {size:?}");
            assert!(size.root >= image + 3_000_000, "{driver}: {size:?} of image {image}");
        }
        let everything = ListRequest {
            all: true,
            ..Default::default()
        };
        let listed = engine.list_with_sizes(everything).await.unwrap();
        assert!(listed.iter().all(|container| container.size_rw.unwrap() > 3_000_000));
        let used = engine.disk_usage().await.unwrap();
        assert_eq!((used.images.len(), used.containers.len()), (1, 2));
        assert_eq!(used.images[0].containers, 2);
        // Two drivers hold the layer.
        assert!(used.layers_size > image, "{}", used.layers_size);
    });
}
