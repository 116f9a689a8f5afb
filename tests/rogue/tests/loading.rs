//! What is refused when a library is loaded, and what is live at once (bad input 23).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use common::{Folder, dependency, layer, load, root};
use longshore_core::graph::{Create, GraphKind, Role};
use longshore_core::{Context, ErrorKind};
use longshore_graph_overlay::Overlay;
use longshore_loader::{Candidate, Loaded, Origin, Problem, Registry, open_exec_by_fd};
use longshore_plugin::serve::Static;

fn refused(example: &str, problem: Problem, says: &str) {
    let folder = Folder::new();
    let refused = load(&folder.copy(example, "x.so")).expect_err(example);
    assert_eq!(refused.problem, problem, "{refused}");
    let sentence = refused.to_string();
    assert!(sentence.contains(says), "{sentence}");
    assert!(
        !sentence.contains('\n') && sentence.len() < 600,
        "one sentence: {sentence}"
    );
}

#[test]
fn another_major_version_of_the_abi_is_refused() {
    refused(
        "rogue_other_major",
        Problem::Abi,
        "library ABI 2.0.0, this host speaks 1.0.0",
    );
}

#[test]
fn another_layout_of_the_root_module_is_refused() {
    refused(
        "rogue_other_layout",
        Problem::Abi,
        "another layout (mismatched package: expected longshore-abi",
    );
}

#[test]
fn a_library_without_root_module_is_refused() {
    refused("rogue_rootless", Problem::Symbol, "exports no root module");
}

#[test]
fn a_driver_that_is_not_what_its_manifest_says_is_refused() {
    refused(
        "rogue_liar",
        Problem::Description,
        "\"rogue\", its manifest says \"honest\"",
    );
}

#[test]
fn a_driver_without_a_common_interface_is_refused() {
    refused(
        "rogue_future",
        Problem::Interface,
        "graph 7 to 7, this host speaks graph 0 to 0",
    );
}

#[test]
fn a_path_alone_does_not_let_foreign_code_run() {
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "foreign.so");
    let origin = Origin::Explicit {
        in_process: false,
        grants: vec![],
    };
    let refused = Loaded::from_path(&path, &origin).expect_err("no isolation named");
    assert_eq!(refused.problem, Problem::Policy);
    assert!(refused.remedy.contains("isolation = \"process\""), "{refused}");
    let mapped = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!mapped.contains("foreign.so"), "it was loaded");
}

fn candidate(kind: &str, name: &str, path: &Path) -> Candidate {
    Candidate {
        kind: kind.into(),
        name: name.into(),
        path: path.to_owned(),
        origin: Origin::Explicit {
            in_process: true,
            grants: vec![],
        },
        isolation: None,
    }
}

fn answering_version(loaded: &Loaded, folder: &Folder) -> String {
    let driver = loaded.open_graph(root(folder), folder.path(), vec![]).unwrap();
    let request = Create {
        id: layer("made").id,
        chain: vec![],
        role: Role::Layer,
        options: vec![],
    };
    let created = driver.create(&Context::background(), request).unwrap();
    String::from_utf8(created.note.as_bytes().to_vec()).unwrap()
}

#[test]
fn two_versions_of_one_driver_and_another_driver_are_live_at_once() {
    let folder = Folder::new();
    let mut registry = Registry::default();
    for (example, name) in [("rogue_one", "one.so"), ("rogue_two", "two.so")] {
        registry.add_candidate(&candidate("graph", "rogue", &folder.copy(example, name)));
    }
    let first = registry.find("graph", "rogue", None).unwrap();
    assert_eq!(
        first.description().version,
        "1.0.0",
        "what was found first is what the name means"
    );
    let second = registry.find("graph", "scoundrel", Some("2.0.0")).unwrap();
    assert!(answering_version(&first, &folder).starts_with("1.0.0 made-"));
    assert!(answering_version(&second, &folder).starts_with("2.0.0 made-"));
    assert!(answering_version(&first, &folder).starts_with("1.0.0 made-"));
    assert_eq!(registry.usable("graph").count(), 2);
}

#[test]
fn the_same_file_loaded_again_is_the_same_library() {
    let folder = Folder::new();
    let path = folder.copy("rogue_one", "again.so");
    let (a, b) = (load(&path).unwrap(), load(&path).unwrap());
    assert!(answering_version(&a, &folder).starts_with("1.0.0"));
    assert!(answering_version(&b, &folder).starts_with("1.0.0"));
    // In place, as a careless installer does; at the end, where nothing of it is mapped.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&[0]).unwrap();
    let refused = load(&path).expect_err("it was overwritten");
    assert!(refused.to_string().contains("overwritten in place"), "{refused}");
}

#[test]
fn refused_files_stay_listed_with_their_reasons() {
    let folder = Folder::new();
    folder.copy("rogue_one", "graph-rogue.so");
    folder.copy("rogue_one", "volume-rogue.so");
    folder.put("graph-broken.so", b"no library");
    folder.put("readme.txt", b"no driver at all");
    let copy = Folder::new();
    let explicit = candidate("graph", "rogue", &copy.copy("rogue_one", "mine.so"));
    let registry = Registry::discover(folder.path(), &[explicit]);
    let problems: Vec<_> = registry
        .entries()
        .iter()
        .map(|entry| {
            (
                entry.kind.as_str(),
                entry.name.as_str(),
                entry.state.as_ref().err().map(|refused| refused.problem),
            )
        })
        .collect();
    assert_eq!(
        problems,
        [
            ("graph", "rogue", None),
            ("graph", "broken", Some(Problem::NotLibrary)),
            ("graph", "rogue", Some(Problem::Duplicate)),
            ("volume", "rogue", Some(Problem::Kind)),
        ]
    );
    assert!(
        registry
            .find("graph", "rogue", None)
            .unwrap()
            .path()
            .unwrap()
            .ends_with("mine.so")
    );
    let error = registry.find("volume", "rogue", None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        error
            .message
            .contains("it is the graph driver rogue, not the volume driver rogue"),
        "{error}"
    );
    let error = registry.find("graph", "zfs", None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("there is rogue"), "{error}");
}

#[test]
fn opening_by_descriptor_makes_no_thread_and_looks_at_the_kind() {
    let folder = Folder::new();
    let file = fs::File::open(folder.copy("rogue_one", "x.so")).unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let error = open_exec_by_fd(&file.into(), root(&folder), folder.path(), vec![]).unwrap_err();
    assert_eq!(error.message, "rogue is a driver of kind graph, not exec");
    // Under cargo test, other tests of this program come and go beside this one.
    if std::env::var_os("NEXTEST").is_some() {
        assert_eq!(threads(), before);
    }
}

#[test]
fn a_driver_is_not_opened_as_another_kind() {
    let folder = Folder::new();
    let loaded = load(&folder.copy("rogue_one", "x.so")).unwrap();
    let opened = loaded.open_volume(root(&folder), folder.path(), vec![]);
    let error = opened.err().expect("it is a graph driver");
    assert_eq!(error.message, "rogue is a driver of kind graph, not volume");
}

#[test]
fn a_driver_is_the_same_linked_in_and_loaded() {
    let folder = Folder::new();
    let path = folder.put("graph-overlay.so", &dependency("longshore_graph_overlay"));
    let loaded = Loaded::from_path(&path, &Origin::Bundled).unwrap();
    let linked = Loaded::over(Arc::new(Static::<Overlay, GraphKind>::new())).unwrap();
    assert_eq!(loaded.description(), linked.description());
    assert_eq!((loaded.transport(), linked.transport()), ("dylib", "static"));
    assert!(loaded.file().is_some() && linked.file().is_none());
}
