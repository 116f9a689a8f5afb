//! What is recorded of a driver's calls, and that a replay shows what another driver answers otherwise.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use longshore_core::driver::OptionValue;
use longshore_loader::record::Recorder;
use longshore_loader::{Loaded, Origin};
use tempfile::TempDir;

/// The library of a driver that this package depends on for tests, copied to where it is trusted.
fn library(folder: &Path) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let built = program.parent().unwrap().join("liblongshore_network_none.so");
    let copy = folder.join("network-none.so");
    fs::copy(&built, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
    copy
}

/// A record of a few calls, one of them with a secret.
fn record(folder: &Path, driver: &Path) -> PathBuf {
    let path = folder.join("calls.jsonl");
    let recorder = Recorder::open(&path).unwrap();
    let origin = Origin::Explicit {
        in_process: true,
        grants: vec![],
    };
    let loaded = Loaded::from_path(driver, &origin).unwrap();
    loaded.record(Some(&recorder));
    let root = || fs::File::open(folder).unwrap().into();
    loaded.describe().unwrap();
    loaded.open_network(root(), folder, vec![]).unwrap();
    let secret = vec![OptionValue::text("api-token", "hunter2")];
    assert!(loaded.open_network(root(), folder, secret).is_err());
    loaded.record(None);
    loaded.describe().unwrap();
    path
}

fn replay(record: &Path, driver: &Path, isolation: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_longshore-runner"))
        .args(["replay", "--isolation", isolation])
        .args([record, driver])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

#[test]
fn the_same_driver_answers_the_same_over_every_transport() {
    let folder = TempDir::new().unwrap();
    let driver = library(folder.path());
    let record = record(folder.path(), &driver);
    let text = fs::read_to_string(&record).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    for isolation in ["in-process", "process"] {
        let (output, said) = replay(&record, &driver, isolation);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("3 calls made again, 0 answered otherwise, 0 passed over"),
            "{said}"
        );
    }
}

#[test]
fn what_is_answered_otherwise_is_shown_with_its_place() {
    let folder = TempDir::new().unwrap();
    let driver = library(folder.path());
    let record = record(folder.path(), &driver);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"concurrency\":", "\"concurrency\":7")).unwrap();
    let (output, said) = replay(&record, &driver, "process");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("network.describe: concurrency: 7"), "{said}");
    assert!(said.contains("1 answered otherwise"), "{said}");
}

#[test]
fn a_record_that_is_none_is_one_sentence() {
    let folder = TempDir::new().unwrap();
    let driver = library(folder.path());
    for (text, says) in [
        ("nonsense\n", "line 1: no recorded call"),
        ("", "holds no call of the network driver none"),
    ] {
        let path = folder.path().join("bad.jsonl");
        fs::write(&path, text).unwrap();
        let (output, said) = replay(&path, &driver, "process");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}
