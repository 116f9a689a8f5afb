//! A volume driver over its root: its answers, performed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::{ANY_OPTION, Area, Holds, OptionKind, OptionScope, OptionSpec, OptionValue};
use longshore_core::steps::{Place, TreeStep};
use longshore_core::types::{MountId, Note, RelPath, VolumeName};
use longshore_core::volume::{Access, Create, Mount, Mounted, Remove, Unmount, VolumeDriver, VolumeRef};
use longshore_loader::Loaded;
use longshore_performer::plan::{self, PlanScope, Secrets};
use longshore_performer::root::Root;
use longshore_performer::tree::{self, Scope};

use crate::error::{Error, Result};
use crate::paths::{Paths, make_dir};

/// An open volume driver.
pub(crate) struct VolumeSlot {
    pub(crate) name: String,
    areas: Vec<Area>,
    options: Vec<OptionSpec>,
    grants: Vec<String>,
    tracks_mounts: bool,
    driver: Arc<dyn VolumeDriver>,
    root: Root,
    data_root: std::path::PathBuf,
    components: super::Components,
}

impl std::fmt::Debug for VolumeSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeSlot")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl VolumeSlot {
    pub(super) fn open(
        found: &Loaded,
        paths: &Paths,
        components: super::Components,
        options: Vec<OptionValue>,
    ) -> Result<Self> {
        Self::open_granted(found, paths, components, options, super::grants(found))
    }

    /// As [`Self::open`], with these grants in place of the manifest's.
    pub(super) fn open_granted(
        found: &Loaded,
        paths: &Paths,
        components: super::Components,
        options: Vec<OptionValue>,
        grants: Vec<String>,
    ) -> Result<Self> {
        let description = found.description();
        let folder = description.folder.clone().unwrap_or_else(|| description.name.clone());
        let path = paths.driver(&folder);
        make_dir(&path, 0o701)?;
        let root = Root::open(&path)?;
        let driver = found.open_volume(super::folder_of(&root)?, &path, options)?;
        tree::empty_trash(&root)?;
        Ok(Self {
            name: description.name.clone(),
            areas: description.areas.clone(),
            options: description.options.clone(),
            grants,
            tracks_mounts: description.capabilities.volume()?.tracks_mounts,
            driver,
            root,
            data_root: paths.data.clone(),
            components,
        })
    }

    /// The options that the driver lists.
    pub(crate) fn options(&self) -> &[OptionSpec] {
        &self.options
    }

    /// Refuses an option that the driver does not list.
    pub(crate) fn check_options(&self, values: &[OptionValue]) -> Result<()> {
        let known = || self.options.iter().filter(|spec| spec.scope == OptionScope::Object);
        for value in values {
            if !known().any(|spec| spec.name == value.name || spec.name == ANY_OPTION) {
                let names: Vec<&str> = known().map(|spec| spec.name.as_str()).collect();
                return Err(
                    Error::invalid(format!("volume driver {} has no option {:?}", self.name, value.name))
                        .hint(format!("its options are {}", names.join(", "))),
                );
            }
        }
        Ok(())
    }

    fn perform(&self, name: &VolumeName, steps: &[TreeStep]) -> Result<()> {
        let scope = Scope {
            root: &self.root,
            areas: &self.areas,
            object: name.as_str(),
            ancestors: &[],
            clone_source: None,
        };
        Ok(tree::perform_steps(steps, &scope)?)
    }

    /// Makes a volume, or completes a half-made one. Answers the driver's note.
    pub(crate) fn create(&self, name: &VolumeName, options: Vec<OptionValue>) -> Result<Note> {
        let created = self.driver.create(
            &Context::background(),
            Create {
                name: name.clone(),
                options,
            },
        )?;
        self.perform(name, &created.steps)?;
        Ok(created.note)
    }

    /// Removes a volume; one that is not there is removed.
    pub(crate) fn remove(&self, volume: &VolumeRef, force: bool) -> Result<()> {
        let removed = self.driver.remove(
            &Context::background(),
            Remove {
                volume: volume.clone(),
                force,
            },
        )?;
        self.perform(&volume.name, &removed.steps)
    }

    /// Mounts a volume: the detached mount, and what the driver said of it.
    pub(crate) fn mount(
        &self,
        volume: &VolumeRef,
        id: &MountId,
        read_only: bool,
        others: usize,
        secrets: Secrets<'_>,
    ) -> Result<(OwnedFd, Mounted)> {
        let mounted = self.driver.mount(
            &Context::background(),
            Mount {
                volume: volume.clone(),
                mount_id: id.clone(),
                access: if read_only { Access::Read } else { Access::Write },
                others: u32::try_from(others).unwrap_or(u32::MAX),
            },
        )?;
        let host_paths: Vec<&[u8]> = self
            .options
            .iter()
            .filter(|spec| spec.kind == OptionKind::HostPath)
            .filter_map(|spec| volume.options.iter().find(|option| option.name == spec.name))
            .filter_map(|option| option.as_text().map(str::as_bytes))
            .collect();
        let grants: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let private = [self.data_root.as_path()];
        let scope = PlanScope {
            volume: true,
            grants: &grants,
            host_paths: &host_paths,
            private: &private,
            secrets: Some(secrets),
            ..PlanScope::new(&self.root, &self.areas, volume.name.as_str(), &[])
        };
        let access = if read_only {
            plan::Access::Read
        } else {
            plan::Access::Write
        };
        let checked = plan::check_plan(&mounted.plan, &scope, access)?;
        Ok((super::perform::build(checked, &self.components)?, mounted))
    }

    /// Whether the driver counts its mounts, and is told when one ends.
    pub(crate) fn tracks_mounts(&self) -> bool {
        self.tracks_mounts
    }

    /// Tells the driver that a mount has ended; one that it does not know has.
    pub(crate) fn unmount(&self, volume: &VolumeRef, id: &MountId, others: usize) -> Result<()> {
        self.driver.unmount(
            &Context::background(),
            Unmount {
                volume: volume.clone(),
                mount_id: id.clone(),
                others: u32::try_from(others).unwrap_or(u32::MAX),
            },
        )?;
        Ok(())
    }

    /// What lies in a volume's folders of the driver's root.
    pub(crate) fn usage(&self, name: &VolumeName) -> Result<u64> {
        let mut all = 0_u64;
        for (number, area) in self.areas.iter().enumerate() {
            let Some(at) = u8::try_from(number).ok().filter(|_| area.holds == Holds::Object) else {
                continue;
            };
            let place = Place::object(at, name.as_str(), RelPath::root());
            if self.root.has_place(&self.areas, &place)? {
                let folder = self.root.open_place(&self.areas, &place)?;
                let used = longshore_performer::source::usage(std::os::fd::AsFd::as_fd(&folder))?;
                all = all.saturating_add(used.exclusive);
            }
        }
        Ok(all)
    }

    /// Flushes the file system of the driver's root.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.root.sync()?)
    }
}
