//! The local volume driver: folders of the data root, and what Docker's options `type`, `o` and
//! `device` mount instead.
//!
//! It keeps Docker's layout (`volumes/<name>/_data`). It is pure: [`config`] reads the options,
//! [`plan`] says how each sort of volume is mounted; performing it is the host's.
#![forbid(unsafe_code)]

mod config;
mod plan;

use longshore_plugin::Context;
use longshore_plugin::driver::{Area, Capabilities, Description, Driver, Holds, Open, Probe, Probed, Versions};
use longshore_plugin::graph::{Ended, Made};
use longshore_plugin::steps::{Place, TreeStep};
use longshore_plugin::types::{Note, Owner, RelPath, VolumeName};
use longshore_plugin::volume::{
    Create, Created, Mount, Mounted, Remove, Removed, Scope, VolumeCapabilities, VolumeDriver,
};
use longshore_plugin::{Error, Result};

use config::Sort;

/// The driver. It holds nothing.
#[derive(Debug)]
pub struct Local {}

fn capabilities() -> Capabilities {
    Capabilities::Volume(VolumeCapabilities {
        acts: false,
        scope: Scope::Local,
        tracks_mounts: false,
        usage: false,
        lists: false,
    })
}

fn place(name: &VolumeName, path: &str) -> Result<Place> {
    Ok(Place::object(0, name.as_str(), RelPath::parse(path)?))
}

impl Driver for Local {
    fn describe() -> Description {
        Description {
            name: "local".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "volume".into(),
            interface: Versions { from: 0, to: 0 },
            folder: Some("volumes".into()),
            areas: vec![Area {
                template: "{}".into(),
                holds: Holds::Object,
                source: true,
            }],
            options: config::specs(),
            capabilities: capabilities(),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, _request: Probe) -> Result<Probed> {
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        match request.options.first() {
            Some(option) => Err(Error::invalid(format!(
                "the local driver has no option {} of its own; options are given for each volume",
                option.name
            ))),
            None => Ok(Self {}),
        }
    }
}

impl VolumeDriver for Local {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        let sort =
            Sort::read(&request.options).map_err(|e| Error::new(e.kind, format!("volume {}: {e}", request.name)))?;
        let directory = |path: &str, mode: u16| -> Result<TreeStep> {
            Ok(TreeStep::Directory {
                at: place(&request.name, path)?,
                mode,
                owner: Owner::ROOT,
                like: None,
            })
        };
        let mut steps = vec![directory("", 0o701)?];
        if sort == Sort::Plain {
            steps.push(directory("_data", 0o755)?);
        }
        Ok(Created {
            outcome: Made::New,
            note: Note::default(),
            steps,
        })
    }

    fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
        Ok(Removed {
            outcome: Ended::Done,
            steps: vec![TreeStep::Remove {
                at: place(&request.volume.name, "")?,
            }],
        })
    }

    fn mount(&self, _cx: &Context, request: Mount) -> Result<Mounted> {
        plan::mount(&request)
    }
}

longshore_plugin::export! {
    driver: Local,
    kind: volume,
    name: "local",
    version: env!("CARGO_PKG_VERSION"),
    grants: ["host-path", "fs:tmpfs", "remote:nfs", "remote:cifs"],
}
