//! An exec driver without namespaces: each container is a session of processes below a changed root.
//!
//! It is the other extreme from the native driver: everything that makes a container more than a root
//! and a process it refuses as `Unsupported`, and says so in its capabilities. Init waits in a shell
//! for a file to appear, and becomes the entry; when the call's process ends, it falls to the shim as
//! an orphan, as with runc. It needs Debian's busybox-static.
//!
//! A state folder holds one folder `box-<n>`:
//! ```text
//! config.json  the spec
//! root         where its root is
//! init         the process ID of init, which also writes it itself
//! started      init may go on
//! execs/<id>   the process IDs of those that joined
//! ```

mod entry;
mod place;

use std::fs;

use longshore_core::driver::{
    Capabilities, Description, Driver, Open, OptionKind, OptionScope, OptionSpec, Probe, Probed, Versions,
};
use longshore_core::exec::{
    CgroupVersion, Cgroups, Create, Created, Delete, DeleteOutcome, Deleted, Exec, ExecCapabilities, ExecDriver,
    Executed, Init, Refused, Start, StartOutcome, Started, State, Stated, Status, Stdio, Update, Updated,
};
use longshore_core::{Context, Error, Result};
use serde_json::Value;

use entry::{Entry, GATE, JOIN, only};
use place::{Place, kill, path};

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The entry runs with `create`.
    StartsAtOnce,
    /// Each `start` runs the entry.
    StartsAgain,
    /// Standard error goes where standard output goes.
    MixesStreams,
    /// Deletion of what is not there is an error.
    MissesTheAbsent,
    /// Only init's session is killed.
    SparesOthers,
    /// Deletion is said and not done.
    KeepsItsState,
    /// An entry is not looked for.
    TakesAnyEntry,
    /// The caller's environment comes along.
    HandsOnTheEnvironment,
    /// An exec ID may be used again.
    ForgetsExecs,
    /// An unknown option is taken.
    TakesAnyOption,
}

impl Defect {
    /// All of them, by the name that the option `defect` takes.
    pub const ALL: [(&'static str, Self); 10] = [
        ("starts-at-once", Self::StartsAtOnce),
        ("starts-again", Self::StartsAgain),
        ("mixes-streams", Self::MixesStreams),
        ("misses-the-absent", Self::MissesTheAbsent),
        ("spares-others", Self::SparesOthers),
        ("keeps-its-state", Self::KeepsItsState),
        ("takes-any-entry", Self::TakesAnyEntry),
        ("hands-on-the-environment", Self::HandsOnTheEnvironment),
        ("forgets-execs", Self::ForgetsExecs),
        ("takes-any-option", Self::TakesAnyOption),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, defect)| *defect)
    }
}

/// The driver.
#[derive(Debug)]
pub struct Sim {
    defect: Option<Defect>,
}

impl Sim {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

fn capabilities() -> Capabilities {
    Capabilities::Exec(ExecCapabilities {
        freeze: false,
        terminal: false,
        seccomp: false,
        apparmor: false,
        selinux: false,
        cgroup_v1: false,
        cgroup_v2: false,
        device_rules_v1: false,
        device_rules_v2: false,
        spec: 1002,
    })
}

impl Driver for Sim {
    fn describe() -> Description {
        Description {
            name: "sim".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "exec".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: vec![OptionSpec {
                name: "defect".into(),
                kind: OptionKind::Text,
                scope: OptionScope::Driver,
                required: false,
                default: None,
                help: "the fault that is planted".into(),
            }],
            capabilities: capabilities(),
            concurrency: 1,
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
        for option in &request.options {
            match (option.name.as_str(), option.as_text().and_then(Defect::named)) {
                ("defect", Some(named)) => defect = Some(named),
                _ if defect == Some(Defect::TakesAnyOption) => {}
                _ => return Err(Error::invalid(format!("sim has no option {}", option.name))),
            }
        }
        Ok(Self { defect })
    }
}

fn io(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::io(attempt, &error)
}

fn json(text: &[u8], what: &str) -> Result<Value> {
    serde_json::from_slice(text).map_err(|error| Error::invalid(format!("{what}: {error}")))
}

impl ExecDriver for Sim {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        if Place::find(&request.state_root).is_some() {
            let sentence = format!("container {} has been created before", request.id);
            return Err(Error::already_exists(sentence));
        }
        let bundle = path(&request.bundle);
        let text = fs::read(bundle.join("config.json")).map_err(io("read config.json"))?;
        let spec = json(&text, "config.json")?;
        only(&spec, "config.json", &["ociVersion", "root", "process"])?;
        only(&spec["root"], "root", &["path"])?;
        let root = bundle.join(spec["root"]["path"].as_str().unwrap_or_default());
        let entry = Entry::new(self, root, &spec["process"])?;
        let place = Place::make(&request.state_root)?;
        match self.run(cx, &place, &entry, &text, &request.stdio) {
            Ok(pid) => Ok(Created {
                init: Init::Child { pid },
                terminal: None,
                cgroups: Cgroups {
                    version: CgroupVersion::None,
                    paths: vec![],
                },
            }),
            Err(error) => {
                kill(&place.init())?;
                place.remove()?;
                Err(error)
            }
        }
    }

    fn start(&self, cx: &Context, request: Start) -> Result<Started> {
        let Some(place) = Place::find(&request.state_root) else {
            return Err(Error::not_found(format!("container {} does not exist", request.id)));
        };
        let outcome = match place.status() {
            Status::Stopped => return Err(Error::invalid(format!("container {} has ended", request.id))),
            Status::Running => {
                if self.has(Defect::StartsAgain) {
                    let text = fs::read(place.0.join("config.json")).map_err(io("read config.json"))?;
                    let entry = Entry::new(self, place.root()?, &json(&text, "config.json")?["process"])?;
                    entry.spawn(self, cx, JOIN, &[], &Stdio::Null)?;
                }
                StartOutcome::Already
            }
            _ => {
                place.write("started", b"")?;
                StartOutcome::Started
            }
        };
        Ok(Started { outcome })
    }

    fn exec(&self, cx: &Context, request: Exec) -> Result<Executed> {
        let Some(place) = Place::find(&request.state_root) else {
            return Err(Error::not_found(format!("container {} does not exist", request.id)));
        };
        if place.status() != Status::Running {
            return Err(Error::invalid(format!("container {} is not running", request.id)));
        }
        let note = format!("execs/{}", request.exec_id);
        if place.0.join(&note).exists() && !self.has(Defect::ForgetsExecs) {
            return Err(Error::already_exists(format!(
                "exec {} was used before",
                request.exec_id
            )));
        }
        let process = json(request.process.as_bytes(), "the process")?;
        let entry = Entry::new(self, place.root()?, &process)?;
        let pid = entry.spawn(self, cx, JOIN, &[], &request.stdio)?;
        place.write(&note, pid.to_string().as_bytes())?;
        Ok(Executed {
            process: Init::Child { pid },
            terminal: None,
        })
    }

    fn state(&self, _cx: &Context, request: State) -> Result<Stated> {
        let place = Place::find(&request.state_root);
        Ok(Stated {
            status: place.as_ref().map_or(Status::Absent, Place::status),
            init: place.and_then(|place| place.alive()),
        })
    }

    fn update(&self, _cx: &Context, request: Update) -> Result<Updated> {
        let resources = request.resources;
        let set = [
            ("memory", resources.memory.is_some()),
            ("memory_swap", resources.memory_swap.is_some()),
            ("memory_reservation", resources.memory_reservation.is_some()),
            ("cpu_shares", resources.cpu_shares.is_some()),
            ("cpu_quota", resources.cpu_quota.is_some()),
            ("cpu_period", resources.cpu_period.is_some()),
            ("cpus", resources.cpus.is_some()),
            ("mems", resources.mems.is_some()),
            ("pids", resources.pids.is_some()),
        ];
        let refused = set.iter().filter(|(_, set)| *set).map(|(field, _)| Refused {
            field: (*field).into(),
            why: "the sim has no cgroups".into(),
        });
        Ok(Updated {
            applied: vec![],
            refused: refused.collect(),
        })
    }

    fn delete(&self, _cx: &Context, request: Delete) -> Result<Deleted> {
        let Some(place) = Place::find(&request.state_root) else {
            if self.has(Defect::MissesTheAbsent) {
                return Err(Error::not_found(format!("container {} does not exist", request.id)));
            }
            return Ok(Deleted {
                outcome: DeleteOutcome::Absent,
            });
        };
        if place.alive().is_some() && !request.force {
            return Err(Error::in_use(format!("container {} still runs", request.id)));
        }
        let mut leaders = place.init();
        if !self.has(Defect::SparesOthers) {
            leaders.extend(place.joined());
        }
        kill(&leaders)?;
        if !self.has(Defect::KeepsItsState) {
            place.remove()?;
        }
        Ok(Deleted {
            outcome: DeleteOutcome::Deleted,
        })
    }
}

impl Sim {
    /// Writes the container's state and starts its init.
    fn run(&self, cx: &Context, place: &Place, entry: &Entry, spec: &[u8], stdio: &Stdio) -> Result<u32> {
        place.write("config.json", spec)?;
        place.write("root", entry.root.as_os_str().as_encoded_bytes())?;
        if self.has(Defect::StartsAtOnce) {
            place.write("started", b"")?;
        }
        let pid = entry.spawn(self, cx, GATE, &[&place.0], stdio)?;
        place.write("init", pid.to_string().as_bytes())?;
        Ok(pid)
    }
}
