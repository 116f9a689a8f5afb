//! The Wasm transport: a driver as a component, in a sandbox that holds nothing.
//!
//! A component has one export (`call`, `close`) and one import (`service`), the same bodies as every
//! other transport, and no WASI: what Rust's standard library drags in is linked to functions that end
//! the instance. An [`Engine`] compiles components, or takes what it compiled before (`cache`); each
//! [`Component`] is a [`Channel`](longshore_core::wire::Channel) with a few instances waiting for
//! calls (`component`). A call ends at its deadline, when it is cancelled, when it wants too much
//! memory, nests too deeply or answers too much (`guest`, `ended`); with it ends the instance that it
//! ran in, and nothing else. Which files run so is for `policy` and the registry to say.
//!
//! Only reading a component's manifest is built without the feature `wasm`.

pub(crate) mod sections;

#[cfg(feature = "wasm")]
mod cache;
#[cfg(feature = "wasm")]
mod clock;
#[cfg(feature = "wasm")]
mod component;
#[cfg(feature = "wasm")]
mod ended;
#[cfg(feature = "wasm")]
mod engine;
#[cfg(feature = "wasm")]
mod guest;
#[cfg(feature = "wasm")]
mod imports;

#[cfg(feature = "wasm")]
pub use component::Component;
#[cfg(feature = "wasm")]
pub(crate) use component::{MOST_AT_ONCE, check};
#[cfg(feature = "wasm")]
pub use engine::{Engine, Settings};
