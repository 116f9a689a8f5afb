//! Archives that were made to do harm: each is refused or contained, whatever it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod common;

use std::io::Write;

use common::{Memory, Node, Raw, archive, record};
use longshore_archive::error::{Error, Result};
use longshore_archive::limits::Limits;
use longshore_archive::unpack::{Unpacked, unpack_into};

fn unpack(bytes: &[u8]) -> (Memory, Result<Unpacked>) {
    let mut memory = Memory::default();
    let result = unpack_into(&mut &bytes[..], &mut memory, &Limits::default());
    (memory, result)
}

fn small_limits() -> Limits {
    Limits {
        entries: 100,
        regions: 1000,
        xattrs: 16,
        file: 1 << 40,
        superseded: 4096,
        ..Limits::default()
    }
}

fn base_256(value: i128) -> [u8; 12] {
    let mut field = [0; 12];
    field.copy_from_slice(&value.to_be_bytes()[4..]);
    field[0] |= 0x80;
    field
}

fn old_sparse(size: &[u8; 12], regions: &[(u64, u64)], stored: &[u8]) -> Raw {
    let mut raw = Raw::gnu("sparse", b'S').with_body(stored).field(483, size);
    for (i, (offset, length)) in regions.iter().enumerate() {
        raw = raw
            .field(386 + i * 24, &base_256(i128::from(*offset)))
            .field(398 + i * 24, &base_256(i128::from(*length)));
    }
    raw
}

fn sparse_1_0(map: &str, stored: &[u8], size: &str) -> Vec<Raw> {
    let mut body = map.as_bytes().to_vec();
    body.resize(body.len().next_multiple_of(512), 0);
    body.extend_from_slice(stored);
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    vec![Raw::pax(&records), Raw::file("GNUSparseFile.0/sparse", body)]
}

#[test]
fn every_archive_of_the_table_is_refused() {
    let x = |records: &[(&str, &[u8])]| vec![Raw::pax(records), Raw::file("f", "abc")];
    let raw_pax = |body: &[u8]| vec![Raw::new("p", b'x').with_body(body), Raw::file("f", "abc")];
    let many_xattrs: Vec<u8> = (0..1000)
        .flat_map(|n| record(&format!("SCHILY.xattr.user.{n}"), b"v"))
        .collect();
    let table: Vec<(&str, Vec<Raw>)> = vec![
        // Names.
        ("a parent", vec![Raw::file("../x", "")]),
        ("a parent of the root", vec![Raw::file("/../x", "")]),
        ("parents behind a name", vec![Raw::file("a/../../x", "")]),
        ("the parent alone", vec![Raw::dir("..")]),
        (
            "a parent in a long name",
            vec![Raw::long_name("a/../../x"), Raw::gnu("x", b'0')],
        ),
        ("a parent in a PAX path", x(&[("path", b"../x")])),
        ("a part of 256 bytes", x(&[("path", &[b'x'; 256])])),
        ("a path of 10,000 bytes", x(&[("path", &b"x/".repeat(5000))])),
        ("a file in the place of the root", vec![Raw::file("./", "abc")]),
        ("a link in the place of the root", vec![Raw::symlink(".", "/")]),
        ("a NUL in a PAX path", x(&[("path", b"a\0b")])),
        // Hardlinks.
        ("a hardlink out of the tree", vec![Raw::hardlink("l", "../victim")]),
        (
            "a hardlink to a sibling's prefix",
            vec![Raw::hardlink("l", "../dest-evil/secret")],
        ),
        ("a hardlink to itself", vec![Raw::hardlink("l", "./l")]),
        ("a hardlink to the root", vec![Raw::hardlink("l", "/")]),
        (
            "a hardlink to a directory",
            vec![Raw::dir("d"), Raw::hardlink("l", "d")],
        ),
        (
            "a hardlink to a later entry",
            vec![Raw::hardlink("l", "f"), Raw::file("f", "")],
        ),
        (
            "a hardlink to a whiteout",
            vec![Raw::file(".wh.f", ""), Raw::hardlink("l", ".wh.f")],
        ),
        ("a hardlink to nothing", vec![Raw::hardlink("l", "")]),
        ("a symlink to nothing", vec![Raw::symlink("l", "")]),
        // Whiteouts.
        ("a whiteout of nothing", vec![Raw::file(".wh.", "")]),
        ("a whiteout of the directory itself", vec![Raw::file(".wh..", "")]),
        ("a whiteout of the parent", vec![Raw::file("a/.wh...", "")]),
        ("something in a whiteout", vec![Raw::file(".wh.a/b", "")]),
        ("something in an opaque mark", vec![Raw::file("a/.wh..wh..opq/b", "")]),
        // Types.
        ("overlay's own whiteout", vec![Raw::device("w", b'3', 0, 0)]),
        (
            "an old header's device without numbers",
            vec![Raw::new("w", b'3').field(257, &[0; 8])],
        ),
        ("an unknown type", vec![Raw::new("f", b'Z')]),
        ("a multi-volume part", vec![Raw::gnu("f", b'M')]),
        ("a directory with a size", vec![Raw::dir("d").with_body([1; 512])]),
        (
            "a symlink with a size",
            vec![Raw::symlink("l", "t").with_body([1; 512])],
        ),
        // Numbers.
        (
            "a size that is not octal",
            vec![Raw::file("f", "").field(124, b"12345678901\0")],
        ),
        (
            "a size with junk",
            vec![Raw::file("f", "").field(124, b"1 1\0\0\0\0\0\0\0\0\0")],
        ),
        ("a negative size", vec![Raw::file("f", "").field(124, &[0xff; 12])]),
        (
            "a size of 8 EiB",
            vec![Raw::file("f", "").field(124, &base_256(1 << 63))],
        ),
        (
            "a size just below 8 EiB",
            vec![Raw::file("f", "").field(124, &base_256((1 << 63) - 1))],
        ),
        (
            "a size of 11 bytes",
            vec![Raw::file("f", "").field(124, &base_256(1 << 87))],
        ),
        ("a negative PAX size", x(&[("size", b"-1")])),
        ("a PAX size with a fraction", x(&[("size", b"3.0")])),
        ("a PAX size that overflows", x(&[("size", b"99999999999999999999")])),
        ("a PAX size above the content", x(&[("size", b"99999")])),
        ("a negative owner", vec![Raw::file("f", "").field(108, &[0xff; 8])]),
        ("an owner of -1", x(&[("uid", b"4294967295")])),
        ("a group of 2^32", x(&[("gid", b"4294967296")])),
        ("a negative mode", vec![Raw::file("f", "").field(100, &[0xff; 8])]),
        ("a wrong checksum", vec![Raw::file("f", "").wrong_checksum()]),
        // Extension headers.
        ("a PAX length too short", raw_pax(b"5 path=a\n")),
        ("a PAX length too long", raw_pax(b"50 path=a\n")),
        ("a PAX record without its newline", raw_pax(b"9 path=ab")),
        ("a PAX record without a key", raw_pax(b"5 =a\n")),
        ("a time that is not a number", x(&[("mtime", b"NaN")])),
        (
            "two PAX headers in a row",
            vec![
                Raw::pax(&[("path", b"a")]),
                Raw::pax(&[("path", b"b")]),
                Raw::file("f", ""),
            ],
        ),
        ("a PAX header at the end", vec![Raw::pax(&[("path", b"a")])]),
        ("a long name at the end", vec![Raw::long_name("a")]),
        (
            "a long name of 2 MiB",
            vec![Raw::long_name(vec![b'x'; 2 << 20]), Raw::gnu("f", b'0')],
        ),
        (
            "a long name of 100 KiB",
            vec![Raw::long_name(vec![b'x'; 100 << 10]), Raw::gnu("f", b'0')],
        ),
        ("a hundred long names in a row", vec![Raw::long_name("a"); 100]),
        ("a PAX header of 2 MiB", x(&[("comment", &vec![b'x'; 2 << 20])])),
        (
            "a global header that renames",
            vec![Raw::new("g", b'g').with_body(record("path", b"x")), Raw::file("f", "")],
        ),
        (
            "a global header that resizes",
            vec![Raw::new("g", b'g').with_body(record("size", b"9")), Raw::file("f", "")],
        ),
        // Attributes.
        (
            "an attribute above 64 KiB",
            x(&[("SCHILY.xattr.user.x", &vec![b'x'; (64 << 10) + 1])]),
        ),
        (
            "a long attribute name",
            x(&[(&format!("SCHILY.xattr.user.{}", "n".repeat(256)), b"v")]),
        ),
        (
            "a thousand attributes",
            vec![Raw::new("p", b'x').with_body(many_xattrs), Raw::file("f", "")],
        ),
        // Sparse files.
        (
            "a sparse file of 8 EiB",
            vec![old_sparse(&base_256((1 << 63) - 1), &[(0, 3)], b"abc")],
        ),
        (
            "regions that overlap",
            vec![old_sparse(&base_256(100), &[(0, 2), (1, 1)], b"abc")],
        ),
        (
            "a region behind the end",
            vec![old_sparse(&base_256(100), &[(98, 3)], b"abc")],
        ),
        (
            "a map unlike the content",
            vec![old_sparse(&base_256(100), &[(0, 4)], b"abc")],
        ),
        (
            "a sparse file in another format",
            vec![Raw::new("s", b'S').with_body("abc")],
        ),
        ("a 1.0 map longer than its file", sparse_1_0("999\n", b"", "100")),
        (
            "a 1.0 map with negative numbers",
            sparse_1_0("1\n-1\n3\n", b"abc", "100"),
        ),
        ("a 1.0 map without an end", sparse_1_0(&"1".repeat(512), b"abc", "100")),
        ("a 1.0 map of a million regions", sparse_1_0("1000000\n", b"abc", "100")),
        (
            "a 0.1 map with too few numbers",
            x(&[("GNU.sparse.map", b"0,3,5"), ("GNU.sparse.size", b"9")]),
        ),
        (
            "an unknown sparse version",
            x(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")]),
        ),
        // Structure.
        ("a file below a file", vec![Raw::file("a", "x"), Raw::file("a/b", "y")]),
        (
            "much content that is replaced",
            vec![Raw::file("f", vec![1; 5000]), Raw::file("f", "")],
        ),
        ("many entries", vec![Raw::file("f", ""); 101]),
    ];
    for (what, entries) in table {
        let mut memory = Memory::default();
        let result = unpack_into(&mut archive(&entries).as_slice(), &mut memory, &small_limits());
        let error = result.err().unwrap_or_else(|| panic!("{what} was taken: {memory:?}"));
        let text = error.to_string();
        assert!(!text.contains('\0') && text.len() < 600, "{what}: {text}");
    }
}

#[test]
fn what_is_odd_but_harmless_is_taken_as_go_takes_it() {
    let table: Vec<(&str, Vec<Raw>, &str, Option<Node>)> = vec![
        (
            "an absolute name",
            vec![Raw::file("/etc/x", "a")],
            "etc/x",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "the last of one name",
            vec![Raw::file("f", "a"), Raw::dir("f"), Raw::file("f", "b")],
            "f",
            Some(Node::File(b"b".to_vec())),
        ),
        (
            "a symlink anywhere",
            vec![Raw::symlink("l", "../../../etc")],
            "l",
            Some(Node::Symlink(b"../../../etc".to_vec())),
        ),
        (
            "an old directory",
            vec![Raw::new("d/", 0).field(257, &[0; 8])],
            "d",
            Some(Node::Directory),
        ),
        (
            "an old file",
            vec![Raw::file("f", "a").field(156, &[0])],
            "f",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "a file's type in its mode",
            vec![Raw::file("f", "a").field(100, b"0100644\0")],
            "f",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "a hardlink's size",
            vec![
                Raw::file("f", "a"),
                Raw::hardlink("l", "f").field(124, b"00000000001\0"),
            ],
            "l",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "a PAX size",
            vec![
                Raw::pax(&[("size", b"3")]),
                Raw::file("f", "abc").field(124, b"00000000000\0"),
            ],
            "f",
            Some(Node::File(b"abc".to_vec())),
        ),
        (
            "a PAX size below the header's",
            vec![
                Raw::pax(&[("size", b"0")]),
                Raw::file("f", "").field(124, b"00000000003\0"),
            ],
            "f",
            Some(Node::File(vec![])),
        ),
        (
            "an empty PAX path",
            vec![Raw::pax(&[("path", b"")]), Raw::file("f", "a")],
            "f",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "a long name",
            vec![Raw::long_name("d/f"), Raw::gnu("x", b'0')],
            "d/f",
            Some(Node::File(vec![])),
        ),
        (
            "a remark for the whole archive",
            vec![
                Raw::new("g", b'g').with_body(record("comment", b"c")),
                Raw::file("f", "a"),
            ],
            "f",
            Some(Node::File(b"a".to_vec())),
        ),
        (
            "an opaque mark with content",
            vec![Raw::file("d/f", ""), Raw::file("d/.wh..wh..opq", "payload")],
            "d/",
            Some(Node::Opaque),
        ),
        (
            "an opaque mark that is a directory",
            vec![Raw::dir("d/.wh..wh..opq")],
            "d/",
            Some(Node::Opaque),
        ),
        (
            "bookkeeping of aufs",
            vec![Raw::file(".wh..wh.plnk/1.2", "x")],
            ".wh..wh.plnk/1.2",
            None,
        ),
        (
            "a device",
            vec![Raw::device("m", b'3', 1, 1)],
            "m",
            Some(Node::Device(longshore_archive::sink::Device {
                block: false,
                major: 1,
                minor: 1,
            })),
        ),
        (
            "a sparse file",
            vec![old_sparse(&base_256(1 << 39), &[(1 << 38, 3)], b"abc")],
            "sparse",
            Some(Node::Sparse(1 << 39, vec![(1 << 38, b"abc".to_vec())])),
        ),
        (
            "a sparse file 1.0",
            sparse_1_0("2\n5\n3\n100\n0\n", b"abc", "100"),
            "sparse",
            Some(Node::Sparse(100, vec![(5, b"abc".to_vec()), (100, vec![])])),
        ),
        (
            "a sparse file 0.1",
            vec![
                Raw::pax(&[
                    ("GNU.sparse.map", b"5,3"),
                    ("GNU.sparse.size", b"9"),
                    ("GNU.sparse.numblocks", b"1"),
                ]),
                Raw::file("f", "abc"),
            ],
            "f",
            Some(Node::Sparse(9, vec![(5, b"abc".to_vec())])),
        ),
    ];
    for (what, entries, path, expected) in table {
        let (memory, result) = unpack(&archive(&entries));
        result.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(memory.get(path), expected.as_ref(), "{what}");
    }
}

#[test]
fn only_attributes_that_an_image_may_set_reach_the_tree() {
    let records: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.whiteout", b""),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.system.posix_acl_access", b"x"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
        ("SCHILY.xattr.user.mine", b"x"),
    ];
    let (memory, result) = unpack(&archive(&[Raw::pax(&records), Raw::file("f", "")]));
    result.unwrap();
    let names: Vec<_> = memory.xattrs[&b"f"[..]]
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(names, ["security.capability", "user.mine"]);
}

#[test]
fn an_archive_cut_anywhere_never_panics_and_never_passes_for_more_than_it_is() {
    let entries = [
        Raw::dir("d"),
        Raw::pax(&[("mtime", b"1.5")]),
        Raw::file("d/f", vec![7; 700]),
        Raw::long_name("d/long"),
        Raw::gnu("x", b'0').with_body([8; 10]),
        old_sparse(&base_256(4096), &[(0, 3)], b"abc"),
    ];
    let whole = archive(&entries);
    let (whole_tree, result) = unpack(&whole);
    let whole_id = result.unwrap().diff_id;
    let cuts = (0..whole.len().min(4096)).chain((0..whole.len()).step_by(512));
    for end in cuts {
        if let (tree, Ok(unpacked)) = unpack(&whole[..end]) {
            assert_ne!(unpacked.diff_id, whole_id, "{end}");
            assert!(
                tree.nodes
                    .iter()
                    .all(|(path, node)| whole_tree.nodes.get(path) == Some(node)),
                "{end}"
            );
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let entries = [
        Raw::pax(&[("path", b"a/b"), ("SCHILY.xattr.user.x", b"1")]),
        Raw::file("f", "abc"),
        old_sparse(&base_256(4096), &[(0, 3)], b"abc"),
        Raw::long_name("name"),
        Raw::gnu("x", b'2').field(157, b"t"),
    ];
    let whole = archive(&entries);
    for at in 0..whole.len() {
        for value in [0, 0xff, b'9', whole[at] ^ 1, whole[at] ^ 0x80] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            // Make the header's checksum right again, so that the change is seen.
            let header = at / 512 * 512;
            let sum: u32 = (0..512)
                .map(|i| {
                    if (148..156).contains(&i) {
                        32
                    } else {
                        u32::from(bytes[header + i])
                    }
                })
                .sum();
            bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let _ = unpack(&bytes);
        }
    }
}

#[test]
fn the_diff_id_covers_all_bytes_and_padding_after_the_end_is_kept() {
    let plain = archive(&[Raw::file("f", "abc")]);
    let padded = [plain.clone(), vec![0; 9216], b"trailing".to_vec()].concat();
    let (_, a) = unpack(&plain);
    let (_, b) = unpack(&padded);
    assert_ne!(a.unwrap().diff_id, b.as_ref().unwrap().diff_id);
    assert_eq!(b.unwrap().diff_id, longshore_archive::digest::Digest::of(&padded));
    let (memory, empty) = unpack(b"");
    assert!(memory.nodes.is_empty() && empty.unwrap().entries == 0);
    let one_block = [
        Raw::file("f", "abc").bytes(),
        vec![0; 512],
        Raw::file("g", "abc").bytes(),
    ]
    .concat();
    assert!(matches!(unpack(&one_block).1, Err(Error::Header { .. })));
}

#[test]
fn packed_and_plain_have_one_diff_id() {
    let plain = archive(&[Raw::dir("d"), Raw::file("d/f", vec![1; 100_000])]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let expected = unpack(&plain).1.unwrap().diff_id;
    for packed in [gzip.finish().unwrap(), zstd] {
        assert_eq!(unpack(&packed).1.unwrap().diff_id, expected);
        assert!(unpack(&packed[..packed.len() - 1]).1.is_err());
        assert!(unpack(&[&packed[..], &[1; 20]].concat()).1.is_err());
    }
}
