//! Beside other tools: what blocks a network is told, and nothing of theirs is touched.

use longshore_core::steps::Protocol;
use longshore_performer::net::foreign_chains;
use longshore_sys::net::nftables::{Base, Firewall, Hook, Transaction};

use super::bench::Bench;
use super::traffic::{reaches, serve};
use super::world::{OUTSIDE4, World, sys, within};
use super::*;

const TABLE: &str = "foreign";

pub(super) fn a_foreign_drop_policy_is_reported(bench: &Bench) -> CaseResult {
    let world = bench.world()?;
    let own = World::ownership()?;
    let told = || within(&world.host, || Ok(foreign_chains(&own)?));
    let network = bench.network(&bench.wish(0))?;
    let one = bench.connect(&network, 2)?;
    check(told()?.is_empty(), || "a chain of our own is reported".into())?;
    within(&world.host, || {
        let mut changes = Transaction::new();
        changes.table(TABLE);
        let base = Base {
            hook: Hook::Forward,
            nat: false,
            priority: 0,
            drops: true,
        };
        changes.chain(TABLE, "forward", Some(base));
        let mut firewall = Firewall::open().map_err(sys)?;
        firewall.commit(changes).map_err(|refused| sys(refused.error))
    })?;
    let found = told()?;
    let sentence = found.first().map(ToString::to_string).unwrap_or_default();
    check(
        found.len() == 1 && sentence.contains(TABLE) && sentence.contains("accept"),
        || format!("{found:?} is reported, without its name or a remedy"),
    )?;
    // It is the truth: with it nothing comes through, without it all does.
    let outside = longshore_core::types::IpAddr::parse(OUTSIDE4)?;
    let _server = serve(&world.outside, "outside", Protocol::Tcp, outside, 8000)?;
    super::traffic::is_cut_off(&one.sandbox, "a container", OUTSIDE4, 8000)?;
    within(&world.host, || {
        let mut changes = Transaction::new();
        changes.remove_table(TABLE);
        let mut firewall = Firewall::open().map_err(sys)?;
        firewall.commit(changes).map_err(|refused| sys(refused.error))
    })?;
    reaches(&one.sandbox, "a container", Protocol::Tcp, OUTSIDE4, 8000, "outside").map(drop)
}
