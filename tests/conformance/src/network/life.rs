//! Networks, endpoints and joins: repeated, ended, and begun again. Each call reaches a fresh
//! instance.

use longshore_core::ErrorKind;
use longshore_core::driver::OptionValue;
use longshore_core::graph::Ended;
use longshore_core::network::DeleteNetwork;
use longshore_core::types::{Mac, NetworkId, Note};

use super::bench::{Bench, Endpoint, Network};
use super::world::fresh;
use super::*;

pub(super) fn create_network_twice_is_the_same(bench: &Bench) -> CaseResult {
    let request = bench.request(&bench.wish(0))?;
    let first = bench.ask_network(request.clone())??;
    let again = bench.ask_network(request.clone())??;
    check(first == again, || {
        format!("the same request was answered {first:?} and {again:?}")
    })?;
    // An option that is not there is refused by its name.
    let mut other = bench.request(&bench.wish(1))?;
    other.options = vec![OptionValue::text("no.such.option", "x")];
    let refused = bench.ask_network(other)?;
    let named = matches!(&refused, Err(error) if error.message.contains("no.such.option"));
    expect(refused, ErrorKind::Invalid)?;
    check(named, || "the refusal does not name the option".into())
}

pub(super) fn delete_of_the_unknown_is_absent(bench: &Bench) -> CaseResult {
    let driver = bench.driver()?;
    let request = DeleteNetwork {
        network: NetworkId::parse("f".repeat(64))?,
        note: Note::default(),
    };
    let deleted = driver.delete_network(&longshore_core::Context::background(), request)?;
    // A driver that only describes keeps no list; then the host knows that it was absent.
    check(deleted.outcome == Ended::Absent || !bench.capabilities.acts, || {
        "a network that is not there was deleted".into()
    })?;
    let network = bench.planned(&bench.wish(0))?;
    let endpoint = bench.endpoint(&network, 2)?;
    bench.delete_endpoint(&network, &endpoint)??;
    let outcome = bench.delete_endpoint(&network, &endpoint)??;
    check(outcome == Ended::Absent || !bench.capabilities.acts, || {
        "an endpoint was deleted twice".into()
    })
}

pub(super) fn create_endpoint_twice_is_the_same(bench: &Bench) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let request = bench.endpoint_request(&network, 2)?;
    let first = bench.ask_endpoint(request.clone())??;
    let again = bench.ask_endpoint(request)??;
    check(first == again, || {
        format!("the same request was answered {first:?} and {again:?}")
    })?;
    let other = bench.ask_endpoint(bench.endpoint_request(&network, 3)?)??;
    check(first.mac.is_none() || first.mac != other.mac, || {
        "two endpoints have one hardware address".into()
    })
}

pub(super) fn given_addresses_are_not_changed(bench: &Bench) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let mut request = bench.endpoint_request(&network, 2)?;
    let mac = Mac::parse("02:00:5e:00:00:07")?;
    request.mac = Some(mac);
    let made = bench.ask_endpoint(request.clone())??;
    check(made.mac.is_none() && made.addresses.is_empty(), || {
        format!(
            "addresses were given, and the driver answers {:?} and {:?}",
            made.mac, made.addresses
        )
    })?;
    let mut foreign = bench.endpoint_request(&network, 3)?;
    foreign.addresses = vec![longshore_core::types::IpNet::parse("192.0.2.7/24")?];
    expect(bench.ask_endpoint(foreign)?, ErrorKind::Invalid)
}

fn made(bench: &Bench) -> Result<(Network, Endpoint)> {
    let network = bench.planned(&bench.wish(0))?;
    let endpoint = bench.endpoint(&network, 2)?;
    Ok((network, endpoint))
}

/// The sandbox that a driver which acts is given; the others get none.
fn sandbox(bench: &Bench) -> Result<Option<std::os::fd::OwnedFd>> {
    bench.capabilities.acts.then(fresh).transpose()
}

pub(super) fn join_twice_gives_the_same_plan(bench: &Bench) -> CaseResult {
    let (network, endpoint) = made(bench)?;
    let sandbox = sandbox(bench)?;
    let first = bench.ask_join(&network, &endpoint, sandbox.as_ref(), 0)??;
    let again = bench.ask_join(&network, &endpoint, sandbox.as_ref(), 0)??;
    check(first == again, || {
        format!("the same join was answered {first:?} and {again:?}")
    })?;
    check(first.acted.is_some() == bench.capabilities.acts, || {
        "a driver acts exactly when it says so".into()
    })?;
    let shares = bench.capabilities.shares_host && !first.plan.steps.is_empty();
    check(!shares, || {
        "a container that shares the host's network has a plan".into()
    })
}

pub(super) fn leave_without_a_sandbox_succeeds(bench: &Bench) -> CaseResult {
    let (network, endpoint) = made(bench)?;
    let sandbox = sandbox(bench)?;
    bench.ask_join(&network, &endpoint, sandbox.as_ref(), 0)??;
    drop(sandbox);
    let outcome = bench.leave(&network, &endpoint, None)??;
    check(outcome == Ended::Done, || {
        format!("leaving a sandbox that is gone is {outcome:?}")
    })?;
    bench.delete_endpoint(&network, &endpoint)??;
    bench.delete_network(&network)??;
    Ok(())
}

pub(super) fn leave_twice_is_absent(bench: &Bench) -> CaseResult {
    let (network, endpoint) = made(bench)?;
    let sandbox = sandbox(bench)?;
    bench.ask_join(&network, &endpoint, sandbox.as_ref(), 0)??;
    bench.leave(&network, &endpoint, sandbox.as_ref())??;
    let outcome = bench.leave(&network, &endpoint, sandbox.as_ref())??;
    check(outcome == Ended::Absent || !bench.capabilities.acts, || {
        "an endpoint left twice".into()
    })
}

pub(super) fn join_after_leave_works(bench: &Bench) -> CaseResult {
    let (network, endpoint) = made(bench)?;
    let first = sandbox(bench)?;
    let before = bench.ask_join(&network, &endpoint, first.as_ref(), 0)??;
    bench.leave(&network, &endpoint, first.as_ref())??;
    let second = sandbox(bench)?;
    let after = bench.ask_join(&network, &endpoint, second.as_ref(), 0)??;
    check(before.plan == after.plan, || {
        format!("the plan was {:?} and is {:?}", before.plan, after.plan)
    })
}
