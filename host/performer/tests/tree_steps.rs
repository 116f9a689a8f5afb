//! Tree steps: what is refused, what a repeat gives, what a cut leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use common::{Scratch, areas, is_root, own, picture};
use longshore_core::driver::Area;
use longshore_core::error::ErrorKind;
use longshore_core::steps::{Place, TreeStep};
use longshore_core::types::{Bytes, Owner, RelPath};
use longshore_performer::tree::{Scope, check_steps, empty_trash, perform_steps, perform_steps_until};

const PARENT: &str = "parent-0000000000000000";
const CHILD: &str = "child-00000000000000000";

fn scope<'a>(scratch: &'a Scratch, areas: &'a [Area], object: &'a str, ancestors: &'a [&'a str]) -> Scope<'a> {
    Scope {
        root: &scratch.root,
        areas,
        object,
        ancestors,
        clone_source: None,
    }
}

fn directory(at: Place, mode: u16) -> TreeStep {
    TreeStep::Directory {
        at,
        mode,
        owner: Owner::ROOT,
        like: None,
    }
}

fn file(at: Place, content: &str) -> TreeStep {
    TreeStep::File {
        at,
        mode: 0o644,
        owner: Owner::ROOT,
        content: content.into(),
    }
}

fn link(object: &str, name: &str) -> TreeStep {
    TreeStep::Symlink {
        at: Place::shared(1, RelPath::parse(name).unwrap()),
        target: Bytes::from(format!("../{object}/diff").as_str()),
    }
}

/// The steps of a child layer as overlay makes them.
fn create(object: &str, parent: Option<&str>) -> Vec<TreeStep> {
    vec![
        directory(own(object, ""), 0o710),
        TreeStep::Directory {
            at: own(object, "diff"),
            mode: 0o755,
            owner: Owner::ROOT,
            like: parent.map(|parent| own(parent, "diff")),
        },
        link(object, &object[..5]),
        file(own(object, "link"), "ABC"),
        file(own(object, "lower"), "l/A:l/B"),
        directory(own(object, "work"), 0o700),
    ]
}

#[test]
fn root_steps_performed_twice_give_the_same_tree() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    perform_steps(&create(PARENT, None), &scope(&scratch, &areas, PARENT, &[])).unwrap();
    fs::set_permissions(
        scratch.path().join(PARENT).join("diff"),
        fs::Permissions::from_mode(0o1777),
    )
    .unwrap();
    std::os::unix::fs::chown(scratch.path().join(PARENT).join("diff"), Some(7), Some(8)).unwrap();
    let ancestors = [PARENT];
    let child = scope(&scratch, &areas, CHILD, &ancestors);
    perform_steps(&create(CHILD, Some(PARENT)), &child).unwrap();
    let once = picture(scratch.path());
    let diff = fs::metadata(scratch.path().join(CHILD).join("diff")).unwrap();
    assert_eq!((diff.mode() & 0o7777, diff.uid(), diff.gid()), (0o1777, 7, 8));
    perform_steps(&create(CHILD, Some(PARENT)), &child).unwrap();
    let twice = picture(scratch.path());
    let plain = |picture: &std::collections::BTreeMap<String, String>| -> Vec<(String, String)> {
        let file_time = |line: &String| line.split("Time").next().unwrap_or_default().to_owned();
        picture
            .iter()
            .map(|(path, line)| (path.clone(), file_time(line)))
            .collect()
    };
    assert_eq!(plain(&once), plain(&twice));
    assert!(!once.keys().any(|path| path.contains(".new")));
}

#[test]
fn root_steps_cut_after_any_step_are_completed_by_the_same_list() {
    if !is_root() {
        return;
    }
    let areas = areas();
    let whole = |cut: Option<usize>| {
        let scratch = Scratch::new();
        let scope = scope(&scratch, &areas, CHILD, &[]);
        let steps = create(CHILD, None);
        if let Some(cut) = cut {
            perform_steps_until(&steps, &scope, cut).unwrap();
        }
        perform_steps(&steps, &scope).unwrap();
        picture(scratch.path()).into_keys().collect::<Vec<_>>()
    };
    let expected = whole(None);
    for cut in 0..=6 {
        assert_eq!(whole(Some(cut)), expected, "cut after {cut}");
    }
}

#[test]
fn a_breach_refuses_the_whole_list_before_its_first_step() {
    let (scratch, areas) = (Scratch::new(), areas());
    let ancestors = [PARENT];
    let scope = scope(&scratch, &areas, CHILD, &ancestors);
    let attribute = |name: &str| TreeStep::Attribute {
        at: own(CHILD, "diff"),
        name: name.into(),
        value: "y".into(),
    };
    let symlink = |at: Place, target: &str| TreeStep::Symlink {
        at,
        target: target.into(),
    };
    let shared = |name: &str| Place::shared(1, RelPath::parse(name).unwrap());
    let copy = |from: Place, to: Place| TreeStep::Copy { from, to };
    for bad in [
        directory(own(PARENT, "x"), 0o755),
        directory(own("stranger-00000000000000", ""), 0o755),
        directory(own(CHILD, "x"), 0o4755),
        directory(own(CHILD, ".longshore"), 0o755),
        directory(own(CHILD, "a/.hidden"), 0o755),
        directory(Place::object(1, CHILD, RelPath::root()), 0o755),
        directory(Place::object(7, CHILD, RelPath::root()), 0o755),
        directory(shared("x"), 0o755),
        TreeStep::Directory {
            at: own(CHILD, "x"),
            mode: 0o755,
            owner: Owner::ROOT,
            like: Some(own("stranger-00000000000000", "")),
        },
        file(own(CHILD, "big"), &"x".repeat(64 * 1024 + 1)),
        file(own(CHILD, ""), "x"),
        file(shared("x"), "x"),
        symlink(own(CHILD, "l"), "/etc/passwd"),
        symlink(own(CHILD, "l"), "../../etc/passwd"),
        symlink(own(CHILD, "l"), "../.longshore/trash"),
        symlink(own(CHILD, "l"), ""),
        symlink(shared("l"), &format!("../{PARENT}/diff")),
        TreeStep::Remove { at: own(PARENT, "") },
        TreeStep::Remove {
            at: Place::shared(1, RelPath::root()),
        },
        TreeStep::Rename {
            from: own(PARENT, "diff"),
            to: own(CHILD, "diff"),
        },
        copy(own("stranger-00000000000000", ""), own(CHILD, "")),
        copy(own(CHILD, ""), own(CHILD, "")),
        copy(own(CHILD, ""), own(CHILD, "inside")),
        copy(shared("x"), own(CHILD, "x")),
        attribute("trusted.overlay.redirect"),
        attribute("security.capability"),
    ] {
        let list = [directory(own(CHILD, ""), 0o700), bad.clone()];
        let error = perform_steps(&list, &scope).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Broken, "{bad:?}: {error}");
        assert!(error.message.contains("tree step 1"), "{error}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{bad:?}");
    }
    let many = vec![directory(own(CHILD, ""), 0o700); 4097];
    assert_eq!(check_steps(&many, &scope).unwrap_err().kind, ErrorKind::Broken);
}

#[test]
fn root_a_link_or_a_file_where_a_folder_belongs_is_corrupt_and_left_alone() {
    if !is_root() {
        return;
    }
    let (scratch, areas, outside) = (Scratch::new(), areas(), tempfile::tempdir().unwrap());
    let scope = scope(&scratch, &areas, CHILD, &[]);
    symlink(outside.path(), scratch.path().join(CHILD)).unwrap();
    for step in [
        directory(own(CHILD, ""), 0o755),
        directory(own(CHILD, "x"), 0o755),
        file(own(CHILD, "x"), "x"),
    ] {
        assert_eq!(
            perform_steps(std::slice::from_ref(&step), &scope).unwrap_err().kind,
            ErrorKind::Corrupt,
            "{step:?}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    perform_steps(&[TreeStep::Remove { at: own(CHILD, "") }], &scope).unwrap();
    assert!(fs::symlink_metadata(scratch.path().join(CHILD)).is_err());
    assert!(outside.path().exists());
    perform_steps(
        &[directory(own(CHILD, ""), 0o755), directory(own(CHILD, "f"), 0o755)],
        &scope,
    )
    .unwrap();
    assert_eq!(
        perform_steps(&[file(own(CHILD, "f"), "x")], &scope).unwrap_err().kind,
        ErrorKind::Corrupt
    );
    let elsewhere = TreeStep::Symlink {
        at: own(CHILD, "f"),
        target: "diff".into(),
    };
    assert_eq!(
        perform_steps(&[elsewhere], &scope).unwrap_err().kind,
        ErrorKind::Corrupt
    );
}

#[test]
fn root_another_objects_entry_of_a_shared_area_is_not_removed() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    perform_steps(&[link(PARENT, "A")], &scope(&scratch, &areas, PARENT, &[])).unwrap();
    let ancestors = [PARENT];
    let child = scope(&scratch, &areas, CHILD, &ancestors);
    let remove = [TreeStep::Remove {
        at: Place::shared(1, RelPath::parse("A").unwrap()),
    }];
    assert_eq!(perform_steps(&remove, &child).unwrap_err().kind, ErrorKind::Broken);
    let parent = scope(&scratch, &areas, PARENT, &[]);
    perform_steps(&remove, &parent).unwrap();
    perform_steps(&remove, &parent).unwrap();
}

#[test]
fn root_a_copy_keeps_holes_links_times_attributes_and_devices() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    let from = scratch.path().join(PARENT);
    fs::create_dir_all(from.join("d/e")).unwrap();
    fs::write(from.join("d/f"), "content").unwrap();
    fs::hard_link(from.join("d/f"), from.join("d/e/g")).unwrap();
    fs::hard_link(from.join("d/f"), from.join("h")).unwrap();
    symlink("/etc/passwd", from.join("l")).unwrap();
    fs::set_permissions(from.join("d"), fs::Permissions::from_mode(0o2750)).unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (64 << 20) - 3).unwrap();
    let top = longshore_sys::path::open_directory(&from).unwrap();
    let kind = longshore_sys::path::FileType::CharacterDevice;
    longshore_sys::path::make_node(&top, b"null", kind, 0o666, 1, 3).unwrap();
    let file = fs::File::open(from.join("d/f")).unwrap();
    longshore_sys::xattr::set(&file, b"user.note", b"kept").unwrap();
    let time = longshore_sys::path::Time {
        seconds: 1_000_000_000,
        nanoseconds: 5,
    };
    longshore_sys::path::set_times(&file, time, time).unwrap();

    let ancestors = [PARENT];
    let child = scope(&scratch, &areas, CHILD, &ancestors);
    let steps = [TreeStep::Copy {
        from: own(PARENT, ""),
        to: own(CHILD, ""),
    }];
    perform_steps(&steps, &child).unwrap();
    let to = scratch.path().join(CHILD);
    assert_eq!(picture(&from), picture(&to));
    assert!(fs::metadata(to.join("sparse")).unwrap().blocks() < 4096);
    assert_eq!(
        fs::metadata(&from).unwrap().mtime_nsec(),
        fs::metadata(&to).unwrap().mtime_nsec()
    );
    fs::write(to.join("own"), "stays").unwrap();
    perform_steps(&steps, &child).unwrap();
    assert!(to.join("own").exists());
}

#[test]
fn root_a_half_made_copy_is_begun_anew() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    fs::create_dir_all(scratch.path().join(PARENT).join("d")).unwrap();
    let draft = scratch.path().join(format!(".{CHILD}.new"));
    fs::create_dir_all(draft.join("leftover")).unwrap();
    let ancestors = [PARENT];
    let child = scope(&scratch, &areas, CHILD, &ancestors);
    let steps = [TreeStep::Copy {
        from: own(PARENT, ""),
        to: own(CHILD, ""),
    }];
    perform_steps(&steps, &child).unwrap();
    assert!(!draft.exists() && scratch.path().join(CHILD).join("d").exists());
    assert!(!scratch.path().join(CHILD).join("leftover").exists());
}

#[test]
fn root_renames_and_removals_repeat() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    let scope = scope(&scratch, &areas, CHILD, &[]);
    perform_steps(
        &[directory(own(CHILD, ""), 0o700), directory(own(CHILD, "a"), 0o700)],
        &scope,
    )
    .unwrap();
    let rename = [TreeStep::Rename {
        from: own(CHILD, "a"),
        to: own(CHILD, "b"),
    }];
    perform_steps(&rename, &scope).unwrap();
    perform_steps(&rename, &scope).unwrap();
    perform_steps(&[directory(own(CHILD, "a"), 0o700)], &scope).unwrap();
    assert_eq!(
        perform_steps(&rename, &scope).unwrap_err().kind,
        ErrorKind::AlreadyExists
    );
    let remove = [TreeStep::Remove { at: own(CHILD, "") }];
    perform_steps(&remove, &scope).unwrap();
    perform_steps(&remove, &scope).unwrap();
    assert!(!scratch.path().join(CHILD).exists());
    assert_eq!(
        fs::read_dir(scratch.path().join(".longshore/trash")).unwrap().count(),
        0
    );
    fs::create_dir_all(scratch.path().join(".longshore/trash/old/deep")).unwrap();
    assert_eq!(empty_trash(&scratch.root).unwrap(), 1);
    assert_eq!(empty_trash(&scratch.root).unwrap(), 0);
}

#[test]
fn root_a_tree_too_deep_for_any_path_is_copied_and_removed() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (Scratch::new(), areas());
    let top = scratch.path().join(PARENT);
    fs::create_dir(&top).unwrap();
    let mut here = longshore_sys::path::open_directory(&top).unwrap();
    let name = [b'd'; 200];
    for _ in 0..300 {
        longshore_sys::path::make_directory(&here, &name, 0o755).unwrap();
        let flags = longshore_sys::path::OFlags::PATH;
        here = longshore_sys::path::open(&here, &name, flags, 0, longshore_sys::path::Resolve::Beneath).unwrap();
    }
    let file = longshore_sys::path::make_file(&here, b"f", 0o600).unwrap();
    longshore_sys::path::make_link_to(&file, &here, b"g").unwrap();
    let ancestors = [PARENT];
    let child = scope(&scratch, &areas, CHILD, &ancestors);
    let copy = TreeStep::Copy {
        from: own(PARENT, ""),
        to: own(CHILD, ""),
    };
    perform_steps(&[copy], &child).unwrap();
    let (from, to) = (picture(&top), picture(&scratch.path().join(CHILD)));
    assert_eq!(from.len(), 303);
    assert_eq!(from, to);
    perform_steps(&[TreeStep::Remove { at: own(CHILD, "") }], &child).unwrap();
    perform_steps(
        &[TreeStep::Remove { at: own(PARENT, "") }],
        &scope(&scratch, &areas, PARENT, &[]),
    )
    .unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

/// Removing is what makes room, so it must not need any.
#[test]
fn root_removal_works_where_nothing_more_fits() {
    if !is_root() {
        return;
    }
    let memory = longshore_sys::mount::Context::open("tmpfs").unwrap();
    memory.set_text("nr_inodes", b"12").unwrap();
    let mount = memory.mount().unwrap();
    let top = std::path::PathBuf::from(longshore_sys::path::through_proc(&mount));
    let (root, areas) = (longshore_performer::root::Root::open(&top).unwrap(), areas());
    let scope = Scope {
        root: &root,
        areas: &areas,
        object: CHILD,
        ancestors: &[],
        clone_source: None,
    };
    perform_steps(&create(CHILD, None), &scope).unwrap();
    let full = (0..12).find(|n| fs::write(top.join(format!("fill-{n}")), "").is_err());
    assert!(full.is_some(), "the file system is not full");
    perform_steps(&[TreeStep::Remove { at: own(CHILD, "") }], &scope).unwrap();
    let left: Vec<_> = fs::read_dir(&top)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(CHILD) || name == ".longshore")
        .collect();
    assert!(
        left.len() <= 1 && !left.iter().any(|name| name.contains(CHILD)),
        "{left:?}"
    );
}
