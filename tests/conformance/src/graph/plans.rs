//! Cases of what a driver answers for the host to perform, and of use at the same time.

use super::*;

pub(super) fn steps_performed_twice_give_the_same_tree(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let once = lines(&bench.place.path)?;
    bench.create(&id('b'), &container.chain, Role::Container)?;
    same("the root after the same steps", &once, &lines(&bench.place.path)?)
}

pub(super) fn steps_cut_after_any_step_are_completed_by_the_same_call(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let whole = bench.create(&id('b'), &chain, Role::Container)?;
    let expected = lines(&bench.place.path)?;
    bench.remove(&whole)?;
    let layer = id('b');
    for cut in 0..=bench.ask(&layer, &chain, Role::Container)?.steps.len() {
        let steps = bench.ask(&layer, &chain, Role::Container)?.steps;
        let ancestors = names(&chain);
        tree::perform_steps_until(&steps, &bench.scope(&layer, &ancestors), cut)?;
        let made = bench.create(&layer, &chain, Role::Container)?;
        same(
            &format!("the root when cut after step {cut}"),
            &expected,
            &lines(&bench.place.path)?,
        )?;
        bench.remove(&made)?;
    }
    Ok(())
}

pub(super) fn steps_name_only_the_object_of_the_call(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let chain = base.below();
    let steps = bench.ask(&id('b'), &chain, Role::Container)?.steps;
    let layer = id('b');
    let ancestors = names(&chain);
    Ok(tree::check_steps(&steps, &bench.scope(&layer, &ancestors))?)
}

pub(super) fn a_plan_names_only_the_layer_and_its_ancestors(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let plan: MountPlan = bench.plan(&container, Access::Write)?.plan;
    bench.release(&container, Access::Write)?;
    let own = container.layer.id.as_str();
    for step in &plan.steps {
        let written = [&step.upper, &step.work];
        check(
            written
                .iter()
                .all(|place| place.as_ref().is_none_or(|p| p.object.as_deref() == Some(own))),
            || "it writes to another layer".into(),
        )?;
        if let Source::Tree(place) = &step.source {
            check(step.read_only || place.object.as_deref() == Some(own), || {
                "its writable tree is another layer's".into()
            })?;
        }
        for lower in &step.lowers {
            if let Lower::Chain { first, count, .. } = lower {
                check(
                    usize::from(*first) + usize::from(*count) <= container.chain.len(),
                    || "it names ancestors that there are not".into(),
                )?;
            }
        }
    }
    Ok(())
}

pub(super) fn a_plan_repeated_is_equal(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    let one = bench.plan(&container, Access::Write)?;
    let two = bench.plan(&container, Access::Write)?;
    bench.release(&container, Access::Write)?;
    check(one == two, || "the second plan differs".into())
}

pub(super) fn a_second_consumer_sees_the_first_ones_writes(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    let (mount, _) = bench.mount(&container, Access::Write)?;
    let second = plan::clone_mount(&mount)?;
    fs::write(inside(&mount, "f"), "x")?;
    let seen = fs::read_to_string(inside(&second, "f"));
    drop((mount, second));
    bench.release(&container, Access::Write)?;
    check(seen? == "x", || "it sees something else".into())
}

pub(super) fn deactivate_of_the_absent_is_absent(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    let outcome = bench.release(&base, Access::Read)?;
    check(outcome == Ended::Absent, || format!("it is {outcome:?}"))
}

pub(super) fn activate_after_deferred_deactivate_works(bench: &Bench) -> CaseResult {
    let base = bench.create(&id('a'), &[], Role::Layer)?;
    for _ in 0..2 {
        bench.with(&base, Access::Unpack, |top| Ok(fs::write(top.join("f"), "x")?))?;
    }
    check(bench.read(&base)?.len() == 1, || "what was written is not there".into())
}

pub(super) fn data_survives_deactivate_and_activate(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], nothing)?;
    let container = bench.container('b', &base.below())?;
    bench.with(&container, Access::Write, |top| Ok(fs::write(top.join("f"), "kept")?))?;
    let content = bench.with(&container, Access::Write, |top| Ok(fs::read_to_string(top.join("f"))?))?;
    check(content == "kept", || format!("it is {content:?}"))
}

pub(super) fn parallel_children_of_one_parent_all_succeed(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    std::thread::scope(|scope| {
        let children: Vec<_> = (0..8)
            .map(|number| {
                let chain = &chain;
                scope.spawn(move || bench.create(&numbered(number)?, chain, Role::Container).map(drop))
            })
            .collect();
        children.into_iter().try_for_each(|child| {
            child
                .join()
                .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
        })
    })
}

pub(super) fn collect_on_a_clean_root_does_nothing(bench: &Bench) -> CaseResult {
    let before = lines(&bench.place.path)?;
    let collected = bench
        .driver()?
        .collect(&Context::background(), Collect { after: None })?;
    check(collected.steps.is_empty() && collected.pending == 0, || {
        "it found work".into()
    })?;
    same("the root after collect", &before, &lines(&bench.place.path)?)
}

pub(super) fn foreign_objects_beside_ours_stay(bench: &Bench) -> CaseResult {
    fs::write(bench.place.path.join("foreign"), "stays")?;
    let base = bench.sealed('a', &[], nothing)?;
    bench.remove(&base)?;
    check(fs::read(bench.place.path.join("foreign"))? == b"stays", || {
        "it was touched".into()
    })?;
    bench.place.check_sentinel()
}
