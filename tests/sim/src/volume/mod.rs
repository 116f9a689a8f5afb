//! A volume driver whose backend can go away.

mod defect;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use longshore_core::Context;
use longshore_core::driver::{
    Area, Capabilities, Description, Driver, Holds, Open, OptionContent, OptionKind, OptionScope, OptionSpec,
    OptionValue, Probe, Probed, Versions,
};
use longshore_core::graph::{Ended, Made, Used};
use longshore_core::steps::{MountOption, MountPlan, MountStep, OptionText, Place, Remote, Source, TreeStep};
use longshore_core::types::{MountId, Note, Owner, RelPath, SecretRef, VolumeName};
use longshore_core::volume::{
    Access, Create, Created, List, Listed, Mount, Mounted, Remove, Removed, Scope, Stat, State, Unmount, Unmounted,
    Usage, Volume, VolumeCapabilities, VolumeDriver,
};
use longshore_core::{Error, Result};

use crate::root;
use crate::trouble::{self, Trouble};

pub use defect::Defect;

#[derive(Clone, Debug, Default)]
struct Record {
    options: Vec<OptionValue>,
    mounts: Vec<MountId>,
    created: i64,
    note: Note,
}

#[derive(Debug, Default)]
struct Backend {
    volumes: BTreeMap<String, Record>,
}

/// What all instances over one root know, by the root's number.
static BACKENDS: LazyLock<Mutex<BTreeMap<u64, Backend>>> = LazyLock::new(Mutex::default);

fn backends() -> MutexGuard<'static, BTreeMap<u64, Backend>> {
    BACKENDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a call while the planted fault lets one hung call hold up all.
static TOGETHER: Mutex<()> = Mutex::new(());

/// The driver.
#[derive(Debug)]
pub struct Sim {
    number: u64,
    root: PathBuf,
    trouble: Trouble,
    defect: Option<Defect>,
}

fn capabilities() -> Capabilities {
    Capabilities::Volume(VolumeCapabilities {
        acts: true,
        scope: Scope::Global,
        tracks_mounts: true,
        usage: true,
        lists: true,
    })
}

fn tree(name: &VolumeName) -> Place {
    Place::object(0, name.as_str(), RelPath::root())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn option(name: &str, kind: OptionKind, scope: OptionScope, help: &str) -> OptionSpec {
    OptionSpec {
        name: name.into(),
        kind,
        scope,
        required: false,
        default: None,
        help: help.into(),
    }
}

/// The secret among a volume's options: then it is a share of a server's, else a folder.
fn secret(options: &[OptionValue]) -> Option<SecretRef> {
    options.iter().find_map(|option| match option.value {
        OptionContent::Secret(number) if option.name == "password" => Some(number),
        _ => None,
    })
}

impl Sim {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Changes or reads the list; a call that must reach the backend waits and fails with it.
    fn on<T>(&self, reach: Option<(&Context, &VolumeName)>, work: impl FnOnce(&mut Backend) -> Result<T>) -> Result<T> {
        let together = self
            .has(Defect::HangsTogether)
            .then(|| TOGETHER.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some((cx, name)) = reach {
            self.trouble.reach(name.as_str())?;
            self.trouble.meet(cx, name.as_str())?;
        }
        let answer = work(backends().entry(self.number).or_default());
        drop(together);
        answer
    }

    fn view(&self, name: &VolumeName, record: &Record) -> Volume {
        let away = self.trouble.is("away", name.as_str());
        Volume {
            name: name.clone(),
            note: if self.has(Defect::LosesTheNote) {
                Note::default()
            } else {
                record.note.clone()
            },
            state: if away { State::Unreachable } else { State::Ready },
            created: Some(if self.has(Defect::ChangesItsAge) {
                now()
            } else {
                record.created
            }),
            status: vec![],
            mounts: if self.has(Defect::HidesMounts) {
                vec![]
            } else {
                record.mounts.clone()
            },
            directory: Some(tree(name)),
        }
    }

    fn enter(&self, backend: &mut Backend, request: &Create, note: &Note) -> Result<Made> {
        match backend.volumes.get(request.name.as_str()) {
            Some(_) if self.has(Defect::RefusesARepeat) => {
                return Err(Error::already_exists(format!("volume {} is there", request.name)));
            }
            Some(there) if there.options != request.options && !self.has(Defect::TakesOtherOptions) => {
                return Err(Error::already_exists(format!(
                    "volume {} has other options",
                    request.name
                )));
            }
            Some(_) if !self.has(Defect::MakesTwice) => return Ok(Made::Existing),
            _ => {}
        }
        let record = Record {
            options: request.options.clone(),
            mounts: vec![],
            created: now(),
            note: note.clone(),
        };
        backend.volumes.insert(request.name.to_string(), record);
        Ok(Made::New)
    }

    fn step(&self, request: &Mount) -> MountStep {
        let name = &request.volume.name;
        let mut path = RelPath::root();
        if self.has(Defect::SeparatesConsumers) && request.mount_id.as_str() == "c2" {
            path = RelPath::parse("other").unwrap_or_else(|_| RelPath::root());
        }
        let mut step = MountStep {
            fs: "bind".into(),
            source: Source::Tree(Place::object(0, name.as_str(), path)),
            lowers: vec![],
            upper: None,
            work: None,
            options: vec![],
            read_only: request.access == Access::Read && !self.has(Defect::WritesWhenReading),
        };
        if let Some(SecretRef(number)) = secret(&request.volume.options) {
            let given = number + u16::from(self.has(Defect::MixesSecrets));
            step.fs = "cifs".into();
            step.source = Source::Remote(Remote {
                server: "127.0.0.1".into(),
                path: "/share".into(),
            });
            step.options = vec![MountOption {
                key: "password".into(),
                value: OptionText::Secret(SecretRef(given)),
            }];
        }
        step
    }
}

fn find<'a>(backend: &'a mut Backend, name: &VolumeName) -> Result<&'a mut Record> {
    backend
        .volumes
        .get_mut(name.as_str())
        .ok_or_else(|| Error::not_found(format!("volume {name} is not there")))
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
            options: vec![
                option("colour", OptionKind::Text, OptionScope::Object, "means nothing"),
                option(
                    "password",
                    OptionKind::Secret,
                    OptionScope::Object,
                    "opens a share of a server",
                ),
                option(
                    "defect",
                    OptionKind::Text,
                    OptionScope::Driver,
                    "the fault that is planted",
                ),
                trouble::option(),
            ],
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
        let mut defect = None;
        let mut trouble = Trouble::default();
        for option in &request.options {
            match (option.name.as_str(), option.as_text()) {
                (trouble::OPTION, Some(file)) => trouble.file = Some(file.into()),
                ("defect", Some(name)) if Defect::named(name).is_some() => defect = Defect::named(name),
                (name, _) => {
                    return Err(Error::invalid(format!(
                        "sim has no option {name}, or not with that value"
                    )));
                }
            }
        }
        let root = root::path(&request.root_path);
        Ok(Self {
            number: root::number(&root, false)?,
            root,
            trouble,
            defect,
        })
    }
}

impl VolumeDriver for Sim {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        let known = |option: &&OptionValue| !matches!(option.name.as_str(), "colour" | "password");
        if let Some(bad) = request.options.iter().find(known)
            && !self.has(Defect::TakesAnyOption)
        {
            return Err(Error::invalid(format!(
                "volume {}: unknown option {:?}",
                request.name, bad.name
            )));
        }
        let note = Note::parse(request.name.as_str().as_bytes())?;
        let outcome = self.on(Some((cx, &request.name)), |backend| {
            self.enter(backend, &request, &note)
        })?;
        Ok(Created {
            outcome,
            note,
            steps: vec![TreeStep::Directory {
                at: tree(&request.name),
                mode: 0o755,
                owner: Owner::ROOT,
                like: None,
            }]
            .into_iter()
            .chain(self.has(Defect::SeparatesConsumers).then(|| TreeStep::Directory {
                at: Place::object(
                    0,
                    request.name.as_str(),
                    RelPath::parse("other").unwrap_or_else(|_| RelPath::root()),
                ),
                mode: 0o755,
                owner: Owner::ROOT,
                like: None,
            }))
            .collect(),
        })
    }

    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed> {
        let name = &request.volume.name;
        let force = request.force && !self.has(Defect::IgnoresForce);
        let outcome = self.on((!force).then_some((cx, name)), |backend| {
            match backend.volumes.get(name.as_str()) {
                None if self.has(Defect::MissesTheAbsent) => {
                    return Err(Error::not_found(format!("volume {name} is not there")));
                }
                None => return Ok(Ended::Absent),
                Some(record) if !record.mounts.is_empty() && !request.force && !self.has(Defect::RemovesTheMounted) => {
                    return Err(Error::in_use(format!("volume {name} is mounted")));
                }
                Some(_) => {}
            }
            backend.volumes.remove(name.as_str());
            if self.has(Defect::RemovesAll) {
                for other in backend.volumes.keys() {
                    std::fs::remove_dir_all(self.root.join(other)).map_err(|e| Error::io("plant a fault", &e))?;
                }
            }
            Ok(Ended::Done)
        })?;
        Ok(Removed {
            outcome,
            steps: vec![TreeStep::Remove { at: tree(name) }],
        })
    }

    fn stat(&self, _cx: &Context, request: Stat) -> Result<Volume> {
        self.on(None, |backend| {
            let record = find(backend, &request.name)?.clone();
            Ok(self.view(&request.name, &record))
        })
    }

    fn list(&self, _cx: &Context, request: List) -> Result<Listed> {
        let after = request
            .after
            .filter(|_| !self.has(Defect::RepeatsPages))
            .map(|name| name.to_string())
            .unwrap_or_default();
        self.on(None, |backend| {
            let hidden = |name: &str| self.has(Defect::HidesTheUnreachable) && self.trouble.is("away", name);
            let rest: Vec<_> = backend
                .volumes
                .iter()
                .filter(|(name, _)| **name > after && !hidden(name))
                .collect();
            Ok(Listed {
                more: rest.len() > request.limit as usize,
                volumes: rest
                    .into_iter()
                    .take(request.limit as usize)
                    .map(|(name, record)| Ok(self.view(&VolumeName::parse(name.clone())?, record)))
                    .collect::<Result<_>>()?,
            })
        })
    }

    fn mount(&self, cx: &Context, request: Mount) -> Result<Mounted> {
        let name = &request.volume.name;
        self.on(Some((cx, name)), |backend| {
            let record = find(backend, name)?;
            if !record.mounts.contains(&request.mount_id) {
                record.mounts.push(request.mount_id.clone());
            }
            Ok(())
        })?;
        Ok(Mounted {
            plan: MountPlan::single(self.step(&request)),
            shared: false,
            fill: true,
        })
    }

    fn unmount(&self, _cx: &Context, request: Unmount) -> Result<Unmounted> {
        let name = &request.volume.name;
        self.on(None, |backend| {
            let Ok(record) = find(backend, name) else {
                return Ok(Unmounted { outcome: Ended::Absent });
            };
            let known = record.mounts.contains(&request.mount_id);
            if !known && self.has(Defect::MissesTheUnmounted) {
                return Err(Error::not_found(format!(
                    "volume {name} has no mount {}",
                    request.mount_id
                )));
            }
            if self.has(Defect::UnmountsAll) {
                record.mounts.clear();
            } else if !(self.has(Defect::NeverUnstages) && request.others == 0) {
                record.mounts.retain(|id| *id != request.mount_id);
            }
            Ok(Unmounted {
                outcome: if known { Ended::Done } else { Ended::Absent },
            })
        })
    }

    fn usage(&self, _cx: &Context, request: Usage) -> Result<Used> {
        let (bytes, inodes) = root::usage(&self.root.join(request.volume.name.as_str()))?;
        Ok(Used {
            exclusive: bytes * if self.has(Defect::CountsTwice) { 2 } else { 1 },
            inodes: Some(inodes),
            precise: true,
        })
    }
}
