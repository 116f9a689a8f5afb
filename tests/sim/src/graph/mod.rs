//! A graph driver that lists its layers, copies trees, tracks activations and defers.

pub(crate) mod defect;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use longshore_core::Context;
use longshore_core::driver::{
    Area, Capabilities, Description, Driver, Holds, Open, OptionKind, OptionScope, OptionSpec, Probe, Probed, Versions,
};
use longshore_core::graph::{
    Access, Activate, Activated, ChangesSupport, Collect, Collected, Commit, Committed, Content, Create, Created,
    Deactivate, Deactivated, Ended, GraphCapabilities, GraphDriver, Layer, LayerRef, List, Listed, Made, Remove,
    Removed, Stat, State, Usage, Used, Whiteouts,
};
use longshore_core::steps::{MountOption, MountPlan, MountStep, OptionText, Place, Source, TreeStep};
use longshore_core::types::{LayerId, Note, Owner, RelPath};
use longshore_core::{Error, Result};

use crate::root;
use crate::trouble::{self, Trouble};

pub use defect::Defect;

/// Most ancestors of a layer.
const MAX_DEPTH: u32 = 40;

#[derive(Clone, Debug)]
struct Record {
    chain: Vec<LayerId>,
    state: State,
    active: bool,
    /// Deactivated, and not yet let go by the kernel.
    closing: bool,
    note: Note,
}

type Layers = BTreeMap<String, Record>;
type Roots = HashMap<u64, Arc<Mutex<Layers>>>;

/// What all instances over one root know, by the root's number: a device-mapper pool outlives the
/// process that opened it.
static ROOTS: LazyLock<Mutex<Roots>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver.
#[derive(Debug)]
pub struct Sim {
    layers: Arc<Mutex<Layers>>,
    root: PathBuf,
    trouble: Trouble,
    defect: Option<Defect>,
    was_away: AtomicBool,
}

/// How many plans and probes there were, for faults that show in the second one.
static COUNT: AtomicU64 = AtomicU64::new(0);

fn capabilities() -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: true,
        tracks_activation: true,
        changes: ChangesSupport::No,
        max_depth: MAX_DEPTH,
        independent_layers: false,
        activate_chain: true,
        lists: true,
    })
}

fn tree(id: &LayerId) -> Place {
    Place::object(0, id.as_str(), RelPath::root())
}

fn absent(id: &LayerId) -> Error {
    Error::not_found(format!("layer {id} is not there"))
}

impl Sim {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The backend answers; it does not while it is away.
    fn reach(&self, id: &LayerId) -> Result<()> {
        let reached = self.trouble.reach(id.as_str());
        if reached.is_err() {
            self.was_away.store(true, Ordering::Relaxed);
        }
        if self.has(Defect::StaysAway) && self.was_away.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the backend is away"));
        }
        reached
    }

    /// After a change: waits or panics where a test says so.
    fn meet(&self, cx: &Context, id: &LayerId) -> Result<()> {
        if self.has(Defect::ForgetsInPanic) && self.trouble.is("panic", id.as_str()) {
            lock(&self.layers).clear();
        }
        self.trouble.meet(cx, id.as_str())
    }

    fn find<T>(&self, id: &LayerId, use_it: impl FnOnce(&mut Record) -> Result<T>) -> Result<T> {
        use_it(lock(&self.layers).get_mut(id.as_str()).ok_or_else(|| absent(id))?)
    }

    fn view(&self, id: &LayerId, record: &Record) -> Layer {
        Layer {
            id: id.clone(),
            parent: record.chain.first().cloned(),
            state: if self.has(Defect::HidesRemoval) {
                State::Open
            } else {
                record.state
            },
            active: record.active,
            note: if self.has(Defect::ChangesNotes) {
                Note::default()
            } else {
                record.note.clone()
            },
        }
    }

    /// Enters a new layer in the list.
    fn enter(&self, request: &Create, note: &Note) -> Result<Made> {
        let chain: Vec<LayerId> = request.chain.iter().map(|layer| layer.id.clone()).collect();
        let mut layers = lock(&self.layers);
        if let Some(parent) = chain.first().filter(|_| !self.has(Defect::TakesAMissingParent)) {
            match layers.get(parent.as_str()) {
                None => return Err(absent(parent)),
                Some(record) if record.state != State::Sealed => {
                    return Err(Error::invalid(format!("layer {parent} is not sealed")));
                }
                Some(_) => {}
            }
        }
        match layers.get(request.id.as_str()) {
            Some(there) if there.chain != chain || self.has(Defect::RefusesARepeat) => {
                return Err(Error::already_exists(format!("layer {} is there", request.id)));
            }
            Some(_) if !self.has(Defect::MakesTwice) => return Ok(Made::Existing),
            _ => {}
        }
        let record = Record {
            chain,
            state: State::Open,
            active: false,
            closing: false,
            note: note.clone(),
        };
        layers.insert(request.id.to_string(), record);
        Ok(Made::New)
    }

    fn make_steps(&self, request: &Create) -> Vec<TreeStep> {
        let mut steps = vec![match request.chain.first() {
            Some(parent) if !self.has(Defect::ForgetsTheParent) => TreeStep::Copy {
                from: tree(&parent.id),
                to: tree(&request.id),
            },
            _ => TreeStep::Directory {
                at: tree(&request.id),
                mode: 0o755,
                owner: Owner::ROOT,
                like: None,
            },
        }];
        if let Some(parent) = request.chain.first().filter(|_| self.has(Defect::TouchesTheParent)) {
            steps.push(TreeStep::Remove { at: tree(&parent.id) });
        }
        steps
    }
}

impl Driver for Sim {
    fn describe() -> Description {
        Description {
            name: "sim".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "graph".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![Area {
                template: "{}".into(),
                holds: Holds::Object,
                source: true,
            }],
            options: vec![
                OptionSpec {
                    name: "defect".into(),
                    kind: OptionKind::Text,
                    scope: OptionScope::Driver,
                    required: false,
                    default: None,
                    help: "the fault that is planted".into(),
                },
                trouble::option(),
            ],
            capabilities: capabilities(),
            concurrency: 4,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        let planted = request.options.iter().any(|option| {
            option.name == "defect" && option.as_text().and_then(Defect::named) == Some(Defect::WritesWhenProbed)
        });
        if planted {
            let name = format!("probed-{}", COUNT.fetch_add(1, Ordering::Relaxed));
            std::fs::write(root::path(&request.root_path).join(name), "x")
                .map_err(|e| Error::io("plant a fault", &e))?;
        }
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
                _ if defect == Some(Defect::TakesAnyOption) => {}
                (name, _) => {
                    return Err(Error::invalid(format!(
                        "sim has no option {name}, or not with that value"
                    )));
                }
            }
        }
        trouble.deaf = defect == Some(Defect::IgnoresCancel);
        let root = root::path(&request.root_path);
        let number = root::number(&root, defect == Some(Defect::TakesAForeignRoot))?;
        let layers = if defect == Some(Defect::ForgetsWhenReopened) {
            Arc::default()
        } else {
            Arc::clone(lock(&ROOTS).entry(number).or_default())
        };
        Ok(Self {
            layers,
            root,
            trouble,
            defect,
            was_away: AtomicBool::new(false),
        })
    }
}

impl GraphDriver for Sim {
    fn create(&self, cx: &Context, request: Create) -> Result<Created> {
        if request.chain.len() > MAX_DEPTH as usize && !self.has(Defect::TakesAnyDepth) {
            return Err(Error::exhausted(format!("layer {} is too deep", request.id)));
        }
        self.reach(&request.id)?;
        let note = Note::parse(request.id.as_str().as_bytes())?;
        let outcome = self.enter(&request, &note)?;
        self.meet(cx, &request.id)?;
        Ok(Created {
            outcome,
            content: Content::Empty,
            note,
            steps: self.make_steps(&request),
        })
    }

    fn commit(&self, _cx: &Context, request: Commit) -> Result<Committed> {
        self.find(&request.layer.id, |record| {
            if record.active && !self.has(Defect::CommitsTheActive) {
                return Err(Error::in_use(format!("layer {} is active", request.layer.id)));
            }
            if !self.has(Defect::NeverSeals) {
                record.state = State::Sealed;
            }
            Ok(Committed {
                note: None,
                steps: vec![],
            })
        })
    }

    fn activate(&self, _cx: &Context, request: Activate) -> Result<Activated> {
        let id = &request.layer.id;
        self.reach(id)?;
        let parent: Option<&LayerRef> = request.chain.first();
        let options = if self.has(Defect::ChangesPlans) && COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            vec![MountOption {
                key: "rbind".into(),
                value: OptionText::None,
            }]
        } else {
            vec![]
        };
        self.find(id, |record| {
            if record.state == State::Removing {
                return Err(Error::in_use(format!("layer {id} is being removed")));
            }
            if record.closing && self.has(Defect::RefusesTheDeferred) {
                return Err(Error::in_use(format!("layer {id} is still held")));
            }
            (record.active, record.closing) = (true, false);
            let shown = match parent {
                Some(parent) if self.has(Defect::MountsTheParent) => &parent.id,
                _ => id,
            };
            Ok(Activated {
                plan: MountPlan::single(MountStep {
                    fs: "bind".into(),
                    source: Source::Tree(tree(shown)),
                    lowers: vec![],
                    upper: None,
                    work: None,
                    options,
                    read_only: request.access == Access::Read && !self.has(Defect::WritesWhenReading),
                }),
                whiteouts: Whiteouts::Merged,
            })
        })
    }

    /// Always deferred, as a device that is open in some namespace is: `collect` or the next
    /// activation ends it.
    fn deactivate(&self, _cx: &Context, request: Deactivate) -> Result<Deactivated> {
        let mut layers = lock(&self.layers);
        let outcome = match layers.get_mut(request.layer.id.as_str()) {
            Some(record) if record.active => {
                (record.active, record.closing) = (false, true);
                Ended::Deferred
            }
            _ => Ended::Absent,
        };
        Ok(Deactivated {
            outcome: if self.has(Defect::ForgetsActivation) {
                Ended::Absent
            } else {
                outcome
            },
        })
    }

    /// Deferred while the last activation is not let go: `collect` ends it.
    fn remove(&self, _cx: &Context, request: Remove) -> Result<Removed> {
        let id = &request.layer.id;
        let mut layers = lock(&self.layers);
        let Some(record) = layers.get(id.as_str()) else {
            if self.has(Defect::MissesTheAbsent) {
                return Err(absent(id));
            }
            return Ok(Removed {
                outcome: Ended::Absent,
                steps: vec![TreeStep::Remove { at: tree(id) }],
            });
        };
        if record.active {
            return Err(Error::in_use(format!("layer {id} is active")));
        }
        if layers.values().any(|other| other.chain.first() == Some(id)) && !self.has(Defect::RemovesParents) {
            return Err(Error::in_use(format!("layer {id} has children")));
        }
        if let Some(record) = layers.get_mut(id.as_str()).filter(|record| record.closing) {
            record.state = State::Removing;
            return Ok(Removed {
                outcome: Ended::Deferred,
                steps: vec![],
            });
        }
        layers.remove(id.as_str());
        Ok(Removed {
            outcome: Ended::Done,
            steps: if self.has(Defect::KeepsTheTree) {
                vec![]
            } else {
                vec![TreeStep::Remove { at: tree(id) }]
            },
        })
    }

    fn stat(&self, _cx: &Context, request: Stat) -> Result<Layer> {
        let id = request.id;
        if self.has(Defect::DeniesTheLate) && self.trouble.is("stall", id.as_str()) {
            return Err(absent(&id));
        }
        let record = self.find(&id, |record| Ok(record.clone()))?;
        Ok(self.view(&id, &record))
    }

    fn list(&self, _cx: &Context, request: List) -> Result<Listed> {
        let after = request
            .after
            .filter(|_| !self.has(Defect::RepeatsPages))
            .map(|id| id.to_string())
            .unwrap_or_default();
        let layers = lock(&self.layers);
        let lost = self.has(Defect::LosesItsPlace) && !after.is_empty() && !layers.contains_key(&after);
        let rest: Vec<_> = layers
            .iter()
            .filter(|(id, _)| id.as_str() > after.as_str() && !lost)
            .collect();
        let limit = request.limit as usize;
        Ok(Listed {
            more: rest.len() > limit,
            layers: rest
                .into_iter()
                .take(limit)
                .map(|(id, record)| Ok(self.view(&LayerId::parse(id.clone())?, record)))
                .collect::<Result<_>>()?,
        })
    }

    fn usage(&self, _cx: &Context, request: Usage) -> Result<Used> {
        let (bytes, inodes) = root::usage(&self.root.join(request.layer.id.as_str()))?;
        Ok(Used {
            exclusive: bytes * if self.has(Defect::CountsTwice) { 2 } else { 1 },
            inodes: Some(inodes),
            precise: true,
        })
    }

    /// Finishes one removal a call, and tells which.
    fn collect(&self, _cx: &Context, request: Collect) -> Result<Collected> {
        let mut layers = lock(&self.layers);
        let after = request.after.map(|id| id.to_string()).unwrap_or_default();
        let due: Vec<String> = layers
            .iter()
            .filter(|(id, record)| record.state == State::Removing && id.as_str() > after.as_str())
            .map(|(id, _)| id.clone())
            .collect();
        if self.has(Defect::NeverCollects) || due.is_empty() {
            return Ok(Collected {
                steps: vec![],
                pending: u32::try_from(due.len()).unwrap_or(u32::MAX) + u32::from(self.has(Defect::CollectsForEver)),
                next: None,
            });
        }
        let done = LayerId::parse(due.first().cloned().unwrap_or_default())?;
        layers.remove(done.as_str());
        Ok(Collected {
            steps: if self.has(Defect::KeepsTheTree) {
                vec![]
            } else {
                vec![TreeStep::Remove { at: tree(&done) }]
            },
            pending: u32::try_from(due.len() - 1).unwrap_or(u32::MAX),
            next: (due.len() > 1).then_some(done),
        })
    }
}
