//! Filling trees: containment, replacement, whiteouts, and one result for both kinds of driver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::{Scratch, areas, can_overlay, is_root, own, picture, picture_of};
use longshore_core::error::ErrorKind;
use longshore_core::graph::Whiteouts;
use longshore_core::steps::{Lower, MountPlan, MountStep, Source};
use longshore_performer::plan::{Access, PlanScope, build, check_plan};
use longshore_performer::root::Tree;
use longshore_performer::sink::{Attributes, Below, Node, Time, TreeSink};
use longshore_sys::path;

const NOTHING: &[(Vec<u8>, Vec<u8>)] = &[];

fn attributes(mode: u32) -> Attributes<'static> {
    Attributes {
        mode,
        uid: 0,
        gid: 0,
        modified: Time {
            seconds: 1_500_000_000,
            nanoseconds: 0,
        },
        xattrs: NOTHING,
    }
}

fn open(top: &Path) -> OwnedFd {
    path::open_directory(top).unwrap()
}

fn merged(top: &Path) -> TreeSink {
    TreeSink::new(open(top), Whiteouts::Merged, Below::Unknown).unwrap()
}

fn file(sink: &mut TreeSink, path: &str, content: &str) -> longshore_core::error::Result<()> {
    let length = content.len() as u64;
    sink.file(path.as_bytes(), &attributes(0o644), length, &mut content.as_bytes())
}

/// A tree to be filled, a sentinel beside it, and what the sentinel was like.
struct Beside {
    scratch: Scratch,
    before: BTreeMap<String, String>,
}

impl Beside {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path().join("tree")).unwrap();
        fs::create_dir_all(scratch.path().join("tree-sentinel/etc")).unwrap();
        fs::write(scratch.path().join("tree-sentinel/etc/passwd"), "untouched").unwrap();
        let before = picture(&scratch.path().join("tree-sentinel"));
        Self { scratch, before }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.scratch.path().join("tree")
    }

    fn sentinel(&self) -> std::path::PathBuf {
        self.scratch.path().join("tree-sentinel")
    }

    fn check(&self) {
        assert_eq!(picture(&self.sentinel()), self.before);
        assert_eq!(fs::read_dir(self.scratch.path()).unwrap().count(), 2);
    }
}

#[test]
fn paths_that_leave_the_tree_are_refused_and_absolute_ones_stay_inside() {
    let beside = Beside::new();
    let mut sink = merged(&beside.tree());
    let nul = "a\0b";
    let long = "x/".repeat(2100);
    for bad in ["../x", "/../x", "a/../../x", "..", nul, &"n".repeat(256), &long] {
        assert_eq!(
            file(&mut sink, bad, "x").unwrap_err().kind,
            ErrorKind::Invalid,
            "{bad:?}"
        );
        assert!(sink.directory(bad.as_bytes(), &attributes(0o755)).is_err());
        assert!(sink.symlink(bad.as_bytes(), b"x", &attributes(0)).is_err());
        assert!(sink.hardlink(bad.as_bytes(), b"x").is_err());
        assert!(sink.whiteout(bad.as_bytes()).is_err());
        assert!(sink.opaque(bad.as_bytes()).is_err());
    }
    assert!(file(&mut sink, "", "x").is_err());
    assert_eq!(fs::read_dir(beside.tree()).unwrap().count(), 0);
    beside.check();
}

#[test]
fn root_links_of_an_image_never_lead_out() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    let mut sink = merged(&beside.tree());
    let outside = beside.sentinel();
    let outside = outside.to_str().unwrap();
    file(&mut sink, "/etc/x", "inside").unwrap();
    sink.symlink(b"out", b"/", &attributes(0)).unwrap();
    sink.symlink(b"up", b"../../../../../../..", &attributes(0)).unwrap();
    sink.symlink(b"abs", outside.as_bytes(), &attributes(0)).unwrap();
    sink.symlink(b"hop", b"abs/etc", &attributes(0)).unwrap();
    for way in ["out", "up", "abs", "hop"] {
        file(&mut sink, &format!("{way}/passwd"), "inside").unwrap();
        sink.directory(format!("{way}/made").as_bytes(), &attributes(0o700))
            .unwrap();
        sink.whiteout(format!("{way}/nothing").as_bytes()).unwrap();
    }
    sink.opaque(b"hop").unwrap();
    sink.whiteout(b"abs/etc/passwd").unwrap();
    sink.finish().unwrap();
    assert_eq!(fs::read_to_string(beside.tree().join("etc/x")).unwrap(), "inside");
    assert_eq!(fs::read_to_string(beside.tree().join("passwd")).unwrap(), "inside");
    assert!(
        beside
            .tree()
            .join(outside.trim_start_matches('/'))
            .join("passwd")
            .exists()
    );
    beside.check();
}

#[test]
fn root_a_link_of_a_lower_layer_is_written_through_inside() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    symlink(beside.sentinel(), beside.tree().join("lower")).unwrap();
    symlink(beside.sentinel().join("etc/passwd"), beside.tree().join("file")).unwrap();
    let mut sink = merged(&beside.tree());
    file(&mut sink, "lower/etc/passwd", "inside").unwrap();
    file(&mut sink, "file", "inside").unwrap();
    sink.finish().unwrap();
    assert!(fs::symlink_metadata(beside.tree().join("file")).unwrap().is_file());
    beside.check();
}

#[test]
fn root_hardlinks_to_the_host_or_to_nothing_are_refused() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    let mut sink = merged(&beside.tree());
    sink.directory(b"d", &attributes(0o755)).unwrap();
    sink.symlink(b"s", beside.sentinel().to_str().unwrap().as_bytes(), &attributes(0))
        .unwrap();
    for target in [
        "/etc/passwd",
        "../tree-sentinel/etc/passwd",
        "s/etc/passwd",
        "d",
        "own",
        "later",
    ] {
        assert_eq!(
            sink.hardlink(b"own", target.as_bytes()).unwrap_err().kind,
            ErrorKind::Invalid,
            "{target}"
        );
    }
    file(&mut sink, "f", "one").unwrap();
    sink.hardlink(b"g", b"f").unwrap();
    sink.hardlink(b"g", b"f").unwrap();
    sink.hardlink(b"f", b"f").unwrap();
    sink.hardlink(b"t", b"s").unwrap();
    assert!(fs::symlink_metadata(beside.tree().join("t")).unwrap().is_symlink());
    file(&mut sink, "g", "other").unwrap();
    assert_eq!(fs::read_to_string(beside.tree().join("f")).unwrap(), "one");
    sink.finish().unwrap();
    beside.check();
}

#[test]
fn root_the_last_entry_of_a_name_wins_whatever_the_earlier_was() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    fs::create_dir(beside.tree().join("target")).unwrap();
    let mode = fs::metadata(beside.tree().join("target")).unwrap().mode();
    let mut sink = merged(&beside.tree());
    sink.symlink(b"l", b"target", &attributes(0)).unwrap();
    sink.directory(b"l", &attributes(0o4777)).unwrap();
    file(&mut sink, "n", "file").unwrap();
    sink.directory(b"n", &attributes(0o755)).unwrap();
    file(&mut sink, "n/inner/deep", "x").unwrap();
    file(&mut sink, "n", "again").unwrap();
    file(&mut sink, "m/x", "x").unwrap();
    sink.node(b"m", Node::Fifo, &attributes(0o640)).unwrap();
    sink.directory(b"kept", &attributes(0o700)).unwrap();
    file(&mut sink, "kept/x", "x").unwrap();
    sink.directory(b"kept", &attributes(0o711)).unwrap();
    assert!(file(&mut sink, "n/under-a-file", "x").is_err());
    sink.finish().unwrap();
    let tree = beside.tree();
    assert_eq!(fs::metadata(tree.join("target")).unwrap().mode(), mode);
    assert!(fs::symlink_metadata(tree.join("l")).unwrap().is_dir());
    assert_eq!(fs::metadata(tree.join("l")).unwrap().mode() & 0o7777, 0o4777);
    assert_eq!(fs::read_to_string(tree.join("n")).unwrap(), "again");
    assert!(tree.join("kept/x").exists());
    assert_eq!(fs::metadata(tree.join("kept")).unwrap().mode() & 0o7777, 0o711);
    beside.check();
}

#[test]
fn root_attributes_come_as_told_and_foreign_ones_are_dropped() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    let mut sink = merged(&beside.tree());
    // Version 2 of the capability format, with CAP_NET_RAW in both sets.
    let mut capability = vec![1, 0, 0, 2];
    capability.extend_from_slice(&[0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let xattrs = [
        (b"security.capability".to_vec(), capability.clone()),
        (b"user.note".to_vec(), b"kept".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"security.selinux".to_vec(), b"x".to_vec()),
        (b"system.posix_acl_access".to_vec(), b"x".to_vec()),
    ];
    let with = Attributes {
        uid: 12,
        gid: 34,
        xattrs: &xattrs,
        ..attributes(0o4711)
    };
    sink.file(b"f", &with, 3, &mut b"abc".as_slice()).unwrap();
    sink.directory(b"d", &Attributes { mode: 0o2750, ..with }).unwrap();
    file(&mut sink, "d/later", "x").unwrap();
    sink.node(
        b"null",
        Node::Character { major: 1, minor: 3 },
        &Attributes { mode: 0o666, ..with },
    )
    .unwrap();
    assert_eq!(
        sink.node(b"z", Node::Character { major: 0, minor: 0 }, &with)
            .unwrap_err()
            .kind,
        ErrorKind::Invalid
    );
    let filled = sink.finish().unwrap();
    assert_eq!((filled.entries, filled.bytes), (4, 4));
    let f = fs::File::open(beside.tree().join("f")).unwrap();
    let names = longshore_sys::xattr::list(&f).unwrap();
    assert_eq!(names, [b"security.capability".to_vec(), b"user.note".to_vec()]);
    let metadata = f.metadata().unwrap();
    assert_eq!(
        (
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
            metadata.mtime()
        ),
        (0o4711, 12, 34, 1_500_000_000)
    );
    let d = fs::metadata(beside.tree().join("d")).unwrap();
    assert_eq!((d.mode() & 0o7777, d.mtime()), (0o2750, 1_500_000_000));
    let null = fs::metadata(beside.tree().join("null")).unwrap();
    assert_eq!((null.mode() & 0o7777, null.rdev()), (0o666, 0x103));

    let mut sink = merged(&beside.tree());
    let big = [(b"user.big".to_vec(), vec![7; 65536])];
    let with = Attributes {
        xattrs: &big,
        ..attributes(0o644)
    };
    let result = sink.file(b"big", &with, 0, &mut b"".as_slice());
    assert!(result.is_ok() || result.unwrap_err().kind == ErrorKind::Invalid);
    let many = vec![(b"user.x".to_vec(), vec![]); 1000];
    let with = Attributes {
        xattrs: &many,
        ..attributes(0o644)
    };
    assert_eq!(
        sink.file(b"many", &with, 0, &mut b"".as_slice()).unwrap_err().kind,
        ErrorKind::Invalid
    );
    beside.check();
}

#[test]
fn root_holes_stay_holes_and_short_content_is_refused() {
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    let mut sink = merged(&beside.tree());
    let length = 1 << 40;
    sink.sparse_file(
        b"s",
        &attributes(0o644),
        length,
        &[(4096, 3), (1 << 30, 2)],
        &mut b"abcde".as_slice(),
    )
    .unwrap();
    let metadata = fs::metadata(beside.tree().join("s")).unwrap();
    assert_eq!(metadata.len(), length);
    assert!(metadata.blocks() < 100);
    for extents in [&[(0, 10), (5, 10)][..], &[(90, 20)], &[(u64::MAX, 2)]] {
        let result = sink.sparse_file(b"bad", &attributes(0o644), 100, extents, &mut std::io::repeat(1));
        assert_eq!(result.unwrap_err().kind, ErrorKind::Invalid, "{extents:?}");
    }
    let short = sink.file(b"short", &attributes(0o644), 10, &mut b"abc".as_slice());
    assert_eq!(short.unwrap_err().kind, ErrorKind::Invalid);
    assert!(
        sink.sparse_file(b"huge", &attributes(0o644), u64::MAX, &[], &mut std::io::empty())
            .is_err()
    );
    beside.check();
}

/// A layer as a list of entries.
#[derive(Clone, Copy)]
enum Step {
    Dir(&'static str),
    File(&'static str, &'static str),
    Link(&'static str, &'static str),
    Hard(&'static str, &'static str),
    Gone(&'static str),
    Opaque(&'static str),
}

fn fill(mut sink: TreeSink, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Dir(path) => sink.directory(path.as_bytes(), &attributes(0o755)).unwrap(),
            Step::File(path, content) => file(&mut sink, path, content).unwrap(),
            Step::Link(path, target) => sink
                .symlink(path.as_bytes(), target.as_bytes(), &attributes(0))
                .unwrap(),
            Step::Hard(path, target) => sink.hardlink(path.as_bytes(), target.as_bytes()).unwrap(),
            Step::Gone(path) => sink.whiteout(path.as_bytes()).unwrap(),
            Step::Opaque(path) => sink.opaque(path.as_bytes()).unwrap(),
        }
    }
    sink.finish().unwrap();
}

const BASE: &[Step] = &[
    Step::Dir(""),
    Step::Dir("a"),
    Step::File("a/one", "1"),
    Step::File("a/two", "2"),
    Step::Dir("a/deep"),
    Step::File("a/deep/x", "x"),
    Step::Dir("usr"),
    Step::Dir("usr/lib"),
    Step::File("usr/lib/old", "old"),
    Step::Link("lib", "usr/lib"),
    Step::File("f", "f"),
];

/// Both layers in one tree, as a driver without unions has them.
fn by_merging(upper: &[Step]) -> BTreeMap<String, String> {
    let scratch = Scratch::new();
    fill(merged(scratch.path()), BASE);
    fill(merged(scratch.path()), upper);
    picture(scratch.path())
}

/// Each layer by itself, and overlay's view of both.
fn by_overlay(upper: &[Step]) -> BTreeMap<String, String> {
    let scratch = Scratch::new();
    let (base, top) = ("base-000000000000000000", "top-00000000000000000000");
    for name in [base, top] {
        fs::create_dir_all(scratch.path().join(name).join("diff")).unwrap();
    }
    let difference = |name: &str| open(&scratch.path().join(name).join("diff"));
    fill(
        TreeSink::new(difference(base), Whiteouts::Overlay, Below::Nothing).unwrap(),
        BASE,
    );
    let below = Below::Tree(Tree::new(difference(base)).unwrap());
    fill(
        TreeSink::new(difference(top), Whiteouts::Overlay, below).unwrap(),
        upper,
    );
    let areas = areas();
    let ancestors = [base];
    let scope = PlanScope {
        grants: &["fs:overlay"],
        ..PlanScope::new(&scratch.root, &areas, top, &ancestors)
    };
    let step = MountStep {
        fs: "overlay".into(),
        source: Source::None,
        lowers: vec![Lower::Tree(own(top, "diff")), Lower::Tree(own(base, "diff"))],
        upper: None,
        work: None,
        options: vec![],
        read_only: true,
    };
    let made = build(check_plan(&MountPlan::single(step), &scope, Access::Read).unwrap()).unwrap();
    picture_of(made.as_fd())
}

#[test]
fn root_both_kinds_of_driver_show_the_same_tree() {
    if !can_overlay(&Scratch::new().root) {
        return;
    }
    use Step::{Dir, File, Gone, Hard, Link, Opaque};
    let layers: &[(&str, &[Step])] = &[
        ("nothing", &[]),
        ("a whiteout of a file", &[Gone("a/one")]),
        ("a whiteout of a tree", &[Gone("a")]),
        ("a whiteout of a link only", &[Gone("lib")]),
        ("a whiteout through a link", &[Gone("lib/old")]),
        ("a whiteout of nothing", &[Gone("nowhere"), Gone("no/where")]),
        ("opaque", &[Dir("a"), Opaque("a")]),
        ("opaque without a folder", &[Opaque("a")]),
        (
            "opaque before what is in it",
            &[Opaque("a"), Dir("a"), File("a/new", "n")],
        ),
        (
            "opaque after what is in it",
            &[Dir("a"), File("a/new", "n"), File("a/one", "changed"), Opaque("a")],
        ),
        (
            "opaque deep",
            &[Dir("a"), Dir("a/deep"), File("a/deep/y", "y"), Opaque("a/deep")],
        ),
        ("whiteout then the same name", &[Gone("f"), File("f", "new")]),
        ("the same name then whiteout", &[File("f", "new"), Gone("f")]),
        ("whiteout then a folder", &[Gone("a"), Dir("a"), File("a/new", "n")]),
        ("a folder then its whiteout", &[Dir("a"), File("a/new", "n"), Gone("a")]),
        (
            "whiteout between",
            &[Dir("a"), File("a/new", "n"), Gone("a"), File("a/later", "l")],
        ),
        (
            "a folder over a file and back",
            &[Dir("f"), File("f/in", "x"), File("a", "file")],
        ),
        (
            "file, folder, file of one name",
            &[File("a", "1"), Dir("a"), File("a", "2")],
        ),
        (
            "file then folder over a folder",
            &[File("a", "1"), Dir("a"), File("a/new", "n")],
        ),
        ("a folder over a link", &[Dir("lib"), File("lib/new", "n")]),
        ("a write through a link", &[File("lib/new", "n")]),
        ("a parent that is not told", &[File("a/deep/new", "n")]),
        ("a hardlink into a lower layer", &[Hard("a/deep/one", "a/one")]),
        ("a link over a folder", &[Link("a", "usr")]),
    ];
    for (name, upper) in layers {
        assert_eq!(by_merging(upper), by_overlay(upper), "{name}");
    }
}

#[test]
fn root_a_hardlink_into_a_lower_layer_does_not_share_it() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    for name in ["base", "top"] {
        fs::create_dir(scratch.path().join(name)).unwrap();
    }
    fill(
        TreeSink::new(open(&scratch.path().join("base")), Whiteouts::Overlay, Below::Nothing).unwrap(),
        BASE,
    );
    let below = Below::Tree(Tree::new(open(&scratch.path().join("base"))).unwrap());
    let mut sink = TreeSink::new(open(&scratch.path().join("top")), Whiteouts::Overlay, below).unwrap();
    sink.hardlink(b"g", b"f").unwrap();
    sink.finish().unwrap();
    let inode = |path: &str| fs::metadata(scratch.path().join(path)).unwrap().ino();
    assert_eq!(inode("top/g"), inode("top/f"));
    assert_ne!(inode("top/g"), inode("base/f"));
}

#[test]
fn root_an_empty_volume_takes_the_images_content_once() {
    use longshore_performer::fill::copy_up;
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir_all(beside.tree().join("data/sub")).unwrap();
    std::os::unix::fs::chown(beside.tree().join("data"), Some(5), Some(6)).unwrap();
    fs::write(beside.tree().join("data/f"), "image").unwrap();
    symlink("/", beside.tree().join("out")).unwrap();
    let (root, top) = (open(&beside.tree()), open(volume.path()));
    assert!(!copy_up(&root, b"/missing", &top).unwrap());
    assert!(copy_up(&root, b"/out/data", &top).unwrap());
    assert_eq!(fs::read_to_string(volume.path().join("f")).unwrap(), "image");
    assert_eq!(fs::metadata(volume.path()).unwrap().uid(), 5);
    fs::write(volume.path().join("f"), "own").unwrap();
    assert!(!copy_up(&root, b"/data", &top).unwrap());
    assert_eq!(fs::read_to_string(volume.path().join("f")).unwrap(), "own");
    beside.check();
}

#[test]
fn root_a_base_layer_keeps_no_whiteouts() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let mut sink = TreeSink::new(open(scratch.path()), Whiteouts::Overlay, Below::Nothing).unwrap();
    sink.whiteout(b"gone").unwrap();
    sink.opaque(b"d").unwrap();
    sink.finish().unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    let d = open(&scratch.path().join("d"));
    assert!(longshore_sys::xattr::list(&d).unwrap().is_empty());
}

#[test]
fn root_a_tree_whose_links_are_swapped_all_the_time_is_never_left() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    if !is_root() {
        return;
    }
    let beside = Beside::new();
    fs::create_dir_all(beside.tree().join("real/etc")).unwrap();
    symlink(beside.sentinel(), beside.tree().join("sly")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (stop, tree) = (Arc::clone(&stop), open(&beside.tree()));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = path::rename(&tree, b"real", &tree, b"sly", path::Target::Exchange);
            }
        })
    };
    // The textbook race of look first, open then escapes once in some ten thousand tries.
    let outside = path::stat_at(open(&beside.sentinel().join("etc")), b"passwd")
        .unwrap()
        .inode;
    file(&mut merged(&beside.tree()), "real/etc/passwd", "inside").unwrap_or(());
    let tree = Tree::new(open(&beside.tree())).unwrap();
    for _ in 0..200_000_u32 {
        if let Ok(found) = tree.open_itself(b"real/etc/passwd") {
            assert_ne!(path::stat(&found).unwrap().inode, outside);
        }
    }
    let mut sink = merged(&beside.tree());
    for _ in 0..1000_u32 {
        // Its outcome may be an error; its effect is never outside.
        let _ = file(&mut sink, "real/etc/passwd", "inside");
        let _ = sink.whiteout(b"sly/etc/passwd");
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    beside.check();
}
