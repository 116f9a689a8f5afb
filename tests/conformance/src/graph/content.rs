//! Cases of what a layer holds and shows.

use super::*;

pub(super) fn unpack_keeps_modes_times_links_and_content(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        sink.directory(b"d", &attributes(0o1777))?;
        put(sink, "d/f", "content")?;
        sink.hardlink(b"d/h", b"d/f")?;
        sink.symlink(b"l", b"d/f", &attributes(0o777))?;
        sink.file(b"s", &attributes(0o4755), 1, &mut &b"x"[..])?;
        Ok(())
    })?;
    bench.with(&base, Access::Read, |top| {
        let metadata = |name: &str| fs::symlink_metadata(top.join(name));
        check(metadata("d")?.mode() & 0o7777 == 0o1777, || {
            "a folder's mode differs".into()
        })?;
        check(metadata("s")?.mode() & 0o7777 == 0o4755, || {
            "a setuid bit is lost".into()
        })?;
        check(metadata("d/f")?.ino() == metadata("d/h")?.ino(), || {
            "a hard link is two files".into()
        })?;
        check(metadata("d/f")?.mtime() == 1_600_000_000, || "a time differs".into())?;
        check(fs::read_link(top.join("l"))? == Path::new("d/f"), || {
            "a link leads elsewhere".into()
        })?;
        check(fs::read_to_string(top.join("d/h"))? == "content", || {
            "content differs".into()
        })
    })
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

pub(super) fn names_that_are_not_utf8_survive(bench: &Bench) -> CaseResult {
    use std::os::unix::ffi::OsStrExt;
    let name = b"\xff\xfe\n";
    let base = bench.sealed('a', &[], |sink| {
        Ok(sink.file(name, &attributes(0o600), 1, &mut &b"x"[..])?)
    })?;
    bench.with(&base, Access::Read, |top| {
        check(top.join(std::ffi::OsStr::from_bytes(name)).exists(), || {
            "the name is another one".into()
        })
    })
}

pub(super) fn the_images_root_mode_shows_in_the_container(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| Ok(sink.directory(b"", &attributes(0o711))?))?;
    let child = bench.sealed('b', &base.below(), nothing)?;
    let container = bench.container('c', &child.below())?;
    let mode = bench.with(&container, Access::Write, |top| Ok(fs::metadata(top)?.mode() & 0o7777))?;
    check(mode == 0o711, || format!("the root's mode is {mode:o}"))
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

pub(super) fn forty_layers_read_the_top_one_first(bench: &Bench) -> CaseResult {
    let mut below: Vec<LayerRef> = Vec::new();
    for number in 0..40_usize {
        let made = bench.create(&numbered(number)?, &below, Role::Layer)?;
        bench.fill(&made, |sink| {
            put(sink, "same", &number.to_string())?;
            put(sink, &format!("own-{number}"), "x")
        })?;
        bench.commit(&made)?;
        below = made.below();
    }
    let container = bench.container('c', &below)?;
    bench.with(&container, Access::Write, |top| {
        check(fs::read_to_string(top.join("same"))? == "39", || {
            "not the top one shows".into()
        })?;
        check((0..40).all(|n| top.join(format!("own-{n}")).exists()), || {
            "a layer is missing".into()
        })
    })
}

fn changed(bench: &Bench, container: &Filled) -> Result<Vec<(String, ChangeKind)>> {
    let request = Changes {
        layer: container.layer.clone(),
        chain: container.chain.clone(),
        after: None,
    };
    match bench.driver()?.changes(&Context::background(), request)? {
        Changed::Page { changes, .. } => Ok(changes
            .into_iter()
            .map(|change| (change.path.to_string(), change.is))
            .collect()),
        Changed::Directory { at, whiteouts } => {
            check(whiteouts == Whiteouts::Overlay, || {
                "only overlay's whiteouts can be read here".into()
            })?;
            let folder = bench
                .place
                .root
                .open_place(&bench.target.loaded.description().areas, &at)?;
            let mut found = Vec::new();
            longshore_performer::source::walk(std::os::fd::AsFd::as_fd(&folder), |entry| {
                if !entry.path.is_empty() {
                    let is = if entry.is_whiteout() {
                        ChangeKind::Deleted
                    } else {
                        ChangeKind::Added
                    };
                    found.push((format!("/{}", String::from_utf8_lossy(entry.path)), is));
                }
                Ok(longshore_performer::source::Next::Continue)
            })?;
            Ok(found)
        }
    }
}

pub(super) fn changes_equal_what_was_done(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| {
        put(sink, "gone", "x")?;
        put(sink, "stays", "y")
    })?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| {
        fs::remove_file(top.join("gone"))?;
        Ok(fs::write(top.join("new"), "z")?)
    })?;
    let mut found = changed(bench, &container)?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("/gone".to_owned(), ChangeKind::Deleted),
        ("/new".to_owned(), ChangeKind::Added),
    ];
    check(found == expected, || format!("it tells {found:?}"))
}

pub(super) fn changes_of_an_untouched_container_are_empty(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::read(top.join("f")).map(drop)?))?;
    let found = changed(bench, &container)?;
    check(found.is_empty(), || format!("it tells {found:?}"))
}
