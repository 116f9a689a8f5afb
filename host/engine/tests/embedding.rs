//! The engine as one who embeds it uses it: through `EngineBuilder` alone, with the components that
//! the workspace builds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{archive, bench, body, import, run, wait_for_listeners};
use longshore_engine::models::{ContainerCreateBody, VolumeCreateRequest};
use longshore_engine::{Choice, ErrorKind};

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
