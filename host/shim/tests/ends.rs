//! Ends that come from outside: clients that leave before there is a terminal, driver's processes and
//! shims that are killed half way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Container, Place, Plan, kill, needs_root};
use longshore_core::ErrorKind;
use longshore_shim::protocol::{Attach, EndReason, Event, Phase, Stdio};
use longshore_shim::{Reply, Request, files, orphans};

fn phase(container: &Container) -> Phase {
    match container.client.call(Request::State, &[]).unwrap().reply {
        Reply::State(report) => report.phase,
        other => panic!("{other:?}"),
    }
}

#[test]
fn root_detach_keys_count_for_a_client_that_came_before_the_terminal() {
    needs_root!();
    for typed_early in [true, false] {
        let place = Place::new();
        let plan = Plan {
            stdio: Stdio::Terminal { rows: 24, columns: 80 },
            ..Plan::of(&["cat"])
        };
        let container = Container::boot(&place, &plan);
        let mut client = container.attach(Attach {
            stdin: true,
            stdout: true,
            stderr: true,
            detach_keys: "ctrl-a,d".into(),
            ..Attach::default()
        });
        if typed_early {
            client.write_all(b"\x01d").unwrap();
        }
        container
            .client
            .call(Request::Create { stdio: plan.stdio }, &[])
            .expect("create");
        container.start();
        if !typed_early {
            client.write_all(b"\x01d").unwrap();
        }
        loop {
            if let Event::StreamEnded { reason, .. } = container.next() {
                assert_eq!(reason, EndReason::Detached);
                break;
            }
        }
        assert_eq!(phase(&container), Phase::Running);
        container.delete(true);
    }
}

/// A cgroup that stops whoever comes in, so that a create stands still half way.
struct Frozen(PathBuf);

impl Frozen {
    fn of(place: &Place) -> Option<Self> {
        let path = Path::new("/sys/fs/cgroup/freezer/longshore-test").join(place.id.as_str());
        if !Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists() {
            println!("SKIP: no freezer of cgroup v1");
            return None;
        }
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("freezer.state"), "FROZEN").unwrap();
        Some(Self(path))
    }

    fn wait_for_a_process(&self) {
        while fs::read_to_string(self.0.join("cgroup.procs")).unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Whatever a failed test left in it must be able to die.
        let _ = fs::write(self.0.join("freezer.state"), "THAWED");
    }
}

fn children(parent: u32) -> Vec<i32> {
    longshore_sys::process::children(i32::try_from(parent).unwrap()).unwrap()
}

#[test]
fn root_a_helper_that_dies_half_way_through_create_leaves_nothing_after_delete() {
    needs_root!();
    let place = Place::new();
    let Some(frozen) = Frozen::of(&place) else { return };
    let plan = Plan::of(&["sleep", "1000"]);
    let container = Container::boot(&place, &plan);
    let shim = container.client.pid().unwrap();
    std::thread::scope(|scope| {
        let create = scope.spawn(|| container.client.call(Request::Create { stdio: plan.stdio }, &[]));
        frozen.wait_for_a_process();
        // The oldest is the helper; the others are its driver's.
        kill(*children(shim).iter().min().unwrap());
        assert_eq!(create.join().unwrap().unwrap_err().kind, ErrorKind::Broken);
    });
    container.delete(true);
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new());
    // The shim's own end takes its last helper along.
    let until = std::time::Instant::now() + common::LONG;
    while !children(shim).is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", children(shim));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn root_a_forced_delete_does_not_wait_for_a_create_that_stands_still() {
    needs_root!();
    let place = Place::new();
    let Some(frozen) = Frozen::of(&place) else { return };
    let plan = Plan::of(&["sleep", "1000"]);
    let container = Container::boot(&place, &plan);
    std::thread::scope(|scope| {
        let create = scope.spawn(|| container.client.call(Request::Create { stdio: plan.stdio }, &[]));
        frozen.wait_for_a_process();
        let deleted = container.client.call(Request::Delete { force: true }, &[]).unwrap();
        assert!(matches!(deleted.reply, Reply::Deleted));
        assert_eq!(create.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    });
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new());
}

#[test]
fn root_what_a_killed_shim_left_half_made_is_ended() {
    needs_root!();
    let place = Place::new();
    let Some(frozen) = Frozen::of(&place) else { return };
    let plan = Plan::of(&["sleep", "1000"]);
    let container = Container::boot(&place, &plan);
    let identity = files::read_identity(place.run_dir().as_fd()).unwrap().unwrap();
    let helper = std::thread::scope(|scope| {
        let create = scope.spawn(|| container.client.call(Request::Create { stdio: plan.stdio }, &[]));
        frozen.wait_for_a_process();
        let helper = children(identity.pid);
        kill(i32::try_from(identity.pid).unwrap());
        assert_eq!(create.join().unwrap().unwrap_err().kind, ErrorKind::Unavailable);
        helper
    });
    // Only what is not frozen can go now.
    fs::write(frozen.0.join("freezer.state"), "THAWED").unwrap();
    orphans::end(&identity).unwrap();
    assert!(!identity.is_alive().unwrap());
    for number in helper {
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
    // What is left is in the cgroup, and nothing comes in any more.
    place.end_cgroups();
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new());
}
