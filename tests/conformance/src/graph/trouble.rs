//! Cases of calls at the same time, calls that end too late or not at all, and backends that fail.

use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::context::{Cancel, NoServices};
use longshore_core::wire::next_call;

use super::*;

/// Runs all at once and answers what each came to.
fn at_once<T: Send>(work: Vec<Box<dyn FnOnce() -> Result<T> + Send + '_>>) -> Result<Vec<T>> {
    let barrier = Barrier::new(work.len());
    std::thread::scope(|scope| {
        let barrier = &barrier;
        let running: Vec<_> = work
            .into_iter()
            .map(|one| {
                scope.spawn(move || {
                    barrier.wait();
                    one()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
            })
            .collect()
    })
}

/// Performing is the host's, one at a time an object. A driver that acts judges the calls by itself,
/// all at once; a pure one is asked one by one, as the host does.
pub(super) fn parallel_creates_of_one_id_have_one_winner(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let object = Mutex::new(());
    let create = || -> Result<Made> {
        let alone = || object.lock().unwrap_or_else(PoisonError::into_inner);
        let early = (!bench.capabilities.acts).then(alone);
        let created = bench.ask(&id('b'), &chain, Role::Container)?;
        let _alone = early.unwrap_or_else(alone);
        bench.perform(&id('b'), &chain, &created.steps)?;
        Ok(created.outcome)
    };
    let creates = (0..8)
        .map(|_| Box::new(create) as Box<dyn FnOnce() -> Result<Made> + Send + '_>)
        .collect();
    let outcomes = at_once(creates)?;
    if bench.capabilities.acts {
        let winners = outcomes.iter().filter(|made| **made == Made::New).count();
        check(winners == 1, || format!("{winners} of 8 creates made it"))?;
    }
    let made = bench.container('b', &chain)?;
    let content = bench.text(&made, Access::Write, "f")?;
    check(content == "x", || format!("it shows {content:?}"))
}

pub(super) fn parallel_children_of_one_parent_all_succeed(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = &base.below();
    let child = |number: usize| move || bench.create(&numbered(number)?, chain, Role::Container);
    let children = (0..8)
        .map(|number| Box::new(child(number)) as Box<dyn FnOnce() -> Result<Filled> + Send + '_>)
        .collect();
    for made in at_once(children)? {
        let content = bench.text(&made, Access::Write, "f")?;
        check(content == "x", || format!("a child shows {content:?}"))?;
    }
    Ok(())
}

/// What of the two came about.
enum Raced {
    Removed(std::result::Result<Ended, ErrorKind>),
    Shown(std::result::Result<String, ErrorKind>),
}

fn refusal<T>(result: Result<T>) -> Result<std::result::Result<T, ErrorKind>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Driver(error)) => match error.kind {
            ErrorKind::InUse | ErrorKind::NotFound => Ok(Err(error.kind)),
            _ => Err(error.into()),
        },
        Err(other) => Err(other),
    }
}

pub(super) fn remove_races_activate_without_a_half_result(bench: &Bench) -> CaseResult {
    for _ in 0..16 {
        let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
        let remove = || Ok(Raced::Removed(refusal(bench.remove(&base))?));
        let show = || Ok(Raced::Shown(refusal(bench.text(&base, Access::Read, "f"))?));
        let ended = at_once(vec![
            Box::new(remove) as Box<dyn FnOnce() -> Result<Raced> + Send + '_>,
            Box::new(show),
        ])?;
        for one in &ended {
            match one {
                Raced::Shown(Ok(content)) => check(content == "x", || format!("it shows {content:?}"))?,
                Raced::Removed(Ok(_)) => check(!bench.is_known(&base)?, || "it is removed and still known".into())?,
                Raced::Removed(Err(_)) => {
                    let content = bench.text(&base, Access::Read, "f")?;
                    check(content == "x", || format!("not removed, it shows {content:?}"))?;
                }
                Raced::Shown(Err(_)) => {}
            }
        }
        bench.remove(&base)?;
    }
    Ok(())
}

/// After a create of which nobody knows how it ended: the same call completes it, and it goes.
fn completes_and_goes(bench: &Bench, chain: &[LayerRef], before: &[String]) -> CaseResult {
    let made = bench.container('b', chain)?;
    let content = bench.text(&made, Access::Write, "f")?;
    check(content == "x", || format!("it shows {content:?}"))?;
    bench.remove(&made)?;
    same("the root afterwards", before, &bench.on_disk()?)
}

/// A base, and the root as it lies after the host has made its own folders.
fn prepared(bench: &Bench) -> Result<(Vec<LayerRef>, Vec<String>)> {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    Ok((base.below(), bench.on_disk()?))
}

fn stall(bench: &Bench) -> Result<Option<crate::trouble::Trouble>> {
    let possible = troubles(bench).is_none();
    possible.then(|| bench.trouble("stall")).transpose()
}

/// "In time" is that it is answered while whatever holds the driver up still does.
pub(super) fn cancel_is_answered_in_time_and_leaves_a_known_state(bench: &Bench) -> CaseResult {
    let (chain, before) = prepared(bench)?;
    let driver = bench.driver()?;
    let trouble = stall(bench)?;
    let call = next_call();
    let cx = Context::new(call, None, Cancel::default(), Arc::new(NoServices));
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| driver.create(&cx, request(&id('b'), &chain, Role::Container)));
        while !asked.is_finished() {
            bench.target.loaded.cancel(call);
            std::thread::sleep(Duration::from_millis(5));
        }
        asked
            .join()
            .unwrap_or_else(|_| Err(longshore_core::Error::broken("a thread panicked")))
    });
    drop(trouble);
    match answer {
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::Cancelled => {}
        Err(error) => {
            return Err(Failure::Differs(format!(
                "expected an answer or Cancelled, got {:?}: {error}",
                error.kind
            )));
        }
    }
    completes_and_goes(bench, &chain, &before)
}

pub(super) fn a_deadline_then_stat_tells_the_truth(bench: &Bench) -> CaseResult {
    let (chain, before) = prepared(bench)?;
    let driver = bench.driver()?;
    let trouble = stall(bench)?;
    let left = if trouble.is_some() {
        Duration::from_millis(200)
    } else {
        Duration::ZERO
    };
    let cx = Context::new(0, Some(left), Cancel::default(), Arc::new(NoServices));
    expect(
        driver.create(&cx, request(&id('b'), &chain, Role::Container)),
        ErrorKind::Deadline,
    )?;
    let late = Filled {
        layer: LayerRef {
            id: id('b'),
            note: Note::default(),
        },
        chain: chain.clone(),
    };
    let known = bench.is_known(&late)?;
    drop(trouble);
    let outcome = bench.ask(&id('b'), &chain, Role::Container)?.outcome;
    check(!bench.capabilities.acts || known == (outcome == Made::Existing), || {
        format!(
            "stat {} it, and the same create is {outcome:?}",
            if known { "knows" } else { "denies" }
        )
    })?;
    completes_and_goes(bench, &chain, &before)
}

pub(super) fn a_panic_is_broken_and_the_next_call_works(bench: &Bench) -> CaseResult {
    let (chain, before) = prepared(bench)?;
    let driver = bench.driver()?;
    let trouble = bench.trouble("panic")?;
    expect(
        driver.create(&Context::background(), request(&id('b'), &chain, Role::Container)),
        ErrorKind::Broken,
    )?;
    drop(trouble);
    // The very instance that broke, and a fresh one.
    driver.create(&Context::background(), request(&id('b'), &chain, Role::Container))?;
    completes_and_goes(bench, &chain, &before)
}

pub(super) fn a_backend_that_returns_is_usable_without_reopen(bench: &Bench) -> CaseResult {
    let (chain, before) = prepared(bench)?;
    let driver = bench.driver()?;
    let trouble = bench.trouble("away")?;
    expect(
        driver.create(&Context::background(), request(&id('b'), &chain, Role::Container)),
        ErrorKind::Unavailable,
    )?;
    drop(trouble);
    driver.create(&Context::background(), request(&id('b'), &chain, Role::Container))?;
    completes_and_goes(bench, &chain, &before)
}

pub(super) fn collect_on_a_clean_root_does_nothing(bench: &Bench) -> CaseResult {
    bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let before = bench.on_disk()?;
    let collected = bench
        .driver()?
        .collect(&Context::background(), Collect { after: None })?;
    check(collected.steps.is_empty() && collected.pending == 0, || {
        "it found work".into()
    })?;
    same("the root after collect", &before, &bench.on_disk()?)
}

pub(super) fn foreign_objects_beside_ours_stay(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    fs::write(bench.place.path.join("foreign"), "stays")?;
    bench.remove(&base)?;
    bench.collect()?;
    check(fs::read(bench.place.path.join("foreign"))? == b"stays", || {
        "it was touched".into()
    })?;
    bench.place.check_sentinel()
}
