//! The contracts of Longshore: five kinds of driver, their data, their errors, their wire form.
//!
//! A driver describes, the host performs. [`graph`] is where a newcomer starts reading; [`volume`],
//! [`network`], [`ipam`] and [`exec`] are built the same way. [`driver`](mod@driver) holds what all kinds share, [`steps`]
//! what drivers answer for the host to perform, [`state`] what the host keeps for a driver, [`wire`] how a call crosses a boundary, [`schema`]
//! the description of all of this that the files in `schema/` defend.
//!
//! Here live traits and plain data. No I/O lives here, nothing unsafe, nothing about one technology
//! or one transport; all of it builds for Wasm.
#![forbid(unsafe_code)]

extern crate self as longshore_core;

pub mod context;
pub mod driver;
pub mod envelope;
pub mod error;
pub mod exec;
pub mod graph;
pub mod ipam;
pub mod network;
pub mod schema;
pub mod services;
pub mod state;
pub mod steps;
pub mod types;
pub mod volume;
pub mod wire;

pub use context::Context;
pub use error::{Error, ErrorKind, Result};
pub use longshore_macros::{Data, driver};
