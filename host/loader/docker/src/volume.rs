//! A plugin's `VolumeDriver` as ours.
//!
//! What the protocol cannot do: limits, usage, secrets that stay unseen, mounts in a list. A plugin does
//! not say whether `Create` made something, so the answer is always "new"; the host's records know.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::context::Context;
use longshore_core::driver::{
    Capabilities as DriverCapabilities, Description, OptionKind, OptionScope, OptionSpec, Versions,
};
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::graph::{Ended, Made};
use longshore_core::steps::{MountPlan, MountStep, Source};
use longshore_core::types::{Bytes, Note, Pair, VolumeName};
use longshore_core::volume::{
    Access, Create, Created, List, Listed, Mount, Mounted, Remove, Removed, Scope, Stat, State, Unmount, Unmounted,
    Volume, VolumeCapabilities, VolumeDriver, VolumeKind,
};
use longshore_core::wire::Channel;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::Address;
use crate::channel::Adapted;
use crate::http::{self, Effect};
use crate::protocol::{
    self, Capabilities, Done, Named, VolumeCreate, VolumeGot, VolumeList, VolumeMount, VolumeMounted,
};

/// Docker's own limits: for what may have to reach a backend, and for the rest.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(60);
/// For asking what it can do, and whether it is there.
const QUICK: Duration = Duration::from_secs(5);
/// Most pairs of a volume's status that are shown.
const MOST_STATUS: usize = 64;

struct Docker {
    who: String,
    address: Address,
}

/// The plugin as a volume driver.
pub(crate) fn channel(name: &str, address: &Address) -> Result<Arc<dyn Channel>> {
    let driver = Docker {
        who: format!("volume plugin {name}"),
        address: address.clone(),
    };
    let scope = match driver.capabilities() {
        Ok(said) if said.capabilities.as_ref().is_some_and(|said| said.scope == "global") => Scope::Global,
        Ok(_) => Scope::Local,
        // The method came later than the others.
        Err(error) if error.kind == ErrorKind::Unsupported => Scope::Local,
        Err(error) => return Err(error),
    };
    let description = Description {
        name: name.to_owned(),
        aliases: vec![],
        version: "1".into(),
        kind: "volume".into(),
        interface: Versions { from: 0, to: 0 },
        // It keeps nothing with us; its root is one that is there anyhow.
        folder: Some("plugins".into()),
        areas: vec![],
        options: vec![OptionSpec {
            name: longshore_core::driver::ANY_OPTION.into(),
            kind: OptionKind::Text,
            scope: OptionScope::Object,
            required: false,
            default: None,
            help: "the plugin's own options".into(),
        }],
        capabilities: DriverCapabilities::Volume(VolumeCapabilities {
            acts: true,
            scope,
            tracks_mounts: true,
            usage: false,
            lists: true,
        }),
        concurrency: 8,
    };
    Ok(Arc::new(Adapted::<_, VolumeKind>::new(description, driver, |driver| {
        driver.capabilities().map(drop).or_else(|error| match error.kind {
            ErrorKind::Unsupported => Ok(()),
            _ => Err(error),
        })
    })))
}

impl Docker {
    fn ask<A: Serialize, R: DeserializeOwned>(
        &self,
        cx: &Context,
        method: &str,
        argument: &A,
        limit: Duration,
        effect: Effect,
    ) -> Result<R> {
        cx.check()?;
        let limit = cx.remaining().map_or(limit, |left| left.min(limit));
        http::post(
            &self.address,
            &self.who,
            &format!("VolumeDriver.{method}"),
            argument,
            limit,
            effect,
        )
    }

    fn capabilities(&self) -> Result<Capabilities> {
        self.ask(
            &Context::background(),
            "Capabilities",
            &serde_json::json!({}),
            QUICK,
            Effect::None,
        )
    }

    fn get(&self, cx: &Context, name: &VolumeName) -> Result<Volume> {
        let argument = Named { name: name.as_str() };
        let got: VolumeGot = self.ask(cx, "Get", &argument, SHORT, Effect::None).map_err(absent)?;
        got.volume
            .and_then(shown)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{} has no volume {name}", self.who)))
    }
}

/// A plugin that answers "no" to `Get` has no such volume; one that does not answer is another matter.
fn absent(error: Error) -> Error {
    match error.kind {
        ErrorKind::Invalid => Error::new(ErrorKind::NotFound, error.message),
        _ => error,
    }
}

/// A volume as we list it; one whose name is none is left out.
fn shown(volume: protocol::Volume) -> Option<Volume> {
    let status = volume.status.unwrap_or_default();
    Some(Volume {
        name: VolumeName::parse(volume.name).ok()?,
        note: Note::default(),
        state: State::Ready,
        created: None,
        status: status
            .into_iter()
            .take(MOST_STATUS)
            .map(|(key, value)| Pair {
                key: key.chars().take(256).collect(),
                value: value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
                    .chars()
                    .take(1024)
                    .collect(),
            })
            .collect(),
        mounts: vec![],
        directory: None,
    })
}

impl VolumeDriver for Docker {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        let mut opts = std::collections::BTreeMap::new();
        for option in &request.options {
            let text = option.as_text().ok_or_else(|| {
                Error::unsupported(format!("{} cannot be given a secret: option {}", self.who, option.name))
            })?;
            opts.insert(option.name.as_str(), text);
        }
        let argument = VolumeCreate {
            name: request.name.as_str(),
            opts,
        };
        let _: Done = self.ask(cx, "Create", &argument, LONG, Effect::Changes)?;
        Ok(Created {
            outcome: Made::New,
            note: Note::default(),
            steps: vec![],
        })
    }

    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed> {
        let name = &request.volume.name;
        let argument = Named { name: name.as_str() };
        let asked: Result<Done> = self.ask(cx, "Remove", &argument, LONG, Effect::Changes);
        let outcome = match asked {
            Ok(_) => Ended::Done,
            Err(error) => match self.get(cx, name) {
                Err(gone) if gone.kind == ErrorKind::NotFound => Ended::Absent,
                // By force a volume is forgotten whose backend is away.
                _ if request.force => Ended::Done,
                _ => return Err(error),
            },
        };
        Ok(Removed { outcome, steps: vec![] })
    }

    fn stat(&self, cx: &Context, request: Stat) -> Result<Volume> {
        self.get(cx, &request.name)
    }

    fn list(&self, cx: &Context, request: List) -> Result<Listed> {
        let list: VolumeList = self.ask(cx, "List", &serde_json::json!({}), SHORT, Effect::None)?;
        let mut volumes: Vec<Volume> = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter_map(shown)
            .filter(|volume| request.after.as_ref().is_none_or(|after| volume.name > *after))
            .collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        volumes.dedup_by(|a, b| a.name == b.name);
        let limit = request.limit.clamp(1, 1000) as usize;
        let more = volumes.len() > limit;
        volumes.truncate(limit);
        Ok(Listed { volumes, more })
    }

    fn mount(&self, cx: &Context, request: Mount) -> Result<Mounted> {
        let argument = VolumeMount {
            name: request.volume.name.as_str(),
            id: request.mount_id.as_str(),
        };
        let mounted: VolumeMounted = self.ask(cx, "Mount", &argument, LONG, Effect::Changes)?;
        if !mounted.mountpoint.starts_with('/') {
            return Err(Error::broken(format!(
                "{}: the mount point {:?} is no absolute path",
                self.who, mounted.mountpoint
            )));
        }
        Ok(Mounted {
            plan: MountPlan::single(MountStep {
                fs: "bind".into(),
                source: Source::HostPath(Bytes::parse(mounted.mountpoint.into_bytes())?),
                lowers: vec![],
                upper: None,
                work: None,
                options: vec![],
                read_only: request.access == Access::Read,
            }),
            shared: false,
            fill: true,
        })
    }

    fn unmount(&self, cx: &Context, request: Unmount) -> Result<Unmounted> {
        let argument = VolumeMount {
            name: request.volume.name.as_str(),
            id: request.mount_id.as_str(),
        };
        let _: Done = self.ask(cx, "Unmount", &argument, SHORT, Effect::Changes)?;
        Ok(Unmounted { outcome: Ended::Done })
    }
}
