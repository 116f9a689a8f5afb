//! One `graph.activate`: the trait directly, then a client over each transport, bare and with
//! everything that an engine puts around it. The rows of one depth are interleaved.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::Context;
use longshore_core::driver::{Driver, Open, Opened};
use longshore_core::graph::{Access, Activate, Client, GraphDriver, GraphKind, LayerRef, VERSION};
use longshore_core::types::{Bytes, LayerId, Note};
use longshore_core::wire::{OPEN, client_call};
use longshore_graph_overlay::Overlay;
use longshore_loader::process::Processes;
use longshore_loader::wasm::{self, Settings};
use longshore_loader::{Loaded, Origin};
use longshore_plugin::serve::Static;

use crate::Result;
use crate::table::Table;

/// The row of the peer: what a plugin of Docker's costs, in the same run.
const DOCKER: &str = "Docker's protocol, VolumeDriver.Get of a trivial plugin";
/// Calls of one row before the next row has its turn.
const TURN: usize = 100;

fn request(depth: u16) -> Result<Activate> {
    Ok(Activate {
        layer: LayerRef {
            id: LayerId::parse("a".repeat(64))?,
            note: Note::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ")?,
        },
        depth,
        chain: Vec::new(),
        access: Access::Write,
    })
}

fn open() -> Open {
    Open {
        root: None,
        root_path: Bytes::default(),
        options: Vec::new(),
        host_interface: VERSION,
    }
}

fn turn(driver: &dyn GraphDriver, depth: u16, times: &mut Vec<Duration>) -> Result<()> {
    for _ in 0..TURN {
        let request = request(depth)?;
        let cx = Context::background();
        let begin = Instant::now();
        driver.activate(&cx, request)?;
        times.push(begin.elapsed());
    }
    Ok(())
}

/// A driver behind its transport alone: encoding and the transport, on the caller's thread.
fn bare(loaded: &Loaded) -> Result<Arc<dyn GraphDriver>> {
    let channel = loaded.bare();
    let opened: Opened = client_call(&channel, 0, &OPEN, &Context::background(), &open())?;
    Ok(Arc::new(Client::new(channel, &opened)))
}

/// The driver's component; none where the tree was built without it.
fn component(tree: &Path) -> Result<Option<Loaded>> {
    let file = tree.join("lib/longshore/graph-overlay.wasm");
    if !file.exists() {
        eprintln!("skip: graph-overlay.wasm is not in the tree: the target wasm32-wasip2 was not there");
        return Ok(None);
    }
    Loaded::from_component(&file, &Origin::Bundled, &wasm::Engine::new(Settings::default()))
        .map(Some)
        .map_err(|refused| refused.to_string().into())
}

struct Row {
    name: &'static str,
    driver: Arc<dyn GraphDriver>,
    times: Vec<Duration>,
}

pub(crate) fn measure(tree: &Path, rounds: usize) -> Result<Vec<Table>> {
    let folder = tempfile::tempdir()?;
    let root = || -> Result<std::os::fd::OwnedFd> { Ok(std::fs::File::open(folder.path())?.into()) };
    let linked = Loaded::over(Arc::new(Static::<Overlay, GraphKind>::new()))?;
    let library = Loaded::from_path(&tree.join("lib/longshore/graph-overlay.so"), &Origin::Bundled)
        .map_err(|refused| refused.to_string())?;
    let processes = Processes::new(tree.join("bin/longshore-runner"));
    let process = Loaded::from_process(
        &tree.join("lib/longshore/graph-overlay.so"),
        &Origin::Bundled,
        &processes,
    )
    .map_err(|refused| refused.to_string())?;
    let component = component(tree)?;
    let guarded = |loaded: &Loaded| {
        loaded
            .open_graph(root()?, folder.path(), Vec::new())
            .map_err(crate::Failure::from)
    };
    let mut rows: Vec<Row> = [
        (
            "the trait itself",
            Some(Arc::new(Overlay::open(&Context::background(), open())?) as Arc<dyn GraphDriver>),
        ),
        ("linked in", Some(bare(&linked)?)),
        ("library", Some(bare(&library)?)),
        ("component (Wasm)", component.as_ref().map(bare).transpose()?),
        ("process", Some(bare(&process)?)),
        ("linked in, with the engine's middleware", Some(guarded(&linked)?)),
        ("library, with the engine's middleware", Some(guarded(&library)?)),
    ]
    .into_iter()
    .filter_map(|(name, driver)| {
        Some(Row {
            name,
            driver: driver?,
            times: Vec::new(),
        })
    })
    .collect();
    let docker = crate::docker::open(folder.path())?;
    let mut tables = Vec::new();
    for depth in [1, 40, 400] {
        for row in &mut rows {
            row.times.clear();
        }
        for round in 0..rounds.div_ceil(TURN) + 1 {
            for row in &mut rows {
                turn(&*row.driver, depth, &mut row.times)?;
                if round == 0 {
                    // The first turn warms the caches.
                    row.times.clear();
                }
            }
        }
        let mut table = Table::new(
            format!("graph.activate over {depth} ancestors, encoding included"),
            "µs",
        );
        for row in &mut rows {
            table.row(row.name, &mut row.times);
        }
        let mut protocol = Vec::new();
        for _ in 0..rounds.div_ceil(10) {
            let begin = Instant::now();
            crate::docker::call(&*docker)?;
            protocol.push(begin.elapsed());
        }
        table.row(DOCKER, &mut protocol);
        table.ratio("process", DOCKER);
        for transport in ["library", "component (Wasm)", "process"] {
            table.ratio(transport, "linked in");
        }
        tables.push(table);
    }
    Ok(tables)
}
