//! A graph driver that lists its layers, copies trees, tracks activations and defers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use longshore_core::Context;
use longshore_core::driver::{
    Area, Capabilities, Description, Driver, Holds, Open, OptionKind, OptionScope, OptionSpec, Probe, Probed, Versions,
};
use longshore_core::graph::{
    Access, Activate, Activated, ChangesSupport, Collect, Collected, Commit, Committed, Content, Create, Created,
    Deactivate, Deactivated, Ended, GraphCapabilities, GraphDriver, Layer, LayerRef, List, Listed, Made, Remove,
    Removed, Stat, State, Whiteouts,
};
use longshore_core::steps::{MountPlan, MountStep, Place, Source, TreeStep};
use longshore_core::types::{LayerId, Note, Owner, RelPath};
use longshore_core::{Error, Result};

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A child does not get its parent's content.
    ForgetsTheParent,
    /// A layer's mount is its parent's tree.
    MountsTheParent,
    /// Removal is said and not done.
    KeepsTheTree,
    /// Removal of what is not there is an error.
    MissesTheAbsent,
    /// Reading is mounted for writing.
    WritesWhenReading,
    /// Removal is not refused for a layer with children.
    RemovesParents,
    /// Making the same layer again is an error.
    RefusesARepeat,
    /// An unknown option is taken.
    TakesAnyOption,
    /// Any depth is taken.
    TakesAnyDepth,
    /// A missing parent is taken.
    TakesAMissingParent,
    /// A commit does not seal.
    NeverSeals,
    /// Listings begin anew at each page.
    RepeatsPages,
    /// Steps touch the parent.
    TouchesTheParent,
    /// A fresh instance knows nothing.
    ForgetsWhenReopened,
    /// The note of a layer changes from call to call.
    ChangesNotes,
}

impl Defect {
    /// All of them, by the name that the option `defect` takes.
    pub const ALL: [(&'static str, Self); 15] = [
        ("forgets-the-parent", Self::ForgetsTheParent),
        ("mounts-the-parent", Self::MountsTheParent),
        ("keeps-the-tree", Self::KeepsTheTree),
        ("misses-the-absent", Self::MissesTheAbsent),
        ("writes-when-reading", Self::WritesWhenReading),
        ("removes-parents", Self::RemovesParents),
        ("refuses-a-repeat", Self::RefusesARepeat),
        ("takes-any-option", Self::TakesAnyOption),
        ("takes-any-depth", Self::TakesAnyDepth),
        ("takes-a-missing-parent", Self::TakesAMissingParent),
        ("never-seals", Self::NeverSeals),
        ("repeats-pages", Self::RepeatsPages),
        ("touches-the-parent", Self::TouchesTheParent),
        ("forgets-when-reopened", Self::ForgetsWhenReopened),
        ("changes-notes", Self::ChangesNotes),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, defect)| *defect)
    }
}

/// Most ancestors of a layer.
const MAX_DEPTH: u32 = 40;

#[derive(Clone, Debug)]
struct Record {
    chain: Vec<LayerId>,
    state: State,
    active: bool,
    note: Note,
}

type Layers = BTreeMap<String, Record>;
type Roots = HashMap<Vec<u8>, Arc<Mutex<Layers>>>;

/// What all instances over one root know, by the root's path: a device-mapper pool outlives the
/// process that opened it.
static ROOTS: LazyLock<Mutex<Roots>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver.
#[derive(Debug)]
pub struct Sim {
    layers: Arc<Mutex<Layers>>,
    defect: Option<Defect>,
}

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

    fn find<T>(&self, id: &LayerId, use_it: impl FnOnce(&mut Record) -> Result<T>) -> Result<T> {
        use_it(lock(&self.layers).get_mut(id.as_str()).ok_or_else(|| absent(id))?)
    }

    fn view(&self, id: &LayerId, record: &Record) -> Layer {
        Layer {
            id: id.clone(),
            parent: record.chain.first().cloned(),
            state: record.state,
            active: record.active,
            note: if self.has(Defect::ChangesNotes) {
                Note::default()
            } else {
                record.note.clone()
            },
        }
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
            options: vec![OptionSpec {
                name: "defect".into(),
                kind: OptionKind::Text,
                scope: OptionScope::Driver,
                required: false,
                default: None,
                help: "the fault that is planted".into(),
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
        let mut defect = None;
        for option in &request.options {
            match (option.name.as_str(), option.as_text().and_then(Defect::named)) {
                ("defect", Some(named)) => defect = Some(named),
                _ if defect == Some(Defect::TakesAnyOption) => {}
                (name, _) => {
                    return Err(Error::invalid(format!(
                        "sim has no option {name}, or not with that value"
                    )));
                }
            }
        }
        let layers = if defect == Some(Defect::ForgetsWhenReopened) {
            Arc::default()
        } else {
            Arc::clone(lock(&ROOTS).entry(request.root_path.as_bytes().to_vec()).or_default())
        };
        Ok(Self { layers, defect })
    }
}

impl GraphDriver for Sim {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        if request.chain.len() > MAX_DEPTH as usize && !self.has(Defect::TakesAnyDepth) {
            return Err(Error::exhausted(format!("layer {} is too deep", request.id)));
        }
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
        let note = Note::parse(request.id.as_str().as_bytes())?;
        let outcome = match layers.get(request.id.as_str()) {
            Some(there) if there.chain != chain || self.has(Defect::RefusesARepeat) => {
                return Err(Error::already_exists(format!("layer {} is there", request.id)));
            }
            Some(_) => Made::Existing,
            None => {
                let record = Record {
                    chain,
                    state: State::Open,
                    active: false,
                    note: note.clone(),
                };
                layers.insert(request.id.to_string(), record);
                Made::New
            }
        };
        Ok(Created {
            outcome,
            content: Content::Empty,
            note,
            steps: self.make_steps(&request),
        })
    }

    fn commit(&self, _cx: &Context, request: Commit) -> Result<Committed> {
        self.find(&request.layer.id, |record| {
            if record.active {
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
        let parent: Option<&LayerRef> = request.chain.first();
        self.find(&request.layer.id, |record| {
            record.active = true;
            let shown = match parent {
                Some(parent) if self.has(Defect::MountsTheParent) => &parent.id,
                _ => &request.layer.id,
            };
            Ok(Activated {
                plan: MountPlan::single(MountStep {
                    fs: "bind".into(),
                    source: Source::Tree(tree(shown)),
                    lowers: vec![],
                    upper: None,
                    work: None,
                    options: vec![],
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
                record.active = false;
                Ended::Deferred
            }
            _ => Ended::Absent,
        };
        Ok(Deactivated { outcome })
    }

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
        let rest: Vec<_> = layers.iter().filter(|(id, _)| id.as_str() > after.as_str()).collect();
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

    fn collect(&self, _cx: &Context, _request: Collect) -> Result<Collected> {
        Ok(Collected {
            steps: vec![],
            pending: 0,
            next: None,
        })
    }
}
