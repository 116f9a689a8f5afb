//! A graph driver over its root: its answers, performed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::{Area, Holds, OptionValue};
use longshore_core::graph::{
    Access, Activate, Activated, Commit, Create, Created, Deactivate, GraphCapabilities, GraphDriver, LayerRef, Remove,
    Role, Usage, Used, Whiteouts,
};
use longshore_core::steps::{Place, TreeStep};
use longshore_core::types::{LayerId, RelPath};
use longshore_loader::Loaded;
use longshore_performer::plan::{self, PlanScope};
use longshore_performer::root::Root;
use longshore_performer::tree::{self, Scope};

use super::probe;
use crate::error::{Error, Result};
use crate::paths::{Paths, make_dir};

/// An open graph driver.
pub(crate) struct GraphSlot {
    pub(crate) name: String,
    pub(crate) folder: String,
    pub(crate) capabilities: GraphCapabilities,
    areas: Vec<Area>,
    grants: Vec<String>,
    driver: Arc<dyn GraphDriver>,
    root: Root,
}

impl std::fmt::Debug for GraphSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphSlot")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl GraphSlot {
    pub(super) fn open(found: &Loaded, paths: &Paths, options: Vec<OptionValue>) -> Result<Self> {
        let description = found.description();
        let folder = description.folder.clone().unwrap_or_else(|| description.name.clone());
        let path = paths.driver(&folder);
        make_dir(&path, 0o710)?;
        let root = Root::open(&path)?;
        let probed = probe(found, &root, &path, &options)?;
        if !probed.usable {
            let reason = probed.reasons.first();
            return Err(Error::unavailable(format!(
                "graph driver {} cannot work here: {}",
                description.name,
                reason.map_or("it does not say why", |r| r.what.as_str())
            ))
            .hint(reason.map_or_else(String::new, |r| r.remedy.clone())));
        }
        let driver = found.open_graph(super::folder_of(&root)?, &path, options)?;
        Ok(Self {
            name: description.name.clone(),
            folder,
            capabilities: probed.capabilities.graph()?.clone(),
            areas: description.areas.clone(),
            grants: super::grants(found),
            driver,
            root,
        })
    }

    /// Deletes what removals had moved aside before a crash: before the first removal of this engine.
    pub(super) fn empty_trash(&self) -> Result<()> {
        tree::empty_trash(&self.root)?;
        Ok(())
    }

    fn perform(&self, object: &LayerId, chain: &[LayerRef], steps: &[TreeStep]) -> Result<()> {
        let ancestors: Vec<&str> = chain.iter().map(|layer| layer.id.as_str()).collect();
        let scope = Scope {
            root: &self.root,
            areas: &self.areas,
            object: object.as_str(),
            ancestors: &ancestors,
            clone_source: None,
        };
        Ok(tree::perform_steps(steps, &scope)?)
    }

    /// Asks how a layer would be made; nothing is performed.
    pub(crate) fn ask_create(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> Result<Created> {
        Ok(self.driver.create(
            &Context::background(),
            Create {
                id: id.clone(),
                chain: chain.to_vec(),
                role,
                options: Vec::new(),
            },
        )?)
    }

    /// Asks how a layer would be mounted; nothing is performed.
    pub(crate) fn ask_activate(&self, layer: &LayerRef, chain: &[LayerRef], access: Access) -> Result<Activated> {
        let depth = u16::try_from(chain.len())
            .map_err(|_| Error::invalid(format!("layer {} has too many ancestors", layer.id)))?;
        Ok(self.driver.activate(
            &Context::background(),
            Activate {
                layer: layer.clone(),
                depth,
                chain: if self.capabilities.activate_chain {
                    chain.to_vec()
                } else {
                    Vec::new()
                },
                access,
            },
        )?)
    }

    /// A reference to a layer that is not there, with the note that the driver would give it.
    pub(crate) fn stand_in(&self, id: LayerId) -> Result<LayerRef> {
        let note = self.ask_create(&id, &[], Role::Layer)?.note;
        Ok(LayerRef { id, note })
    }

    /// Makes a layer, or completes a half-made one.
    pub(crate) fn create(&self, id: &LayerId, chain: &[LayerRef], role: Role) -> Result<LayerRef> {
        if chain.len() > self.capabilities.max_depth as usize {
            return Err(Error::new(
                longshore_core::ErrorKind::Exhausted,
                format!(
                    "the image has {} layers; graph driver {} stacks at most {}",
                    chain.len(),
                    self.name,
                    self.capabilities.max_depth
                ),
            ));
        }
        let created = self.ask_create(id, chain, role)?;
        self.perform(id, chain, &created.steps)?;
        Ok(LayerRef {
            id: id.clone(),
            note: created.note,
        })
    }

    /// Makes sure that a container's layer is there, whole, after a crash that may have cut its making.
    pub(crate) fn ensure_container(&self, layer: &LayerRef, chain: &[LayerRef]) -> Result<LayerRef> {
        self.create(&layer.id, chain, Role::Container)
    }

    /// Seals a layer.
    pub(crate) fn commit(&self, layer: &mut LayerRef, chain: &[LayerRef]) -> Result<()> {
        let committed = self.driver.commit(
            &Context::background(),
            Commit {
                layer: layer.clone(),
                chain: chain.to_vec(),
            },
        )?;
        self.perform(&layer.id, chain, &committed.steps)?;
        if let Some(note) = committed.note {
            layer.note = note;
        }
        Ok(())
    }

    /// Mounts a layer: the detached mount, and how the tree stands for removals.
    pub(crate) fn activate(
        &self,
        layer: &LayerRef,
        chain: &[LayerRef],
        access: Access,
    ) -> Result<(OwnedFd, Whiteouts)> {
        let activated = self.ask_activate(layer, chain, access)?;
        let ancestors: Vec<&str> = chain.iter().map(|layer| layer.id.as_str()).collect();
        let grants: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let scope = PlanScope {
            grants: &grants,
            ..PlanScope::new(&self.root, &self.areas, layer.id.as_str(), &ancestors)
        };
        let checked = plan::check_plan(&activated.plan, &scope, access.try_into()?)?;
        Ok((plan::build(checked)?, activated.whiteouts))
    }

    /// Ends an activation, where the driver wants to know.
    pub(crate) fn deactivate(&self, layer: &LayerRef, access: Access) -> Result<()> {
        if self.capabilities.tracks_activation {
            self.driver.deactivate(
                &Context::background(),
                Deactivate {
                    layer: layer.clone(),
                    access,
                },
            )?;
        }
        Ok(())
    }

    /// Removes a layer; one that is not there is removed.
    pub(crate) fn remove(&self, layer: &LayerRef, chain: &[LayerRef]) -> Result<()> {
        let removed = self.driver.remove(
            &Context::background(),
            Remove {
                layer: layer.clone(),
                chain: chain.to_vec(),
            },
        )?;
        self.perform(&layer.id, chain, &removed.steps)
    }

    /// The folders that are a layer's own, by their areas' numbers.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub(crate) fn folders(&self, id: &LayerId) -> Result<Vec<(usize, OwnedFd)>> {
        let mut folders = Vec::new();
        for (number, area) in self.areas.iter().enumerate() {
            let Some(at) = u8::try_from(number).ok().filter(|_| area.holds == Holds::Object) else {
                continue;
            };
            match self
                .root
                .open_place(&self.areas, &Place::object(at, id.as_str(), RelPath::root()))
            {
                Ok(folder) => folders.push((number, folder)),
                Err(error) if error.kind == longshore_core::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        if folders.is_empty() {
            return Err(Error::not_found(format!(
                "layer {id} is not in the folder of graph driver {}",
                self.name
            )));
        }
        Ok(folders)
    }

    /// The layers whose folders are in the driver's first area.
    pub(crate) fn layers(&self) -> Result<Vec<String>> {
        let Some(area) = self.areas.iter().find(|area| area.holds == Holds::Object) else {
            return Ok(Vec::new());
        };
        let folder: Vec<&str> = std::str::from_utf8(area.template.as_bytes())
            .unwrap_or_default()
            .split('/')
            .take_while(|part| *part != "{}")
            .collect();
        let folder = match self.root.open_beneath(
            folder.join("/").as_bytes(),
            longshore_sys::path::OFlags::RDONLY | longshore_sys::path::OFlags::DIRECTORY,
        ) {
            Err(error) if error.kind == longshore_core::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut found = Vec::new();
        longshore_performer::source::walk(std::os::fd::AsFd::as_fd(&folder), |entry| {
            if entry.path.is_empty() {
                return Ok(longshore_performer::source::Next::Continue);
            }
            if let Ok(name) = std::str::from_utf8(entry.path)
                && LayerId::parse(name.to_owned()).is_ok()
                && entry.metadata.is_directory()
            {
                found.push(name.to_owned());
            }
            Ok(longshore_performer::source::Next::Skip)
        })?;
        Ok(found)
    }

    /// What removing a layer would free: the driver's own word, else counted in its folders.
    pub(crate) fn usage(&self, layer: &LayerRef, chain: &[LayerRef]) -> Result<Used> {
        let asked = self.driver.usage(
            &Context::background(),
            Usage {
                layer: layer.clone(),
                chain: chain.to_vec(),
            },
        );
        match asked {
            Err(error) if error.kind == longshore_core::ErrorKind::Unsupported => {}
            told => return Ok(told?),
        }
        let mut all = Used {
            exclusive: 0,
            inodes: Some(0),
            precise: true,
        };
        for (_, folder) in self.folders(&layer.id)? {
            let used = longshore_performer::source::usage(std::os::fd::AsFd::as_fd(&folder))?;
            all.exclusive = all.exclusive.saturating_add(used.exclusive);
            all.inodes = all.inodes.zip(used.inodes).map(|(a, b)| a + b);
            all.precise &= used.precise;
        }
        Ok(all)
    }

    /// Flushes the file system of the driver's root.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.root.sync()?)
    }
}
