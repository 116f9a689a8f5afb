//! A graph driver that misbehaves when a layer's name asks for it, and nothing else.
//!
//! `remove` of a layer whose name begins with `panic-` panics, with `sleep-` never returns, with
//! `slow-` returns when it is cancelled, with the words of `misdeeds` tries those; every
//! other layer is removed. The examples of this package are libraries made of it, and some that are no
//! proper drivers; its tests load them.
#![forbid(unsafe_code)]

mod misdeeds;

use std::fmt;
use std::marker::PhantomData;
use std::thread;
use std::time::Duration;

use longshore_plugin::driver::{Capabilities, Description, Driver, Open, Probe, Probed, Versions};
use longshore_plugin::graph::{
    Activate, Activated, ChangesSupport, Content, Create, Created, Ended, GraphCapabilities, GraphDriver, Made, Remove,
    Removed,
};
use longshore_plugin::types::Note;
use longshore_plugin::{Context, Error, Result};

/// What the driver says of itself.
pub trait Face: Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its interface version.
    const INTERFACE: u16 = 0;
}

/// The driver.
pub struct Rogue<F>(PhantomData<F>);

impl<F> fmt::Debug for Rogue<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rogue")
    }
}

fn capabilities() -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: false,
        tracks_activation: false,
        changes: ChangesSupport::No,
        max_depth: 10,
        independent_layers: false,
        activate_chain: false,
        lists: false,
    })
}

impl<F: Face> Driver for Rogue<F> {
    fn describe() -> Description {
        Description {
            name: F::NAME.into(),
            aliases: vec!["scoundrel".into()],
            version: F::VERSION.into(),
            kind: "graph".into(),
            interface: Versions {
                from: F::INTERFACE,
                to: F::INTERFACE,
            },
            folder: None,
            areas: vec![],
            options: vec![],
            capabilities: capabilities(),
            concurrency: 2,
        }
    }

    fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, _request: Open) -> Result<Self> {
        Ok(Self(PhantomData))
    }
}

impl<F: Face> GraphDriver for Rogue<F> {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        // The note tells what the host's clock answered, and by which version.
        let now = cx.host().call("clock.now", &[0x80])?;
        Ok(Created {
            outcome: Made::New,
            content: Content::Empty,
            note: Note::parse(format!("{} {} {}", F::VERSION, request.id, now.len()))?,
            steps: vec![],
        })
    }

    fn activate(&self, _cx: &Context, _request: Activate) -> Result<Activated> {
        Err(Error::unsupported("a rogue activates nothing"))
    }

    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed> {
        let name = request.layer.id.as_str();
        if name.starts_with("panic-") {
            panic!("the rogue panics over {name}");
        }
        if name.starts_with("sleep-") {
            loop {
                thread::park();
            }
        }
        if let Some(outcome) = misdeeds::attempt(name) {
            outcome.map_err(|error| Error::denied(format!("the rogue cannot: {error}")))?;
        }
        while name.starts_with("slow-") && !cx.cancelled() {
            thread::sleep(Duration::from_millis(5));
        }
        cx.check()?;
        Ok(Removed {
            outcome: Ended::Done,
            steps: vec![],
        })
    }
}
