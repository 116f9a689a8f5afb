//! Cases of a volume's mounts.

use std::os::unix::fs::symlink;

use longshore_core::volume::Usage;
use longshore_performer::fill;

use super::*;

pub(super) fn mount_is_readable_and_writable(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mount = bench.mount(&volume, "c1", Access::Write, 0)?;
    fs::write(inside(&mount, "f"), "x")?;
    let read = fs::read_to_string(inside(&mount, "f"))?;
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(read == "x", || "it reads something else".into())
}

pub(super) fn read_mount_refuses_writing(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let plan = bench.ask(&volume, "c1", Access::Read, 0)?.plan;
    let asked = plan.steps.last().is_some_and(|step| step.read_only);
    check(asked, || "the plan does not ask for a read-only mount".into())?;
    let mount = bench.mount(&volume, "c1", Access::Read, 0)?;
    let refused = fs::write(inside(&mount, "f"), "x").is_err();
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(refused, || "it can be written".into())
}

pub(super) fn mount_twice_with_one_id_is_one_mount(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let one = bench.ask(&volume, "c1", Access::Write, 0)?;
    let two = bench.ask(&volume, "c1", Access::Write, 0)?;
    check(one == two, || "the plans differ".into())?;
    bench.unmount(&volume, "c1", 0)?;
    bench.remove(&volume).map(drop)
}

pub(super) fn two_ids_see_each_others_writes(bench: &Bench) -> CaseResult {
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

pub(super) fn unmount_of_one_leaves_the_other(bench: &Bench) -> CaseResult {
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

pub(super) fn unmount_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let outcome = bench.unmount(&volume, "nobody", 0)?;
    check(outcome == Ended::Absent, || format!("it is {outcome:?}"))
}

pub(super) fn data_survives_unmount_and_reopen(bench: &Bench) -> CaseResult {
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

pub(super) fn the_last_unmount_unstages(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    bench.ask(&volume, "c1", Access::Write, 0)?;
    bench.ask(&volume, "c2", Access::Write, 1)?;
    for (id, others) in [("c1", 1), ("c2", 0)] {
        let outcome = bench.unmount(&volume, id, others)?;
        check(matches!(outcome, Ended::Done | Ended::Deferred), || {
            format!("the unmount of {id} is {outcome:?}")
        })?;
    }
    if bench.capabilities.lists {
        let left = bench.stat(&volume)?.mounts;
        check(left.is_empty(), || format!("it still has mounts {left:?}"))?;
    }
    bench.remove(&volume).map(drop)
}

fn in_memory_of(bench: &Bench) -> Result<VolumeRef> {
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=750")]
        .map(|(name, value)| OptionValue::text(name, value));
    Ok(bench.create("memory", options.to_vec())?.0)
}

/// The host mounts a shared volume once and gives each further consumer a clone.
pub(super) fn a_shared_volume_keeps_its_content_between_consumers(bench: &Bench) -> CaseResult {
    let volume = in_memory_of(bench)?;
    let mounted = bench.ask(&volume, "c1", Access::Write, 0)?;
    check(mounted.shared, || {
        "each consumer would get a file system of its own".into()
    })?;
    let first = bench.build(&volume, &mounted, Access::Write)?;
    let second = plan::clone_mount(&first)?;
    fs::write(inside(&first, "f"), "x")?;
    drop(first);
    bench.unmount(&volume, "c1", 1)?;
    let seen = fs::read_to_string(inside(&second, "f"));
    drop(second);
    bench.unmount(&volume, "c2", 0)?;
    check(seen? == "x", || "the second one sees something else".into())
}

pub(super) fn tmpfs_content_ends_with_the_last_consumer(bench: &Bench) -> CaseResult {
    let volume = in_memory_of(bench)?;
    bench.with(&volume, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?))?;
    let left = bench.with(&volume, Access::Write, |top| Ok(top.join("f").exists()))?;
    check(!left, || "it outlives its consumers".into())
}

pub(super) fn fill_happens_once_and_only_into_an_empty_volume(bench: &Bench) -> CaseResult {
    let image = tempfile::tempdir()?;
    fs::create_dir(image.path().join("srv"))?;
    fs::write(image.path().join("srv/f"), "the image's")?;
    let volume = bench.plain("data")?;
    let mounted = bench.ask(&volume, "c1", Access::Write, 0)?;
    check(mounted.fill, || "a new volume does not take the image's content".into())?;
    let mount = bench.build(&volume, &mounted, Access::Write)?;
    let fill = || fill::copy_up(fs::File::open(image.path())?, b"/srv", &mount).map_err(Failure::from);
    check(fill()?, || "an empty volume is not filled".into())?;
    fs::write(inside(&mount, "f"), "the user's")?;
    check(!fill()?, || "a volume with content is filled".into())?;
    let content = fs::read_to_string(inside(&mount, "f"))?;
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(content == "the user's", || format!("it holds {content:?}"))
}

pub(super) fn a_subpath_that_is_a_link_out_is_refused(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let mount = bench.mount(&volume, "c1", Access::Write, 0)?;
    fs::create_dir(inside(&mount, "inside"))?;
    fs::write(inside(&mount, "inside/f"), "x")?;
    let outside = bench.place.path.with_file_name("sentinel");
    symlink(&outside, inside(&mount, "absolute"))?;
    symlink("../../../../../../etc", inside(&mount, "upward"))?;
    symlink("inside", inside(&mount, "within"))?;
    let refused = ["absolute", "upward", "..", "missing"]
        .into_iter()
        .find(|path| plan::subpath(&mount, path.as_bytes()).is_ok_and(|_| *path != ".."));
    let above = plan::subpath(&mount, b"..").is_ok_and(|at| !inside(&at, "inside").exists());
    let within = plan::subpath(&mount, b"within").map(|at| inside(&at, "f").exists());
    drop(mount);
    bench.unmount(&volume, "c1", 0)?;
    check(refused.is_none(), || format!("subpath {refused:?} is mounted"))?;
    check(!above, || "a subpath leads above the volume".into())?;
    check(within?, || "a link that stays inside is not followed".into())
}

pub(super) fn usage_follows_writing(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let used = || -> Result<u64> {
        let volume = volume.clone();
        Ok(bench
            .driver()?
            .usage(&Context::background(), Usage { volume })?
            .exclusive)
    };
    let before = used()?;
    bench.with(&volume, Access::Write, |top| {
        Ok(fs::write(top.join("f"), vec![7; 1 << 20])?)
    })?;
    bench.place.root.sync()?;
    let grown = used()?.saturating_sub(before);
    check(grown.abs_diff(1 << 20) < 1 << 17, || {
        format!("1 MiB was written, {grown} bytes more are told")
    })
}
