//! The overlay graph driver: layers as folders of differences, joined by the kernel's overlay.
//!
//! It keeps Docker's `overlay2` layout on disk, so that operators know what they see. It is pure: it
//! answers steps and plans and reads nothing. [`layout`] knows where things lie, [`plan`] how they
//! are mounted, [`probe`] judges the machine, [`config`] reads the options. Performing any of it is
//! the host's.
#![forbid(unsafe_code)]

mod config;
mod layout;
mod plan;
mod probe;

use longshore_plugin::Context;
use longshore_plugin::driver::{Capabilities, Description, Driver, Open, Probe, Probed, Versions};
use longshore_plugin::graph::{
    Activate, Activated, Changed, Changes, ChangesSupport, Commit, Committed, Content, Create, Created, Ended,
    GraphCapabilities, GraphDriver, Made, Remove, Removed, Whiteouts,
};
use longshore_plugin::{Error, Result};

use config::Options;

/// The driver; its options are all that it holds.
#[derive(Debug)]
pub struct Overlay {
    options: Options,
}

/// The kernel stacks at most 500 lower layers (`OVL_MAX_STACK`); reading a layer makes its own
/// difference one of them.
const MAX_DEPTH: u32 = 499;

fn capabilities(options: Options) -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: false,
        tracks_activation: false,
        changes: if options.plain_differences() {
            ChangesSupport::Directory
        } else {
            ChangesSupport::No
        },
        max_depth: MAX_DEPTH,
        independent_layers: false,
        activate_chain: false,
        lists: false,
    })
}

impl Driver for Overlay {
    fn describe() -> Description {
        Description {
            name: "overlay".into(),
            aliases: vec!["overlay2".into()],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "graph".into(),
            interface: Versions { from: 0, to: 0 },
            folder: Some("overlay2".into()),
            areas: layout::areas(),
            options: config::specs(),
            capabilities: capabilities(Options::default()),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        let options = Options::read(&request.options)?;
        let reasons = probe::judge(&request.facts, options);
        Ok(Probed {
            usable: reasons.is_empty(),
            reasons,
            capabilities: capabilities(options),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        Ok(Self {
            options: Options::read(&request.options)?,
        })
    }
}

impl GraphDriver for Overlay {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        if request.chain.len() > MAX_DEPTH as usize {
            return Err(Error::exhausted(format!(
                "layer {} would have {} ancestors; overlay stacks at most {MAX_DEPTH}",
                request.id,
                request.chain.len()
            )));
        }
        Ok(Created {
            outcome: Made::New,
            content: Content::Empty,
            note: layout::note(&request.id)?,
            steps: layout::create(&request)?,
        })
    }

    fn commit(&self, _cx: &Context, request: Commit) -> Result<Committed> {
        Ok(Committed {
            note: None,
            steps: layout::commit(&request.layer.id)?,
        })
    }

    fn activate(&self, _cx: &Context, request: Activate) -> Result<Activated> {
        plan::activate(&request, self.options)
    }

    fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
        Ok(Removed {
            outcome: Ended::Done,
            steps: layout::remove(&request.layer)?,
        })
    }

    fn changes(&self, _cx: &Context, request: Changes) -> Result<Changed> {
        if !self.options.plain_differences() {
            return Err(Error::unsupported(
                "with metacopy or redirect_dir a layer's folder does not hold the difference alone",
            ));
        }
        Ok(Changed::Directory {
            at: layout::diff(&request.layer.id)?,
            whiteouts: Whiteouts::Overlay,
        })
    }
}

longshore_plugin::export! {
    driver: Overlay,
    kind: graph,
    name: "overlay",
    version: env!("CARGO_PKG_VERSION"),
    grants: ["fs:overlay"],
}
