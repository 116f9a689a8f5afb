//! A plugin's `IpamDriver` as ours.
//!
//! What the protocol cannot do: keys that make a request one that can be repeated (a plugin answers the
//! same pool to the same request, and counts), leases in a list, and routes of the host to be kept clear
//! of: a pool of the plugin's own choice that meets one is given back and refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_core::context::Context;
use longshore_core::driver::{ANY_OPTION, Capabilities, Description, OptionKind, OptionScope, OptionSpec, Versions};
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::graph::Ended;
use longshore_core::ipam::{
    AddressGranted, AddressSpaces, Ipam, IpamCapabilities, IpamKind, Lease, PoolGranted, ReleaseAddress, ReleasePool,
    Released, RequestAddress, RequestPool, Spaces,
};
use longshore_core::types::{IpNet, PoolId};
use longshore_core::wire::Channel;

use crate::address::Address;
use crate::caller::{Caller, pairs};
use crate::channel::Adapted;
use crate::protocol::Done;
use crate::protocol::ipam as said;

/// Longest name of a space.
const LONGEST_SPACE: usize = 255;

struct Docker(Caller);

/// The plugin as an ipam driver.
pub(crate) fn channel(name: &str, address: &Address) -> Result<Arc<dyn Channel>> {
    let driver = Docker(Caller {
        who: format!("ipam plugin {name}"),
        address: address.clone(),
        interface: "IpamDriver",
    });
    let can = match driver.capability() {
        Ok(can) => can,
        // The method need not be there.
        Err(error) if error.kind == ErrorKind::Unsupported => said::Capability::default(),
        Err(error) => return Err(error),
    };
    let description = Description {
        name: name.to_owned(),
        aliases: vec![],
        version: "1".into(),
        kind: "ipam".into(),
        interface: Versions { from: 0, to: 0 },
        folder: Some("plugins".into()),
        areas: vec![],
        options: vec![OptionSpec {
            name: ANY_OPTION.into(),
            kind: OptionKind::Text,
            scope: OptionScope::Object,
            required: false,
            default: None,
            help: "the plugin's own options".into(),
        }],
        capabilities: Capabilities::Ipam(IpamCapabilities {
            acts: true,
            needs_mac: can.needs_mac,
            needs_replay: can.needs_replay,
            lists: false,
            v6: true,
            spaces: 2,
        }),
        concurrency: 8,
    };
    Ok(Arc::new(Adapted::<_, IpamKind>::new(description, driver, |driver| {
        driver.spaces(&Context::background(), Spaces {}).map(drop)
    })))
}

impl Docker {
    fn capability(&self) -> Result<said::Capability> {
        self.0
            .ask(&Context::background(), "GetCapabilities", &serde_json::json!({}))
    }

    fn net(&self, what: &str, text: &str) -> Result<IpNet> {
        IpNet::parse(text).map_err(|error| self.0.broken(format_args!("the {what} that it answers: {error}")))
    }

    /// A pool as it was granted, checked against what was asked for.
    fn granted(&self, request: &RequestPool, answer: said::PoolGranted) -> Result<PoolGranted> {
        let pool = PoolId::parse(answer.id).map_err(|error| self.0.broken(error))?;
        let subnet = self.net("pool", &answer.pool)?;
        if !subnet.is_network() || request.subnet.is_some_and(|asked| asked != subnet) {
            return Err(self.0.broken(format_args!(
                "it answers pool {subnet}, which is not the one that was asked for, or no network"
            )));
        }
        Ok(PoolGranted {
            pool,
            subnet,
            data: pairs(answer.data),
        })
    }
}

impl Ipam for Docker {
    fn spaces(&self, cx: &Context, _request: Spaces) -> Result<AddressSpaces> {
        let told: said::Spaces = self.0.ask(cx, "GetDefaultAddressSpaces", &serde_json::json!({}))?;
        let named = |name: String| {
            if name.len() <= LONGEST_SPACE {
                Ok(name)
            } else {
                Err(self.0.broken("the name of its address space is too long"))
            }
        };
        Ok(AddressSpaces {
            local: named(told.local_default_address_space)?,
            global: named(told.global_default_address_space)?,
        })
    }

    fn request_pool(&self, cx: &Context, request: RequestPool) -> Result<PoolGranted> {
        let text = |net: Option<IpNet>| net.map_or_else(String::new, |net| net.to_string());
        let argument = said::RequestPool {
            address_space: &request.space,
            pool: text(request.subnet),
            sub_pool: text(request.range),
            options: self.0.texts(&request.options)?,
            v6: request.v6,
        };
        let answer: said::PoolGranted = self.0.change(cx, "RequestPool", &argument)?;
        let granted = self.granted(&request, answer)?;
        // A pool of all addresses is that of a plugin that manages none.
        let met = request
            .avoid
            .iter()
            .find(|route| request.subnet.is_none() && granted.subnet.prefix() > 0 && route.overlaps(granted.subnet));
        let Some(met) = met else {
            return Ok(granted);
        };
        let (subnet, met) = (granted.subnet, *met);
        self.release_pool(cx, ReleasePool { pool: granted.pool })?;
        Err(Error::exhausted(format!(
            "{} chose the pool {subnet}, which meets the host's route to {met}: name a subnet",
            self.0.who
        )))
    }

    fn release_pool(&self, cx: &Context, request: ReleasePool) -> Result<Released> {
        let argument = said::ReleasePool {
            pool: request.pool.as_str(),
        };
        let _: Done = self.0.change(cx, "ReleasePool", &argument)?;
        Ok(Released { outcome: Ended::Done })
    }

    fn request_address(&self, cx: &Context, request: RequestAddress) -> Result<AddressGranted> {
        let mut options: BTreeMap<&str, String> = self
            .0
            .texts(&request.options)?
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        if matches!(request.lease, Lease::Gateway {}) {
            options.insert(said::ADDRESS_TYPE.0, said::ADDRESS_TYPE.1.to_owned());
        }
        if let Some(mac) = request.mac {
            options.insert(said::MAC, mac.to_string());
        }
        let argument = said::RequestAddress {
            pool: request.pool.as_str(),
            address: request.address.map_or_else(String::new, |address| address.to_string()),
            options,
        };
        let answer: said::AddressGranted = self.0.change(cx, "RequestAddress", &argument)?;
        let address = self.net("address", &answer.address)?;
        if let Some(asked) = request.address
            && asked != address.address()
        {
            return Err(self
                .0
                .broken(format_args!("it was asked for address {asked} and answers {address}")));
        }
        Ok(AddressGranted {
            address,
            data: pairs(answer.data),
        })
    }

    fn release_address(&self, cx: &Context, request: ReleaseAddress) -> Result<Released> {
        let argument = said::ReleaseAddress {
            pool: request.pool.as_str(),
            address: request.address.to_string(),
        };
        let _: Done = self.0.change(cx, "ReleaseAddress", &argument)?;
        Ok(Released { outcome: Ended::Done })
    }
}
