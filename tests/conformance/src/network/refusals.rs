//! Plans that break a rule: refused as a whole before the first step, whoever wrote them.

use longshore_core::ErrorKind;
use longshore_core::steps::{LinkMode, NetStep, NetworkPlan, Side};
use longshore_core::types::{EndpointId, IfName, IpAddr, SysctlKey};
use longshore_core::wire::{decode, encode};
use longshore_performer::net::Scope;
use longshore_performer::net::check::check as judge;

use super::bench::{Bench, Network};
use super::world::{World, fresh};
use super::*;

/// What the driver itself plans for a network and for an endpoint, and both scopes pass.
pub(super) fn a_plan_names_only_owned_links(bench: &Bench) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let own = World::ownership()?;
    judge(&network.plan, &network.scope(), &own)?;
    let endpoint = bench.endpoint(&network, 2)?;
    let sandbox = bench.capabilities.acts.then(fresh).transpose()?;
    let joined = bench.ask_join(&network, &endpoint, sandbox.as_ref(), 0)??;
    judge(&joined.plan, &network.scope_of(&endpoint.id), &own)?;
    for step in network.plan.steps.iter().chain(&joined.plan.steps) {
        if let NetStep::Link {
            side: Side::Host, name, ..
        } = step
        {
            check(name.as_str().starts_with(own.prefix().as_str()), || {
                format!("link {name} of the host does not begin with {}", own.prefix())
            })?;
        }
    }
    Ok(())
}

/// The driver's own plan for an endpoint, with something behind it.
fn spoiled(bench: &Bench, network: &Network, more: Vec<NetStep>) -> Result<(NetworkPlan, EndpointId)> {
    let endpoint = bench.endpoint(network, 2)?;
    let sandbox = bench.capabilities.acts.then(fresh).transpose()?;
    let mut plan = bench.ask_join(network, &endpoint, sandbox.as_ref(), 0)??.plan;
    plan.steps.extend(more);
    Ok((plan, endpoint.id))
}

/// Fails unless the plan is refused, and for a reason in which all the words stand.
fn refused(bench: &Bench, more: Vec<NetStep>, kinds: &[&str], words: &[&str]) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let (plan, endpoint) = spoiled(bench, &network, more)?;
    let more: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let own = network.scope_of(&endpoint);
    let kinds: Vec<String> = own.link_kinds.iter().cloned().chain(more).collect();
    let scope = Scope {
        link_kinds: &kinds,
        ..own
    };
    let answer = judge(&plan, &scope, &World::ownership()?);
    let told = matches!(&answer, Err(error) if words.iter().all(|word| error.message.contains(word)));
    let shown = format!("{answer:?}");
    expect(answer, ErrorKind::Broken)?;
    check(told, || format!("the refusal {shown} does not name {words:?}"))
}

fn link(name: &str, kind: &str, parent: Option<&str>) -> Result<NetStep> {
    Ok(NetStep::Link {
        side: Side::Host,
        name: IfName::parse(name)?,
        kind: kind.into(),
        peer: None,
        parent: parent.map(IfName::parse).transpose()?,
        master: None,
        mac: None,
        mtu: None,
        up: false,
        attributes: vec![],
        port: vec![],
        mode: LinkMode::Create,
    })
}

pub(super) fn a_plan_over_256_steps_is_refused(bench: &Bench) -> CaseResult {
    let lo = IfName::parse("lo")?;
    let up = NetStep::Up {
        side: Side::Sandbox,
        link: lo,
    };
    refused(bench, vec![up; 257], &[], &["256"])
}

pub(super) fn an_unknown_step_refuses_the_plan(bench: &Bench) -> CaseResult {
    let network = bench.planned(&bench.wish(0))?;
    let lo = IfName::parse("lo")?;
    let (plan, _) = spoiled(
        bench,
        &network,
        vec![NetStep::Up {
            side: Side::Sandbox,
            link: lo,
        }],
    )?;
    let mut bytes = encode(&plan)?;
    // The last step, by its name: what a newer driver would send.
    let at = bytes
        .windows(3)
        .rposition(|window| window == b"\xa2Up")
        .ok_or_else(|| Failure::Differs("the plan has no step Up".into()))?;
    if let Some(name) = bytes.get_mut(at + 1..at + 3) {
        name.copy_from_slice(b"Xx");
    }
    expect(decode::<NetworkPlan>(&bytes), ErrorKind::Broken)
}

pub(super) fn a_link_kind_without_grant_is_refused(bench: &Bench) -> CaseResult {
    refused(bench, vec![link("ls0a1fx", "vcan", None)?], &[], &["vcan", "grant"])?;
    let foreign = link("eth7", "vcan", None)?;
    refused(bench, vec![foreign], &["vcan"], &["eth7"])
}

pub(super) fn a_foreign_parent_is_refused(bench: &Bench) -> CaseResult {
    let child = link("ls0a1fx", "macvlan", Some("eth0"))?;
    refused(bench, vec![child], &["macvlan"], &["eth0", "parent"])
}

pub(super) fn a_host_default_route_is_refused(bench: &Bench) -> CaseResult {
    let route = NetStep::Route {
        side: Side::Host,
        link: Some(IfName::parse("ls0a1fx")?),
        to: None,
        via: Some(IpAddr::parse("192.0.2.1")?),
        table: 254,
        metric: 0,
        scope: 0,
        source: None,
        on_link: false,
    };
    let own = link("ls0a1fx", "dummy", None)?;
    refused(bench, vec![own, route], &["dummy"], &["default route"])
}

pub(super) fn a_global_sysctl_is_refused(bench: &Bench) -> CaseResult {
    for key in [
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/forwarding",
        "net/ipv4/conf/eth0/forwarding",
    ] {
        let step = NetStep::Sysctl {
            side: Side::Host,
            key: SysctlKey::parse(key)?,
            value: "0".into(),
        };
        refused(bench, vec![step], &[], &["step"])?;
    }
    Ok(())
}
