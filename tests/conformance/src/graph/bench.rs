//! One case's driver, and the host's part of its calls in short words.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use longshore_core::Context;
use longshore_core::graph::{
    Access, Activate, Activated, Collect, Commit, Create, Created, Deactivate, Ended, GraphCapabilities, GraphDriver,
    LayerRef, Remove, Removed, Role, Stat, Whiteouts,
};
use longshore_core::steps::{Place as At, TreeStep};
use longshore_core::types::{LayerId, RelPath};
use longshore_performer::plan::{self, PlanScope};
use longshore_performer::root::Tree;
use longshore_performer::sink::{Below, TreeSink};
use longshore_performer::tree::{self, Scope};

use super::{Result, id, names};
use crate::host::{Place, grants, inside, tree as lines, unusable};
use crate::trouble::{self, Trouble};
use crate::{Failure, Target};

/// One case's driver over its fresh root.
#[derive(Debug)]
pub struct Bench {
    pub(super) target: Target,
    pub(super) place: Place,
    pub(super) grants: Vec<String>,
    pub(super) capabilities: GraphCapabilities,
    pub(super) unusable: Option<String>,
}

/// A layer that a case made: its reference and its chain.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    pub(super) layer: LayerRef,
    pub(super) chain: Vec<LayerRef>,
}

impl Filled {
    /// The chain of a child.
    pub(super) fn below(&self) -> Vec<LayerRef> {
        let mut chain = vec![self.layer.clone()];
        chain.extend(self.chain.clone());
        chain
    }

    /// Its parent as it was made.
    pub(super) fn parent(&self) -> Option<Self> {
        let (parent, rest) = self.chain.split_first()?;
        Some(Self {
            layer: parent.clone(),
            chain: rest.to_vec(),
        })
    }
}

impl Bench {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        Self::over(target, Place::new(target.folder.as_deref())?)
    }

    /// Another bench of the same driver, over a small file system in memory.
    pub(super) fn in_memory(&self, size: u64, files: u64) -> Result<Self> {
        Self::over(&self.target, Place::in_memory(size, files)?)
    }

    fn over(target: &Target, place: Place) -> Result<Self> {
        Ok(Self {
            unusable: unusable(&target.loaded, &place, &target.options)?,
            grants: grants(&target.loaded),
            capabilities: target.loaded.description().capabilities.graph()?.clone(),
            target: target.clone(),
            place,
        })
    }

    /// A fresh instance: any call may reach one.
    pub(super) fn driver(&self) -> Result<Arc<dyn GraphDriver>> {
        let options = trouble::options(self.target.loaded.description(), &self.target.options, &self.place.path);
        Ok(self
            .target
            .loaded
            .open_graph(self.place.descriptor()?, &self.place.path, options)?)
    }

    /// Puts the driver's backend in trouble; for cases that [`super::troubles`] guards.
    pub(super) fn trouble(&self, text: &str) -> Result<Trouble> {
        Trouble::make(&self.place.path, text)
    }

    pub(super) fn perform(&self, object: &LayerId, chain: &[LayerRef], steps: &[TreeStep]) -> Result<()> {
        self.perform_until(object, chain, steps, steps.len())
    }

    pub(super) fn perform_until(
        &self,
        object: &LayerId,
        chain: &[LayerRef],
        steps: &[TreeStep],
        count: usize,
    ) -> Result<()> {
        let ancestors = names(chain);
        Ok(tree::perform_steps_until(
            steps,
            &self.scope(object, &ancestors),
            count,
        )?)
    }

    pub(super) fn scope<'a>(&'a self, object: &'a LayerId, ancestors: &'a [&'a str]) -> Scope<'a> {
        Scope {
            root: &self.place.root,
            areas: &self.target.loaded.description().areas,
            object: object.as_str(),
            ancestors,
            clone_source: None,
        }
    }

    pub(super) fn ask(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> longshore_core::Result<Created> {
        let driver = self.driver().map_err(|failure| match failure {
            Failure::Driver(error) => error,
            other => longshore_core::Error::broken(other.to_string()),
        })?;
        driver.create(&Context::background(), request(id, chain, role))
    }

    pub(super) fn create(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> Result<Filled> {
        let created = self.ask(id, chain, role)?;
        self.perform(id, chain, &created.steps)?;
        Ok(Filled {
            layer: LayerRef {
                id: id.clone(),
                note: created.note,
            },
            chain: chain.to_vec(),
        })
    }

    pub(super) fn plan(&self, made: &Filled, access: Access) -> Result<Activated> {
        Ok(self.driver()?.activate(
            &Context::background(),
            Activate {
                layer: made.layer.clone(),
                depth: u16::try_from(made.chain.len()).unwrap_or(u16::MAX),
                chain: if self.capabilities.activate_chain {
                    made.chain.clone()
                } else {
                    vec![]
                },
                access,
            },
        )?)
    }

    pub(super) fn build(&self, made: &Filled, activated: &Activated, access: Access) -> Result<OwnedFd> {
        let ancestors = names(&made.chain);
        let granted: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let scope = PlanScope {
            grants: &granted,
            ..PlanScope::new(
                &self.place.root,
                &self.target.loaded.description().areas,
                made.layer.id.as_str(),
                &ancestors,
            )
        };
        let checked = plan::check_plan(&activated.plan, &scope, access.try_into()?)?;
        Ok(plan::build(checked)?)
    }

    pub(super) fn mount(&self, made: &Filled, access: Access) -> Result<(OwnedFd, Whiteouts)> {
        let activated = self.plan(made, access)?;
        match self.build(made, &activated, access) {
            Ok(mount) => Ok((mount, activated.whiteouts)),
            Err(failure) => {
                self.release(made, access)?;
                Err(failure)
            }
        }
    }

    pub(super) fn release(&self, made: &Filled, access: Access) -> Result<Ended> {
        if !self.capabilities.tracks_activation {
            return Ok(Ended::Done);
        }
        Ok(self
            .driver()?
            .deactivate(
                &Context::background(),
                Deactivate {
                    layer: made.layer.clone(),
                    access,
                },
            )?
            .outcome)
    }

    /// Mounts, uses, releases.
    pub(super) fn with<T>(&self, made: &Filled, access: Access, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let (mount, _) = self.mount(made, access)?;
        let result = work(&inside(&mount, ""));
        drop(mount);
        self.release(made, access)?;
        result
    }

    /// What an unpacker sees below a layer.
    pub(super) fn what_is_below(&self, made: &Filled, whiteouts: Whiteouts) -> Result<Below> {
        match made.parent() {
            None => Ok(Below::Nothing),
            Some(_) if whiteouts == Whiteouts::Merged => Ok(Below::Unknown),
            Some(parent) => Ok(Below::Tree(Tree::new(self.mount(&parent, Access::Read)?.0)?)),
        }
    }

    /// Fills a layer as an unpacker does.
    pub(super) fn fill(&self, made: &Filled, work: impl FnOnce(&mut TreeSink) -> Result<()>) -> Result<()> {
        let (mount, whiteouts) = self.mount(made, Access::Unpack)?;
        let filled = self.what_is_below(made, whiteouts).and_then(|below| {
            let mut sink = TreeSink::new(mount, whiteouts, below)?;
            work(&mut sink)?;
            sink.finish()?;
            Ok(())
        });
        self.release(made, Access::Unpack)?;
        filled
    }

    pub(super) fn commit(&self, made: &Filled) -> Result<()> {
        let committed = self.driver()?.commit(
            &Context::background(),
            Commit {
                layer: made.layer.clone(),
                chain: made.chain.clone(),
            },
        )?;
        self.perform(&made.layer.id, &made.chain, &committed.steps)
    }

    /// A sealed layer with what `work` puts in.
    pub(super) fn sealed(
        &self,
        letter: char,
        chain: &[LayerRef],
        work: impl FnOnce(&mut TreeSink) -> Result<()>,
    ) -> Result<Filled> {
        let made = self.create(&id(letter), chain, Role::Layer)?;
        self.fill(&made, work)?;
        self.commit(&made)?;
        Ok(made)
    }

    pub(super) fn container(&self, letter: char, chain: &[LayerRef]) -> Result<Filled> {
        self.create(&id(letter), chain, Role::Container)
    }

    /// The driver's answer to a removal, not performed.
    pub(super) fn ask_removal(&self, made: &Filled) -> Result<Removed> {
        Ok(self.driver()?.remove(
            &Context::background(),
            Remove {
                layer: made.layer.clone(),
                chain: made.chain.clone(),
            },
        )?)
    }

    /// Removes a layer, and collects when that is deferred, as a host does.
    pub(super) fn remove(&self, made: &Filled) -> Result<Ended> {
        let removed = self.ask_removal(made)?;
        self.perform(&made.layer.id, &made.chain, &removed.steps)?;
        if removed.outcome == Ended::Deferred {
            self.collect()?;
        }
        Ok(removed.outcome)
    }

    /// Lets the driver finish what it deferred; answers what is pending still.
    pub(super) fn collect(&self) -> Result<u32> {
        let mut after = None;
        loop {
            let collected = self.driver()?.collect(&Context::background(), Collect { after })?;
            // Steps of one answer are of one layer, which its first place names.
            if let Some(layer) = collected.steps.first().and_then(object) {
                self.perform(&LayerId::parse(layer)?, &[], &collected.steps)?;
            }
            match collected.next {
                None => return Ok(collected.pending),
                next => after = next,
            }
        }
    }

    pub(super) fn is_there(&self, made: &Filled) -> Result<bool> {
        let at = At::object(0, made.layer.id.as_str(), RelPath::root());
        Ok(self
            .place
            .root
            .has_place(&self.target.loaded.description().areas, &at)?)
    }

    /// What the host holds for true: the driver's list where it keeps one, else the areas.
    pub(super) fn is_known(&self, made: &Filled) -> Result<bool> {
        if !self.capabilities.lists {
            return self.is_there(made);
        }
        let request = Stat {
            id: made.layer.id.clone(),
        };
        match self.driver()?.stat(&Context::background(), request) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == longshore_core::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn read(&self, made: &Filled) -> Result<Vec<String>> {
        self.with(made, Access::Read, lines)
    }

    /// The root as it lies on disk.
    pub(super) fn on_disk(&self) -> Result<Vec<String>> {
        lines(&self.place.path)
    }

    pub(super) fn text(&self, made: &Filled, access: Access, path: &str) -> Result<String> {
        self.with(made, access, |top| Ok(fs::read_to_string(top.join(path))?))
    }
}

pub(super) fn request(id: &LayerId, chain: &[LayerRef], role: Role) -> Create {
    Create {
        id: id.clone(),
        chain: chain.to_vec(),
        role,
        options: vec![],
    }
}

/// The object of a step's place.
fn object(step: &TreeStep) -> Option<&str> {
    place(step).object.as_deref()
}

/// Where a step works.
pub(super) fn place(step: &TreeStep) -> &At {
    match step {
        TreeStep::Directory { at, .. }
        | TreeStep::File { at, .. }
        | TreeStep::Symlink { at, .. }
        | TreeStep::Remove { at }
        | TreeStep::Attribute { at, .. } => at,
        TreeStep::Rename { to, .. } | TreeStep::Copy { to, .. } => to,
    }
}
