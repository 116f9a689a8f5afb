//! Cases of what a layer holds and shows.

use longshore_performer::sink::Node;

use super::*;

pub(super) fn unpack_keeps_modes_owners_times_xattrs_links_devices_holes(bench: &Bench) -> CaseResult {
    let marked = [(b"user.mark".to_vec(), b"value".to_vec())];
    let base = bench.sealed('a', &[], |sink| {
        sink.directory(b"d", &attributes(0o1777))?;
        let owned = Attributes {
            uid: 1000,
            gid: 1001,
            xattrs: &marked,
            ..attributes(0o640)
        };
        sink.file(b"d/f", &owned, 7, &mut &b"content"[..])?;
        sink.hardlink(b"d/h", b"d/f")?;
        sink.symlink(b"l", b"d/f", &attributes(0o777))?;
        sink.file(b"s", &attributes(0o4755), 1, &mut &b"x"[..])?;
        sink.node(b"null", Node::Character { major: 1, minor: 3 }, &attributes(0o666))?;
        sink.node(b"pipe", Node::Fifo, &attributes(0o600))?;
        sink.sparse_file(b"hole", &attributes(0o644), 1 << 30, &[(1 << 29, 1)], &mut &b"x"[..])?;
        Ok(())
    })?;
    bench.with(&base, Access::Read, as_unpacked)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, as_unpacked)
}

fn as_unpacked(top: &Path) -> CaseResult {
    use std::os::unix::fs::FileTypeExt as _;
    let metadata = |name: &str| fs::symlink_metadata(top.join(name));
    check(metadata("d")?.mode() & 0o7777 == 0o1777, || {
        "a folder's mode differs".into()
    })?;
    check(metadata("s")?.mode() & 0o7777 == 0o4755, || {
        "a setuid bit is lost".into()
    })?;
    let file = metadata("d/f")?;
    check((file.uid(), file.gid()) == (1000, 1001), || "an owner differs".into())?;
    check(file.ino() == metadata("d/h")?.ino(), || {
        "a hard link is two files".into()
    })?;
    check((file.mtime(), file.mtime_nsec()) == (1_600_000_000, 5), || {
        "a time differs".into()
    })?;
    check(metadata("d")?.mtime() == 1_600_000_000, || {
        "a folder's time differs".into()
    })?;
    check(fs::read_link(top.join("l"))? == Path::new("d/f"), || {
        "a link leads elsewhere".into()
    })?;
    check(fs::read_to_string(top.join("d/h"))? == "content", || {
        "content differs".into()
    })?;
    let mark = attribute(&top.join("d/f"), "user.mark")?;
    check(mark == b"value", || format!("an attribute is {mark:?}"))?;
    let null = metadata("null")?;
    check(null.file_type().is_char_device() && null.rdev() == 0x103, || {
        "a device is another one".into()
    })?;
    check(metadata("pipe")?.file_type().is_fifo(), || "a pipe is none".into())?;
    let hole = metadata("hole")?;
    check(hole.len() == 1 << 30 && hole.blocks() * 512 < 1 << 20, || {
        format!("a hole takes {} blocks", hole.blocks())
    })
}

/// The value of an extended attribute.
fn attribute(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).map_err(std::io::Error::from)?;
    Ok(value.get(..length).unwrap_or_default().to_vec())
}

pub(super) fn unpack_over_a_parent_replaces_file_by_directory_and_back(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "file", "x")?;
        put(sink, "folder/inside", "y")
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        sink.directory(b"file", &attributes(0o755))?;
        put(sink, "folder", "now a file")
    })?;
    bench.with(&child, Access::Read, |top| {
        check(top.join("file").is_dir(), || {
            "a file was not replaced by a folder".into()
        })?;
        check(fs::read_to_string(top.join("folder"))? == "now a file", || {
            "a folder was not replaced by a file".into()
        })
    })
}

pub(super) fn a_whiteout_hides_a_file_a_tree_and_a_symlink_only(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "file", "x")?;
        put(sink, "tree/deep/file", "y")?;
        put(sink, "stays", "z")?;
        sink.symlink(b"link", b"stays", &attributes(0o777))?;
        Ok(())
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        for name in ["file", "tree", "link"] {
            sink.whiteout(name.as_bytes())?;
        }
        Ok(())
    })?;
    let left = bench.read(&child)?;
    check(left.len() == 1 && left[0].starts_with("stays "), || {
        format!("left are {left:?}")
    })?;
    check(bench.read(&base)?.len() == 6, || "the parent has changed".into())
}

pub(super) fn an_opaque_directory_hides_what_is_below_and_nothing_beside(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "d/old", "x")?;
        put(sink, "beside/old", "y")
    })?;
    let child = bench.sealed('b', &base.below(), |sink| {
        sink.directory(b"d", &attributes(0o755))?;
        sink.opaque(b"d")?;
        put(sink, "d/new", "z")
    })?;
    bench.with(&child, Access::Read, |top| {
        check(!top.join("d/old").exists(), || "what is below shows".into())?;
        check(top.join("d/new").exists() && top.join("beside/old").exists(), || {
            "too much is hidden".into()
        })
    })
}

pub(super) fn a_whiteout_then_the_same_name_again_shows_the_new(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "old"))?;
    let middle = bench.sealed('b', &base.below(), |sink| Ok(sink.whiteout(b"f")?))?;
    let top = bench.sealed('c', &middle.below(), |sink| put(sink, "f", "new"))?;
    bench.with(&top, Access::Read, |at| {
        check(fs::read_to_string(at.join("f"))? == "new", || {
            "the old one shows".into()
        })
    })
}

pub(super) fn a_hardlink_across_layers_is_not_shared_for_writing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "f", "x")?;
        Ok(sink.hardlink(b"g", b"f")?)
    })?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        Ok(fs::write(top.join("f"), "changed")?)
    })?;
    bench.with(&base, Access::Read, |top| {
        check(fs::read_to_string(top.join("g"))? == "x", || {
            "the parent's file was written".into()
        })
    })
}

pub(super) fn names_that_look_like_whiteouts_or_are_not_utf8_survive(bench: &Bench) -> CaseResult {
    use std::os::unix::ffi::OsStrExt as _;
    let long = "n".repeat(255);
    let names: [&[u8]; 5] = [b"\xff\xfe\n", b".wh.name", b".wh..wh..opq", b" ", long.as_bytes()];
    let base = bench.sealed('a', &[], |sink| {
        for name in names {
            sink.file(name, &attributes(0o600), 1, &mut &b"x"[..])?;
        }
        put(sink, "name", "stays")
    })?;
    let container = bench.container('b', &base.below())?;
    for (made, access) in [(&base, Access::Read), (&container, Access::Write)] {
        bench.with(made, access, |top| {
            for name in names {
                check(top.join(std::ffi::OsStr::from_bytes(name)).exists(), || {
                    format!("{:?} is gone", String::from_utf8_lossy(name))
                })?;
            }
            check(top.join("name").exists(), || "a name was taken for a whiteout".into())
        })?;
    }
    Ok(())
}

pub(super) fn the_images_root_mode_and_owner_show_in_the_container(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        let owned = Attributes {
            uid: 5,
            gid: 6,
            ..attributes(0o711)
        };
        Ok(sink.directory(b"", &owned)?)
    })?;
    let child = bench.sealed('b', &base.below(), nothing)?;
    let container = bench.container('c', &child.below())?;
    let shown = bench.with(&container, Access::Write, |top| Ok(fs::metadata(top)?))?;
    let found = (shown.mode() & 0o7777, shown.uid(), shown.gid());
    check(found == (0o711, 5, 6), || {
        format!("the root's mode is {:o}, its owner {}:{}", found.0, found.1, found.2)
    })
}

/// Version 2 of the attribute: `cap_net_bind_service`, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn file_capabilities_survive_commit_and_read(bench: &Bench) -> CaseResult {
    let capable = [(b"security.capability".to_vec(), CAPABILITY.to_vec())];
    let base = bench.sealed('a', &[], |sink| {
        let capable = Attributes {
            uid: 7,
            gid: 7,
            xattrs: &capable,
            ..attributes(0o755)
        };
        Ok(sink.file(b"ping", &capable, 1, &mut &b"x"[..])?)
    })?;
    let child = bench.sealed('b', &base.below(), nothing)?;
    let container = bench.container('c', &child.below())?;
    for (made, access) in [
        (&base, Access::Read),
        (&child, Access::Read),
        (&container, Access::Write),
    ] {
        let found = bench.with(made, access, |top| attribute(&top.join("ping"), "security.capability"))?;
        check(found == CAPABILITY, || {
            format!("for {access:?} its capabilities are {found:?}")
        })?;
    }
    Ok(())
}

pub(super) fn write_goes_to_the_container_and_never_to_its_parents(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "f", "x")?;
        put(sink, "d/g", "y")
    })?;
    let before = bench.read(&base)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::write(top.join("f"), "changed")?;
        fs::remove_file(top.join("d/g"))?;
        fs::write(top.join("new"), "z")?;
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o700))?;
        Ok(())
    })?;
    same("the parent after a container's writes", &before, &bench.read(&base)?)
}

pub(super) fn two_containers_of_one_layer_do_not_see_each_other(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let one = bench.container('b', &base.below())?;
    let other = bench.container('c', &base.below())?;
    bench.with(&one, Access::Write, |top| Ok(fs::write(top.join("mine"), "1")?))?;
    bench.with(&other, Access::Write, |top| {
        check(!top.join("mine").exists(), || "the other one's file shows".into())
    })
}

pub(super) fn read_access_refuses_writing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let plan = bench.plan(&base, Access::Read)?.plan;
    bench.release(&base, Access::Read)?;
    let asked = plan.steps.last().is_some_and(|step| step.read_only);
    check(asked, || "the plan does not ask for a read-only mount".into())?;
    bench.with(&base, Access::Read, |top| {
        check(fs::write(top.join("g"), "y").is_err(), || "it can be written".into())
    })
}

pub(super) fn write_access_is_really_writable(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::create_dir(top.join("d"))?;
        fs::write(top.join("d/f"), "x")?;
        symlink("f", top.join("d/l"))?;
        fs::rename(top.join("d/f"), top.join("d/g"))?;
        Ok(fs::remove_dir_all(top.join("d"))?)
    })
}
