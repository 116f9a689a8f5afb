//! The plugin's side of the Wasm transport: the component's one export and its one import.
//!
//! A component has one thread and no descriptors, and the host ends a call by ending its instance, so
//! nothing here can cancel. A panic ends the instance as well: its text goes out through the host's
//! log first (`panics`), because a component has no standard error either.
#![allow(unsafe_code, reason = "FFI edge: the canonical ABI, in code that wit-bindgen writes")]

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_core::context::Services;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Message, decode, encode};

use crate::serve::Serve;

/// What wit-bindgen makes of `wit/driver.wit`.
#[allow(missing_docs, reason = "written by wit-bindgen; the world's own file documents it")]
#[allow(missing_debug_implementations, reason = "written by wit-bindgen")]
#[allow(unreachable_pub, reason = "written by wit-bindgen")]
pub mod bindings {
    wit_bindgen::generate!({
        world: "driver",
        path: "wit",
        pub_export_macro: true,
        default_bindings_module: "longshore_plugin::guest::bindings",
    });
}

pub use bindings::exports::longshore::driver::plugin::Guest;

/// Answers one call of the component's export.
///
/// # Errors
/// The driver's error, encoded.
pub fn call(serve: &dyn Serve, instance: u64, id: u64, method: &str, body: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    serve
        .call(instance, id, method, Message::from_body(body), Arc::new(Host))
        .and_then(|reply| match reply.handles.is_empty() {
            true => Ok(reply.body),
            false => Err(Error::unsupported(format!(
                "{method} answers with a descriptor, which no component can"
            ))),
        })
        .map_err(|error| encode(&error).unwrap_or_default())
}

/// The host's services.
struct Host;

impl Services for Host {
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        bindings::longshore::driver::host::service(name, body).map_err(|error| match decode::<Error>(&error) {
            Ok(error) => error,
            Err(unreadable) => Error::broken(format!("the host's service {name:?} answered no error: {unreadable}")),
        })
    }
}

/// Tells the host why this instance is about to end.
pub(crate) fn last_words(text: &str) {
    let line = encode(&BTreeMap::from([("level", "error"), ("message", text)])).unwrap_or_default();
    // Nobody is left to whom a failure of this could be told.
    let _ = bindings::longshore::driver::host::service("log", &line);
}
