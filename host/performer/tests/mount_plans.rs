//! Mount plans: what is refused, and what the built mounts show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use common::{Scratch, areas, can_overlay, is_root, own};
use longshore_core::error::{ErrorKind, Result};
use longshore_core::steps::{Lower, MountOption, MountPlan, MountStep, OptionText, Place, Remote, Source};
use longshore_core::types::{Handle, RelPath, SecretRef};
use longshore_performer::plan::{Access, PlanScope, build, check_plan, clone_mount, subpath};
use longshore_sys::path::{self, OFlags, Resolve};

const ANCESTORS: [&str; 2] = ["parent-0000000000000000", "base-000000000000000000"];
const OBJECT: &str = "object-0000000000000000";

fn step(fs: &str, source: Source) -> MountStep {
    MountStep {
        fs: fs.into(),
        source,
        lowers: vec![],
        upper: None,
        work: None,
        options: vec![],
        read_only: false,
    }
}

fn bind(object: &str, path: &str) -> MountStep {
    step("bind", Source::Tree(own(object, path)))
}

fn chain(first: u16, count: u16) -> Lower {
    Lower::Chain {
        area: 0,
        path: RelPath::parse("diff").unwrap(),
        first,
        count,
    }
}

fn overlay() -> MountStep {
    MountStep {
        lowers: vec![chain(0, 2)],
        upper: Some(own(OBJECT, "diff")),
        work: Some(own(OBJECT, "work")),
        ..step("overlay", Source::None)
    }
}

fn option(key: &str, value: &str) -> MountOption {
    MountOption {
        key: key.into(),
        value: OptionText::Text(value.into()),
    }
}

/// A root with an object and its two ancestors, each with a file of its own.
fn prepared() -> Scratch {
    let scratch = Scratch::new();
    for object in [OBJECT, ANCESTORS[0], ANCESTORS[1], "stranger-00000000000000"] {
        for folder in ["diff", "work"] {
            fs::create_dir_all(scratch.path().join(object).join(folder)).unwrap();
        }
        fs::write(scratch.path().join(object).join("diff/name"), object).unwrap();
        fs::write(scratch.path().join(object).join("diff").join(object), "").unwrap();
    }
    fs::create_dir(scratch.path().join("l")).unwrap();
    scratch
}

fn read(mounted: &OwnedFd, name: &str) -> String {
    let fd = path::open(mounted, name.as_bytes(), OFlags::RDONLY, 0, Resolve::InRoot).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(fd), &mut text).unwrap();
    text
}

fn mounted(scratch: &Scratch, step: MountStep, access: Access) -> Result<OwnedFd> {
    let areas = areas();
    let scope = PlanScope {
        grants: &["fs:overlay"],
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &ANCESTORS)
    };
    build(check_plan(&MountPlan::single(step), &scope, access)?)
}

#[test]
fn a_plan_outside_the_contract_is_refused_whole() {
    let (scratch, areas) = (prepared(), areas());
    let scope = PlanScope {
        grants: &["fs:overlay"],
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &ANCESTORS)
    };
    let with = |change: fn(&mut MountStep)| {
        let mut step = overlay();
        change(&mut step);
        step
    };
    let refused = [
        (bind("stranger-00000000000000", "diff"), Access::Read),
        (bind("stranger-00000000000000", "diff"), Access::Write),
        (bind(ANCESTORS[0], "diff"), Access::Write),
        (bind(ANCESTORS[0], "diff"), Access::Unpack),
        (
            step("bind", Source::Tree(Place::shared(1, RelPath::root()))),
            Access::Read,
        ),
        (step("bind", Source::None), Access::Read),
        (step("bind", Source::Mount(Handle(0))), Access::Read),
        (step("bind", Source::HostPath("/tmp".into())), Access::Read),
        (step("proc", Source::None), Access::Read),
        (step("ext4", Source::None), Access::Read),
        (step("tmpfs", Source::Tree(own(OBJECT, "diff"))), Access::Write),
        (with(|step| step.lowers = vec![chain(0, 3)]), Access::Write),
        (with(|step| step.lowers = vec![chain(2, 1)]), Access::Write),
        (with(|step| step.lowers = vec![chain(0, 0)]), Access::Write),
        (
            with(|step| step.lowers = vec![Lower::Tree(own("stranger-00000000000000", "diff"))]),
            Access::Write,
        ),
        (with(|step| step.lowers.clear()), Access::Write),
        (with(|step| step.upper = Some(own(ANCESTORS[0], "diff"))), Access::Write),
        (with(|step| step.work = None), Access::Write),
        (with(|step| step.work = step.upper.clone()), Access::Write),
        (with(|_| ()), Access::Read),
        (with(|step| (step.upper, step.work) = (None, None)), Access::Write),
        (with(|step| step.options = vec![option("lowerdir", "/")]), Access::Write),
        (with(|step| step.options = vec![option("context", "x")]), Access::Write),
        (with(|step| step.options = vec![option("volatile", "")]), Access::Write),
        (
            with(|step| step.options = vec![option("index", "on"), option("index", "on")]),
            Access::Write,
        ),
        (
            with(|step| step.options = vec![option("index", &"x".repeat(256))]),
            Access::Write,
        ),
    ];
    for (number, (step, access)) in refused.into_iter().enumerate() {
        let error = check_plan(&MountPlan::single(step.clone()), &scope, access).unwrap_err();
        let kinds = [ErrorKind::Broken, ErrorKind::Denied, ErrorKind::Invalid];
        assert!(kinds.contains(&error.kind), "{number} {step:?}: {error}");
    }
    let unused = MountPlan {
        steps: vec![bind(OBJECT, "diff"), bind(OBJECT, "diff")],
        root: 1,
        subdir: RelPath::root(),
    };
    assert_eq!(
        check_plan(&unused, &scope, Access::Write).unwrap_err().kind,
        ErrorKind::Broken
    );
    let bare = PlanScope::new(&scratch.root, &areas, OBJECT, &ANCESTORS);
    assert_eq!(
        check_plan(&MountPlan::single(overlay()), &bare, Access::Write)
            .unwrap_err()
            .kind,
        ErrorKind::Denied
    );
}

#[test]
fn root_a_link_in_a_layers_place_is_not_followed() {
    let scratch = prepared();
    fs::remove_dir_all(scratch.path().join(OBJECT).join("diff")).unwrap();
    std::os::unix::fs::symlink("/etc", scratch.path().join(OBJECT).join("diff")).unwrap();
    assert_eq!(
        mounted(&scratch, bind(OBJECT, "diff"), Access::Write).unwrap_err().kind,
        ErrorKind::Corrupt
    );
}

#[test]
fn root_a_plan_that_names_a_foreign_path_is_refused() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (prepared(), areas());
    let private = [scratch.path()];
    let scope = PlanScope {
        volume: true,
        private: &private,
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &ANCESTORS)
    };
    let own_folder = scratch.path().to_str().unwrap();
    let host = |path: &str| step("bind", Source::HostPath(path.into()));
    for step in [
        host("/usr"),
        host("/"),
        host(own_folder),
        bind("stranger-00000000000000", "diff"),
        bind(ANCESTORS[0], "diff"),
    ] {
        let result = check_plan(&MountPlan::single(step.clone()), &scope, Access::Write);
        assert!(result.is_err(), "{step:?}");
    }
}

#[test]
fn root_a_bind_is_writable_or_not_as_its_access_says() {
    if !is_root() {
        return;
    }
    let scratch = prepared();
    let writable = mounted(&scratch, bind(OBJECT, "diff"), Access::Unpack).unwrap();
    path::make_directory(&writable, b"made", 0o755).unwrap();
    assert!(scratch.path().join(OBJECT).join("diff/made").exists());
    let read_only = mounted(&scratch, bind(ANCESTORS[1], "diff"), Access::Read).unwrap();
    assert_eq!(read(&read_only, "name"), ANCESTORS[1]);
    assert!(
        path::make_directory(&read_only, b"made", 0o755)
            .unwrap_err()
            .is(longshore_sys::Errno::ROFS)
    );
}

#[test]
fn root_an_overlay_reads_the_top_layer_first_and_writes_to_its_own() {
    let scratch = prepared();
    if !can_overlay(&scratch.root) {
        return;
    }
    fs::remove_file(scratch.path().join(OBJECT).join("diff/name")).unwrap();
    let top = mounted(&scratch, overlay(), Access::Write).unwrap();
    assert_eq!(read(&top, "name"), ANCESTORS[0]);
    assert_eq!(read(&top, ANCESTORS[1]), "");
    path::remove_file(&top, ANCESTORS[1].as_bytes()).unwrap();
    path::make_directory(&top, b"made", 0o755).unwrap();
    drop(top);
    assert!(scratch.path().join(OBJECT).join("diff/made").exists());
    assert!(
        scratch
            .path()
            .join(ANCESTORS[1])
            .join("diff")
            .join(ANCESTORS[1])
            .exists()
    );
    let again = mounted(&scratch, overlay(), Access::Write).unwrap();
    assert!(path::stat_if_there(&again, ANCESTORS[1].as_bytes()).unwrap().is_none());
    drop(again);

    let mut read_step = MountStep {
        lowers: vec![Lower::Tree(own(OBJECT, "diff")), chain(0, 2)],
        upper: None,
        work: None,
        ..overlay()
    };
    read_step.options = vec![option("redirect_dir", "follow")];
    let seen = mounted(&scratch, read_step, Access::Read).unwrap();
    assert!(path::stat_at(&seen, b"made").unwrap().is_directory());
    assert!(path::make_directory(&seen, b"x", 0o755).is_err());
}

#[test]
fn root_a_volatile_overlay_can_be_mounted_again() {
    let scratch = prepared();
    if !can_overlay(&scratch.root) {
        return;
    }
    let areas = areas();
    let scope = PlanScope {
        grants: &["fs:overlay"],
        ephemeral: true,
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &ANCESTORS)
    };
    let mut step = overlay();
    step.options = vec![MountOption {
        key: "volatile".into(),
        value: OptionText::None,
    }];
    for _ in 0..2 {
        drop(build(check_plan(&MountPlan::single(step.clone()), &scope, Access::Write).unwrap()).unwrap());
    }
}

#[test]
fn root_five_hundred_layers_mount_and_one_more_is_exhausted() {
    let scratch = Scratch::new();
    if !can_overlay(&scratch.root) {
        return;
    }
    let _ = longshore_sys::process::raise_open_files();
    let names: Vec<String> = (0..501).map(|n| format!("layer-{n:020}")).collect();
    for name in names.iter().map(String::as_str).chain([OBJECT]) {
        for folder in ["diff", "work"] {
            fs::create_dir_all(scratch.path().join(name).join(folder)).unwrap();
        }
        fs::write(scratch.path().join(name).join("diff/top"), name).unwrap();
    }
    fs::remove_file(scratch.path().join(OBJECT).join("diff/top")).unwrap();
    let ancestors: Vec<&str> = names.iter().map(String::as_str).collect();
    let areas = areas();
    let scope = PlanScope {
        grants: &["fs:overlay"],
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &ancestors)
    };
    let plan = |count| {
        MountPlan::single(MountStep {
            lowers: vec![chain(0, count)],
            ..overlay()
        })
    };
    let made = build(check_plan(&plan(500), &scope, Access::Write).unwrap()).unwrap();
    assert_eq!(read(&made, "top"), names[0]);
    assert_eq!(
        check_plan(&plan(501), &scope, Access::Write).unwrap_err().kind,
        ErrorKind::Exhausted
    );
}

#[test]
fn root_a_tmpfs_volume_is_shared_by_its_clones() {
    if !is_root() {
        return;
    }
    let (scratch, areas) = (prepared(), areas());
    let scope = PlanScope {
        volume: true,
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &[])
    };
    let mut memory = step("tmpfs", Source::None);
    memory.options = vec![option("size", "1m"), option("mode", "0770")];
    let made = build(check_plan(&MountPlan::single(memory.clone()), &scope, Access::Write).unwrap()).unwrap();
    assert_eq!(path::stat(&made).unwrap().mode, 0o770);
    let other = clone_mount(&made).unwrap();
    path::make_directory(&made, b"seen", 0o755).unwrap();
    drop(made);
    assert!(path::stat_at(&other, b"seen").unwrap().is_directory());
    let part = subpath(&other, b"seen").unwrap();
    path::make_directory(&part, b"below", 0o755).unwrap();
    assert!(subpath(&other, b"../../etc").is_err());
    memory.options = vec![option("size", "junk")];
    let error = build(check_plan(&MountPlan::single(memory), &scope, Access::Write).unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("size"), "{error}");
}

#[test]
fn root_a_host_path_must_be_what_a_user_wrote_and_nothing_private() {
    if !is_root() {
        return;
    }
    let (scratch, areas, outside) = (prepared(), areas(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("x"), "outside").unwrap();
    let path = outside.path().to_str().unwrap().as_bytes().to_vec();
    let private = [scratch.path()];
    let recorded: [&[u8]; 1] = [&path];
    let scope = PlanScope {
        volume: true,
        host_paths: &recorded,
        private: &private,
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &[])
    };
    let plan = |path: &[u8]| MountPlan::single(step("bind", Source::HostPath(path.to_vec().into())));
    let made = build(check_plan(&plan(&path), &scope, Access::Write).unwrap()).unwrap();
    assert_eq!(read(&made, "x"), "outside");
    assert_eq!(
        check_plan(&plan(b"/usr"), &scope, Access::Write).unwrap_err().kind,
        ErrorKind::Denied
    );

    let inside = scratch.path().join(OBJECT).to_str().unwrap().to_owned();
    let sly = outside.path().join("sly");
    std::os::unix::fs::symlink(scratch.path(), &sly).unwrap();
    let sly = sly.to_str().unwrap();
    for forbidden in ["/", "/proc", "/proc/sys", "/sys", "/sys/kernel", &inside, sly] {
        let recorded: [&[u8]; 1] = [forbidden.as_bytes()];
        let scope = PlanScope {
            host_paths: &recorded,
            ..scope
        };
        let error = check_plan(&plan(forbidden.as_bytes()), &scope, Access::Write).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{forbidden}: {error}");
    }
    for bad in ["relative", "/a/../b", ""] {
        let recorded: [&[u8]; 1] = [bad.as_bytes()];
        let scope = PlanScope {
            host_paths: &recorded,
            ..scope
        };
        let error = check_plan(&plan(bad.as_bytes()), &scope, Access::Write).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
    }
}

#[test]
fn root_a_mount_attaches_in_another_mount_namespace() {
    if !is_root() {
        return;
    }
    let scratch = prepared();
    let made = mounted(&scratch, bind(OBJECT, "diff"), Access::Write).unwrap();
    let target = tempfile::tempdir().unwrap();
    let place = target.path().to_owned();
    let inside = std::thread::spawn(move || {
        use longshore_sys::namespace::{Kind, unshare};
        if let Err(error) = unshare(&[Kind::Mount]) {
            println!("SKIP: no mount namespace: {error}");
            return None;
        }
        let root = path::open_directory(Path::new("/")).unwrap();
        longshore_sys::mount::make_private(root.as_fd()).unwrap();
        let fd = path::open_directory(&place).unwrap();
        longshore_sys::mount::attach(&made, &fd).unwrap();
        Some(fs::read_to_string(place.join("name")).unwrap())
    });
    if let Some(text) = inside.join().unwrap() {
        assert_eq!(text, OBJECT);
    }
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn a_remote_needs_a_grant_a_fine_address_and_keeps_its_secret() {
    let (scratch, areas) = (prepared(), areas());
    let secrets = |number: SecretRef| (number.0 == 0).then(|| b"hush".to_vec());
    let scope = PlanScope {
        volume: true,
        grants: &["remote:cifs", "remote:nfs"],
        secrets: Some(&secrets),
        ..PlanScope::new(&scratch.root, &areas, OBJECT, &[])
    };
    let remote = |server: &str, path: &str| {
        Source::Remote(Remote {
            server: server.into(),
            path: path.into(),
        })
    };
    let mut share = step("cifs", remote("127.0.0.1", "/share"));
    share.options = vec![MountOption {
        key: "password".into(),
        value: OptionText::Secret(SecretRef(0)),
    }];
    let plan = MountPlan::single(share.clone());
    let checked = check_plan(&plan, &scope, Access::Write).unwrap();
    assert!(checked.may_hang());
    assert!(!format!("{checked:?}").contains("hush"));
    let none = PlanScope { grants: &[], ..scope };
    assert_eq!(
        check_plan(&plan, &none, Access::Write).unwrap_err().kind,
        ErrorKind::Denied
    );
    share.options = vec![option("password", "plain")];
    assert_eq!(
        check_plan(&MountPlan::single(share), &scope, Access::Write)
            .unwrap_err()
            .kind,
        ErrorKind::Broken
    );
    for (server, path) in [
        ("", "/x"),
        ("a b", "/x"),
        ("-o", "/x"),
        ("127.0.0.1", "x"),
        ("127.0.0.1", "/a/../b"),
        ("a/b", "/x"),
    ] {
        let plan = MountPlan::single(step("nfs", remote(server, path)));
        assert_eq!(
            check_plan(&plan, &scope, Access::Write).unwrap_err().kind,
            ErrorKind::Invalid,
            "{server} {path}"
        );
    }
}
