//! Ipam drivers: who has which address.
//!
//! # What it is
//! A **pool** is the addresses of one network of one family, a **lease** one of them in somebody's
//! hands. The host asks for pools when a network is made and for leases when an endpoint is, and
//! hands both on to the [network driver](crate::network).
//!
//! # Repetition
//! Every request carries a key of the host's: the same pool key gets the same pool, the same lease
//! the same address, also from a fresh instance. A bundled driver keeps what it granted in the
//! [state](crate::state) that the host keeps for it, so that it is committed together with the row
//! of the endpoint, and a call whose reply never came granted nothing.
//!
//! # Worked example
//! ```text
//! request_pool    key 4f…:0, any IPv4, avoid [10.0.0.0/8, 172.17.0.0/16]  -> 172.18.0.0/16
//! request_address Gateway, any      -> 172.18.0.1/16
//! request_address Endpoint e1, any  -> 172.18.0.2/16
//! release_address Endpoint e1       -> Done; 172.18.0.2 is given again only after all others
//! release_pool                      -> InUse while there is a lease; the gateway's goes with it
//! ```

use longshore_macros::{Data, driver};

use crate::context::Context;
use crate::driver::OptionValue;
use crate::error::{Error, Result};
use crate::graph::Ended;
use crate::types::{Cursor, EndpointId, IpAddr, IpNet, Mac, Pair, PoolId, PoolKey};

/// An ipam driver. See the [module](self) for what it is.
///
/// | condition | error | what the caller does |
/// |---|---|---|
/// | a subnet overlaps another pool of the space | `Invalid`, names both | tells the user |
/// | no default pool is free, a pool is full | `Exhausted` | tells the user |
/// | an address outside the pool, the network's own or its broadcast address | `Invalid` | tells the user |
/// | a named address is another's | `AlreadyExists` | tells the user |
/// | a pool that is not there | `NotFound`; `Absent` where it is released | asks for it again |
/// | a pool with leases is released, an address is another's | `InUse` | a host's mistake |
#[driver(kind = "ipam", version = 0)]
pub trait Ipam: Send + Sync {
    /// Names the spaces in which pools must not overlap.
    #[call(class = "quick", lock = "any")]
    fn spaces(&self, cx: &Context, request: Spaces) -> Result<AddressSpaces>;

    /// Grants a pool: the one that is asked for, or one of the driver's choice.
    #[call(class = "normal", lock = "alone", changes)]
    fn request_pool(&self, cx: &Context, request: RequestPool) -> Result<PoolGranted>;

    /// Takes a pool back that has no leases but its gateway's and reserved ones, which go with it.
    #[call(class = "normal", lock = "alone", changes)]
    fn release_pool(&self, cx: &Context, request: ReleasePool) -> Result<Released>;

    /// Grants an address: the one that is asked for, or one of the driver's choice.
    #[call(class = "normal", lock = "object", changes)]
    fn request_address(&self, cx: &Context, request: RequestAddress) -> Result<AddressGranted>;

    /// Takes an address back.
    #[call(class = "normal", lock = "object", changes)]
    fn release_address(&self, cx: &Context, request: ReleaseAddress) -> Result<Released>;

    /// Lists a pool's leases, a page at a time.
    #[call(class = "quick", lock = "any", capability = "lists")]
    fn list(&self, cx: &Context, request: List) -> Result<Leases> {
        let _ = (cx, request);
        Err(Error::unsupported("this driver does not list its leases"))
    }
}

/// What an ipam driver can do.
#[derive(Data)]
pub struct IpamCapabilities {
    /// It changes the machine itself.
    pub acts: bool,
    /// It wants an endpoint's hardware address.
    pub needs_mac: bool,
    /// It forgets: the host repeats `request_pool` and `request_address` for all that lives when it
    /// starts.
    pub needs_replay: bool,
    /// `list` is real.
    pub lists: bool,
    /// It has pools of IPv6.
    pub v6: bool,
    /// How many spaces it has.
    pub spaces: u16,
}

/// The request of [`Ipam::spaces`].
#[derive(Data)]
pub struct Spaces {}

/// The answer of [`Ipam::spaces`].
#[derive(Data)]
pub struct AddressSpaces {
    /// For networks of this machine.
    pub local: String,
    /// For networks of a cluster.
    pub global: String,
}

/// The request of [`Ipam::request_pool`].
#[derive(Data)]
pub struct RequestPool {
    /// What the host calls it.
    pub key: PoolKey,
    /// The space.
    pub space: String,
    /// The pool that is wanted; the driver's choice when absent.
    pub subnet: Option<IpNet>,
    /// The part of it that leases without a wish come from. Only with `subnet`.
    pub range: Option<IpNet>,
    /// Whether it is of IPv6.
    pub v6: bool,
    /// Options.
    pub options: Vec<OptionValue>,
    /// What a pool of the driver's choice must not meet: routes of the host. At most 4,096.
    pub avoid: Vec<IpNet>,
}

/// The answer of [`Ipam::request_pool`].
#[derive(Data)]
pub struct PoolGranted {
    /// What the driver calls it.
    pub pool: PoolId,
    /// Its addresses.
    pub subnet: IpNet,
    /// What there is to tell.
    pub data: Vec<Pair>,
}

/// The request of [`Ipam::release_pool`].
#[derive(Data)]
pub struct ReleasePool {
    /// The pool.
    pub pool: PoolId,
}

/// The answer of [`Ipam::release_pool`] and [`Ipam::release_address`].
#[derive(Data)]
pub struct Released {
    /// How it went.
    pub outcome: Ended,
}

/// Whose an address is.
#[derive(Data)]
pub enum Lease {
    /// The host's own, as the way out of the network.
    Gateway {},
    /// Nobody's: an address that the user keeps from being given, by its name.
    Reserved(String),
    /// An endpoint's.
    Endpoint(EndpointId),
}

/// The request of [`Ipam::request_address`].
#[derive(Data)]
pub struct RequestAddress {
    /// The pool.
    pub pool: PoolId,
    /// Whose it shall be.
    pub lease: Lease,
    /// The address that is wanted; the driver's choice when absent.
    pub address: Option<IpAddr>,
    /// The endpoint's hardware address, where the driver wants it.
    pub mac: Option<Mac>,
    /// Options.
    pub options: Vec<OptionValue>,
}

/// The answer of [`Ipam::request_address`].
#[derive(Data)]
pub struct AddressGranted {
    /// The address, with its pool's prefix.
    pub address: IpNet,
    /// What there is to tell.
    pub data: Vec<Pair>,
}

/// The request of [`Ipam::release_address`].
#[derive(Data)]
pub struct ReleaseAddress {
    /// The pool.
    pub pool: PoolId,
    /// Whose it was.
    pub lease: Lease,
    /// The address.
    pub address: IpAddr,
}

/// The request of [`Ipam::list`].
#[derive(Data)]
pub struct List {
    /// The pool.
    pub pool: PoolId,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// Most leases of this page.
    pub limit: u32,
}

/// The answer of [`Ipam::list`].
#[derive(Data)]
pub struct Leases {
    /// In the order of their addresses.
    pub leases: Vec<Leased>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<Cursor>,
}

/// A lease.
#[derive(Data)]
pub struct Leased {
    /// Whose it is.
    pub lease: Lease,
    /// The address.
    pub address: IpAddr,
}
