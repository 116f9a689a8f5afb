//! Cases of a layer's life: made, sealed, removed, listed.

use super::*;

pub(super) fn describe_is_pure_and_equal_to_the_manifest(bench: &Bench) -> CaseResult {
    crate::host::check_description(&bench.target.loaded, "graph")
}

pub(super) fn probe_changes_nothing(bench: &Bench) -> CaseResult {
    let before = bench.on_disk()?;
    for _ in 0..2 {
        unusable(&bench.target.loaded, &bench.place, &bench.target.options)?;
    }
    same("the root after a probe", &before, &bench.on_disk()?)?;
    bench.place.check_sentinel()
}

/// The driver's judgement of a machine that has nothing.
pub(super) fn on_a_bare_machine(bench: &Bench) -> Result<longshore_core::driver::Probed> {
    crate::host::probe_on_a_bare_machine(&bench.target.loaded, &bench.place, &bench.target.options)
}

pub(super) fn probe_names_a_remedy_when_unusable(bench: &Bench) -> CaseResult {
    crate::host::check_remedies(&on_a_bare_machine(bench)?)
}

pub(super) fn open_of_a_foreign_root_is_corrupt_and_untouched(bench: &Bench) -> CaseResult {
    fs::create_dir(bench.place.path.join("foreign"))?;
    fs::write(bench.place.path.join("foreign/layer"), "another driver's")?;
    let before = bench.on_disk()?;
    let opened = bench.target.loaded.open_graph(
        bench.place.descriptor()?,
        &bench.place.path,
        bench.target.options.clone(),
    );
    match opened {
        Err(error) => check(error.kind == ErrorKind::Corrupt, || {
            format!("expected Corrupt, got {:?}: {error}", error.kind)
        })?,
        Ok(_) => return Err(Failure::Differs("another driver's root was taken".into())),
    }
    same("the foreign root", &before, &bench.on_disk()?)
}

pub(super) fn open_refuses_an_unknown_option_by_name(bench: &Bench) -> CaseResult {
    let mut options = bench.target.options.clone();
    options.push(OptionValue::text("no-such-option", "x"));
    let opened = bench
        .target
        .loaded
        .open_graph(bench.place.descriptor()?, &bench.place.path, options);
    match opened {
        Err(error) if error.kind == ErrorKind::Invalid => check(error.message.contains("no-such-option"), || {
            format!("the message does not name the option: {error}")
        }),
        Err(error) => Err(Failure::Differs(format!(
            "expected Invalid, got {:?}: {error}",
            error.kind
        ))),
        Ok(_) => Err(Failure::Differs("the option was taken".into())),
    }
}

pub(super) fn create_a_base_layer_is_open_and_empty(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    check(bench.is_there(&base)?, || "its folder of area 0 is not there".into())?;
    check(bench.read(&base)?.is_empty(), || "it is not empty".into())
}

pub(super) fn create_over_a_parent_shows_its_content(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "etc/name", "base"))?;
    let container = bench.container('b', &base.below())?;
    let content = bench.with(&container, Access::Write, |top| {
        Ok(fs::read_to_string(top.join("etc/name"))?)
    })?;
    check(content == "base", || format!("it shows {content:?}"))
}

/// A pure driver cannot know what is missing: then it is found when its steps are performed.
pub(super) fn create_over_a_missing_parent_is_not_found(bench: &Bench) -> CaseResult {
    let mut missing = LayerRef {
        id: id('z'),
        note: Note::default(),
    };
    if bench.capabilities.acts {
        return expect(bench.ask(&id('a'), &[missing], Role::Layer), ErrorKind::NotFound);
    }
    missing.note = bench.ask(&missing.id, &[], Role::Layer)?.note;
    match bench.create(&id('a'), &[missing], Role::Layer) {
        Err(Failure::Driver(error)) if error.kind == ErrorKind::NotFound => Ok(()),
        other => Err(Failure::Differs(format!("expected NotFound, got {other:?}"))),
    }
}

pub(super) fn create_over_an_open_parent_is_invalid_unless_layers_are_independent(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    expect(bench.ask(&id('b'), &base.below(), Role::Layer), ErrorKind::Invalid)
}

pub(super) fn children_filled_before_parents_give_the_same_tree(bench: &Bench) -> CaseResult {
    let fill = |made: &Filled, what: &str| bench.fill(made, |sink| put(sink, "same", what));
    let base = bench.sealed('a', &[], |sink| put(sink, "same", "base"))?;
    let child = bench.sealed('b', &base.below(), |sink| put(sink, "own", "child"))?;
    let expected = bench.read(&child)?;
    let (base, above) = (bench.create(&id('c'), &[], Role::Layer)?, id('d'));
    let child = bench.create(&above, &base.below(), Role::Layer)?;
    bench.fill(&child, |sink| put(sink, "own", "child"))?;
    fill(&base, "base")?;
    bench.commit(&child)?;
    bench.commit(&base)?;
    same("the child filled first", &expected, &bench.read(&child)?)
}

pub(super) fn create_twice_is_existing(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let first = bench.create(&id('b'), &base.below(), Role::Container)?;
    let again = bench.ask(&id('b'), &base.below(), Role::Container)?;
    check(again.note == first.layer.note, || "the note differs".into())?;
    if bench.capabilities.acts {
        check(again.outcome == Made::Existing, || format!("it is {:?}", again.outcome))?;
    }
    bench.perform(&first.layer.id, &first.chain, &again.steps)?;
    check(bench.read(&first)?.iter().any(|line| line.starts_with("f ")), || {
        "its content is gone".into()
    })
}

pub(super) fn create_of_one_id_with_another_parent_already_exists(bench: &Bench) -> CaseResult {
    let one = bench.sealed('a', &[], nothing)?;
    let other = bench.sealed('b', &[], nothing)?;
    bench.create(&id('c'), &one.below(), Role::Layer)?;
    expect(
        bench.ask(&id('c'), &other.below(), Role::Layer),
        ErrorKind::AlreadyExists,
    )
}

pub(super) fn create_after_a_half_made_one_completes_it(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let created = bench.ask(&id('b'), &chain, Role::Container)?;
    bench.perform_until(&id('b'), &chain, &created.steps, created.steps.len() / 2)?;
    let whole = bench.create(&id('b'), &chain, Role::Container)?;
    check(bench.read(&whole)?.len() == 1, || {
        "its content is not the parent's".into()
    })
}

pub(super) fn create_beyond_max_depth_is_exhausted(bench: &Bench) -> CaseResult {
    let depth = bench.capabilities.max_depth as usize + 1;
    let note = bench.ask(&numbered(0)?, &[], Role::Layer)?.note;
    let chain = (1..=depth)
        .map(|n| {
            Ok(LayerRef {
                id: numbered(n)?,
                note: note.clone(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    expect(bench.ask(&id('a'), &chain, Role::Layer), ErrorKind::Exhausted)
}

pub(super) fn create_at_max_depth_mounts(bench: &Bench) -> CaseResult {
    let mut top = bench.create(&numbered(0)?, &[], Role::Layer)?;
    bench.fill(&top, |sink| put(sink, "deep", "down"))?;
    bench.commit(&top)?;
    for number in 1..bench.capabilities.max_depth as usize {
        top = bench.create(&numbered(number)?, &top.below(), Role::Layer)?;
        bench.commit(&top)?;
    }
    let container = bench.container('c', &top.below())?;
    for access in [Access::Write, Access::Read] {
        let content = bench.text(&container, access, "deep")?;
        check(content == "down", || format!("for {access:?} it shows {content:?}"))?;
    }
    Ok(())
}

pub(super) fn commit_seals_and_a_second_commit_is_ok(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    bench.commit(&base)?;
    // A sealed layer takes children.
    bench.sealed('b', &base.below(), nothing).map(drop)
}

pub(super) fn commit_of_an_active_layer_is_in_use(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let (mount, _) = bench.mount(&base, Access::Unpack)?;
    let request = Commit {
        layer: base.layer.clone(),
        chain: vec![],
    };
    let result = expect(
        bench.driver()?.commit(&Context::background(), request),
        ErrorKind::InUse,
    );
    drop(mount);
    bench.release(&base, Access::Unpack)?;
    result
}

pub(super) fn remove_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let absent = Filled {
        layer: LayerRef {
            id: id('a'),
            note: Note::default(),
        },
        chain: vec![],
    };
    bench.remove(&absent)?;
    Ok(())
}

pub(super) fn remove_twice_is_absent(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    bench.remove(&base)?;
    let again = bench.remove(&base)?;
    check(!bench.capabilities.acts || again == Ended::Absent, || {
        format!("it is {again:?}")
    })
}

pub(super) fn remove_with_children_is_in_use(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    bench.create(&id('b'), &base.below(), Role::Layer)?;
    let request = Remove {
        layer: base.layer,
        chain: vec![],
    };
    expect(
        bench.driver()?.remove(&Context::background(), request),
        ErrorKind::InUse,
    )
}

pub(super) fn remove_frees_its_space(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let before = bench.on_disk()?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("g"), "y")?))?;
    bench.remove(&container)?;
    same("the root after a removal", &before, &bench.on_disk()?)
}

pub(super) fn an_id_can_be_removed_while_half_made(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let before = bench.on_disk()?;
    let chain = base.below();
    let created = bench.ask(&id('b'), &chain, Role::Container)?;
    bench.perform_until(&id('b'), &chain, &created.steps, 1)?;
    bench.remove(&Filled {
        layer: LayerRef {
            id: id('b'),
            note: Note::default(),
        },
        chain: chain.clone(),
    })?;
    same("the root after a removal", &before, &bench.on_disk()?)
}

/// A container that was active, removed while somebody still holds its mount.
fn held_while_removed(bench: &Bench) -> Result<(Filled, Ended)> {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let (held, _) = bench.mount(&container, Access::Write)?;
    bench.release(&container, Access::Write)?;
    let removed = bench.ask_removal(&container)?;
    bench.perform(&container.layer.id, &container.chain, &removed.steps)?;
    drop(held);
    Ok((container, removed.outcome))
}

pub(super) fn deferred_removal_ends_in_collect(bench: &Bench) -> CaseResult {
    let (container, outcome) = held_while_removed(bench)?;
    check(matches!(outcome, Ended::Done | Ended::Deferred), || {
        format!("the removal is {outcome:?}")
    })?;
    let pending = bench.collect()?;
    check(pending == 0, || {
        format!("{pending} are pending though nobody holds them")
    })?;
    check(!bench.is_known(&container)? && !bench.is_there(&container)?, || {
        "it is still there".into()
    })
}

pub(super) fn stat_follows_open_sealed_removing(bench: &Bench) -> CaseResult {
    let state = |letter: char| -> Result<State> {
        Ok(bench
            .driver()?
            .stat(&Context::background(), Stat { id: id(letter) })?
            .state)
    };
    let base = bench.create(&id('c'), &[], Role::Layer)?;
    check(state('c')? == State::Open, || "it is not open".into())?;
    bench.commit(&base)?;
    check(state('c')? == State::Sealed, || "it is not sealed".into())?;
    if bench.capabilities.tracks_activation && held_while_removed(bench)?.1 == Ended::Deferred {
        let state = state('b')?;
        check(state == State::Removing, || {
            format!("what waits for its removal is {state:?}")
        })?;
        bench.collect()?;
    }
    Ok(())
}

pub(super) fn stat_of_the_absent_is_not_found(bench: &Bench) -> CaseResult {
    expect(
        bench.driver()?.stat(&Context::background(), Stat { id: id('a') }),
        ErrorKind::NotFound,
    )
}

fn page(bench: &Bench, after: Option<&LayerId>) -> Result<(Vec<LayerId>, bool)> {
    let request = List {
        after: after.cloned(),
        limit: 3,
    };
    let page = bench.driver()?.list(&Context::background(), request)?;
    Ok((page.layers.into_iter().map(|layer| layer.id).collect(), page.more))
}

pub(super) fn list_pages_are_ascending_and_complete(bench: &Bench) -> CaseResult {
    let mut expected = Vec::new();
    for number in 0..7 {
        expected.push(bench.create(&numbered(number)?, &[], Role::Layer)?.layer.id);
    }
    let mut found: Vec<LayerId> = Vec::new();
    loop {
        let (layers, more) = page(bench, found.last())?;
        found.extend(layers);
        if !more || found.len() > expected.len() {
            break;
        }
    }
    check(found == expected, || {
        format!(
            "pages gave {} of {} layers, or not in order",
            found.len(),
            expected.len()
        )
    })
}

pub(super) fn list_survives_removal_between_pages(bench: &Bench) -> CaseResult {
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(bench.create(&numbered(number)?, &[], Role::Layer)?);
    }
    let (mut found, _) = page(bench, None)?;
    // The one that the next page begins after, and one that it would hold.
    for gone in [2, 4] {
        bench.remove(made.get(gone).ok_or_else(|| Failure::Differs("too few".into()))?)?;
    }
    loop {
        let (layers, more) = page(bench, found.last())?;
        found.extend(layers);
        if !more || found.len() > made.len() {
            break;
        }
    }
    let expected = [0, 1, 2, 3, 5, 6]
        .map(numbered)
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    check(found == expected, || format!("pages gave {found:?}"))
}

pub(super) fn notes_come_back_unchanged(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let told = bench.driver()?.stat(&Context::background(), Stat { id: id('a') })?;
    check(told.note == base.layer.note, || "the note is another one".into())
}

pub(super) fn two_instances_of_one_root_agree(bench: &Bench) -> CaseResult {
    let (one, other) = (bench.driver()?, bench.driver()?);
    let first = one.create(&Context::background(), request(&id('a'), &[], Role::Layer))?;
    let second = other.create(&Context::background(), request(&id('a'), &[], Role::Layer))?;
    check(first.note == second.note && first.steps == second.steps, || {
        "they answer differently".into()
    })
}

pub(super) fn a_fresh_instance_continues_every_state(bench: &Bench) -> CaseResult {
    // Every helper here opens an instance of its own.
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("g"), "y")?))?;
    bench.remove(&container)?;
    bench.remove(&base)?;
    check(!bench.is_there(&base)?, || "the base is still there".into())
}
