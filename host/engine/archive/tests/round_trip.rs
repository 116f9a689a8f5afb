//! Layers on disk: unpacked through the performer, put together again byte for byte, packed anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod common;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Raw, archive, installed, is_root, run, sample};
use longshore_archive::digest::Digest;
use longshore_archive::pack::{Packing, create_layer, create_layer_of_changes};
use longshore_archive::{Error, Unpacked, assemble, split, unpack};
use longshore_core::graph::{Change, ChangeKind, Whiteouts};

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// A folder to unpack in, beside a sentinel that must not change.
struct Place {
    top: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        for folder in ["root", "root-evil", "victim"] {
            fs::create_dir(top.path().join(folder)).unwrap();
        }
        fs::write(top.path().join("victim/secret"), "secret").unwrap();
        fs::write(top.path().join("root-evil/secret"), "secret").unwrap();
        Self { top }
    }

    fn root(&self) -> PathBuf {
        self.top.path().join("root")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, Error> {
        unpack(&mut &bytes[..], open(&self.root()), Whiteouts::Merged)
    }

    fn assemble(&self, split: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        assemble(split, open(&self.root()), &mut out)?;
        Ok(out)
    }

    /// Everything beside the root, with what could be changed of it.
    fn sentinel(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.top.path().to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder)
                .unwrap()
                .map(Result::unwrap)
                .filter(|entry| entry.path() != self.root())
            {
                let data = entry.path().symlink_metadata().unwrap();
                let content = if data.is_file() {
                    fs::read(entry.path()).unwrap()
                } else {
                    Vec::new()
                };
                found.push(format!(
                    "{:?} {:o} {} {} {content:?}",
                    entry.path(),
                    data.mode(),
                    data.uid(),
                    data.nlink()
                ));
                if data.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

fn owned(mut entries: Vec<Raw>, place: &Place) -> Vec<u8> {
    let data = place.root().metadata().unwrap();
    entries = entries
        .into_iter()
        .map(|entry| entry.owner(data.uid(), data.gid()))
        .collect();
    archive(&entries)
}

#[test]
fn archives_of_gnu_tar_come_back_byte_for_byte() {
    if !installed("tar") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    sample(source.path());
    let formats = [
        "--format=gnu",
        "--format=pax",
        "--format=ustar --exclude=long-link --exclude=usr/share/* --exclude=*deep",
        "--format=gnu --sparse",
        "--format=pax --sparse --sparse-version=1.0",
        "--format=pax --sparse --sparse-version=0.1",
        "--format=pax --sparse --sparse-version=0.0",
        "--format=v7 --exclude=long-link --exclude=usr/share/*",
    ];
    for format in formats {
        let mut tar = Command::new("tar");
        tar.args(format.split(' '))
            .args(["-c", "-f", "-", "-C"])
            .arg(source.path())
            .arg(".");
        let bytes = run(&mut tar);
        let place = Place::new();
        let unpacked = place.unpack(&bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(unpacked.diff_id, Digest::of(&bytes), "{format}");
        assert_eq!(
            split::archive_size(&unpacked.tar_split).unwrap(),
            bytes.len() as u64,
            "{format}"
        );
        assert!(place.assemble(&unpacked.tar_split).unwrap() == bytes, "{format}");
        let differs = Command::new("diff")
            .args(["-r", "--no-dereference"])
            .arg(source.path())
            .arg(place.root())
            .output()
            .unwrap();
        if !format.contains("exclude") {
            assert!(
                differs.status.success(),
                "{format}: {}",
                String::from_utf8_lossy(&differs.stdout)
            );
            let sparse = place.root().join("sparse").metadata().unwrap();
            assert!(
                !format.contains("--sparse") || sparse.blocks() * 512 < 1 << 20,
                "{format}: holes were filled"
            );
        }
    }
}

#[test]
fn a_layer_that_replaces_its_own_files_comes_back_too() {
    let place = Place::new();
    let bytes = owned(
        vec![
            Raw::file("f", "first"),
            Raw::file("f", "second content"),
            Raw::dir("d"),
            Raw::file("d/inside", vec![9; 3000]),
            Raw::file("d", "now a file"),
            Raw::file(".wh..wh.aufs", "payload"),
            Raw::dir("e"),
            Raw::file("e/.wh..wh..opq", "payload"),
            Raw::file("e/.wh.gone", "payload"),
            Raw::file("b", "to be linked"),
            Raw::hardlink("c", "b"),
            Raw::file("b", "other"),
        ],
        &place,
    );
    let unpacked = place.unpack(&bytes).unwrap();
    assert_eq!(fs::read(place.root().join("d")).unwrap(), b"now a file");
    assert_eq!(fs::read(place.root().join("c")).unwrap(), b"to be linked");
    assert!(place.assemble(&unpacked.tar_split).unwrap() == bytes);
}

#[test]
fn a_changed_tree_or_record_is_noticed() {
    let place = Place::new();
    let bytes = owned(vec![Raw::file("f", "content"), Raw::file("g", "other")], &place);
    let unpacked = place.unpack(&bytes).unwrap();
    let file = place.root().join("f");
    let altered = |place: &Place| matches!(place.assemble(&unpacked.tar_split), Err(Error::Altered { .. }));
    fs::write(&file, "CONTENT").unwrap();
    assert!(altered(&place));
    fs::write(&file, "content!").unwrap();
    assert!(altered(&place));
    fs::remove_file(&file).unwrap();
    symlink("g", &file).unwrap();
    assert!(altered(&place));
    fs::remove_file(&file).unwrap();
    assert!(matches!(place.assemble(&unpacked.tar_split), Err(Error::Tree { .. })));
    for end in 0..unpacked.tar_split.len() {
        assert!(place.assemble(&unpacked.tar_split[..end]).is_err());
    }
    assert!(matches!(place.assemble(b"junk"), Err(Error::Split(_))));
}

#[test]
fn root_hostile_archives_leave_everything_beside_the_tree_alone() {
    let scratch = tempfile::tempdir().unwrap();
    if !is_root(scratch.path()) {
        return;
    }
    let table: Vec<(&str, Vec<Raw>)> = vec![
        (
            "through a link to the host",
            vec![Raw::symlink("a", "/"), Raw::file("a/etc/x", "x")],
        ),
        (
            "through a chain of links",
            vec![
                Raw::dir("inner"),
                Raw::symlink("inner/up", ".."),
                Raw::symlink("inner/up/escape", "../victim"),
                Raw::file("inner/up/escape/secret", "x"),
            ],
        ),
        (
            "a whiteout through a link",
            vec![Raw::symlink("a", "../victim"), Raw::file("a/.wh.secret", "")],
        ),
        (
            "an opaque mark through a link",
            vec![Raw::symlink("a", "../victim"), Raw::file("a/.wh..wh..opq", "")],
        ),
        (
            "a mode through a link",
            vec![Raw::symlink("a", "../victim"), Raw::dir("a").field(100, b"0000777\0")],
        ),
        (
            "a hardlink through a link",
            vec![
                Raw::symlink("a", "../victim"),
                Raw::hardlink("l", "a/secret"),
                Raw::file("l", "x"),
            ],
        ),
        (
            "a hardlink that is a link",
            vec![
                Raw::symlink("a", "../victim/secret"),
                Raw::hardlink("l", "a"),
                Raw::file("l", "x"),
            ],
        ),
        (
            "a file over a link",
            vec![Raw::symlink("a", "../victim/secret"), Raw::file("a", "x")],
        ),
        ("a sibling's prefix", vec![Raw::hardlink("l", "../root-evil/secret")]),
        (
            "a FIFO and what is written to it",
            vec![Raw::new("p", b'6'), Raw::file("p", "x")],
        ),
        (
            "devices",
            vec![Raw::device("mem", b'3', 1, 1), Raw::device("sda", b'4', 8, 0)],
        ),
        (
            "a deep tree",
            vec![Raw::pax(&[("path", &b"d/".repeat(2000))]), Raw::dir("x")],
        ),
    ];
    for (what, entries) in table {
        for whiteouts in [Whiteouts::Merged, Whiteouts::Overlay] {
            let place = Place::new();
            let before = place.sentinel();
            let bytes = archive(&entries);
            let result = unpack(&mut bytes.as_slice(), open(&place.root()), whiteouts);
            assert_eq!(place.sentinel(), before, "{what}: {result:?}");
            assert!(!Path::new("/etc/x").exists(), "{what}");
            if let Ok(unpacked) = result {
                let again = place.assemble(&unpacked.tar_split);
                assert!(again.is_err() || again.unwrap() == bytes, "{what}");
            }
        }
    }
}

#[test]
fn root_a_packed_tree_unpacks_to_the_same_and_packs_to_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    if !is_root(scratch.path()) || !installed("setfattr") {
        return;
    }
    let source = Place::new();
    sample(&source.root());
    for (path, kind) in [("null", ["c", "1", "3"]), ("sda", ["b", "8", "0"])] {
        run(Command::new("mknod").arg(source.root().join(path)).args(kind));
    }
    run(Command::new("mkfifo").arg(source.root().join("fifo")));
    run(Command::new("chown")
        .arg("-h")
        .arg("1000:70000000")
        .arg(source.root().join("link"))
        .arg(source.root().join("usr/block")));
    run(Command::new("chmod").arg("4711").arg(source.root().join("usr/block")));
    run(Command::new("setfattr")
        .args(["-n", "user.mine", "-v", "x"])
        .arg(source.root().join("usr/odd")));
    run(Command::new("setfattr")
        .args(["-n", "trusted.other", "-v", "x"])
        .arg(source.root().join("usr/odd")));
    let packing = Packing {
        whiteouts: Whiteouts::Merged,
        root: true,
    };
    let mut first = Vec::new();
    let packed = create_layer(open(&source.root()), packing, &mut first).unwrap();
    assert_eq!((packed.diff_id, packed.size), (Digest::of(&first), first.len() as u64));
    assert_eq!(packed.left_out, Vec::<Vec<u8>>::new());
    let target = Place::new();
    assert_eq!(target.unpack(&first).unwrap().diff_id, packed.diff_id);
    let mut second = Vec::new();
    create_layer(open(&target.root()), packing, &mut second).unwrap();
    assert!(first == second);
    if installed("tar") {
        let list = scratch.path().join("x.tar");
        fs::write(&list, &first).unwrap();
        run(Command::new("tar")
            .args(["--compare", "--numeric-owner", "-f"])
            .arg(&list)
            .arg("-C")
            .arg(source.root()));
    }
}

#[test]
fn root_overlays_whiteouts_become_those_of_layers_and_come_back() {
    let scratch = tempfile::tempdir().unwrap();
    if !is_root(scratch.path()) {
        return;
    }
    let bytes = archive(&[
        Raw::dir("d"),
        Raw::file("d/.wh..wh..opq", ""),
        Raw::file("d/new", "x"),
        Raw::file(".wh.gone", ""),
    ]);
    let first = Place::new();
    unpack(&mut &bytes[..], open(&first.root()), Whiteouts::Overlay).unwrap();
    let packing = Packing {
        whiteouts: Whiteouts::Overlay,
        root: false,
    };
    let mut packed = Vec::new();
    create_layer(open(&first.root()), packing, &mut packed).unwrap();
    let mut memory = common::Memory::default();
    longshore_archive::unpack::unpack_into(&mut &packed[..], &mut memory, &Default::default()).unwrap();
    let names: Vec<_> = memory
        .nodes
        .iter()
        .map(|(path, node)| (String::from_utf8_lossy(path).into_owned(), node.clone()))
        .collect();
    use common::Node;
    let expected = [
        ("d", Node::Directory),
        ("d/", Node::Opaque),
        ("d/new", Node::File(b"x".to_vec())),
        ("gone", Node::Whiteout),
    ];
    assert_eq!(names, expected.map(|(path, node)| (path.to_owned(), node)));
}

#[test]
fn told_changes_become_a_layer() {
    let place = Place::new();
    fs::create_dir(place.root().join("d")).unwrap();
    fs::write(place.root().join("d/f"), "x").unwrap();
    fs::write(place.root().join("unchanged"), "x").unwrap();
    fs::write(place.root().join("d/.wh.strange"), "x").unwrap();
    let change = |path: &str, is| Change { path: path.into(), is };
    let changes = [
        change("/gone/too", ChangeKind::Deleted),
        change("/d/f", ChangeKind::Added),
        change("/d", ChangeKind::Modified),
        change("/d/.wh.strange", ChangeKind::Added),
    ];
    let mut bytes = Vec::new();
    let packed = create_layer_of_changes(open(&place.root()), &changes, &mut bytes).unwrap();
    assert_eq!(packed.left_out, [b"d/.wh.strange".to_vec()]);
    let mut reader = longshore_archive::tar::Reader::new(&bytes[..], &Default::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.name).unwrap());
    }
    assert_eq!(names, ["d/", "d/f", "gone/.wh.too"]);
    let outside = [change("/../victim/secret", ChangeKind::Added)];
    assert!(create_layer_of_changes(open(&place.root()), &outside, &mut bytes).is_err());
}
