//! The network suite.
//!
//! A case that performs a plan does so in network namespaces of its own ([`world`]): one plays the
//! host, one the world outside, each sandbox is a third. Nothing of the machine that the kit runs on
//! is changed. [`mod@bench`] is the host's part of the calls, [`traffic`] tells whether packets come
//! through. A driver that acts by itself is told where it shall act, and what it says it did is
//! compared with what is there.
//!
//! [`life`] and [`refusals`] need no namespaces; [`undo`], [`reach`], [`ports`] and [`outer`] do.

mod acting;
mod bench;
mod life;
mod outer;
mod ports;
mod reach;
mod refusals;
mod traffic;
mod undo;
mod world;

pub use bench::Bench;

use crate::{Case, CaseResult, Failure, check, expect};

type Result<T> = std::result::Result<T, Failure>;

fn always(_: &Bench) -> Option<&'static str> {
    None
}

fn sandboxed(bench: &Bench) -> Option<&'static str> {
    if bench.unusable.is_some() {
        return Some("the driver cannot work on this machine");
    }
    (!bench.capabilities.needs_sandbox).then_some("the driver's containers share the host's network")
}

/// The driver tells by a plan what is to be made.
fn plans(bench: &Bench) -> Option<&'static str> {
    sandboxed(bench).or(bench.capabilities.acts.then_some("the driver acts by itself"))
}

fn acts(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.acts).then_some("the driver only describes: the host does or checks this by itself")
}

/// Containers get addresses of pools.
fn addressed(bench: &Bench) -> Option<&'static str> {
    let none = !bench.capabilities.addresses;
    sandboxed(bench).or(none.then_some("the driver's containers have no addresses"))
}

/// Containers of several networks reach each other and the outside.
fn connected(bench: &Bench) -> Option<&'static str> {
    let none = bench.capabilities.link_kinds.is_empty();
    addressed(bench).or(none.then_some("the driver connects containers with nothing"))
}

fn v6(bench: &Bench) -> Option<&'static str> {
    connected(bench).or((!bench.capabilities.ipv6).then_some("the driver has no IPv6"))
}

fn publishes(bench: &Bench) -> Option<&'static str> {
    connected(bench).or((!bench.capabilities.publishes).then_some("the driver publishes no ports"))
}

fn hot(bench: &Bench) -> Option<&'static str> {
    connected(bench).or((!bench.capabilities.hot).then_some("the driver connects no container that runs"))
}

fn sized(bench: &Bench) -> Option<&'static str> {
    connected(bench).or(bench
        .option("mtu")
        .is_none()
        .then_some("the driver has no option for it"))
}

macro_rules! cases {
    ($($part:ident::$name:ident [$skip:ident],)*) => {
        /// The cases, in the contract's order.
        pub const CASES: &[Case<Bench>] = &[$(Case {
            name: stringify!($name),
            skip: $skip,
            run: $part::$name,
        }),*];
    };
}

cases! {
    life::create_network_twice_is_the_same [always],
    acting::delete_network_with_endpoints_is_in_use [acts],
    life::delete_of_the_unknown_is_absent [always],
    life::create_endpoint_twice_is_the_same [always],
    life::given_addresses_are_not_changed [addressed],
    life::join_twice_gives_the_same_plan [always],
    life::leave_without_a_sandbox_succeeds [always],
    life::leave_twice_is_absent [always],
    life::join_after_leave_works [always],
    refusals::a_plan_names_only_owned_links [always],
    refusals::a_plan_over_256_steps_is_refused [always],
    refusals::an_unknown_step_refuses_the_plan [always],
    refusals::a_link_kind_without_grant_is_refused [always],
    refusals::a_foreign_parent_is_refused [always],
    refusals::a_host_default_route_is_refused [always],
    refusals::a_global_sysctl_is_refused [always],
    undo::a_failed_step_undoes_all_before_it [plans],
    undo::undo_twice_is_harmless [plans],
    undo::undo_of_a_half_done_plan_leaves_nothing [plans],
    undo::collection_spares_live_endpoints_and_other_data_roots [connected],
    reach::the_inside_has_exactly_the_planned_links_addresses_routes [plans],
    reach::two_containers_reach_each_other [connected],
    reach::the_outside_is_reached_and_masqueraded [connected],
    reach::internal_networks_reach_nothing_outside [connected],
    reach::networks_are_isolated_from_each_other [connected],
    ports::a_published_port_answers_from_outside [publishes],
    ports::from_the_hosts_own_address [publishes],
    ports::on_127_0_0_1_and_on_the_v6_loopback [publishes],
    ports::to_udp [publishes],
    ports::only_on_the_asked_address [publishes],
    ports::a_taken_port_is_refused_before_any_step [publishes],
    ports::ports_answer_after_engine_death [publishes],
    ports::loopback_ports_answer_after_engine_death [publishes],
    reach::a_server_on_port_53_inside_works [connected],
    outer::a_foreign_drop_policy_is_reported [connected],
    reach::connect_and_disconnect_while_running [hot],
    acting::a_moved_link_comes_back_under_its_name [always],
    acting::an_acting_driver_that_lies_is_broken [acts],
    reach::ipv6_only_works [v6],
    reach::mtu_is_kept [sized],
    undo::a_thousand_joins_leave_no_link [connected],
    undo::dropping_the_namespace_removes_the_pair [connected],
}
