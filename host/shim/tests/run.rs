//! The shim with the native exec driver, end to end: what a container's life looks like from the
//! engine's side, and what is left of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::process::Command;

use common::{Container, LONG, Place, Plan, needs_root};
use longshore_core::ErrorKind;
use longshore_shim::files::read_exit;
use longshore_shim::protocol::{Attach, Event, Phase, Stdio};
use longshore_shim::{Adoption, Reply, Request, ShimClient, adopt, places};

const PIPES: Stdio = Stdio::Pipes {
    stdin: true,
    once: true,
};

fn all() -> Attach {
    Attach {
        stdin: true,
        stdout: true,
        stderr: true,
        lossless: true,
        ..Attach::default()
    }
}

#[test]
fn root_events_of_a_life_come_in_order_and_nothing_is_left() {
    needs_root!();
    let place = Place::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let container = Container::create(&place, &Plan::of(&["true"]));
    assert!(matches!(adopt(place.run_dir().as_fd()).unwrap(), Adoption::Alive(_)));
    container.start();
    assert!(matches!(container.next(), Event::Created { .. }));
    assert!(matches!(container.next(), Event::Started { .. }));
    match container.next() {
        Event::Exited(exit) => assert_eq!((exit.code, exit.signal, exit.oom), (0, None, false)),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    let data = fs::File::open(place.data()).unwrap();
    assert_eq!(read_exit(data.as_fd()).unwrap().unwrap().code, 0);
    container.delete(false);
    let mut left: Vec<_> = fs::read_dir(place.run())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [places::CONFIG]);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path().join("longshore-test").join(place.id.as_str());
        assert!(!path.exists(), "{}", path.display());
    }
}

#[test]
fn root_exit_codes_and_signals_are_told() {
    needs_root!();
    for (script, code, signal) in [
        ("exit 1", 1, None),
        ("exit 255", 255, None),
        ("exit 137", 137, None),
        // Init of a PID namespace cannot kill itself; its child can be, and the shell says so.
        ("sh -c 'kill -9 $$'; exit $?", 137, None),
    ] {
        let place = Place::new();
        let (container, exit) = Container::run(&place, &Plan::of(&["sh", "-c", script]));
        assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
        container.delete(false);
    }
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sleep", "1000"]));
    container.start();
    container.client.call(Request::Signal { number: 9 }, &[]).unwrap();
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), false));
    container.delete(false);
}

#[test]
fn root_output_goes_to_the_log_and_to_a_client_attached_before_the_start() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sh", "-c", "seq 1 2000; echo bad >&2; printf end"]));
    let mut client = container.attach(Attach { stderr: false, ..all() });
    container.start();
    let expected: String = (1..=2000).map(|n| format!("{n}\n")).chain(["end".into()]).collect();
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, expected);
    container.exited();
    assert_eq!(place.logged("stdout"), expected);
    assert_eq!(place.logged("stderr"), "bad\n");
    container.delete(false);
}

#[test]
fn root_input_reaches_the_process_and_its_end_too() {
    needs_root!();
    let place = Place::new();
    let plan = Plan {
        stdio: PIPES,
        ..Plan::of(&["cat"])
    };
    let container = Container::create(&place, &plan);
    let mut client = container.attach(Attach {
        prefix: b"first ".to_vec(),
        ..all()
    });
    client.write_all(b"second").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    container.start();
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "first second");
    assert_eq!(container.exited().code, 0);
    container.delete(false);
}

#[test]
fn root_a_terminal_has_its_size_and_can_be_left_by_keys() {
    needs_root!();
    let place = Place::new();
    let plan = Plan {
        stdio: Stdio::Terminal { rows: 24, columns: 80 },
        ..Plan::of(&["sh", "-c", "read line; stty size; echo got $line; sleep 1000"])
    };
    let container = Container::boot(&place, &plan);
    container
        .client
        .call(Request::Resize { rows: 33, columns: 99 }, &[])
        .unwrap();
    container
        .client
        .call(Request::Create { stdio: plan.stdio }, &[])
        .unwrap();
    let mut client = container.attach(all());
    container.start();
    client.write_all(b"hello\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("got hello") {
        let mut bytes = [0; 256];
        let count = client.read(&mut bytes).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(seen.contains("33 99"), "{seen}");
    client.write_all(b"\x10\x11").unwrap();
    while client.read(&mut [0; 64]).unwrap() > 0 {}
    match container.client.call(Request::State, &[]).unwrap().reply {
        Reply::State(report) => assert_eq!((report.phase, report.terminal), (Phase::Running, true)),
        other => panic!("{other:?}"),
    }
    container.delete(true);
}

#[test]
fn root_an_exec_session_has_streams_and_a_status_of_its_own() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sleep", "1000"]));
    container.start();
    let (exec_id, mut client) = container.exec(&place, &["sh", "-c", "cat; exit 3"], PIPES).unwrap();
    client.write_all(b"over").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "over");
    loop {
        if let Event::ExecExited { exec_id: ended, code } = container.next() {
            assert_eq!((ended, code), (exec_id, 3));
            break;
        }
    }
    assert_eq!(place.log(), "");
    // One that ends at once keeps its status, one with a terminal has one. Nothing holds a session's
    // process back until its terminal has a size, so it waits for it.
    let wait = "until [ \"$(stty size 2>/dev/null)\" = '5 7' ]; do sleep 0.01; done; echo seen; exit 4";
    let terminal = Stdio::Terminal { rows: 5, columns: 7 };
    for (arguments, stdio, code, text) in [
        (&["true"][..], PIPES, 0, ""),
        (&["sh", "-c", wait], terminal, 4, "seen\r\n"),
    ] {
        let (exec_id, mut client) = container.exec(&place, arguments, stdio).unwrap();
        let mut seen = String::new();
        client.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, text);
        loop {
            if let Event::ExecExited {
                exec_id: ended,
                code: seen,
            } = container.next()
            {
                assert_eq!((ended, seen), (exec_id, code));
                break;
            }
        }
    }
    container.delete(true);
}

#[test]
fn root_a_stop_that_is_ignored_becomes_a_kill() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(
        &place,
        &Plan::of(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]),
    );
    container.start();
    let stop = Request::Stop {
        signal: 15,
        timeout_ms: Some(200),
    };
    container.client.call(stop, &[]).unwrap();
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    let again = Request::Stop {
        signal: 15,
        timeout_ms: None,
    };
    assert_eq!(container.client.call(again, &[]).unwrap_err().kind, ErrorKind::Invalid);
    container.delete(false);
}

#[test]
fn root_a_frozen_container_refuses_exec_and_can_be_killed() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sleep", "1000"]));
    container.start();
    container.client.call(Request::Freeze { frozen: true }, &[]).unwrap();
    let refused = container.exec(&place, &["true"], PIPES).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    let busy = container
        .client
        .call(Request::Delete { force: false }, &[])
        .unwrap_err();
    assert_eq!(busy.kind, ErrorKind::InUse);
    container.client.call(Request::Signal { number: 9 }, &[]).unwrap();
    assert_eq!(container.exited().code, 137);
    container.delete(false);
}

#[test]
fn root_a_kill_for_want_of_memory_is_told() {
    needs_root!();
    let place = Place::new();
    let plan = Plan {
        memory: Some(16 << 20),
        ..Plan::of(&["tail", "/dev/zero"])
    };
    let container = Container::create(&place, &plan);
    container.start();
    let mut ooms = 0;
    let exit = loop {
        match container.next() {
            Event::Oom => ooms += 1,
            Event::Exited(exit) => break exit,
            _ => {}
        }
    };
    assert_eq!((exit.code, exit.oom, ooms), (137, true, 1));
    container.delete(false);
}

#[test]
fn root_the_root_and_the_volumes_are_seen_inside_and_the_root_can_be_read() {
    needs_root!();
    let place = Place::new();
    fs::create_dir(place.folder.path().join("volume")).unwrap();
    fs::write(place.folder.path().join("volume/file"), "from the volume").unwrap();
    let container = Container::create(
        &place,
        &Plan::of(&["sh", "-c", "cat /data/file; echo written > /tmp/inside; sleep 1000"]),
    );
    let mut client = container.attach(all());
    container.start();
    let mut seen = [0; 15];
    client.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"from the volume");
    let root = container
        .client
        .call(Request::Root, &[])
        .unwrap()
        .descriptors
        .pop()
        .unwrap();
    let path = format!("{}/tmp/inside", longshore_sys::path::through_proc(&root));
    while fs::read_to_string(&path).unwrap_or_default() != "written\n" {
        std::thread::yield_now();
    }
    container.delete(true);
}

#[test]
fn root_a_missing_entry_is_named_and_leaves_a_shim_that_quits() {
    needs_root!();
    let place = Place::new();
    let plan = Plan::of(&["/bin/nothing"]);
    let container = Container::boot(&place, &plan);
    let error = container
        .client
        .call(Request::Create { stdio: plan.stdio }, &[])
        .unwrap_err();
    assert_eq!((error.kind, error.errno), (ErrorKind::Invalid, Some(2)), "{error}");
    container.client.call(Request::Quit, &[]).unwrap();
    while !matches!(
        container.notices.recv_timeout(LONG).unwrap(),
        longshore_shim::Notice::Lost
    ) {}
    assert!(!place.run().join(places::SOCKET).exists());
}

#[test]
fn root_another_helper_goes_on_where_one_died() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["sh", "-c", "exit 5"]));
    let shim = container.client.pid().unwrap();
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let helper = children
        .split_whitespace()
        .find(|pid| name(pid) == "longshore-shim\n")
        .expect("the helper that waits for start");
    let pidfd = longshore_sys::process::open(helper.parse().unwrap()).unwrap();
    longshore_sys::process::signal(&pidfd, 9).unwrap();
    let ended = [(pidfd.as_fd(), longshore_sys::event::Ready::READ)];
    longshore_sys::event::poll(&ended, Some(LONG)).unwrap();
    container.start();
    assert_eq!(container.exited().code, 5);
    container.delete(false);
}

#[test]
fn root_two_engines_hear_the_same() {
    needs_root!();
    let place = Place::new();
    let container = Container::create(&place, &Plan::of(&["true"]));
    let (sender, notices) = std::sync::mpsc::channel();
    let second = ShimClient::connect(place.run_dir().as_fd(), move |notice| {
        let _ = sender.send(notice);
    })
    .unwrap();
    second.call(Request::Start, &[]).unwrap();
    assert_eq!(container.exited().code, 0);
    loop {
        match notices.recv_timeout(LONG).unwrap() {
            longshore_shim::Notice::Event(Event::Exited(exit)) => break assert_eq!(exit.code, 0),
            longshore_shim::Notice::Event(_) => {}
            longshore_shim::Notice::Lost => panic!("the second connection ended"),
        }
    }
    container.delete(false);
}

#[test]
fn a_shim_without_a_container_goes_with_its_engine() {
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_longshore-shim"));
    let binary = longshore_shim::ShimBinary::open(path).unwrap();
    let client = ShimClient::spawn(&binary, |_| {}).unwrap();
    let pid = i32::try_from(client.pid().unwrap()).unwrap();
    let error = client.call(Request::Start, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    drop(client);
    while longshore_sys::process::start_time(pid).is_ok() {
        std::thread::yield_now();
    }
}

/// Not a test by itself: the process that [`root_the_death_of_an_engine_loses_nothing`] kills.
#[test]
fn root_an_engine_that_is_killed() {
    let Some(folder) = std::env::var_os("LONGSHORE_TEST_ENGINE") else {
        return;
    };
    let place = Place::new();
    let link = |to: &str, from| std::os::unix::fs::symlink(from, std::path::Path::new(&folder).join(to)).unwrap();
    let script = "n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo line $n; done; exit 7";
    let container = Container::create(&place, &Plan::of(&["sh", "-c", script]));
    container.start();
    link("place", place.folder.path());
    while place.log().lines().count() < 500 {
        std::thread::yield_now();
    }
    link("ready", place.folder.path());
    std::thread::park();
}

#[test]
fn root_the_death_of_an_engine_loses_nothing() {
    needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "root_an_engine_that_is_killed", "--nocapture"])
        .env("LONGSHORE_TEST_ENGINE", folder.path())
        .spawn()
        .unwrap();
    while fs::symlink_metadata(folder.path().join("ready")).is_err() {
        assert!(engine.try_wait().unwrap().is_none(), "the engine's process failed");
        std::thread::yield_now();
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    // The killed process could not remove its folder.
    let left = fs::read_link(folder.path().join("place")).unwrap();
    let removed = Removed(left.clone());
    let run = fs::File::open(left.join("run")).unwrap();
    assert!(matches!(adopt(run.as_fd()).unwrap(), Adoption::Alive(_)));
    let client = ShimClient::connect(run.as_fd(), |_| {}).unwrap();
    let exit = loop {
        match client.call(Request::State, &[]).unwrap().reply {
            Reply::State(report) if report.phase == Phase::Exited => break report.exit.unwrap(),
            Reply::State(_) => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exit.code, 7);
    let log = fs::read_to_string(left.join("data").join(common::LOG)).unwrap();
    assert_eq!(log.lines().count(), 3000);
    assert!(
        log.lines()
            .enumerate()
            .all(|(n, line)| line.contains(&format!("\"line {}\\n\"", n + 1)))
    );
    client.call(Request::Delete { force: false }, &[]).unwrap();
    drop(removed);
}

struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
