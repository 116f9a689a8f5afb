//! The command on good and bad files: its text, its JSON, its exit code.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn runner(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore-runner"))
        .args(arguments)
        .arg(file)
        .output()
        .unwrap()
}

/// The library of a driver that this package depends on for tests, copied to where it is trusted.
fn library(folder: &TempDir) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let built = program.parent().unwrap().join("liblongshore_network_none.so");
    let copy = folder.path().join("network-none.so");
    fs::copy(&built, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
    copy
}

#[test]
fn a_bundled_driver_is_inspected_and_verified() {
    let folder = TempDir::new().unwrap();
    let file = library(&folder);
    for command in ["inspect", "verify"] {
        let output = runner(&[command], &file);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(text.starts_with("network driver none "), "{text}");
        assert_eq!(text.contains("verified:"), command == "verify", "{text}");
    }
    let output = runner(&["verify", "--json"], &file);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["accepted"], true);
    assert_eq!(json["verified"], true);
    assert_eq!(json["manifest"]["kinds"][0]["kind"], "network");
    assert_eq!(json["description"]["name"], "none");
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn a_refused_file_is_one_sentence_and_exit_code_1() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text.so");
    fs::write(&file, "hello").unwrap();
    for command in ["inspect", "verify"] {
        let output = runner(&[command], &file);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        assert!(
            sentence.contains("text.so: it is no ELF file; give the path"),
            "{sentence}"
        );
        let output = runner(&[command, "--json"], &file);
        assert_eq!(output.status.code(), Some(1));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["accepted"], false);
        assert_eq!(json["problem"], "NotLibrary");
    }
}
