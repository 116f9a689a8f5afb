//! What is refused before any code of a file runs (bad inputs 23 and 24 for libraries).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Folder, bytes, load};
use longshore_loader::{Problem, check, manifest_of};

fn refused(path: &Path, problem: Problem, says: &str) {
    let refused = check(path).expect_err(says);
    assert_eq!(refused.problem, problem, "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains(says), "{sentence}");
    assert!(
        !sentence.contains('\n') && sentence.len() < 500,
        "one sentence: {sentence}"
    );
    assert!(
        sentence.starts_with(&*path.to_string_lossy()),
        "the file is named: {sentence}"
    );
    assert!(!refused.remedy.is_empty());
}

#[test]
fn a_good_library_is_accepted_and_described_without_loading_it() {
    let folder = Folder::new();
    let checked = check(&folder.copy("rogue_one", "good.so")).unwrap();
    assert_eq!(checked.manifest().label(), "graph-rogue");
    assert_eq!(checked.digest().len(), 64);
    assert!(!fs::read_to_string("/proc/self/maps").unwrap().contains("good.so"));
}

#[test]
fn what_is_no_regular_file_is_refused_without_opening_it() {
    let folder = Folder::new();
    refused(&folder.path().join("absent.so"), Problem::Missing, "No such file");
    refused(folder.path(), Problem::NotRegular, "a directory");
    let fifo = folder.path().join("fifo.so");
    // Opening a FIFO to read waits for a writer: this test would not end.
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    refused(&fifo, Problem::NotRegular, "a FIFO");
    refused(Path::new("/dev/null"), Problem::NotRegular, "a device");
    let socket = folder.path().join("socket.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    refused(&socket, Problem::NotRegular, "a socket");
}

#[test]
fn what_others_may_write_is_refused_with_the_command_that_helps() {
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "x.so");
    for mode in [0o666, 0o664, 0o646] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refused(&path, Problem::Untrusted, "chmod go-w");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    check(&path).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    refused(&path, Problem::Untrusted, "its folder can be written by others");
}

#[test]
fn root_a_file_of_another_user_is_refused() {
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "x.so");
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        println!("SKIP: giving a file away needs root");
        return;
    }
    refused(&path, Problem::Untrusted, "belongs to user 65534");
}

#[test]
fn a_link_leads_to_the_file_that_is_checked() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let path = elsewhere.copy("rogue_one", "real.so");
    let link = folder.path().join("link.so");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(check(&link).unwrap().path(), path.canonicalize().unwrap());
    fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o777)).unwrap();
    refused(&link, Problem::Untrusted, "its folder");
}

#[test]
fn what_is_no_library_for_this_machine_is_refused() {
    let folder = Folder::new();
    refused(
        &folder.put("text.so", b"#!/bin/sh\necho hello\n"),
        Problem::NotLibrary,
        "no ELF file",
    );
    refused(&folder.put("empty.so", b""), Problem::NotLibrary, "no ELF file");
    let good = bytes("rogue_one");
    let patched = |at: usize, value: u8| {
        let mut copy = good.clone();
        copy[at] = value;
        folder.put("patched.so", &copy)
    };
    let other = if cfg!(target_arch = "x86_64") {
        (183, "aarch64")
    } else {
        (62, "x86_64")
    };
    refused(&patched(18, other.0), Problem::Architecture, other.1);
    refused(&patched(4, 1), Problem::Architecture, "32-bit");
    refused(&patched(5, 2), Problem::Architecture, "big-endian");
    refused(&patched(16, 2), Problem::NotLibrary, "no shared library");
    let program = std::env::current_exe().unwrap();
    let copy = folder.put("program.so", &fs::read(program).unwrap());
    assert!(check(&copy).is_err(), "a program is no driver");
}

#[test]
fn a_library_cut_at_any_place_is_refused() {
    let good = bytes("rogue_one");
    let path = Path::new("cut.so");
    let dense = 0..4096.min(good.len());
    let sparse = (0..400).map(|step| good.len() * step / 400);
    for end in dense.chain(sparse).chain(good.len() - 64..good.len()) {
        let refused = manifest_of(&good[..end], path).expect_err("a cut library");
        assert!(
            matches!(
                refused.problem,
                Problem::Damaged | Problem::NotLibrary | Problem::Manifest
            ),
            "cut at {end}: {refused}"
        );
    }
}

/// The bytes that the system's loader reads first: the header and the program headers.
fn header_bytes(library: &[u8]) -> usize {
    64 + 56 * usize::from(u16::from_le_bytes([library[56], library[57]]))
}

/// Each bit of the headers is flipped. Most flips are refused; a library that passes in spite of one is
/// loaded in a process of its own, which must live: such a flip is one that nobody heeds.
#[test]
fn a_bit_flipped_in_the_headers_is_refused_or_harmless() {
    const CHILD: &str = "LONGSHORE_TEST_LOAD_ALL_OF";
    if let Some(folder) = std::env::var_os(CHILD) {
        for entry in fs::read_dir(folder).unwrap() {
            load(&entry.unwrap().path()).unwrap();
        }
        return;
    }
    let mut library = bytes("rogue_one");
    let good = manifest_of(&library, Path::new("flipped.so")).unwrap();
    let folder = Folder::new();
    let (mut refused, mut passed, mut written) = (0, 0, 0);
    for bit in 0..header_bytes(&library) * 8 {
        library[bit / 8] ^= 1 << (bit % 8);
        match manifest_of(&library, Path::new("flipped.so")) {
            Err(_) => refused += 1,
            Ok(manifest) => {
                passed += 1;
                assert_eq!(manifest, good);
                // One of each byte is enough to load, and keeps the folder small.
                if written < 60 && bit % 8 < 2 {
                    folder.put(&format!("bit-{bit}.so"), &library);
                    written += 1;
                }
            }
        }
        library[bit / 8] ^= 1 << (bit % 8);
    }
    println!("{refused} flips refused, {passed} harmless, {written} of them loaded");
    assert!(refused > passed, "{refused} refused, {passed} passed");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_bit_flipped_in_the_headers_is_refused_or_harmless"])
        .env(CHILD, folder.path())
        .status()
        .unwrap();
    assert!(
        child.success(),
        "a library with a flipped bit passed the checks and then: {child}"
    );
}

#[test]
fn libraries_without_manifest_or_with_two_are_refused() {
    let folder = Folder::new();
    refused(
        &folder.copy("rogue_twins", "twins.so"),
        Problem::Manifest,
        "more than one manifest",
    );
    let mut renamed = bytes("rogue_one");
    let name = b"longshore.manifest\0";
    while let Some(at) = renamed.windows(name.len()).position(|window| window == name) {
        renamed[at] = b'L';
    }
    refused(
        &folder.put("none.so", &renamed),
        Problem::Manifest,
        "no section longshore.manifest",
    );
}
