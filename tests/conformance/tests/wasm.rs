//! The bundled pure drivers through their suites as Wasm components, made of the same crates as their
//! libraries, and what holds for every one of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_conformance::{Target, names, report, run};
use longshore_core::driver::OptionValue;
use longshore_loader::wasm::{Engine, Settings};
use longshore_loader::{Loaded, Origin};

/// What tools/build-wasm made of a driver's crate.
fn built(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().unwrap();
    let file = format!("wasm32-wasip2/wasm/longshore_{name}.wasm");
    let found = exe
        .ancestors()
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("SKIP: {file} is not built: run tools/build-wasm");
    }
    found
}

fn component(file: &Path, settings: Settings) -> Loaded {
    let grants = longshore_loader::check(file).unwrap().manifest().grants.clone();
    let origin = Origin::Explicit {
        in_process: false,
        grants,
    };
    // Compiling takes longest; the folder is the build's own.
    let cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    Loaded::from_component(file, &origin, &Engine::new(Settings { cache, ..settings })).unwrap()
}

fn target(name: &str, settings: Settings) -> Option<Target> {
    // A file system that overlay can have its upper layer on: beside the build.
    let folder = std::env::current_exe().unwrap().parent().unwrap().join("conformance");
    std::fs::create_dir_all(&folder).unwrap();
    Some(Target {
        loaded: Arc::new(component(&built(name)?, settings)),
        options: vec![],
        folder: Some(folder),
    })
}

/// As an engine runs components.
fn usual() -> Settings {
    Settings {
        signal_handlers: false,
        ..Settings::default()
    }
}

fn passes(name: &str) {
    passes_where(name, "", usual());
}

fn passes_where(name: &str, filter: &str, settings: Settings) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: mounts need root");
        return;
    }
    let Some(target) = target(name, settings) else { return };
    let kind = &target.loaded.description().kind;
    if names(kind).is_empty() {
        println!("SKIP: there is no suite for drivers of kind {kind} yet");
        return;
    }
    let ended = run(&target, filter).unwrap();
    let counts = report::count(&ended);
    let text = report::text("", &ended);
    println!("{text}");
    assert!(counts.failed == 0 && counts.passed > 0, "{text}");
}

#[test]
fn root_overlay_as_a_component() {
    passes("graph_overlay");
}

#[test]
fn root_vfs_as_a_component() {
    passes("graph_vfs");
}

#[test]
fn root_local_as_a_component() {
    passes("volume_local");
}

#[test]
fn root_none_as_a_component() {
    passes("network_none");
}

#[test]
fn root_host_as_a_component() {
    passes("network_host");
}

#[test]
fn root_bridge_as_a_component() {
    passes("network_bridge");
}

/// Its addresses are the host's to keep: services reach into the sandbox.
#[test]
fn root_default_ipam_as_a_component() {
    passes("ipam_default");
}

#[test]
fn root_overlay_as_a_component_with_signal_handlers() {
    let settings = Settings {
        signal_handlers: true,
        ..usual()
    };
    passes_where("graph_overlay", "remove", settings);
}

#[test]
fn components_say_the_same_of_themselves_as_libraries() {
    for name in [
        "graph_overlay",
        "graph_vfs",
        "volume_local",
        "network_none",
        "network_host",
    ] {
        let Some(file) = built(name) else { continue };
        let component = component(&file, usual());
        let library = file
            .ancestors()
            .nth(3)
            .unwrap()
            .join(format!("debug/liblongshore_{name}.so"));
        if !library.is_file() {
            println!("SKIP: {} is not built", library.display());
            continue;
        }
        let origin = Origin::Explicit {
            in_process: true,
            grants: component.manifest().unwrap().grants.clone(),
        };
        let library = Loaded::from_path(&library, &origin).unwrap();
        assert_eq!(component.description(), library.description(), "{name}");
        assert_eq!(component.manifest().unwrap().transports, ["wasm"]);
    }
}

#[test]
fn a_driver_in_wasm_refuses_an_option_by_name_as_its_library_does() {
    let Some(file) = built("graph_vfs") else { return };
    let loaded = component(&file, usual());
    let root = std::fs::File::open("/").unwrap();
    let error = loaded
        .open_graph(root.into(), Path::new("/"), vec![OptionValue::text("colour", "red")])
        .err()
        .unwrap();
    assert!(error.message.contains("colour"), "{error}");
    assert_eq!(loaded.quarantined(), None);
}

#[test]
fn every_driver_answers_from_many_threads_at_once() {
    let Some(file) = built("graph_overlay") else { return };
    let loaded = Arc::new(component(&file, usual()));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(loaded.describe().unwrap().name, "overlay");
                }
            });
        }
    });
}
