//! What is left after a plan failed, was undone, or was cut: nothing.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_core::steps::{NetStep, NetworkPlan, Side};
use longshore_core::types::{IfName, IpAddr, IpNet};
use longshore_performer::net::{Live, Part, Scope};

use super::bench::{Bench, Endpoint, Network};
use super::world::{Seen, fresh, perform_on, within};
use super::*;

fn joined(bench: &Bench, network: &Network, number: u32) -> Result<(Endpoint, NetworkPlan, OwnedFd)> {
    let endpoint = bench.endpoint(network, number)?;
    let sandbox = fresh()?;
    let plan = bench.join(network, &endpoint, &sandbox)?.plan;
    Ok((endpoint, plan, sandbox))
}

/// Fails unless the host's side is as it was, and no log is left.
fn unchanged(bench: &Bench, before: &Seen, what: &str) -> CaseResult {
    let after = bench.world()?.seen()?;
    check(after.names() == before.names(), || {
        format!(
            "{what} the host has links {:?}, not {:?}",
            after.names(),
            before.names()
        )
    })
}

pub(super) fn a_failed_step_undoes_all_before_it(bench: &Bench) -> CaseResult {
    let network = bench.network(&bench.wish(0))?;
    let before = bench.world()?.seen()?;
    let logs = bench.world()?.logs()?;
    let (endpoint, mut plan, sandbox) = joined(bench, &network, 2)?;
    // It passes every check, and the kernel knows no way to its next hop.
    plan.steps.push(NetStep::Route {
        side: Side::Sandbox,
        link: Some(IfName::parse("lo")?),
        to: Some(IpNet::parse("203.0.113.0/24")?),
        via: Some(IpAddr::parse("192.0.2.77")?),
        table: 254,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    });
    let steps = plan.steps.len();
    let failed = bench
        .world()?
        .perform(&plan, &network.scope_of(&endpoint.id), Some(&sandbox));
    let Err(error) = failed else {
        return Err(Failure::Differs("a route by an unknown next hop was added".into()));
    };
    check(error.message.contains(&format!("step {steps}")), || {
        format!("the error does not name the step: {error}")
    })?;
    unchanged(bench, &before, "after a step failed")?;
    check(bench.world()?.logs()? == logs, || {
        "a log was left of a plan that failed".into()
    })?;
    // The same endpoint can still be put into the same sandbox.
    plan.steps.pop();
    bench
        .world()?
        .perform(&plan, &network.scope_of(&endpoint.id), Some(&sandbox))?;
    bench.world()?.undo(endpoint.id.as_str(), Part::Main, Some(&sandbox))?;
    bench.remove(&network)?;
    bench.world()?.check_clean()
}

pub(super) fn undo_twice_is_harmless(bench: &Bench) -> CaseResult {
    let network = bench.network(&bench.wish(0))?;
    let before = bench.world()?.seen()?;
    let (endpoint, plan, sandbox) = joined(bench, &network, 2)?;
    let scope = network.scope_of(&endpoint.id);
    // Performing it again gives the same result.
    bench.world()?.perform(&plan, &scope, Some(&sandbox))?;
    let once = Seen::in_namespace(&sandbox)?;
    bench.world()?.perform(&plan, &scope, Some(&sandbox))?;
    let twice = Seen::in_namespace(&sandbox)?;
    check(
        once.names() == twice.names() && once.gateways() == twice.gateways(),
        || {
            format!(
                "performed twice, the inside has {:?}, not {:?}",
                twice.names(),
                once.names()
            )
        },
    )?;
    for _ in 0..2 {
        bench.world()?.undo(endpoint.id.as_str(), Part::Main, Some(&sandbox))?;
    }
    unchanged(bench, &before, "after an undo")?;
    for _ in 0..2 {
        bench.world()?.undo(network.id.as_str(), Part::Main, None)?;
    }
    bench.world()?.check_clean()
}

pub(super) fn undo_of_a_half_done_plan_leaves_nothing(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.planned(&bench.wish(0))?;
    cut_anywhere(bench, &network.plan, &network.scope(), network.id.as_str(), None)?;
    world.perform(&network.plan, &network.scope(), None)?;
    let before = world.seen()?;
    let (endpoint, plan, _) = joined(bench, &network, 2)?;
    let scope = network.scope_of(&endpoint.id);
    cut_anywhere(bench, &plan, &scope, endpoint.id.as_str(), Some(&endpoint))?;
    unchanged(bench, &before, "after the undo of a plan that was cut")?;
    bench.remove(&network)?;
    world.check_clean()
}

/// Performs each beginning of a plan as if it had been cut there: with the log of the whole.
fn cut_anywhere(
    bench: &Bench,
    plan: &NetworkPlan,
    scope: &Scope<'_>,
    object: &str,
    inside: Option<&Endpoint>,
) -> CaseResult {
    let world = bench.world()?;
    let before = world.seen()?;
    let sandbox = || inside.map(|_| fresh()).transpose();
    let whole = sandbox()?;
    world.perform(plan, scope, whole.as_ref())?;
    let logs: Vec<_> = world
        .logs()?
        .into_iter()
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(object))
        })
        .map(|path| Ok((fs::read(&path)?, path)))
        .collect::<Result<_>>()?;
    world.undo(object, Part::Main, whole.as_ref())?;
    for steps in 0..plan.steps.len() {
        let sandbox = sandbox()?;
        let begun = NetworkPlan {
            steps: plan.steps.iter().take(steps).cloned().collect(),
        };
        world.perform(&begun, scope, sandbox.as_ref())?;
        for (content, path) in &logs {
            fs::write(path, content)?;
        }
        world.undo(object, Part::Main, sandbox.as_ref())?;
        unchanged(bench, &before, &format!("cut after step {steps} and undone,"))?;
    }
    Ok(())
}

pub(super) fn collection_spares_live_endpoints_and_other_data_roots(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    let live = bench.connect(&network, 2)?;
    let dead = bench.connect(&network, 3)?;
    let gone = bench.network(&bench.wish(1))?;
    // Another data root of the same machine, with the same IDs and its own marks.
    let run = tempfile::tempdir()?;
    let neighbour = world.neighbour(run.path())?;
    let mut request = bench.request(&bench.wish(2))?;
    request.prefix = neighbour.ownership().prefix().clone();
    let foreign = bench.ask_network(request)??.plan;
    let foreign_scope = bench.planned(&bench.wish(2))?;
    perform_on(&world.host, &neighbour, &foreign, &foreign_scope.scope(), None)?;
    let before = world.seen()?;
    let removed = within(&world.host, || {
        let engine = world.engine()?;
        Ok(engine.collect(&Live {
            networks: std::slice::from_ref(&network.id),
            endpoints: std::slice::from_ref(&live.endpoint.id),
        })?)
    })?;
    check(!removed.is_empty(), || "nothing was collected".into())?;
    let after = world.seen()?;
    let of = |object: &str| -> Vec<String> {
        let links = before.links.iter().filter(|link| link.alias.contains(object));
        links.map(|link| link.name.clone()).collect()
    };
    for name in of(dead.endpoint.id.as_str()).into_iter().chain(of(gone.id.as_str())) {
        check(after.link(&name).is_none(), || {
            format!("link {name} of what is dead was spared")
        })?;
    }
    let neighbours = before
        .links
        .iter()
        .filter(|link| link.name.starts_with("ls0b2e"))
        .map(|link| link.name.clone());
    let spared: Vec<String> = of(live.endpoint.id.as_str())
        .into_iter()
        .chain(of(network.id.as_str()))
        .chain(neighbours)
        .collect();
    check(spared.len() >= 3, || format!("only {spared:?} were there to be spared"))?;
    for name in spared {
        check(after.link(&name).is_some(), || {
            format!("link {name} of what lives was taken")
        })?;
    }
    super::reach::talk(bench, &network, &live)?;
    bench.disconnect(&network, &live)?;
    bench.remove(&network)
}

pub(super) fn a_thousand_joins_leave_no_link(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    for round in 0..1000_u32 {
        let connected = bench.connect(&network, 2 + round % 200)?;
        // Its namespace goes, and with it the pair; the rest is the log's.
        let id = connected.endpoint.id.clone();
        let endpoint = connected.endpoint.clone();
        drop(connected);
        world.undo(id.as_str(), Part::Main, None)?;
        bench.leave(&network, &endpoint, None)??;
        bench.delete_endpoint(&network, &endpoint)??;
    }
    bench.remove(&network)?;
    world.check_clean()
}

pub(super) fn dropping_the_namespace_removes_the_pair(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let network = bench.network(&bench.wish(0))?;
    let before = world.seen()?;
    let connected = bench.connect(&network, 2)?;
    let during = world.seen()?;
    check(during.links.len() > before.links.len(), || {
        "no half of a pair is on the host".into()
    })?;
    let id = connected.endpoint.id.clone();
    let last = Arc::into_inner(connected.sandbox);
    check(last.is_some(), || "the kit holds the sandbox twice".into())?;
    drop(last);
    let mut left = world.seen()?.links.len();
    for _ in 0..100 {
        if left == before.links.len() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        left = world.seen()?.links.len();
    }
    unchanged(bench, &before, "after the namespace ended")?;
    world.undo(id.as_str(), Part::Main, None)?;
    bench.remove(&network)?;
    world.check_clean()
}
