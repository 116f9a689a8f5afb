//! What the tests share: a scratch root, and a picture of a tree that can be compared.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use longshore_core::driver::{Area, Holds};
use longshore_core::steps::Place;
use longshore_core::types::RelPath;
use longshore_performer::root::Root;
use longshore_performer::source::{Next, walk};

/// Whether this process may do what root may; says so when not.
pub(crate) fn is_root() -> bool {
    let root = longshore_sys::process::effective_owner().0 == 0;
    if !root {
        println!("SKIP: needs root");
    }
    root
}

/// Whether a detached overlay can be mounted here; says so when not.
pub(crate) fn can_overlay(root: &Root) -> bool {
    let can = is_root() && longshore_performer::facts::gather(root).unwrap().overlay_mounts == Some(true);
    if !can {
        println!("SKIP: no overlay can be mounted on the scratch folder");
    }
    can
}

pub(crate) struct Scratch {
    pub(crate) top: tempfile::TempDir,
    pub(crate) root: Root,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let root = Root::open(top.path()).unwrap();
        Self { top, root }
    }

    pub(crate) fn path(&self) -> &Path {
        self.top.path()
    }
}

/// Areas as the overlay driver has them: objects, and short names of all.
pub(crate) fn areas() -> Vec<Area> {
    vec![
        Area {
            template: "{}".into(),
            holds: Holds::Object,
            source: true,
        },
        Area {
            template: "l".into(),
            holds: Holds::Shared,
            source: false,
        },
    ]
}

pub(crate) fn own(object: &str, path: &str) -> Place {
    Place::object(0, object, RelPath::parse(path).unwrap())
}

/// Everything of a tree that should be equal, by path.
pub(crate) fn picture(top: &Path) -> BTreeMap<String, String> {
    let fd = longshore_sys::path::open_directory(top).unwrap();
    picture_of(fd.as_fd())
}

pub(crate) fn picture_of(fd: std::os::fd::BorrowedFd<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut links: BTreeMap<(u64, u64), String> = BTreeMap::new();
    walk(fd, |entry| {
        let path = String::from_utf8_lossy(entry.path).into_owned();
        if path.starts_with(".longshore") {
            return Ok(Next::Skip);
        }
        let m = entry.metadata;
        let mut line = format!("{:?} {:o} {}:{}", m.kind, m.mode, m.uid, m.gid);
        if m.is_file() {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry.open()?, &mut content).unwrap();
            line += &format!(
                " {:?} {}",
                m.modified,
                String::from_utf8_lossy(&content[..content.len().min(64)])
            );
            line += &format!(" {}", content.len());
        }
        if m.is_symlink() {
            line += &format!(" -> {}", String::from_utf8_lossy(&entry.target()?));
        }
        if let Some(key) = entry.hardlink() {
            line += &format!(" = {}", links.entry(key).or_insert_with(|| path.clone()));
        }
        line += &format!(" {}:{} {:?}", m.major, m.minor, entry.attributes()?);
        all.insert(path, line);
        Ok(Next::Continue)
    })
    .unwrap();
    all
}
