//! What a loaded driver may do wrong in a call, and what the host makes of it (bad input 21).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{Folder, load, remove, root};
use longshore_core::context::{Cancel, NoServices};
use longshore_core::graph::{Ended, GraphDriver};
use longshore_core::wire::next_call;
use longshore_core::{Context, ErrorKind};
use longshore_loader::Loaded;

struct Open {
    loaded: Arc<Loaded>,
    driver: Arc<dyn GraphDriver>,
    _folder: Folder,
}

fn open(example: &str) -> Open {
    let folder = Folder::new();
    let loaded = Arc::new(load(&folder.copy(example, "x.so")).unwrap());
    let driver = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
    Open {
        loaded,
        driver,
        _folder: folder,
    }
}

fn within(limit: Duration) -> Context {
    Context::new(next_call(), Some(limit), Cancel::default(), Arc::new(NoServices))
}

#[test]
fn a_panic_is_broken_with_its_place_and_the_next_call_works() {
    let rogue = open("rogue_one");
    let error = rogue
        .driver
        .remove(&Context::background(), remove("panic"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(
        error.message.contains("panicked: the rogue panics over panic-"),
        "{error}"
    );
    assert!(error.message.contains("lib.rs:"), "{error}");
    let removed = rogue.driver.remove(&Context::background(), remove("calm")).unwrap();
    assert_eq!(removed.outcome, Ended::Done);
    assert_eq!(rogue.loaded.quarantined(), None);
}

#[test]
fn three_panics_in_a_minute_quarantine_all_but_cleaning_up() {
    let rogue = open("rogue_one");
    for _ in 0..3 {
        rogue
            .driver
            .remove(&Context::background(), remove("panic"))
            .unwrap_err();
    }
    assert!(rogue.loaded.quarantined().unwrap().contains("3 times"));
    let error = rogue.loaded.describe().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("quarantined"), "{error}");
    // Even though its instance is opened afresh for it.
    rogue.driver.remove(&Context::background(), remove("calm")).unwrap();
}

#[test]
fn a_call_that_never_ends_is_a_deadline_and_others_go_on() {
    let (hung, well) = (open("rogue_one"), open("rogue_two"));
    let error = hung
        .driver
        .remove(&within(Duration::from_millis(100)), remove("sleep"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
    assert!(error.outcome_unknown());
    // The thread sleeps still, and always will.
    well.driver.remove(&Context::background(), remove("calm")).unwrap();
    assert!(hung.loaded.quarantined().unwrap().contains("remove"));
    hung.driver.remove(&Context::background(), remove("calm")).unwrap();
}

#[test]
fn other_calls_complete_while_one_hangs() {
    let (hung, well) = (open("rogue_one"), open("rogue_two"));
    let driver = Arc::clone(&hung.driver);
    let cx = within(Duration::from_secs(3600));
    let call = cx.call();
    let caller = thread::spawn(move || driver.remove(&cx, remove("sleep")));
    well.driver.remove(&Context::background(), remove("calm")).unwrap();
    hung.driver.remove(&Context::background(), remove("calm")).unwrap();
    assert!(!caller.is_finished());
    // The call may not have begun when it is cancelled: then it ends at once, as cancelled.
    while hung.loaded.quarantined().is_none() && !caller.is_finished() {
        hung.loaded.cancel(call);
        thread::sleep(Duration::from_millis(10));
    }
    let error = caller.join().unwrap().unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Deadline | ErrorKind::Cancelled),
        "{error}"
    );
}

#[test]
fn a_call_that_heeds_its_cancellation_ends_without_quarantine() {
    let rogue = open("rogue_one");
    let driver = Arc::clone(&rogue.driver);
    let cx = within(Duration::from_secs(3600));
    let call = cx.call();
    let caller = thread::spawn(move || driver.remove(&cx, remove("slow")));
    while !caller.is_finished() {
        rogue.loaded.cancel(call);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(caller.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(rogue.loaded.quarantined(), None);
}

#[test]
fn a_call_that_ends_when_it_is_told_to_at_its_deadline_was_too_late_and_not_cancelled() {
    let rogue = open("rogue_one");
    // The service's own clock of this call runs longer: it waits for a thread that another call has.
    let error = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| rogue.driver.remove(&within(Duration::from_millis(400)), remove("slow")));
        }
        thread::sleep(Duration::from_millis(200));
        rogue
            .driver
            .remove(&within(Duration::from_millis(600)), remove("slow"))
            .unwrap_err()
    });
    assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
    assert_eq!(rogue.loaded.quarantined(), None);
}

#[test]
fn more_callers_than_threads_all_get_their_answers() {
    let rogue = open("rogue_one");
    thread::scope(|scope| {
        for caller in 0..16 {
            let driver = &rogue.driver;
            scope.spawn(move || {
                for round in 0..50 {
                    driver
                        .remove(&Context::background(), remove(&format!("calm-{caller}-{round}")))
                        .unwrap();
                }
            });
        }
    });
    let metrics = rogue.loaded.metrics();
    let removes = metrics.iter().find(|row| row.method == "remove").unwrap();
    assert_eq!((removes.count, removes.errors), (800, 0));
    assert!(removes.max <= removes.total);
}
