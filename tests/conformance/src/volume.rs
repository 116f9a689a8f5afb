//! The volume suite.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_core::driver::OptionValue;
use longshore_core::graph::{Ended, Made};
use longshore_core::steps::TreeStep;
use longshore_core::types::{MountId, VolumeName};
use longshore_core::volume::{
    Access, Create, List, Mount, Mounted, Remove, Stat, Unmount, VolumeCapabilities, VolumeDriver, VolumeRef,
};
use longshore_core::{Context, ErrorKind};
use longshore_performer::plan::{self, PlanScope};
use longshore_performer::tree::{self, Scope};

use crate::host::{Place, grants, inside, tree as lines, unusable};
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
        let place = Place::new(target.folder.as_deref())?;
        Ok(Self {
            unusable: unusable(&target.loaded, &place, &target.options)?,
            grants: grants(&target.loaded),
            capabilities: target.loaded.description().capabilities.volume()?.clone(),
            target: target.clone(),
            place,
        })
    }

    fn driver(&self) -> Result<Arc<dyn VolumeDriver>> {
        Ok(self
            .target
            .loaded
            .open_volume(self.place.descriptor()?, &self.place.path, self.target.options.clone())?)
    }

    fn perform(&self, name: &VolumeName, steps: &[TreeStep]) -> Result<()> {
        let scope = Scope {
            root: &self.place.root,
            areas: &self.target.loaded.description().areas,
            object: name.as_str(),
            ancestors: &[],
            clone_source: None,
        };
        Ok(tree::perform_steps(steps, &scope)?)
    }

    fn create(&self, name: &str, options: Vec<OptionValue>) -> Result<(VolumeRef, Made)> {
        let name = VolumeName::parse(name)?;
        let created = self.driver()?.create(
            &Context::background(),
            Create {
                name: name.clone(),
                options: options.clone(),
            },
        )?;
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

    fn mount(&self, volume: &VolumeRef, id: &str, access: Access, others: u32) -> Result<OwnedFd> {
        let mounted = self.ask(volume, id, access, others)?;
        let granted: Vec<&str> = self.grants.iter().map(String::as_str).collect();
        let scope = PlanScope {
            volume: true,
            grants: &granted,
            ..PlanScope::new(
                &self.place.root,
                &self.target.loaded.description().areas,
                volume.name.as_str(),
                &[],
            )
        };
        let checked = plan::check_plan(&mounted.plan, &scope, access.try_into()?)?;
        Ok(plan::build(checked)?)
    }

    fn unmount(&self, volume: &VolumeRef, id: &str, others: u32) -> Result<Ended> {
        let request = Unmount {
            volume: volume.clone(),
            mount_id: MountId::parse(id)?,
            others,
        };
        Ok(self.driver()?.unmount(&Context::background(), request)?.outcome)
    }

    fn remove(&self, volume: &VolumeRef) -> Result<Ended> {
        let removed = self.driver()?.remove(
            &Context::background(),
            Remove {
                volume: volume.clone(),
                force: false,
            },
        )?;
        self.perform(&volume.name, &removed.steps)?;
        Ok(removed.outcome)
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

macro_rules! cases {
    ($($name:ident [$skip:ident]),* $(,)?) => {
        /// The cases, in order.
        pub const CASES: &[Case<Bench>] = &[$(Case { name: stringify!($name), skip: $skip, run: $name }),*];
    };
}

cases! {
    describe_is_pure_and_agrees_with_itself [usable],
    create_twice_with_equal_options_is_existing [usable],
    create_with_other_options_already_exists [judges],
    create_with_a_bad_option_names_it_and_leaves_nothing [usable],
    names_at_255_bytes_and_names_with_dots_work [usable],
    remove_of_the_absent_is_absent [usable],
    remove_while_mounted_is_in_use [tracks],
    remove_deletes_only_its_own_data [usable],
    create_then_stat_then_list [lists],
    list_pages_are_ascending_and_complete [lists],
    two_instances_agree [usable],
    mount_is_readable_and_writable [usable],
    read_mount_refuses_writing [usable],
    mount_twice_with_one_id_is_one_mount [usable],
    two_ids_see_each_others_writes [usable],
    unmount_of_one_leaves_the_other [tracks],
    unmount_of_the_unknown_is_absent [tracks],
    data_survives_unmount_and_reopen [usable],
    a_plan_repeated_is_equal [usable],
    steps_performed_twice_give_the_same_tree [usable],
}

fn describe_is_pure_and_agrees_with_itself(bench: &Bench) -> CaseResult {
    let described = bench.target.loaded.description();
    check(!described.name.is_empty() && described.kind == "volume", || {
        "it has no name or another kind".into()
    })
}

fn create_twice_with_equal_options_is_existing(bench: &Bench) -> CaseResult {
    let (first, _) = bench.create("data", vec![])?;
    let (second, outcome) = bench.create("data", vec![])?;
    check(first == second, || "the note differs".into())?;
    check(!bench.capabilities.acts || outcome == Made::Existing, || {
        format!("it is {outcome:?}")
    })
}

fn create_with_other_options_already_exists(bench: &Bench) -> CaseResult {
    let Some(option) = bench
        .target
        .loaded
        .description()
        .options
        .first()
        .map(|spec| spec.name.clone())
    else {
        return Ok(());
    };
    bench.plain("data")?;
    let request = Create {
        name: VolumeName::parse("data")?,
        options: vec![OptionValue::text(option, "other")],
    };
    expect(
        bench.driver()?.create(&Context::background(), request),
        ErrorKind::AlreadyExists,
    )
}

fn create_with_a_bad_option_names_it_and_leaves_nothing(bench: &Bench) -> CaseResult {
    let before = lines(&bench.place.path)?;
    match bench.create("data", vec![OptionValue::text("no-such-option", "x")]) {
        Err(Failure::Driver(error)) if error.kind == ErrorKind::Invalid => {
            check(error.message.contains("no-such-option"), || {
                format!("it does not name the option: {error}")
            })?;
        }
        other => return Err(Failure::Differs(format!("expected Invalid, got {other:?}"))),
    }
    check(before == lines(&bench.place.path)?, || "something was left".into())
}

fn names_at_255_bytes_and_names_with_dots_work(bench: &Bench) -> CaseResult {
    for name in ["a".repeat(255).as_str(), "a.b..c", "a-_."] {
        let volume = bench.plain(name)?;
        drop(bench.mount(&volume, "c1", Access::Write, 0)?);
        bench.unmount(&volume, "c1", 0)?;
    }
    Ok(())
}

fn remove_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    bench.remove(&volume)?;
    let again = bench.remove(&volume)?;
    check(!bench.capabilities.acts || again == Ended::Absent, || {
        format!("it is {again:?}")
    })
}

fn remove_while_mounted_is_in_use(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mount = bench.mount(&volume, "c1", Access::Write, 0)?;
    let request = Remove {
        volume: volume.clone(),
        force: false,
    };
    let result = expect(
        bench.driver()?.remove(&Context::background(), request),
        ErrorKind::InUse,
    );
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    result
}

fn remove_deletes_only_its_own_data(bench: &Bench) -> CaseResult {
    let (one, other) = (bench.plain("one1")?, bench.plain("other")?);
    for volume in [&one, &other] {
        let mount = bench.mount(volume, "c1", Access::Write, 0)?;
        fs::write(inside(&mount, "f"), "x")?;
        drop(mount);
        bench.unmount(volume, "c1", 0)?;
    }
    bench.remove(&one)?;
    let mount = bench.mount(&other, "c2", Access::Read, 0)?;
    let kept = inside(&mount, "f").exists();
    drop(mount);
    bench.unmount(&other, "c2", 0)?;
    check(kept, || "the other volume's data is gone".into())?;
    bench.place.check_sentinel()
}

fn create_then_stat_then_list(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let told = bench.driver()?.stat(
        &Context::background(),
        Stat {
            name: volume.name.clone(),
        },
    )?;
    check(told.name == volume.name, || "stat tells another name".into())?;
    let listed = bench
        .driver()?
        .list(&Context::background(), List { after: None, limit: 10 })?;
    check(listed.volumes.iter().any(|one| one.name == volume.name), || {
        "it is not listed".into()
    })
}

fn list_pages_are_ascending_and_complete(bench: &Bench) -> CaseResult {
    let expected: Vec<VolumeName> = (0..7)
        .map(|n| Ok(bench.plain(&format!("volume-{n}"))?.name))
        .collect::<Result<_>>()?;
    let mut found: Vec<VolumeName> = Vec::new();
    loop {
        let request = List {
            after: found.last().cloned(),
            limit: 3,
        };
        let page = bench.driver()?.list(&Context::background(), request)?;
        found.extend(page.volumes.into_iter().map(|volume| volume.name));
        if !page.more || found.len() > expected.len() {
            break;
        }
    }
    check(found == expected, || format!("pages gave {found:?}"))
}

fn two_instances_agree(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let one = bench.ask(&volume, "c1", Access::Read, 0)?;
    let other = bench.ask(&volume, "c1", Access::Read, 0)?;
    bench.unmount(&volume, "c1", 0)?;
    check(one == other, || "they answer differently".into())
}

fn mount_is_readable_and_writable(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mount = bench.mount(&volume, "c1", Access::Write, 0)?;
    fs::write(inside(&mount, "f"), "x")?;
    let read = fs::read_to_string(inside(&mount, "f"))?;
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(read == "x", || "it reads something else".into())
}

fn read_mount_refuses_writing(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mount = bench.mount(&volume, "c1", Access::Read, 0)?;
    let refused = fs::write(inside(&mount, "f"), "x").is_err();
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(refused, || "it can be written".into())
}

fn mount_twice_with_one_id_is_one_mount(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let one = bench.ask(&volume, "c1", Access::Write, 0)?;
    let two = bench.ask(&volume, "c1", Access::Write, 0)?;
    check(one == two, || "the plans differ".into())?;
    bench.unmount(&volume, "c1", 0)?;
    bench.remove(&volume).map(drop)
}

fn two_ids_see_each_others_writes(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let one = bench.mount(&volume, "c1", Access::Write, 0)?;
    let two = bench.mount(&volume, "c2", Access::Write, 1)?;
    fs::write(inside(&one, "f"), "x")?;
    let seen = inside(&two, "f").exists();
    drop((one, two));
    bench.unmount(&volume, "c1", 1)?;
    bench.unmount(&volume, "c2", 0)?;
    check(seen, || "the second one does not see it".into())
}

fn unmount_of_one_leaves_the_other(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    bench.ask(&volume, "c1", Access::Write, 0)?;
    bench.ask(&volume, "c2", Access::Write, 1)?;
    bench.unmount(&volume, "c1", 1)?;
    let request = Remove {
        volume: volume.clone(),
        force: false,
    };
    expect(
        bench.driver()?.remove(&Context::background(), request),
        ErrorKind::InUse,
    )?;
    bench.unmount(&volume, "c2", 0).map(drop)
}

fn unmount_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let outcome = bench.unmount(&volume, "nobody", 0)?;
    check(outcome == Ended::Absent, || format!("it is {outcome:?}"))
}

fn data_survives_unmount_and_reopen(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    for (id, write) in [("c1", true), ("c2", false)] {
        let mount = bench.mount(&volume, id, Access::Write, 0)?;
        if write {
            fs::write(inside(&mount, "f"), "kept")?;
        } else {
            check(fs::read_to_string(inside(&mount, "f"))? == "kept", || {
                "it is gone".into()
            })?;
        }
        drop(mount);
        bench.unmount(&volume, id, 0)?;
    }
    Ok(())
}

fn a_plan_repeated_is_equal(bench: &Bench) -> CaseResult {
    mount_twice_with_one_id_is_one_mount(bench)
}

fn steps_performed_twice_give_the_same_tree(bench: &Bench) -> CaseResult {
    bench.plain("data")?;
    let once = lines(&bench.place.path)?;
    bench.plain("data")?;
    check(once == lines(&bench.place.path)?, || "the tree differs".into())
}
