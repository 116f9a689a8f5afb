//! Descriptors and children of this process when drivers' processes come and go, alone in its program
//! so that nothing else opens any.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Folder, remove, root};
use longshore_core::Context;
use longshore_core::context::{Cancel, NoServices};
use longshore_loader::{Loaded, Origin, Processes};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> String {
    let own = std::process::id();
    fs::read_dir(format!("/proc/{own}/task"))
        .unwrap()
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default())
        .collect()
}

#[test]
fn nothing_is_left_of_processes_that_died_hung_or_were_ended() {
    let program = std::env::current_exe().unwrap();
    let runner = program.parent().unwrap().parent().unwrap().join("longshore-runner");
    assert!(runner.exists(), "run `cargo build -p longshore-runner`");
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "x.so");
    let origin = Origin::Explicit {
        in_process: false,
        grants: vec![],
    };
    let before = descriptors();
    for misdeed in ["calm", "exit", "sleep"] {
        let loaded = Loaded::from_process(&path, &origin, &Processes::new(&runner)).unwrap();
        let rogue = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
        let limit = Some(Duration::from_millis(100));
        let cx = Context::new(
            longshore_core::wire::next_call(),
            limit,
            Cancel::default(),
            std::sync::Arc::new(NoServices),
        );
        let outcome = rogue.remove(&cx, remove(misdeed));
        assert_eq!(outcome.is_ok(), misdeed == "calm", "{misdeed}: {outcome:?}");
        rogue.remove(&Context::background(), remove("calm")).unwrap();
    }
    // The last pool's thread may still be on its way out.
    while descriptors() > before || !children().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
