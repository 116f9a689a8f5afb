//! Mounts that may hang, in the process that builds them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use longshore_core::ErrorKind;
use longshore_core::driver::Area;
use longshore_core::steps::{MountPlan, MountStep, Remote, Source};
use longshore_performer::plan::{Access, Builder, PlanScope, RemoteMount, check_plan};
use longshore_performer::root::Root;
use longshore_shim::ShimBinary;
use longshore_shim::perform::Performer;

/// How long anything may take before the test is called hung. Nothing is measured.
const LONG: Duration = Duration::from_secs(60);

fn binary() -> ShimBinary {
    ShimBinary::open(Path::new(env!("CARGO_BIN_EXE_longshore-shim"))).unwrap()
}

/// A checked mount of a server's export.
fn mount(server: &str) -> RemoteMount {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let areas: [Area; 0] = [];
    let scope = PlanScope {
        volume: true,
        grants: &["remote:nfs"],
        ..PlanScope::new(&root, &areas, "volume", &[])
    };
    let plan = MountPlan::single(MountStep {
        fs: "nfs".into(),
        source: Source::Remote(Remote {
            server: server.into(),
            path: "/export".into(),
        }),
        lowers: Vec::new(),
        upper: None,
        work: None,
        options: Vec::new(),
        read_only: false,
    });
    match check_plan(&plan, &scope, Access::Write).unwrap().builder() {
        Builder::Killable(mount) => mount,
        Builder::Here(plan) => panic!("{plan:?}"),
    }
}

#[test]
fn a_process_that_stands_still_is_killed_at_the_deadline_and_another_answers_meanwhile() {
    let binary = binary();
    let stopped = Performer::start(&binary).unwrap();
    let number = i32::try_from(stopped.pid()).unwrap();
    let pidfd = longshore_sys::process::open(number).unwrap();
    longshore_sys::process::signal(&pidfd, 19).unwrap();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let hangs = scope.spawn(move || {
            // Its deadline comes after the other one's answer.
            let waits = stopped;
            told.recv_timeout(LONG).expect("the other answer");
            waits.build(&mount("127.0.0.1"), Duration::from_millis(100))
        });
        let other = Performer::start(&binary).unwrap();
        let error = other.build(&mount("no-such-server.invalid"), LONG).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("no-such-server.invalid"), "{error}");
        tell.send(()).unwrap();
        let error = hangs.join().unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
        assert!(error.message.contains("127.0.0.1"), "{error}");
    });
    let ended = [(std::os::fd::AsFd::as_fd(&pidfd), longshore_sys::event::Ready::READ)];
    let ready = longshore_sys::event::poll(&ended, Some(LONG)).unwrap();
    assert!(ready[0].read, "the stopped process was not killed");
}

#[test]
fn a_kernel_without_the_file_system_says_so() {
    if std::fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("nfs")) {
        println!("SKIP: this kernel has NFS");
        return;
    }
    let error = Performer::start(&binary())
        .unwrap()
        .build(&mount("127.0.0.1"), LONG)
        .unwrap_err();
    // Without the privilege to mount anything the kernel says that first.
    assert!(
        matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Denied),
        "{error}"
    );
}

#[test]
fn a_process_that_dies_is_named() {
    let performer = Performer::start(&binary()).unwrap();
    let pidfd = longshore_sys::process::open(i32::try_from(performer.pid()).unwrap()).unwrap();
    longshore_sys::process::signal(&pidfd, 19).unwrap();
    let killed = std::thread::spawn(move || longshore_sys::process::signal(&pidfd, 9));
    let error = performer.build(&mount("127.0.0.1"), LONG).unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Broken | ErrorKind::Unavailable),
        "{error}"
    );
    killed.join().unwrap().unwrap();
}
