//! The shim's protocol, its files, and the engine's side of both.
//!
//! One shim owns one container: its sandbox, mounts, streams, log and exit status. The engine tells
//! it what to do over a `SOCK_SEQPACKET` connection and may die and come back without the container
//! noticing. Here live the messages ([`protocol`]), how they cross the socket ([`transport`]), the
//! files that a shim leaves for those who come later ([`files`], [`places`]), the engine's end
//! ([`client`]) what ends a shim that no longer answers ([`orphans`]), and the
//! process that builds what may hang ([`perform`]). The shim itself is the binary of this crate; nothing of its loop is here. All of it
//! is synchronous and free of an async runtime.
#![forbid(unsafe_code)]

pub mod client;
pub mod files;
pub mod multiplex;
pub mod orphans;
pub mod perform;
pub mod places;
pub mod protocol;
pub mod time;
pub mod transport;

pub use client::{Notice, ShimBinary, ShimClient};
pub use files::{Adoption, ExitRecord, Identity, adopt};
pub use protocol::{Event, Reply, Request};
