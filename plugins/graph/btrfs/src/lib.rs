//! The btrfs graph driver: every layer a subvolume, a child the snapshot of its parent.
//!
//! It acts: `create`, `commit` and `remove` are ioctls on the root that `open` was given, done when
//! the call returns; only mounting is left to the host, as a bind of the subvolume. All that it knows
//! stands in the file system (the read-only flag, the parent's UUID), so any instance continues what
//! another began. [`subvolume`] is the technology, [`usage`] counts, [`walk`] reads trees,
//! [`probe`] judges.
#![forbid(unsafe_code)]

mod probe;
mod subvolume;
mod usage;
mod walk;

use longshore_plugin::Context;
use longshore_plugin::driver::{Area, Capabilities, Description, Driver, Holds, Open, Probe, Probed, Versions};
use longshore_plugin::graph::{
    Access, Activate, Activated, ChangesSupport, Commit, Committed, Content, Create, Created, Ended, GraphCapabilities,
    GraphDriver, Layer, List, Listed, Made, Remove, Removed, Stat, State, Usage, Used, Whiteouts,
};
use longshore_plugin::steps::{MountPlan, MountStep, Place, Source, TreeStep};
use longshore_plugin::types::{LayerId, Note, RelPath};
use longshore_plugin::{Error, ErrorKind, Result};

use crate::subvolume::{Store, Subvolume};

/// Snapshots have no technical limit; the contract's chains have.
const MAX_DEPTH: u32 = 499;
/// Most layers of one page of `list`.
const MAX_PAGE: u32 = 1000;

/// The driver over one root.
#[derive(Debug)]
pub struct Btrfs {
    store: Store,
}

fn capabilities() -> Capabilities {
    Capabilities::Graph(GraphCapabilities {
        acts: true,
        tracks_activation: false,
        changes: ChangesSupport::No,
        max_depth: MAX_DEPTH,
        independent_layers: false,
        activate_chain: false,
        lists: true,
    })
}

fn place(id: &LayerId) -> Place {
    Place::object(0, id.as_str(), RelPath::root())
}

impl Btrfs {
    fn layer(&self, id: &LayerId) -> Result<Subvolume> {
        self.store
            .find(id)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no layer {id}")))
    }

    fn describe_layer(&self, id: LayerId, found: &Subvolume) -> Result<Layer> {
        Ok(Layer {
            parent: self.store.parent(found)?,
            state: if found.is_sealed()? { State::Sealed } else { State::Open },
            active: false,
            note: Note::default(),
            id,
        })
    }
}

impl Driver for Btrfs {
    fn describe() -> Description {
        Description {
            name: "btrfs".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "graph".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![Area {
                template: subvolume::TEMPLATE.into(),
                holds: Holds::Object,
                source: true,
            }],
            options: vec![],
            capabilities: capabilities(),
            concurrency: 8,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        let reasons = probe::judge(&request.facts);
        Ok(Probed {
            usable: reasons.is_empty(),
            reasons,
            capabilities: capabilities(),
        })
    }

    fn open(cx: &Context, request: Open) -> Result<Self> {
        if let Some(option) = request.options.first() {
            return Err(Error::invalid(format!(
                "btrfs has no option {}; it has none",
                option.name
            )));
        }
        let root = request
            .root
            .ok_or_else(|| Error::invalid("btrfs acts by itself, and was given no root to act on"))?;
        Ok(Self {
            store: Store::open(cx.take(root)?)?,
        })
    }
}

impl GraphDriver for Btrfs {
    fn create(&self, _cx: &Context, request: Create) -> Result<Created> {
        let id = &request.id;
        if request.chain.len() > MAX_DEPTH as usize {
            return Err(Error::exhausted(format!(
                "layer {id} would have {} ancestors; the most is {MAX_DEPTH}",
                request.chain.len()
            )));
        }
        let parent = request.chain.first().map(|parent| &parent.id);
        let outcome = match self.existing(id, parent)? {
            Some(outcome) => outcome,
            None => match self.make(id, parent) {
                Ok(()) => Made::New,
                // Another call was a moment faster.
                Err(error) => self.existing(id, parent)?.ok_or(error)?,
            },
        };
        Ok(Created {
            outcome,
            content: Content::Empty,
            note: Note::default(),
            steps: vec![],
        })
    }

    fn commit(&self, _cx: &Context, request: Commit) -> Result<Committed> {
        self.layer(&request.layer.id)?.seal()?;
        Ok(Committed {
            note: None,
            steps: vec![],
        })
    }

    fn activate(&self, _cx: &Context, request: Activate) -> Result<Activated> {
        let id = &request.layer.id;
        let read_only = match request.access {
            Access::Unpack | Access::Write => false,
            Access::Read => true,
            Access::Unknown => return Err(Error::unsupported("btrfs does not know this access")),
        };
        if self.layer(id)?.is_sealed()? && !read_only {
            return Err(Error::invalid(format!("layer {id} is sealed and never written again")));
        }
        Ok(Activated {
            plan: MountPlan::single(MountStep {
                fs: "bind".into(),
                source: Source::Tree(place(id)),
                lowers: vec![],
                upper: None,
                work: None,
                options: vec![],
                read_only,
            }),
            whiteouts: Whiteouts::Merged,
        })
    }

    fn remove(&self, cx: &Context, request: Remove) -> Result<Removed> {
        let id = &request.layer.id;
        let mut steps = vec![];
        let outcome = match self.store.find(id) {
            Ok(None) => Ended::Absent,
            Ok(Some(found)) => {
                if let Some(child) = self.store.child_of(&found)? {
                    return Err(Error::new(ErrorKind::InUse, format!("layer {id} has a child, {child}")));
                }
                found.remove(cx)?;
                Ended::Done
            }
            // What is no subvolume needs no ioctl.
            Err(error) if error.kind == ErrorKind::Corrupt => {
                steps.push(TreeStep::Remove { at: place(id) });
                Ended::Done
            }
            Err(error) => return Err(error),
        };
        Ok(Removed { outcome, steps })
    }

    fn stat(&self, _cx: &Context, request: Stat) -> Result<Layer> {
        let found = self.layer(&request.id)?;
        self.describe_layer(request.id, &found)
    }

    fn list(&self, cx: &Context, request: List) -> Result<Listed> {
        let limit = request.limit.clamp(1, MAX_PAGE) as usize;
        let mut ids = self.store.ids()?;
        ids.retain(|id| request.after.as_ref().is_none_or(|after| id > after));
        let more = ids.len() > limit;
        ids.truncate(limit);
        let mut layers = Vec::with_capacity(ids.len());
        for id in ids {
            cx.check()?;
            // One that was removed meanwhile may be missing from a page.
            if let Some(found) = self.store.find(&id)? {
                layers.push(self.describe_layer(id, &found)?);
            }
        }
        Ok(Listed { layers, more })
    }

    fn usage(&self, cx: &Context, request: Usage) -> Result<Used> {
        let found = self.layer(&request.layer.id)?;
        usage::count(cx, &found)
    }
}

impl Btrfs {
    /// Whether the layer is there, over that parent.
    fn existing(&self, id: &LayerId, parent: Option<&LayerId>) -> Result<Option<Made>> {
        match self.store.find(id)? {
            None => Ok(None),
            Some(found) if self.store.parent(&found)?.as_ref() == parent => Ok(Some(Made::Existing)),
            Some(_) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("layer {id} is there, over another parent"),
            )),
        }
    }

    fn make(&self, id: &LayerId, parent: Option<&LayerId>) -> Result<()> {
        let Some(parent) = parent else {
            return self.store.create(id);
        };
        let found = self.store.find(parent)?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("layer {parent}, the parent of {id}, is not there"),
            )
        })?;
        if !found.is_sealed()? {
            return Err(Error::invalid(format!(
                "layer {parent}, the parent of {id}, is not sealed yet"
            )));
        }
        self.store.snapshot(&found, id)
    }
}

longshore_plugin::export! {
    driver: Btrfs,
    kind: graph,
    name: "btrfs",
    version: env!("CARGO_PKG_VERSION"),
    grants: ["acts"],
}
