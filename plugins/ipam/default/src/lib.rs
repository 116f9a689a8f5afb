//! The ipam driver `default`: pools and addresses of this machine's networks, kept in the host's
//! state.
//!
//! It keeps nothing in memory and does no I/O but by the state service, so that any instance answers
//! alike and what a call grants is committed with the host's own record of it. `choice` finds a pool
//! that nobody has, `leases` an address in one, `records` is how both lie in the state. What links
//! and routes are made of the addresses is the network driver's business.
#![forbid(unsafe_code)]

mod choice;
mod leases;
mod pools;
mod records;

use longshore_plugin::driver::{
    Capabilities, Description, Driver, Open, OptionKind, OptionScope, OptionSpec, Probe, Probed, Versions,
};
use longshore_plugin::ipam::{
    AddressGranted, AddressSpaces, Ipam, IpamCapabilities, Leases, List, PoolGranted, ReleaseAddress, ReleasePool,
    Released, RequestAddress, RequestPool, Spaces,
};
use longshore_plugin::{Context, Error, Result};

use crate::choice::Defaults;
use crate::records::Records;

/// The one space of this driver.
const SPACE: &str = "local";
/// The option with the pools from which it chooses.
const POOLS: &str = "default-address-pools";

/// The driver, with the pools from which it chooses.
#[derive(Debug)]
pub struct Default {
    defaults: Defaults,
}

fn capabilities() -> Capabilities {
    Capabilities::Ipam(IpamCapabilities {
        acts: false,
        needs_mac: false,
        needs_replay: false,
        lists: true,
        v6: true,
        spaces: 1,
    })
}

impl Driver for Default {
    fn describe() -> Description {
        Description {
            name: "default".into(),
            aliases: vec![],
            version: env!("CARGO_PKG_VERSION").into(),
            kind: "ipam".into(),
            interface: Versions { from: 0, to: 0 },
            folder: None,
            areas: vec![],
            options: vec![OptionSpec {
                name: POOLS.into(),
                kind: OptionKind::Text,
                scope: OptionScope::Driver,
                required: false,
                default: Some(choice::DOCKERS.into()),
                help: "where pools of networks without --subnet come from: base=NET,size=PREFIX, separated by ';'"
                    .into(),
            }],
            capabilities: capabilities(),
            concurrency: 16,
        }
    }

    fn probe(_cx: &Context, request: Probe) -> Result<Probed> {
        Defaults::read(&request.options)?;
        Ok(Probed {
            usable: true,
            reasons: vec![],
            capabilities: capabilities(),
        })
    }

    fn open(_cx: &Context, request: Open) -> Result<Self> {
        Ok(Self {
            defaults: Defaults::read(&request.options)?,
        })
    }
}

impl Ipam for Default {
    fn spaces(&self, _cx: &Context, _request: Spaces) -> Result<AddressSpaces> {
        Ok(AddressSpaces {
            local: SPACE.into(),
            global: SPACE.into(),
        })
    }

    fn request_pool(&self, cx: &Context, request: RequestPool) -> Result<PoolGranted> {
        if request.space != SPACE {
            return Err(Error::invalid(format!(
                "there is no address space {:?}; the default ipam driver has {SPACE:?}",
                request.space
            )));
        }
        no_options(&request.options)?;
        pools::request(&Records::of(cx), &self.defaults, &request)
    }

    fn release_pool(&self, cx: &Context, request: ReleasePool) -> Result<Released> {
        pools::release(&Records::of(cx), &request.pool)
    }

    fn request_address(&self, cx: &Context, request: RequestAddress) -> Result<AddressGranted> {
        no_options(&request.options)?;
        leases::request(&Records::of(cx), &request)
    }

    fn release_address(&self, cx: &Context, request: ReleaseAddress) -> Result<Released> {
        leases::release(&Records::of(cx), &request)
    }

    fn list(&self, cx: &Context, request: List) -> Result<Leases> {
        leases::list(&Records::of(cx), &request)
    }
}

fn no_options(options: &[longshore_plugin::driver::OptionValue]) -> Result<()> {
    match options.first() {
        Some(option) => Err(Error::invalid(format!(
            "the default ipam driver has no option {:?}",
            option.name
        ))),
        None => Ok(()),
    }
}

longshore_plugin::export! {
    driver: Default,
    kind: ipam,
    name: "default",
    version: env!("CARGO_PKG_VERSION"),
}

#[cfg(test)]
mod tests;
