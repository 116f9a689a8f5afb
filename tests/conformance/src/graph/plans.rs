//! Cases of what a driver answers for the host to perform, and of use at the same time.

use super::*;

pub(super) fn steps_performed_twice_give_the_same_tree(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let once = bench.on_disk()?;
    bench.create(&id('b'), &container.chain, Role::Container)?;
    same("the root after the same steps", &once, &bench.on_disk()?)
}

pub(super) fn steps_cut_after_any_step_are_completed_by_the_same_call(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let chain = base.below();
    let whole = bench.create(&id('b'), &chain, Role::Container)?;
    let expected = bench.on_disk()?;
    bench.remove(&whole)?;
    let layer = id('b');
    for cut in 0..=bench.ask(&layer, &chain, Role::Container)?.steps.len() {
        let steps = bench.ask(&layer, &chain, Role::Container)?.steps;
        bench.perform_until(&layer, &chain, &steps, cut)?;
        let made = bench.create(&layer, &chain, Role::Container)?;
        same(
            &format!("the root when cut after step {cut}"),
            &expected,
            &bench.on_disk()?,
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

/// As a shim does it: the mount comes by descriptor and is attached in another namespace, where the
/// driver's root need not be.
pub(super) fn a_plan_mounts_in_a_foreign_namespace(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let target = tempfile::tempdir()?;
    let (mount, _) = bench.mount(&container, Access::Write)?;
    let seen = std::thread::scope(|scope| {
        // The namespace ends with its thread, and what was attached in it.
        scope
            .spawn(|| attach_elsewhere(&mount, target.path()))
            .join()
            .unwrap_or_else(|_| Err(Failure::Differs("a thread panicked".into())))
    });
    let written = fs::read_to_string(inside(&mount, "g"));
    drop(mount);
    bench.release(&container, Access::Write)?;
    check(seen? == "x", || "it shows something else there".into())?;
    check(written? == "y", || "what was written there does not show here".into())?;
    check(fs::read_dir(target.path())?.next().is_none(), || {
        "it shows in this namespace".into()
    })
}

fn attach_elsewhere(mount: &OwnedFd, target: &Path) -> Result<String> {
    use longshore_sys::{mount as mounts, namespace};
    let failed = |error: longshore_sys::Error| Failure::Differs(format!("in another namespace: {error}"));
    namespace::unshare(&[namespace::Kind::Mount]).map_err(failed)?;
    let root = fs::File::open("/")?;
    mounts::make_private(std::os::fd::AsFd::as_fd(&root)).map_err(failed)?;
    mounts::attach(mount, fs::File::open(target)?).map_err(failed)?;
    fs::write(target.join("g"), "y")?;
    Ok(fs::read_to_string(target.join("f"))?)
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

pub(super) fn deactivate_while_a_descriptor_is_open_is_done_or_deferred(bench: &Bench) -> CaseResult {
    let base = bench.sealed('a', &[], |sink| put(sink, "f", "x"))?;
    let container = bench.container('b', &base.below())?;
    let (mount, _) = bench.mount(&container, Access::Write)?;
    let outcome = bench.release(&container, Access::Write)?;
    let shown = fs::read_to_string(inside(&mount, "f"));
    drop(mount);
    check(matches!(outcome, Ended::Done | Ended::Deferred), || {
        format!("it is {outcome:?}")
    })?;
    check(shown? == "x", || "whoever holds it sees something else".into())
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
