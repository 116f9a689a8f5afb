//! What a driver in a process of its own may do wrong, and that the host survives all of it (bad input
//! 21 to 24).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{Folder, layer, remove, root};
use longshore_core::context::{Cancel, NoServices};
use longshore_core::graph::{Create, Ended, GraphDriver, Role};
use longshore_core::wire::next_call;
use longshore_core::{Context, ErrorKind};
use longshore_loader::{Loaded, Origin, Problem, Processes, Refused};

/// `target/<profile>/longshore-runner`.
fn runner() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let runner = program.parent().unwrap().parent().unwrap().join("longshore-runner");
    assert!(
        runner.exists(),
        "{} is missing: run `cargo build -p longshore-runner`",
        runner.display()
    );
    runner
}

fn load(path: &Path, processes: &Processes) -> Result<Loaded, Refused> {
    let origin = Origin::Explicit {
        in_process: false,
        grants: vec![],
    };
    Loaded::from_process(path, &origin, processes)
}

struct Open {
    loaded: Arc<Loaded>,
    driver: Arc<dyn GraphDriver>,
    _folder: Folder,
}

impl Open {
    fn new(example: &str) -> Self {
        let folder = Folder::new();
        let loaded = Arc::new(load(&folder.copy(example, "x.so"), &Processes::new(runner())).unwrap());
        let driver = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
        Self {
            loaded,
            driver,
            _folder: folder,
        }
    }

    fn pid(&self) -> i32 {
        self.loaded.process().unwrap().pid.expect("its process is there")
    }

    fn works(&self) {
        let removed = self.driver.remove(&Context::background(), remove("calm")).unwrap();
        assert_eq!(removed.outcome, Ended::Done);
    }
}

fn within(limit: Duration) -> Context {
    Context::new(next_call(), Some(limit), Cancel::default(), Arc::new(NoServices))
}

#[test]
fn its_calls_and_services_are_those_of_any_driver() {
    let rogue = Open::new("rogue_one");
    assert_eq!(
        (rogue.loaded.transport(), rogue.loaded.isolation()),
        ("process", "process")
    );
    let request = Create {
        id: layer("calm").id,
        chain: vec![],
        role: Role::Layer,
        options: vec![],
    };
    let created = rogue.driver.create(&Context::background(), request).unwrap();
    // The note tells how long the clock's answer was, which came from this process.
    let note = String::from_utf8_lossy(created.note.as_bytes()).into_owned();
    assert!(note.starts_with("1.0.0 calm-"), "{note}");
    assert_ne!(rogue.pid(), i32::try_from(std::process::id()).unwrap());
}

#[test]
fn a_panic_is_broken_and_its_process_lives() {
    let rogue = Open::new("rogue_one");
    let before = rogue.pid();
    let error = rogue
        .driver
        .remove(&Context::background(), remove("panic"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken);
    assert!(error.message.contains("panicked: the rogue panics"), "{error}");
    rogue.works();
    assert_eq!(rogue.pid(), before);
}

#[test]
fn whatever_ends_its_process_is_broken_and_the_next_call_works() {
    for (misdeed, says) in [
        ("exit", "exited with status 3"),
        ("abort", "died of signal 6"),
        ("nest", "died of signal"),
        ("allocate", "died of signal"),
    ] {
        let (rogue, other) = (Open::new("rogue_one"), Open::new("rogue_two"));
        let before = rogue.pid();
        let error = rogue
            .driver
            .remove(&Context::background(), remove(misdeed))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Broken, "{misdeed}: {error}");
        assert!(error.outcome_unknown());
        assert!(error.message.contains(says), "{misdeed}: {error}");
        other.works();
        rogue.works();
        assert_ne!(rogue.pid(), before, "{misdeed}");
        assert_eq!(rogue.loaded.process().unwrap().starts, 2);
        assert_eq!(rogue.loaded.quarantined(), None);
    }
}

#[test]
fn what_takes_without_end_is_stopped_by_its_limits_or_its_deadline() {
    for misdeed in ["leak", "crowd", "loop", "sleep"] {
        let (rogue, other) = (Open::new("rogue_one"), Open::new("rogue_two"));
        let error = rogue
            .driver
            .remove(&within(Duration::from_millis(500)), remove(misdeed))
            .unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::Denied | ErrorKind::Deadline | ErrorKind::Broken),
            "{misdeed}: {error}"
        );
        other.works();
        // Its process may be no good any more, which nobody has seen yet: that costs one call.
        let _ = rogue.driver.remove(&within(Duration::from_secs(2)), remove("calm"));
        rogue.works();
    }
}

#[test]
fn a_call_that_never_ends_ends_its_process_and_leaves_no_thread() {
    let rogue = Open::new("rogue_one");
    let before = rogue.pid();
    let error = rogue
        .driver
        .remove(&within(Duration::from_millis(100)), remove("sleep"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
    assert!(error.message.contains("was ended and is started again"), "{error}");
    rogue.works();
    assert_ne!(rogue.pid(), before);
    assert_eq!((rogue.loaded.abandoned(), rogue.loaded.quarantined()), (0, None));
}

#[test]
fn a_call_that_heeds_its_cancellation_ends_and_its_process_lives() {
    let rogue = Open::new("rogue_one");
    let before = rogue.pid();
    let driver = Arc::clone(&rogue.driver);
    let cx = within(Duration::from_secs(3600));
    let call = cx.call();
    let caller = thread::spawn(move || driver.remove(&cx, remove("slow")));
    while !caller.is_finished() {
        rogue.loaded.cancel(call);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(caller.join().unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(rogue.pid(), before);
}

#[test]
fn a_process_that_is_killed_between_two_calls_costs_none() {
    let rogue = Open::new("rogue_one");
    let pid = rogue.pid();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    while rogue.loaded.process().unwrap().pid.is_some() {
        thread::sleep(Duration::from_millis(5));
    }
    rogue.works();
    assert_ne!(rogue.pid(), pid);
}

#[test]
fn three_ends_in_a_minute_quarantine_all_but_cleaning_up() {
    let rogue = Open::new("rogue_one");
    for _ in 0..3 {
        rogue
            .driver
            .remove(&Context::background(), remove("panic"))
            .unwrap_err();
    }
    assert!(rogue.loaded.quarantined().unwrap().contains("3 times"));
    assert_eq!(rogue.loaded.describe().unwrap_err().kind, ErrorKind::Unavailable);
    rogue.works();
}

#[test]
fn many_callers_at_once_all_get_their_own_answers() {
    let rogue = Open::new("rogue_one");
    thread::scope(|scope| {
        for caller in 0..16 {
            let driver = &rogue.driver;
            scope.spawn(move || {
                for round in 0..50 {
                    let word = format!("calm-{caller}-{round}");
                    let request = Create {
                        id: layer(&word).id,
                        chain: vec![],
                        role: Role::Layer,
                        options: vec![],
                    };
                    let created = driver.create(&Context::background(), request).unwrap();
                    let note = String::from_utf8_lossy(created.note.as_bytes()).into_owned();
                    assert!(note.contains(&word), "{note}");
                }
            });
        }
    });
}

#[test]
fn root_a_driver_without_grants_has_no_rights_of_the_system() {
    if fs::read("/etc/shadow").is_err() {
        println!("SKIP: needs root");
        return;
    }
    let rogue = Open::new("rogue_one");
    let sandbox = ["read", "climb", "list", "write"];
    let landlock = longshore_sys::landlock::is_there();
    if !landlock {
        println!("SKIP: the files that everybody may read, as this kernel has no landlock");
    }
    let tried = ["secret", "program", "listen", "connect", "environment"]
        .into_iter()
        .chain(sandbox.into_iter().filter(|_| landlock));
    for misdeed in tried {
        let error = rogue
            .driver
            .remove(&Context::background(), remove(misdeed))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{misdeed}: {error}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", rogue.pid())).unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let numbers: Vec<u32> = users.split_whitespace().map(|user| user.parse().unwrap()).collect();
    assert!(numbers.iter().all(|user| (61184..65520).contains(user)), "{users}");
    let files = fs::read_dir(format!("/proc/{}/fd", rogue.pid())).unwrap().count();
    // 0, 1, 2, the socket, the file twice, the counter: nothing of this process.
    assert!(files <= 8, "{files} descriptors");
    let folder = fs::read_link(format!("/proc/{}/cwd", rogue.pid())).unwrap();
    assert_eq!(folder, Path::new("/"));
}

#[test]
fn a_library_that_cannot_be_loaded_is_refused_with_the_sentence_of_its_process() {
    for (example, problem, says) in [
        (
            "rogue_other_major",
            Problem::Abi,
            "library ABI 2.0.0, this host speaks 1.0.0",
        ),
        ("rogue_rootless", Problem::Symbol, "exports no root module"),
        (
            "rogue_liar",
            Problem::Description,
            "\"rogue\", its manifest says \"honest\"",
        ),
    ] {
        let folder = Folder::new();
        let refused = load(&folder.copy(example, "x.so"), &Processes::new(runner())).expect_err(example);
        assert_eq!(refused.problem, problem, "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn a_runner_that_is_none_is_refused_with_a_sentence() {
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "x.so");
    let refused = load(&path, &Processes::new("/bin/true")).unwrap_err();
    assert!(refused.what.contains("exited with status 0"), "{refused}");
    let refused = load(&path, &Processes::new("/nowhere/longshore-runner")).unwrap_err();
    assert!(refused.what.contains("/nowhere/longshore-runner"), "{refused}");
}

/// Set for the process that plays an engine that is killed; holds the folder of sockets.
const ENGINE: &str = "LONGSHORE_TEST_ENGINE";

/// Kills what it holds, also when a test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_engine_that_comes_back_finds_the_process_of_the_one_that_was_killed() {
    if let Some(folder) = std::env::var_os(ENGINE) {
        let folder = PathBuf::from(folder);
        let processes = Processes::new(runner()).folder(folder.join("sockets"));
        let loaded = load(&folder.join("x.so"), &processes).unwrap();
        println!("\npid {}", loaded.process().unwrap().pid.unwrap());
        loop {
            thread::park();
        }
    }
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "x.so");
    let mut engine = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "an_engine_that_comes_back_finds_the_process_of_the_one_that_was_killed",
                "--nocapture",
            ])
            .env(ENGINE, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let said = BufReader::new(engine.0.stdout.take().unwrap());
    let pid: i32 = said
        .lines()
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("pid ").map(|pid| pid.parse().unwrap()))
        .expect("the first engine tells the process");
    drop(engine);
    let processes = Processes::new(runner()).folder(folder.path().join("sockets"));
    let loaded = load(&path, &processes).unwrap();
    assert_eq!(loaded.process().unwrap().pid, Some(pid));
    let driver = loaded.open_graph(root(&folder), folder.path(), vec![]).unwrap();
    driver.remove(&Context::background(), remove("calm")).unwrap();
    // And one that is not needed any more is gone, with its socket.
    drop((driver, loaded));
    while Path::new(&format!("/proc/{pid}/exe")).exists() {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_dir(folder.path().join("sockets")).unwrap().count(), 0);
}
