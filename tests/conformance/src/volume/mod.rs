//! The volume suite: every case of the contract's list but those of [`crate::deferred`].

mod life;
mod mount;
mod sources;
mod trouble;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use longshore_core::driver::{OptionKind, OptionValue};
use longshore_core::graph::{Ended, Made};
use longshore_core::steps::TreeStep;
use longshore_core::types::{MountId, VolumeName};
use longshore_core::volume::{
    Access, Create, Created, List, Mount, Mounted, Remove, Removed, Stat, Unmount, Volume, VolumeCapabilities,
    VolumeDriver, VolumeRef,
};
use longshore_core::{Context, ErrorKind};
use longshore_performer::plan::{self, PlanScope};
use longshore_performer::tree::{self, Scope};

use crate::host::{Place, grants, inside, tree as lines, unusable};
use crate::trouble::{Filler, Trouble};
use crate::{Case, CaseResult, Failure, Target, check, expect};

type Result<T> = std::result::Result<T, Failure>;

/// One case's driver over its fresh root.
#[derive(Debug)]
pub struct Bench {
    target: Target,
    place: Place,
    grants: Vec<String>,
    capabilities: VolumeCapabilities,
    unusable: Option<String>,
}

impl Bench {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        Self::over(target, Place::new(target.folder.as_deref())?)
    }

    /// Another bench of the same driver, over a small file system in memory.
    fn in_memory(&self, size: u64, files: u64) -> Result<Self> {
        Self::over(&self.target, Place::in_memory(size, files)?)
    }

    fn over(target: &Target, place: Place) -> Result<Self> {
        Ok(Self {
            unusable: unusable(&target.loaded, &place, &target.options)?,
            grants: grants(&target.loaded),
            capabilities: target.loaded.description().capabilities.volume()?.clone(),
            target: target.clone(),
            place,
        })
    }

    /// A fresh instance: any call may reach one.
    fn driver(&self) -> Result<Arc<dyn VolumeDriver>> {
        let options = crate::trouble::options(self.target.loaded.description(), &self.target.options, &self.place.path);
        Ok(self
            .target
            .loaded
            .open_volume(self.place.descriptor()?, &self.place.path, options)?)
    }

    /// Puts the driver's backend in trouble; for cases that [`troubles`] guards.
    fn trouble(&self, text: &str) -> Result<Trouble> {
        Trouble::make(&self.place.path, text)
    }

    fn perform(&self, name: &VolumeName, steps: &[TreeStep]) -> Result<()> {
        self.perform_until(name, steps, steps.len())
    }

    fn perform_until(&self, name: &VolumeName, steps: &[TreeStep], count: usize) -> Result<()> {
        let scope = Scope {
            root: &self.place.root,
            areas: &self.target.loaded.description().areas,
            object: name.as_str(),
            ancestors: &[],
            clone_source: None,
        };
        Ok(tree::perform_steps_until(steps, &scope, count)?)
    }

    fn ask_creation(&self, name: &VolumeName, options: &[OptionValue]) -> Result<Created> {
        Ok(self.driver()?.create(
            &Context::background(),
            Create {
                name: name.clone(),
                options: options.to_vec(),
            },
        )?)
    }

    fn create(&self, name: &str, options: Vec<OptionValue>) -> Result<(VolumeRef, Made)> {
        let name = VolumeName::parse(name)?;
        let created = self.ask_creation(&name, &options)?;
        self.perform(&name, &created.steps)?;
        let volume = VolumeRef {
            name,
            note: created.note,
            options,
        };
        Ok((volume, created.outcome))
    }

    fn plain(&self, name: &str) -> Result<VolumeRef> {
        Ok(self.create(name, vec![])?.0)
    }

    fn ask(&self, volume: &VolumeRef, id: &str, access: Access, others: u32) -> Result<Mounted> {
        Ok(self.driver()?.mount(
            &Context::background(),
            Mount {
                volume: volume.clone(),
                mount_id: MountId::parse(id)?,
                access,
                others,
            },
        )?)
    }

    fn build(&self, volume: &VolumeRef, mounted: &Mounted, access: Access) -> Result<OwnedFd> {
        let granted: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let scope = PlanScope {
            grants: &granted,
            ..self.scope(volume)
        };
        let checked = plan::check_plan(&mounted.plan, &scope, access.try_into()?)?;
        Ok(plan::build(checked)?)
    }

    /// What a plan of the volume may name, with nothing granted.
    fn scope<'a>(&'a self, volume: &'a VolumeRef) -> PlanScope<'a> {
        PlanScope {
            volume: true,
            ..PlanScope::new(
                &self.place.root,
                &self.target.loaded.description().areas,
                volume.name.as_str(),
                &[],
            )
        }
    }

    fn mount(&self, volume: &VolumeRef, id: &str, access: Access, others: u32) -> Result<OwnedFd> {
        let mounted = self.ask(volume, id, access, others)?;
        match self.build(volume, &mounted, access) {
            Ok(mount) => Ok(mount),
            Err(failure) => {
                self.unmount(volume, id, others)?;
                Err(failure)
            }
        }
    }

    /// Mounts for one consumer, uses, unmounts.
    fn with<T>(&self, volume: &VolumeRef, access: Access, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let mount = self.mount(volume, "c1", access, 0)?;
        let result = work(&inside(&mount, ""));
        drop(mount);
        self.unmount(volume, "c1", 0)?;
        result
    }

    fn unmount(&self, volume: &VolumeRef, id: &str, others: u32) -> Result<Ended> {
        if !self.capabilities.tracks_mounts {
            return Ok(Ended::Absent);
        }
        let request = Unmount {
            volume: volume.clone(),
            mount_id: MountId::parse(id)?,
            others,
        };
        Ok(self.driver()?.unmount(&Context::background(), request)?.outcome)
    }

    fn ask_removal(&self, volume: &VolumeRef, force: bool) -> longshore_core::Result<Removed> {
        let driver = self.driver().map_err(|failure| match failure {
            Failure::Driver(error) => error,
            other => longshore_core::Error::broken(other.to_string()),
        })?;
        let volume = volume.clone();
        driver.remove(&Context::background(), Remove { volume, force })
    }

    fn remove(&self, volume: &VolumeRef) -> Result<Ended> {
        let removed = self.ask_removal(volume, false)?;
        self.perform(&volume.name, &removed.steps)?;
        Ok(removed.outcome)
    }

    fn stat(&self, volume: &VolumeRef) -> Result<Volume> {
        let name = volume.name.clone();
        Ok(self.driver()?.stat(&Context::background(), Stat { name })?)
    }

    /// The root as it lies on disk.
    fn on_disk(&self) -> Result<Vec<String>> {
        lines(&self.place.path)
    }

    /// Whether a volume of this driver has an option of that name.
    fn takes(&self, name: &str) -> bool {
        let options = &self.target.loaded.description().options;
        options.iter().any(|option| option.name == name)
    }
}

fn usable(bench: &Bench) -> Option<&'static str> {
    bench
        .unusable
        .is_some()
        .then_some("the driver cannot work on this machine or file system")
}

fn lists(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.lists).then_some("the driver keeps no list"))
}

fn tracks(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.tracks_mounts).then_some("the driver tracks no mounts"))
}

fn judges(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.acts).then_some("the driver is pure: the host checks this before it asks"))
}

fn listed_mounts(bench: &Bench) -> Option<&'static str> {
    tracks(bench).or_else(|| lists(bench))
}

fn troubles(bench: &Bench) -> Option<&'static str> {
    let possible = crate::trouble::possible(bench.target.loaded.description());
    usable(bench).or((!possible).then_some("the driver has no option `provoke`, by which a case makes trouble"))
}

fn troubled_list(bench: &Bench) -> Option<&'static str> {
    troubles(bench).or_else(|| lists(bench))
}

fn counts(bench: &Bench) -> Option<&'static str> {
    usable(bench).or((!bench.capabilities.usage).then_some("the driver does not count what a volume uses"))
}

fn selective(bench: &Bench) -> Option<&'static str> {
    match life::on_a_bare_machine(bench) {
        Ok(probed) if probed.usable => Some("the driver works on any machine"),
        _ => None,
    }
}

/// Options of Docker's local driver, which others copy.
fn mounts_by_type(bench: &Bench) -> Option<&'static str> {
    let all = ["type", "o", "device"].into_iter().all(|name| bench.takes(name));
    usable(bench).or((!all).then_some("the driver's volumes take no type, o and device"))
}

fn takes_secrets(bench: &Bench) -> Option<&'static str> {
    let options = &bench.target.loaded.description().options;
    let takes = options.iter().any(|option| option.kind == OptionKind::Secret);
    usable(bench).or((!takes).then_some("the driver takes no secrets"))
}

fn in_memory(bench: &Bench) -> Option<&'static str> {
    let unusable = || {
        bench
            .in_memory(1 << 20, 100)
            .map_or(true, |small| small.unusable.is_some())
    };
    usable(bench).or_else(|| unusable().then_some("the driver cannot work on a file system in memory"))
}

macro_rules! cases {
    ($($part:ident { $($name:ident [$skip:ident]),* $(,)? })*) => {
        /// The cases, in order.
        pub const CASES: &[Case<Bench>] =
            &[$($(Case { name: stringify!($name), skip: $skip, run: $part::$name },)*)*];
    };
}

cases! {
    life {
        describe_is_pure_and_equal_to_the_manifest [usable],
        probe_names_a_remedy [selective],
        create_then_stat_then_list [lists],
        create_twice_with_equal_options_is_existing [usable],
        create_with_other_options_already_exists [judges],
        create_with_a_bad_option_names_it_and_leaves_nothing [usable],
        names_at_255_bytes_and_names_with_dots_work [usable],
        remove_of_the_absent_is_absent [usable],
        remove_while_mounted_is_in_use [tracks],
        remove_deletes_only_its_own_data [usable],
        remove_by_force_with_the_backend_away [troubles],
        list_pages_are_ascending_and_complete [lists],
        stat_of_an_unreachable_volume_is_unreachable_and_listed [troubled_list],
        notes_and_options_come_back_unchanged [lists],
        two_instances_agree [usable],
        created_time_stays_over_reopen [lists],
    }
    mount {
        mount_is_readable_and_writable [usable],
        read_mount_refuses_writing [usable],
        mount_twice_with_one_id_is_one_mount [usable],
        two_ids_see_each_others_writes [usable],
        unmount_of_one_leaves_the_other [tracks],
        unmount_of_the_unknown_is_absent [tracks],
        the_last_unmount_unstages [tracks],
        a_shared_volume_keeps_its_content_between_consumers [mounts_by_type],
        tmpfs_content_ends_with_the_last_consumer [mounts_by_type],
        data_survives_unmount_and_reopen [usable],
        fill_happens_once_and_only_into_an_empty_volume [usable],
        a_subpath_that_is_a_link_out_is_refused [usable],
        usage_follows_writing [counts],
    }
    sources {
        a_secret_is_in_no_message_log_trace_record_or_listing [takes_secrets],
        a_secret_reaches_the_mount [takes_secrets],
        a_host_path_that_no_user_wrote_is_refused [mounts_by_type],
        a_link_swapped_into_a_host_path_after_create_is_refused_or_same [mounts_by_type],
        a_remote_without_a_grant_is_refused [mounts_by_type],
        an_option_outside_the_list_is_refused [usable],
    }
    trouble {
        a_hung_backend_delays_no_other_volume [troubles],
        kill_at_every_step_of_create_remove_mount [usable],
        no_space_leaves_nothing [in_memory],
        parallel_creates_of_one_name_have_one_winner [usable],
        live_mounts_repeated_after_restart_are_the_same [usable],
        unknown_mount_ids_are_unmounted_after_restart [listed_mounts],
    }
}
