//! Cases of calls at the same time, backends that hang, and what is half done or has no room.

use std::sync::mpsc;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Duration;

use super::*;

/// What is asked of another volume is answered while the one still hangs; then that goes on too.
pub(super) fn a_hung_backend_delays_no_other_volume(bench: &Bench) -> CaseResult {
    // Past this, a call is taken for one that waits for the hung one.
    const PATIENCE: Duration = Duration::from_secs(20);
    let volumes = (bench.plain("hung")?, bench.plain("other")?);
    let trouble = bench.trouble("stall hung")?;
    let (said, hears) = mpsc::channel();
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| bench.with(&volumes.0, Access::Write, |_| Ok(())));
        // So that it is the hung one which comes first; in the other order there is nothing to wait for.
        std::thread::sleep(Duration::from_millis(200));
        let other = scope.spawn(|| {
            let done = bench.with(&volumes.1, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?));
            // Nobody listens any more when the patience was not enough.
            let _ = said.send(());
            done
        });
        let answered = hears.recv_timeout(PATIENCE).is_ok();
        let still_hung = !hung.is_finished();
        drop(trouble);
        let ended = |handle: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            handle
                .join()
                .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
        };
        ended(other)?;
        ended(hung)?;
        check(still_hung, || "the one did not hang".into())?;
        check(answered, || "the other one waited for the hung one".into())
    })
}

pub(super) fn kill_at_every_step_of_create_remove_mount(bench: &Bench) -> CaseResult {
    bench.remove(&bench.plain("data")?)?;
    let before = bench.on_disk()?;
    let gone = |what: &str, volume: &VolumeRef| -> CaseResult {
        bench.remove(volume)?;
        check(before == bench.on_disk()?, || {
            format!("something is left after {what} and a removal")
        })
    };
    let name = VolumeName::parse("data")?;
    let mut cut = 0;
    loop {
        let created = bench.ask_creation(&name, &[])?;
        bench.perform_until(&name, &created.steps, cut)?;
        // The same call completes it.
        let volume = bench.plain("data")?;
        bench.with(&volume, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?))?;
        gone("a create that was cut and completed", &volume)?;
        let created = bench.ask_creation(&name, &[])?;
        bench.perform_until(&name, &created.steps, cut)?;
        gone(&format!("a create that was cut at step {cut}"), &volume)?;
        if cut >= created.steps.len() {
            break;
        }
        cut += 1;
    }
    let mut cut = 0;
    loop {
        let volume = bench.plain("data")?;
        let steps = bench.ask_removal(&volume, false)?.steps;
        bench.perform_until(&name, &steps, cut)?;
        gone(&format!("a remove that was cut at step {cut}"), &volume)?;
        if cut >= steps.len() {
            break;
        }
        cut += 1;
    }
    // Cut between the driver's answer and the mount: the host unmounts what nobody got.
    let volume = bench.plain("data")?;
    bench.ask(&volume, "c1", Access::Write, 0)?;
    bench.unmount(&volume, "c1", 0)?;
    gone("a mount that was cut", &volume)
}

pub(super) fn no_space_leaves_nothing(bench: &Bench) -> CaseResult {
    const MOST: usize = 30;
    let small = bench.in_memory(1 << 20, 60)?;
    small.plain("there")?;
    let before = small.on_disk()?;
    let name = VolumeName::parse("data")?;
    for free in 0..MOST {
        let full = Filler::files(&small.place.path, free)?;
        let made = small.create("data", vec![]);
        let enough = made.is_ok();
        match made {
            Ok(_) => {}
            Err(Failure::Driver(error)) if error.kind == ErrorKind::Exhausted => {}
            Err(other) => {
                return Err(Failure::Differs(format!(
                    "with room for {free} files, expected Exhausted, got {other:?}"
                )));
            }
        }
        small.remove(&VolumeRef {
            name: name.clone(),
            note: Default::default(),
            options: vec![],
        })?;
        drop(full);
        check(before == small.on_disk()?, || {
            format!("something is left after a create with room for {free} files")
        })?;
        if enough {
            return Ok(());
        }
    }
    Err(Failure::Differs(format!("no create succeeds with room for {MOST}")))
}

/// As for layers: a pure driver is asked one by one, one that acts all at once.
pub(super) fn parallel_creates_of_one_name_have_one_winner(bench: &Bench) -> CaseResult {
    const THREADS: usize = 8;
    let (object, barrier) = (Mutex::new(()), Barrier::new(THREADS));
    let name = VolumeName::parse("data")?;
    let create = || -> Result<Made> {
        let alone = || object.lock().unwrap_or_else(PoisonError::into_inner);
        barrier.wait();
        let early = (!bench.capabilities.acts).then(alone);
        let created = bench.ask_creation(&name, &[])?;
        let _alone = early.unwrap_or_else(alone);
        bench.perform(&name, &created.steps)?;
        Ok(created.outcome)
    };
    let outcomes: Vec<Made> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(create)).collect();
        running
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
            })
            .collect::<Result<_>>()
    })?;
    if bench.capabilities.acts {
        let winners = outcomes.iter().filter(|made| **made == Made::New).count();
        check(winners == 1, || format!("{winners} of {THREADS} creates made it"))?;
    }
    let volume = bench.plain("data")?;
    bench.with(&volume, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?))
}

/// A restarted engine mounts again for the consumers that live.
pub(super) fn live_mounts_repeated_after_restart_are_the_same(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let first = bench.ask(&volume, "c1", Access::Write, 0)?;
    let mount = bench.build(&volume, &first, Access::Write)?;
    fs::write(inside(&mount, "f"), "x")?;
    let again = bench.ask(&volume, "c1", Access::Write, 0)?;
    let second = bench.build(&volume, &again, Access::Write)?;
    let seen = fs::read_to_string(inside(&second, "f"));
    drop((mount, second));
    let outcome = bench.unmount(&volume, "c1", 0)?;
    check(first == again, || "the plan is another one".into())?;
    check(seen? == "x", || "it shows something else".into())?;
    check(!bench.capabilities.tracks_mounts || outcome == Ended::Done, || {
        format!("one unmount does not end it: it is {outcome:?}")
    })?;
    bench.remove(&volume).map(drop)
}

/// A restarted engine knows one consumer of two: it ends the mount of the other.
pub(super) fn unknown_mount_ids_are_unmounted_after_restart(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    bench.ask(&volume, "known", Access::Write, 0)?;
    bench.ask(&volume, "lost", Access::Write, 1)?;
    let mounts = bench.stat(&volume)?.mounts;
    let mut listed: Vec<&str> = mounts.iter().map(MountId::as_str).collect();
    listed.sort_unstable();
    check(listed == ["known", "lost"], || format!("its mounts are {listed:?}"))?;
    for id in listed.into_iter().filter(|id| *id != "known") {
        bench.unmount(&volume, id, 1)?;
    }
    let left = bench.stat(&volume)?.mounts;
    bench.unmount(&volume, "known", 0)?;
    check(left.len() == 1, || format!("then its mounts are {left:?}"))?;
    bench.remove(&volume).map(drop)
}
