//! Where mounts are made and trees are written: in the performer, the system crate, the shim and the
//! exec drivers, and nowhere else. Whoever needs another place finds out here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that may change mounts and trees.
const MAY: [&str; 5] = ["host/performer", "host/sys", "host/shim", "plugins/exec", "tests"];

/// What only those may say. A word is matched where an identifier begins.
const WORDS: [&str; 24] = [
    "rustix::mount",
    "nix::mount",
    "libc::mount",
    "libc::umount",
    "longshore_sys::mount",
    "fsopen",
    "fsmount",
    "fsconfig",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "pivot_root",
    "mkdirat",
    "mknodat",
    "symlinkat",
    "linkat",
    "unlinkat",
    "renameat",
    "fchownat",
    "make_node",
    "lsetxattr",
    "set_xattr",
    "SYS_mount",
    "SYS_umount",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn says(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn mounts_and_tree_writes_stand_in_their_few_places_alone() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let mut found = Vec::new();
    for folder in ["core", "plugin-api", "plugins", "host", "tests"] {
        sources(&workspace.join(folder), &mut found);
    }
    assert!(found.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for path in found {
        let inside = path.strip_prefix(&workspace).unwrap();
        if MAY.iter().any(|folder| inside.starts_with(folder)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in WORDS.iter().filter(|word| says(line, word)) {
                wrong.push(format!("{}:{}: {word}", inside.display(), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these belong in the performer or the shim:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_system_crate_and_the_plugin_edge_hold_unsafe_code() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let may = [
        "host/sys",
        "plugin-api",
        "host/loader/src/library.rs",
        // Code that this host compiled is read back from its cache.
        "host/loader/src/wasm/cache.rs",
        "core/macros",
        "tests",
        "plugins",
    ];
    let mut found = Vec::new();
    sources(&workspace.join("host"), &mut found);
    sources(&workspace.join("core"), &mut found);
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|path| path.strip_prefix(&workspace).ok().map(|inside| (path, inside)))
        .filter(|(_, inside)| !may.iter().any(|place| inside.starts_with(place)))
        // Test texts name the words without being such code.
        .filter(|(_, inside)| !inside.components().any(|part| part.as_os_str() == "tests"))
        .filter(|(path, _)| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .any(|line| says(line, "unsafe {") || says(line, "unsafe fn") || says(line, "unsafe impl"))
        })
        .map(|(_, inside)| inside.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "unsafe code outside its places: {wrong:?}");
}
