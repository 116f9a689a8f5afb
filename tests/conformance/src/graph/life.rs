//! Cases of a layer's life: made, sealed, removed, listed.

use super::*;

pub(super) fn describe_is_pure_and_agrees_with_itself(bench: &Bench) -> CaseResult {
    let described = bench.target.loaded.description();
    check(!described.name.is_empty() && described.kind == "graph", || {
        "it has no name or another kind".into()
    })?;
    check(described.areas.len() <= 16, || "more than 16 areas".into())?;
    check(described.concurrency > 0, || "it takes no calls".into())?;
    match bench.target.loaded.manifest() {
        Some(manifest) => check(
            manifest.name == described.name && manifest.version == described.version,
            || "the manifest says otherwise".into(),
        ),
        None => Ok(()),
    }
}

pub(super) fn probe_changes_nothing(bench: &Bench) -> CaseResult {
    let before = lines(&bench.place.path)?;
    for _ in 0..2 {
        unusable(&bench.target.loaded, &bench.place, &bench.target.options)?;
    }
    same("the root after a probe", &before, &lines(&bench.place.path)?)?;
    bench.place.check_sentinel()
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

pub(super) fn create_over_a_missing_parent_is_not_found(bench: &Bench) -> CaseResult {
    let missing = LayerRef {
        id: id('z'),
        note: Note::default(),
    };
    expect(bench.ask(&id('a'), &[missing], Role::Layer), ErrorKind::NotFound)
}

pub(super) fn create_over_an_open_parent_is_invalid(bench: &Bench) -> CaseResult {
    if bench.capabilities.independent_layers {
        return Ok(());
    }
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    expect(bench.ask(&id('b'), &base.below(), Role::Layer), ErrorKind::Invalid)
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
    let layer = id('b');
    let ancestors = names(&chain);
    tree::perform_steps_until(
        &created.steps,
        &bench.scope(&layer, &ancestors),
        created.steps.len() / 2,
    )?;
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

pub(super) fn remove_takes_everything_away(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let before = lines(&bench.place.path)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("g"), "y")?))?;
    bench.remove(&container)?;
    same("the root after a removal", &before, &lines(&bench.place.path)?)
}

pub(super) fn an_id_can_be_removed_while_half_made(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let before = lines(&bench.place.path)?;
    let chain = base.below();
    let created = bench.ask(&id('b'), &chain, Role::Container)?;
    let layer = id('b');
    let ancestors = names(&chain);
    tree::perform_steps_until(&created.steps, &bench.scope(&layer, &ancestors), 1)?;
    bench.remove(&Filled {
        layer: LayerRef {
            id: layer.clone(),
            note: Note::default(),
        },
        chain: chain.clone(),
    })?;
    same("the root after a removal", &before, &lines(&bench.place.path)?)
}

pub(super) fn stat_follows_open_and_sealed(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let state = || -> Result<State> {
        Ok(bench
            .driver()?
            .stat(&Context::background(), Stat { id: id('a') })?
            .state)
    };
    check(state()? == State::Open, || "it is not open".into())?;
    bench.commit(&base)?;
    check(state()? == State::Sealed, || "it is not sealed".into())
}

pub(super) fn stat_of_the_absent_is_not_found(bench: &Bench) -> CaseResult {
    expect(
        bench.driver()?.stat(&Context::background(), Stat { id: id('a') }),
        ErrorKind::NotFound,
    )
}

pub(super) fn list_pages_are_ascending_and_complete(bench: &Bench) -> CaseResult {
    let mut expected = Vec::new();
    for number in 0..7 {
        let made = bench.create(&numbered(number)?, &[], Role::Layer)?;
        expected.push(made.layer.id);
    }
    let mut found: Vec<LayerId> = Vec::new();
    loop {
        let request = List {
            after: found.last().cloned(),
            limit: 3,
        };
        let page = bench.driver()?.list(&Context::background(), request)?;
        found.extend(page.layers.into_iter().map(|layer| layer.id));
        if !page.more || found.len() > expected.len() {
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

pub(super) fn notes_come_back_unchanged(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let told = bench.driver()?.stat(&Context::background(), Stat { id: id('a') })?;
    check(told.note == base.layer.note, || "the note is another one".into())
}

pub(super) fn two_instances_of_one_root_agree(bench: &Bench) -> CaseResult {
    let (one, other) = (bench.driver()?, bench.driver()?);
    let request = || Create {
        id: id('a'),
        chain: vec![],
        role: Role::Layer,
        options: vec![],
    };
    let first = one.create(&Context::background(), request())?;
    let second = other.create(&Context::background(), request())?;
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
