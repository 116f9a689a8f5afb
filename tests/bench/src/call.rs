//! One `graph.activate`: the trait directly, through the service in process, through the library, and
//! with everything that an engine puts around it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::Context;
use longshore_core::driver::{Driver, Open};
use longshore_core::graph::{Access, Activate, GraphDriver, GraphKind, LayerRef};
use longshore_core::types::{Bytes, LayerId, Note};
use longshore_graph_overlay::Overlay;
use longshore_loader::{Loaded, Origin};
use longshore_plugin::serve::Static;

use crate::{Result, row};

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

fn time(driver: &dyn GraphDriver, depth: u16, rounds: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let request = request(depth)?;
        let cx = Context::background();
        let begin = Instant::now();
        driver.activate(&cx, request)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

pub(crate) fn measure(tree: &Path, rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = || -> Result<std::os::fd::OwnedFd> { Ok(std::fs::File::open(folder.path())?.into()) };
    let direct = Overlay::open(
        &Context::background(),
        Open {
            root: None,
            root_path: Bytes::default(),
            options: Vec::new(),
            host_interface: 0,
        },
    )?;
    let linked = Loaded::over(Arc::new(Static::<Overlay, GraphKind>::new()))?;
    let library = Loaded::from_path(&tree.join("lib/longshore/graph-overlay.so"), &Origin::Bundled)
        .map_err(|refused| refused.to_string())?;
    let linked = linked.open_graph(root()?, folder.path(), Vec::new())?;
    let library = library.open_graph(root()?, folder.path(), Vec::new())?;
    for depth in [1, 40, 400] {
        println!("\ngraph.activate over {depth} ancestors, {rounds} rounds, µs          min       p50       p99");
        row("the trait itself", &mut time(&direct, depth, rounds)?, 1e6);
        let one = row(
            "linked in, with the engine's middleware",
            &mut time(&*linked, depth, rounds)?,
            1e6,
        );
        let other = row(
            "library, with the engine's middleware",
            &mut time(&*library, depth, rounds)?,
            1e6,
        );
        println!("{:>44} ratio library / linked in {:.2}", "", other / one);
    }
    Ok(())
}
