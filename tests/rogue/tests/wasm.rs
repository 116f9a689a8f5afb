//! The rogue as a component (bad input 21): what it tries to reach is not there, and whatever it does
//! to itself ends its instance and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Folder, layer, remove, root};
use longshore_core::context::{Cancel, NoServices};
use longshore_core::graph::{Create, Ended, GraphDriver, Role};
use longshore_core::wire::next_call;
use longshore_core::{Context, ErrorKind};
use longshore_loader::wasm::{Engine, Settings};
use longshore_loader::{Loaded, Origin};

/// What tools/build-wasm made.
fn built() -> Option<PathBuf> {
    let exe = std::env::current_exe().unwrap();
    let file = "wasm32-wasip2/wasm/longshore_rogue_component.wasm";
    let found = exe
        .ancestors()
        .map(|folder| folder.join(file))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("SKIP: {file} is not built: run tools/build-wasm");
    }
    found
}

struct Open {
    loaded: Arc<Loaded>,
    driver: Arc<dyn GraphDriver>,
    _folder: Folder,
}

fn open() -> Option<Open> {
    let folder = Folder::new();
    let file = folder.put("graph-rogue.wasm", &fs::read(built()?).unwrap());
    let origin = Origin::Explicit {
        in_process: false,
        grants: vec![],
    };
    // Compiling takes longest; the folder is the build's own.
    let engine = Engine::new(Settings {
        cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        ..Settings::default()
    });
    let loaded = Arc::new(Loaded::from_component(&file, &origin, &engine).unwrap());
    let driver = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
    Some(Open {
        loaded,
        driver,
        _folder: folder,
    })
}

fn within(limit: Duration) -> Context {
    Context::new(next_call(), Some(limit), Cancel::default(), Arc::new(NoServices))
}

impl Open {
    /// One misdeed, and a call afterwards that goes well.
    fn tries(&self, word: &str) -> longshore_core::Error {
        let error = self
            .driver
            .remove(&within(Duration::from_secs(10)), remove(word))
            .expect_err(word);
        let removed = self.driver.remove(&Context::background(), remove("calm")).unwrap();
        assert_eq!(removed.outcome, Ended::Done, "after {word}");
        error
    }
}

#[test]
fn a_panic_is_broken_with_its_place_and_the_next_call_works() {
    let Some(rogue) = open() else { return };
    let error = rogue.tries("panic");
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(
        error.message.contains("panicked: the rogue panics over panic-"),
        "{error}"
    );
    assert!(error.message.contains("lib.rs:"), "{error}");
}

#[test]
fn a_loop_ends_at_its_deadline_and_no_thread_is_left_in_it() {
    let Some(rogue) = open() else { return };
    let error = rogue
        .driver
        .remove(&within(Duration::from_millis(200)), remove("loop"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
    assert_eq!(rogue.loaded.quarantined(), None);
    rogue.driver.remove(&Context::background(), remove("calm")).unwrap();
}

#[test]
fn what_it_does_to_itself_ends_its_instance_alone() {
    for (word, says) in [
        ("exit", "wasi:cli/exit"),
        ("abort", "gave up without a word"),
        ("allocate", "more memory than its 64 MiB"),
        ("nest", "nest too deeply"),
    ] {
        let Some(rogue) = open() else { return };
        let error = rogue.tries(word);
        assert_eq!(error.kind, ErrorKind::Broken, "{word}: {error}");
        assert!(error.message.contains(says), "{word}: {error}");
    }
}

#[test]
fn nothing_outside_is_within_its_reach() {
    for word in [
        "read",
        "climb",
        "list",
        "write",
        "environment",
        "arguments",
        "listen",
        "connect",
        "thread",
        "time",
        "print",
    ] {
        let Some(rogue) = open() else { return };
        let error = rogue.tries(word);
        println!("{word}: {error}");
        let withheld = error.kind == ErrorKind::Broken && error.message.contains("which it is not granted");
        assert!(withheld || error.kind == ErrorKind::Denied, "{word}: {error}");
    }
    assert!(!Path::new("/tmp/the-rogue-was-here").exists());
}

#[test]
fn the_hosts_services_are_what_it_has() {
    let Some(rogue) = open() else { return };
    let request = Create {
        id: layer("calm").id,
        chain: vec![],
        role: Role::Layer,
        options: vec![],
    };
    let created = rogue.driver.create(&Context::background(), request).unwrap();
    // The note holds the length of the clock's answer.
    assert!(created.note.as_bytes().starts_with(b"1.0.0 calm-"), "{created:?}");
}
