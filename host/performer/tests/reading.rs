//! Reading trees: walks, comparisons, and the facts about a machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Scratch, is_root};
use longshore_core::graph::ChangeKind;
use longshore_performer::facts::gather;
use longshore_performer::source::{Next, compare, usage, walk};
use longshore_sys::path;

fn changes(lower: &Scratch, upper: &Scratch) -> Vec<(String, ChangeKind)> {
    compare(lower.root.as_fd(), upper.root.as_fd())
        .unwrap()
        .into_iter()
        .map(|change| (String::from_utf8_lossy(change.path.as_bytes()).into_owned(), change.is))
        .collect()
}

/// A copy of a tree, times kept.
fn twin(of: &Scratch) -> Scratch {
    let copy = Scratch::new();
    let status = std::process::Command::new("cp")
        .arg("-aT")
        .args([of.path(), copy.path()])
        .status()
        .unwrap();
    assert!(status.success());
    copy
}

#[test]
fn a_walk_is_sorted_and_enters_no_link() {
    let scratch = Scratch::new();
    for folder in ["b/x", "a", "b-c"] {
        fs::create_dir_all(scratch.path().join(folder)).unwrap();
    }
    fs::write(scratch.path().join("b/f"), "12").unwrap();
    symlink("/", scratch.path().join("a/root")).unwrap();
    let mut seen = Vec::new();
    walk(scratch.root.as_fd(), |entry| {
        seen.push(String::from_utf8_lossy(entry.path).into_owned());
        if entry.path == b"a/root" {
            assert_eq!(entry.target().unwrap(), b"/");
            assert!(entry.open().is_err());
        }
        Ok(if entry.path == b"b/x" {
            Next::Skip
        } else {
            Next::Continue
        })
    })
    .unwrap();
    assert_eq!(seen, ["", "a", "a/root", "b", "b/f", "b/x", "b-c"]);
}

#[test]
fn a_walk_tells_names_that_are_not_utf8_as_they_are() {
    let scratch = Scratch::new();
    drop(path::make_file(&scratch.root, b"\xff\xfe\n", 0o600).unwrap());
    let mut seen = Vec::new();
    walk(scratch.root.as_fd(), |entry| {
        seen.push(entry.name().to_vec());
        Ok(Next::Continue)
    })
    .unwrap();
    assert_eq!(seen, [b"".to_vec(), b"\xff\xfe\n".to_vec()]);
}

#[test]
fn usage_counts_blocks_and_a_file_of_two_names_once() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("f"), vec![1; 1 << 20]).unwrap();
    let one = usage(scratch.root.as_fd()).unwrap();
    fs::hard_link(scratch.path().join("f"), scratch.path().join("g")).unwrap();
    let sparse = fs::File::create(scratch.path().join("hole")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let two = usage(scratch.root.as_fd()).unwrap();
    assert_eq!((one.inodes, two.inodes), (Some(2), Some(3)));
    assert!(
        one.exclusive >= 1 << 20 && two.exclusive - one.exclusive < 1 << 16,
        "{one:?} {two:?}"
    );
}

#[test]
fn a_comparison_tells_added_modified_and_deleted() {
    let lower = Scratch::new();
    for folder in ["same", "changed/deep", "gone/deep", "type"] {
        fs::create_dir_all(lower.path().join(folder)).unwrap();
    }
    for file in [
        "same/f",
        "changed/deep/f",
        "gone/deep/f",
        "mode",
        "content",
        "type/in",
        "link-target",
    ] {
        fs::write(lower.path().join(file), "x").unwrap();
    }
    symlink("one", lower.path().join("link")).unwrap();
    let upper = twin(&lower);
    assert_eq!(changes(&lower, &upper), []);
    fs::write(upper.path().join("changed/deep/f"), "longer").unwrap();
    fs::remove_dir_all(upper.path().join("gone")).unwrap();
    fs::set_permissions(upper.path().join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(upper.path().join("content"), "y").unwrap();
    fs::remove_dir_all(upper.path().join("type")).unwrap();
    fs::write(upper.path().join("type"), "").unwrap();
    fs::create_dir(upper.path().join("new")).unwrap();
    fs::write(upper.path().join("new/f"), "").unwrap();
    fs::remove_file(upper.path().join("link")).unwrap();
    symlink("two", upper.path().join("link")).unwrap();
    use ChangeKind::{Added, Deleted, Modified};
    let expected = [
        ("/changed", Modified),
        ("/changed/deep", Modified),
        ("/changed/deep/f", Modified),
        ("/content", Modified),
        ("/gone", Deleted),
        ("/link", Modified),
        ("/mode", Modified),
        ("/new", Added),
        ("/new/f", Added),
        ("/type", Modified),
    ];
    let expected: Vec<(String, ChangeKind)> = expected.into_iter().map(|(path, is)| (path.to_owned(), is)).collect();
    assert_eq!(changes(&lower, &upper), expected);
}

#[test]
fn a_folder_in_place_of_a_file_is_modified_and_its_content_added() {
    let lower = Scratch::new();
    fs::write(lower.path().join("n"), "").unwrap();
    let upper = Scratch::new();
    fs::create_dir_all(upper.path().join("n/m")).unwrap();
    let expected = [
        ("/n".to_owned(), ChangeKind::Modified),
        ("/n/m".to_owned(), ChangeKind::Added),
    ];
    assert_eq!(changes(&lower, &upper), expected);
    assert_eq!(changes(&upper, &lower), [("/n".to_owned(), ChangeKind::Modified)]);
}

#[test]
fn root_facts_are_found_and_leave_nothing() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let facts = gather(&scratch.root).unwrap();
    assert!(!facts.filesystem.is_empty() && !facts.kernel.is_empty());
    assert_eq!(facts.d_type, Some(true));
    assert!(facts.trusted_xattrs.is_some() && facts.user_xattrs.is_some() && facts.reflink.is_some());
    assert!(facts.filesystems.iter().any(|name| name == "proc"));
    if facts.filesystems.iter().any(|name| name == "overlay") {
        assert!(facts.overlay.iter().any(|pair| pair.key == "metacopy"));
        assert!(facts.overlay_mounts.is_some());
    }
    let left = fs::read_dir(scratch.path().join(".longshore/probe")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn root_a_memory_file_system_is_told_by_its_name() {
    if !is_root() {
        return;
    }
    let context = longshore_sys::mount::Context::open("tmpfs").unwrap();
    let mounted = context.mount().unwrap();
    let root = longshore_performer::root::Root::from_descriptor(mounted, "memory").unwrap();
    assert_eq!(gather(&root).unwrap().filesystem, "tmpfs");
}
