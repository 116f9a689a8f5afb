//! Every bundled driver of a pure kind, and the sims, through their suites: linked in and as the
//! library that an engine loads. And each planted fault is caught by the case that is named for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_conformance::{Ended, Outcome, Target, report, run};
use longshore_core::driver::{Driver, Kind, OptionValue};
use longshore_core::graph::GraphKind;
use longshore_core::volume::VolumeKind;
use longshore_loader::{Loaded, Origin};
use longshore_plugin::serve::Static;
use longshore_sim::graph::Defect;

/// A folder on a file system that overlay can have its upper layer on: beside the build.
fn folder() -> PathBuf {
    let beside = std::env::current_exe().unwrap().parent().unwrap().join("conformance");
    std::fs::create_dir_all(&beside).unwrap();
    beside
}

fn target(loaded: Loaded) -> Target {
    Target {
        loaded: Arc::new(loaded),
        options: vec![],
        folder: Some(folder()),
    }
}

fn linked<D, K>() -> Target
where
    D: Driver,
    K: Kind<D>,
{
    target(Loaded::over(Arc::new(Static::<D, K>::new())).unwrap())
}

fn library(name: &str) -> Target {
    let exe = std::env::current_exe().unwrap();
    let file = format!("liblongshore_{name}.so");
    let found = exe
        .ancestors()
        .map(|folder| folder.join(&file))
        .find(|path: &PathBuf| path.is_file())
        .unwrap_or_else(|| panic!("{file} is not built: run `cargo build --workspace`"));
    let grants = longshore_loader::check(&found).unwrap().manifest().grants.clone();
    let origin = Origin::Explicit {
        in_process: true,
        grants,
    };
    target(Loaded::from_path(Path::new(&found), &origin).unwrap())
}

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    println!("SKIP: mounts need root");
    false
}

fn passes(target: &Target) -> Vec<Ended> {
    let ended = run(target, "").unwrap();
    let counts = report::count(&ended);
    let text = report::text("", &ended);
    println!("{text}");
    assert!(counts.failed == 0 && counts.passed > 0, "{text}");
    ended
}

macro_rules! each_driver_over_each_transport {
    ($($test:ident: $target:expr;)*) => {
        $(#[test]
        fn $test() {
            if is_root() {
                passes(&$target);
            }
        })*
    };
}

each_driver_over_each_transport! {
    root_overlay_linked_in: linked::<longshore_graph_overlay::Overlay, GraphKind>();
    root_overlay_as_a_library: library("graph_overlay");
    root_vfs_linked_in: linked::<longshore_graph_vfs::Vfs, GraphKind>();
    root_vfs_as_a_library: library("graph_vfs");
    root_local_linked_in: linked::<longshore_volume_local::Local, VolumeKind>();
    root_local_as_a_library: library("volume_local");
    root_the_graph_sim: linked::<longshore_sim::graph::Sim, GraphKind>();
    root_the_volume_sim: linked::<longshore_sim::volume::Sim, VolumeKind>();
}

/// The case that is there to catch each fault.
fn catcher(defect: Defect) -> &'static str {
    match defect {
        Defect::ForgetsTheParent => "create_over_a_parent_shows_its_content",
        Defect::MountsTheParent => "write_goes_to_the_container_and_never_to_its_parents",
        Defect::KeepsTheTree => "remove_takes_everything_away",
        Defect::MissesTheAbsent => "remove_of_the_absent_is_absent",
        Defect::WritesWhenReading => "read_access_refuses_writing",
        Defect::RemovesParents => "remove_with_children_is_in_use",
        Defect::RefusesARepeat => "create_twice_is_existing",
        Defect::TakesAnyOption => "open_refuses_an_unknown_option_by_name",
        Defect::TakesAnyDepth => "create_beyond_max_depth_is_exhausted",
        Defect::TakesAMissingParent => "create_over_a_missing_parent_is_not_found",
        Defect::NeverSeals => "stat_follows_open_and_sealed",
        Defect::RepeatsPages => "list_pages_are_ascending_and_complete",
        Defect::TouchesTheParent => "steps_name_only_the_object_of_the_call",
        Defect::ForgetsWhenReopened => "a_fresh_instance_continues_every_state",
        Defect::ChangesNotes => "notes_come_back_unchanged",
    }
}

#[test]
fn root_every_planted_fault_is_caught_by_its_case() {
    if !is_root() {
        return;
    }
    for (name, defect) in Defect::ALL {
        let mut target = linked::<longshore_sim::graph::Sim, GraphKind>();
        target.options = vec![OptionValue::text("defect", name)];
        let case = catcher(defect);
        let ended = run(&target, case).unwrap();
        let outcome = &ended
            .iter()
            .find(|one| one.name == case)
            .expect("the case is in the list")
            .outcome;
        assert!(
            matches!(outcome, Outcome::Fail(_)),
            "{name} is not caught by {case}: {outcome:?}"
        );
    }
}

#[test]
fn root_a_backend_that_is_away_is_unavailable_and_stays_listed() {
    use longshore_core::volume::{Create, List, State};
    use longshore_core::{Context, ErrorKind};
    let loaded = linked::<longshore_sim::volume::Sim, VolumeKind>().loaded;
    let folder = tempfile::tempdir().unwrap();
    let descriptor = std::fs::File::open(folder.path()).unwrap();
    let driver = loaded.open_volume(descriptor.into(), folder.path(), vec![]).unwrap();
    let request = |name: &str| Create {
        name: longshore_core::types::VolumeName::parse(name).unwrap(),
        options: vec![],
    };
    driver.create(&Context::background(), request("data")).unwrap();
    longshore_sim::volume::set_away(folder.path().as_os_str().as_encoded_bytes(), true);
    let error = driver.create(&Context::background(), request("more")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let listed = driver
        .list(&Context::background(), List { after: None, limit: 10 })
        .unwrap();
    assert_eq!(listed.volumes[0].state, State::Unreachable);
}
