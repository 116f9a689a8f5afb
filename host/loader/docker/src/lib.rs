//! Docker's plugin protocol, inward: third-party plugins that exist today, behind our own traits.
//!
//! A plugin is an HTTP server on a unix socket or a TCP port that answers JSON
//! (docs.docker.com/engine/extend/plugin_api). [`Folders`] finds it where Docker does, [`Plugin`]
//! activates it, and [`Plugin::channel`] makes it a [`Channel`] like any other: so deadline, pool,
//! quarantine and metrics around it are those of every driver, and one that hangs delays nobody else.
//! Each answer is bounded; a call that changes something is never made twice.
//!
//! This is an adapter and no transport: it says by capabilities what the protocol cannot do. Offering a
//! driver of ours to Docker is the other direction and lives in the runner.
#![forbid(unsafe_code)]

mod address;
mod caller;
mod channel;
mod discover;
mod http;
mod ipam;
mod network;
mod plan;
mod protocol;
mod tls;
mod volume;

use std::sync::Arc;
use std::time::Duration;

use longshore_core::error::{Error, Result};
use longshore_core::wire::Channel;

pub use address::Address;
pub use discover::{Folders, Found};
pub use protocol::Activated;

/// What `driver ls` and the records call a driver behind this protocol.
pub const TRANSPORT: &str = "docker-plugin";
/// The grants of a plugin that was found where only root writes: it may name mount points of the host,
/// as it may with Docker. `/`, the kernel's file systems and data roots are refused all the same.
pub const GRANTS: [&str; 1] = ["host-path"];

/// How long an activation may take: it does nothing.
const ACTIVATION: Duration = Duration::from_secs(5);

/// A plugin that has answered.
#[derive(Clone, Debug)]
pub struct Plugin {
    name: String,
    address: Address,
    implements: Vec<String>,
}

impl Plugin {
    /// Asks a plugin what it implements.
    ///
    /// # Errors
    /// `Denied` when others than root could stand behind its address; `Unavailable` when it does not
    /// answer; `Broken` when its answer is none.
    pub fn activate(found: Found) -> Result<Self> {
        found.address.check()?;
        let answer: Activated = http::post(
            &found.address,
            &format!("plugin {}", found.name),
            "Plugin.Activate",
            &serde_json::json!({}),
            ACTIVATION,
            http::Effect::None,
        )?;
        Ok(Self {
            name: found.name,
            address: found.address,
            implements: answer.implements,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kinds of our drivers that it can be: `volume`, `network`, `ipam`.
    pub fn kinds(&self) -> Vec<&'static str> {
        [
            ("VolumeDriver", "volume"),
            ("NetworkDriver", "network"),
            ("IpamDriver", "ipam"),
        ]
        .into_iter()
        .filter(|(word, _)| self.implements.iter().any(|said| said == word))
        .map(|(_, kind)| kind)
        .collect()
    }

    /// The plugin as a driver of that kind.
    ///
    /// # Errors
    /// `Unsupported` when it is none; what asking for its capabilities met.
    pub fn channel(&self, kind: &str) -> Result<Arc<dyn Channel>> {
        if !self.kinds().contains(&kind) {
            return Err(Error::unsupported(format!(
                "plugin {} is no {kind} driver; it implements {}",
                self.name,
                self.implements.join(", ")
            )));
        }
        match kind {
            "network" => network::channel(&self.name, &self.address),
            "ipam" => ipam::channel(&self.name, &self.address),
            _ => volume::channel(&self.name, &self.address),
        }
    }
}
