//! Every bundled driver of a pure kind, and the sims, through their suites: linked in and as the
//! library that an engine loads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_conformance::{Ended, Target, report, run};
use longshore_core::driver::{Driver, Kind};
use longshore_core::graph::GraphKind;
use longshore_core::ipam::IpamKind;
use longshore_core::network::NetworkKind;
use longshore_core::volume::VolumeKind;
use longshore_loader::{Loaded, Origin};
use longshore_plugin::serve::Static;

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
    root_none_linked_in: linked::<longshore_network_none::None, NetworkKind>();
    root_none_as_a_library: library("network_none");
    root_host_linked_in: linked::<longshore_network_host::Host, NetworkKind>();
    root_host_as_a_library: library("network_host");
    root_bridge_linked_in: linked::<longshore_network_bridge::Bridge, NetworkKind>();
    root_bridge_as_a_library: library("network_bridge");
    root_default_ipam_linked_in: linked::<longshore_ipam_default::Default, IpamKind>();
    root_default_ipam_as_a_library: library("ipam_default");
    root_the_graph_sim: linked::<longshore_sim::graph::Sim, GraphKind>();
    root_the_volume_sim: linked::<longshore_sim::volume::Sim, VolumeKind>();
}
