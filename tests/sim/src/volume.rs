//! A volume driver whose backend can go away.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use longshore_core::Context;
use longshore_core::driver::{
    Area, Capabilities, Description, Driver, Holds, Open, OptionKind, OptionScope, OptionSpec, OptionValue, Probe,
    Probed, Versions,
};
use longshore_core::graph::{Ended, Made};
use longshore_core::steps::{MountPlan, MountStep, Place, Source, TreeStep};
use longshore_core::types::{MountId, Note, Owner, RelPath, VolumeName};
use longshore_core::volume::{
    Access, Create, Created, List, Listed, Mount, Mounted, Remove, Removed, Scope, Stat, State, Unmount, Unmounted,
    Volume, VolumeCapabilities, VolumeDriver,
};
use longshore_core::{Error, Result};

#[derive(Clone, Debug, Default)]
struct Record {
    options: Vec<OptionValue>,
    mounts: Vec<MountId>,
}

#[derive(Debug, Default)]
struct Backend {
    away: bool,
    volumes: BTreeMap<String, Record>,
}

static BACKENDS: LazyLock<Mutex<BTreeMap<Vec<u8>, Backend>>> = LazyLock::new(Mutex::default);

fn backends() -> MutexGuard<'static, BTreeMap<Vec<u8>, Backend>> {
    BACKENDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the backend of a root away, or brings it back.
pub fn set_away(root_path: &[u8], away: bool) {
    backends().entry(root_path.to_vec()).or_default().away = away;
}

/// The driver.
#[derive(Debug)]
pub struct Sim {
    root_path: Vec<u8>,
}

fn capabilities() -> Capabilities {
    Capabilities::Volume(VolumeCapabilities {
        acts: true,
        scope: Scope::Global,
        tracks_mounts: true,
        usage: false,
        lists: true,
    })
}

fn tree(name: &VolumeName) -> Place {
    Place::object(0, name.as_str(), RelPath::root())
}

impl Sim {
    fn on<T>(&self, reach: bool, work: impl FnOnce(&mut Backend) -> Result<T>) -> Result<T> {
        let mut all = backends();
        let backend = all.entry(self.root_path.clone()).or_default();
        if backend.away && reach {
            return Err(Error::unavailable("the backend is away"));
        }
        work(backend)
    }
}

fn find<'a>(backend: &'a mut Backend, name: &VolumeName) -> Result<&'a mut Record> {
    backend
        .volumes
        .get_mut(name.as_str())
        .ok_or_else(|| Error::not_found(format!("volume {name} is not there")))
}

fn view(name: &VolumeName, record: &Record, away: bool) -> Volume {
    Volume {
        name: name.clone(),
        note: Note::default(),
        state: if away { State::Unreachable } else { State::Ready },
        created: None,
        status: vec![],
        mounts: record.mounts.clone(),
        directory: Some(tree(name)),
    }
}

impl Driver for Sim {
    fn describe() -> Description {
        Description {
            name: "sim".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "volume".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![Area {
                template: "{}".into(),
                holds: Holds::Object,
                source: true,
            }],
            options: vec![OptionSpec {
                name: "colour".into(),
                kind: OptionKind::Text,
                scope: OptionScope::Object,
                required: false,
                default: None,
                help: "means nothing".into(),
            }],
            capabilities: capabilities(),
            concurrency: 4,
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
            Some(option) => Err(Error::invalid(format!("sim has no option {}", option.name))),
            None => Ok(Self {
                root_path: request.root_path.into_vec(),
            }),
        }
    }
}

impl VolumeDriver for Sim {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        if let Some(bad) = request.options.iter().find(|option| option.name != "colour") {
            return Err(Error::invalid(format!(
                "volume {}: unknown option {:?}",
                request.name, bad.name
            )));
        }
        let outcome = self.on(true, |backend| match backend.volumes.get(request.name.as_str()) {
            Some(there) if there.options == request.options => Ok(Made::Existing),
            Some(_) => Err(Error::already_exists(format!(
                "volume {} has other options",
                request.name
            ))),
            None => {
                let record = Record {
                    options: request.options.clone(),
                    mounts: vec![],
                };
                backend.volumes.insert(request.name.to_string(), record);
                Ok(Made::New)
            }
        })?;
        Ok(Created {
            outcome,
            note: Note::default(),
            steps: vec![TreeStep::Directory {
                at: tree(&request.name),
                mode: 0o755,
                owner: Owner::ROOT,
                like: None,
            }],
        })
    }

    fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
        let name = &request.volume.name;
        let outcome = self.on(!request.force, |backend| {
            match backend.volumes.get(name.as_str()) {
                None => return Ok(Ended::Absent),
                Some(record) if !record.mounts.is_empty() && !request.force => {
                    return Err(Error::in_use(format!("volume {name} is mounted")));
                }
                Some(_) => {}
            }
            backend.volumes.remove(name.as_str());
            Ok(Ended::Done)
        })?;
        Ok(Removed {
            outcome,
            steps: vec![TreeStep::Remove { at: tree(name) }],
        })
    }

    fn stat(&self, _cx: &Context, request: Stat) -> Result<Volume> {
        self.on(false, |backend| {
            let away = backend.away;
            Ok(view(&request.name, find(backend, &request.name)?, away))
        })
    }

    fn list(&self, _cx: &Context, request: List) -> Result<Listed> {
        let after = request.after.map(|name| name.to_string()).unwrap_or_default();
        self.on(false, |backend| {
            let rest: Vec<_> = backend.volumes.iter().filter(|(name, _)| **name > after).collect();
            Ok(Listed {
                more: rest.len() > request.limit as usize,
                volumes: rest
                    .into_iter()
                    .take(request.limit as usize)
                    .map(|(name, record)| Ok(view(&VolumeName::parse(name.clone())?, record, backend.away)))
                    .collect::<Result<_>>()?,
            })
        })
    }

    fn mount(&self, _cx: &Context, request: Mount) -> Result<Mounted> {
        let name = &request.volume.name;
        self.on(true, |backend| {
            let record = find(backend, name)?;
            if !record.mounts.contains(&request.mount_id) {
                record.mounts.push(request.mount_id.clone());
            }
            Ok(())
        })?;
        Ok(Mounted {
            plan: MountPlan::single(MountStep {
                fs: "bind".into(),
                source: Source::Tree(tree(name)),
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

    fn unmount(&self, _cx: &Context, request: Unmount) -> Result<Unmounted> {
        self.on(false, |backend| {
            let Ok(record) = find(backend, &request.volume.name) else {
                return Ok(Unmounted { outcome: Ended::Absent });
            };
            let before = record.mounts.len();
            record.mounts.retain(|id| *id != request.mount_id);
            let outcome = if record.mounts.len() == before {
                Ended::Absent
            } else {
                Ended::Done
            };
            Ok(Unmounted { outcome })
        })
    }
}
