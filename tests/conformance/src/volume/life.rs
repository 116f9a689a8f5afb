//! Cases of a volume's life: made, listed, removed.

use longshore_core::driver::Probed;
use longshore_core::volume::State;

use super::*;

pub(super) fn describe_is_pure_and_equal_to_the_manifest(bench: &Bench) -> CaseResult {
    crate::host::check_description(&bench.target.loaded, "volume")
}

/// The driver's judgement of a machine that has nothing.
pub(super) fn on_a_bare_machine(bench: &Bench) -> Result<Probed> {
    crate::host::probe_on_a_bare_machine(&bench.target.loaded, &bench.place, &bench.target.options)
}

pub(super) fn probe_names_a_remedy(bench: &Bench) -> CaseResult {
    crate::host::check_remedies(&on_a_bare_machine(bench)?)
}

pub(super) fn create_twice_with_equal_options_is_existing(bench: &Bench) -> CaseResult {
    let (first, _) = bench.create("data", vec![])?;
    let once = bench.on_disk()?;
    let (second, outcome) = bench.create("data", vec![])?;
    check(first == second, || "the note differs".into())?;
    check(once == bench.on_disk()?, || "the tree differs".into())?;
    check(!bench.capabilities.acts || outcome == Made::Existing, || {
        format!("it is {outcome:?}")
    })
}

pub(super) fn create_with_other_options_already_exists(bench: &Bench) -> CaseResult {
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

pub(super) fn create_with_a_bad_option_names_it_and_leaves_nothing(bench: &Bench) -> CaseResult {
    // The first instance may mark the root as its own.
    drop(bench.driver()?);
    let before = bench.on_disk()?;
    match bench.create("data", vec![OptionValue::text("no-such-option", "x")]) {
        Err(Failure::Driver(error)) if error.kind == ErrorKind::Invalid => {
            check(error.message.contains("no-such-option"), || {
                format!("it does not name the option: {error}")
            })?;
        }
        other => return Err(Failure::Differs(format!("expected Invalid, got {other:?}"))),
    }
    check(before == bench.on_disk()?, || "something was left".into())
}

pub(super) fn names_at_255_bytes_and_names_with_dots_work(bench: &Bench) -> CaseResult {
    for name in ["a".repeat(255).as_str(), "a.b..c", "a-_."] {
        let volume = bench.plain(name)?;
        drop(bench.mount(&volume, "c1", Access::Write, 0)?);
        bench.unmount(&volume, "c1", 0)?;
    }
    Ok(())
}

pub(super) fn remove_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    bench.remove(&volume)?;
    let again = bench.remove(&volume)?;
    check(!bench.capabilities.acts || again == Ended::Absent, || {
        format!("it is {again:?}")
    })
}

pub(super) fn remove_while_mounted_is_in_use(bench: &Bench) -> CaseResult {
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

pub(super) fn create_then_stat_then_list(bench: &Bench) -> CaseResult {
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

pub(super) fn list_pages_are_ascending_and_complete(bench: &Bench) -> CaseResult {
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

pub(super) fn two_instances_agree(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let one = bench.ask(&volume, "c1", Access::Read, 0)?;
    let other = bench.ask(&volume, "c1", Access::Read, 0)?;
    bench.unmount(&volume, "c1", 0)?;
    check(one == other, || "they answer differently".into())
}

pub(super) fn remove_deletes_only_its_own_data(bench: &Bench) -> CaseResult {
    let before = bench.on_disk()?;
    let other = bench.plain("other")?;
    bench.with(&other, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?))?;
    let with_other = bench.on_disk()?;
    let one = bench.plain("one1")?;
    bench.with(&one, Access::Write, |top| Ok(fs::write(top.join("f"), "x")?))?;
    bench.remove(&one)?;
    check(bench.on_disk()? == with_other, || {
        "not it alone went, or not whole".into()
    })?;
    let kept = bench.with(&other, Access::Read, |top| Ok(top.join("f").exists()))?;
    check(kept, || "the other volume's data is gone".into())?;
    bench.remove(&other)?;
    check(bench.on_disk()?.len() <= before.len() + 1, || {
        "something is left of both".into()
    })?;
    bench.place.check_sentinel()
}

pub(super) fn remove_by_force_with_the_backend_away(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let trouble = bench.trouble("away")?;
    expect(bench.ask_removal(&volume, false), ErrorKind::Unavailable)?;
    let removed = bench.ask_removal(&volume, true)?;
    bench.perform(&volume.name, &removed.steps)?;
    drop(trouble);
    let again = bench.remove(&volume)?;
    check(again == Ended::Absent, || {
        format!("after its removal by force it is {again:?}")
    })
}

pub(super) fn stat_of_an_unreachable_volume_is_unreachable_and_listed(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let trouble = bench.trouble("away")?;
    let told = bench.stat(&volume)?.state;
    check(told == State::Unreachable, || format!("stat tells {told:?}"))?;
    let listed = bench
        .driver()?
        .list(&Context::background(), List { after: None, limit: 10 })?;
    let found = listed.volumes.iter().find(|one| one.name == volume.name);
    check(found.is_some_and(|one| one.state == State::Unreachable), || {
        format!("the list tells {found:?}")
    })?;
    drop(trouble);
    let told = bench.stat(&volume)?.state;
    check(told == State::Ready, || format!("with its backend back it is {told:?}"))
}

/// A driver's list tells no options: that they are the same shows in that they are taken as equal.
pub(super) fn notes_and_options_come_back_unchanged(bench: &Bench) -> CaseResult {
    let (volume, _) = bench.create("data", vec![])?;
    let told = bench.stat(&volume)?.note;
    check(told == volume.note, || format!("the note is {told:?}"))?;
    let (again, _) = bench.create("data", volume.options.clone())?;
    check(again == volume, || "the same create answers otherwise".into())
}

pub(super) fn created_time_stays_over_reopen(bench: &Bench) -> CaseResult {
    let volume = bench.plain("data")?;
    let first = bench.stat(&volume)?.created;
    bench.create("data", vec![])?;
    let second = bench.stat(&volume)?.created;
    check(first == second, || format!("it was {first:?} and is {second:?}"))
}
