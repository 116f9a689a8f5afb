//! The library ABI between Longshore and a driver, version 1.0.0: this text for ever.
//!
//! A driver's library has one root module of four functions, exported through `abi_stable`, which
//! compares the layouts of both sides when the library is loaded. All signatures are primitive: a
//! later field of a request changes a body, never this crate. What a body holds is written in
//! `longshore-core`; how a driver gets behind these functions in `longshore-plugin`; how a host
//! calls them in `longshore-loader`. No code lives here.
//!
//! **Memory is freed by whoever made it**, and there is no free function: the host copies a reply
//! inside [`Host::reply`], the plugin copies a service's answer inside `put`.
//!
//! **Descriptors are moved.** Each is a `u64`: the kind (`HandleKind` of the core) in the upper half,
//! the descriptor's number in the lower, see [`handle`]. A request's belong to the plugin from entry,
//! whatever it answers; a reply's belong to the host once `reply` has returned.
//!
//! **Threads.** `call` comes from any thread, at most `concurrency` (of the description) at once for
//! an instance; `cancel` comes beside it and never waits. A driver ends its threads by `close`, keeps
//! nothing in thread-locals between calls, never forks, installs no signal handler and changes no
//! state of the process (working folder, umask, environment, file system user).
//!
//! The version stays 1.0.0: `abi_stable` compares it, and any other number would refuse every
//! driver that exists.
#![allow(unsafe_code, reason = "FFI edge: signatures that cross it, no bodies")]
#![allow(
    non_camel_case_types,
    non_local_definitions,
    reason = "what the derive of abi_stable expands to"
)]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;

/// The number in [`Host::abi`] and in a manifest's `abi`.
pub const ABI: u32 = 1;

/// [`Module::call`] answered: `reply` has got the reply's body.
pub const STATUS_REPLY: i32 = 0;
/// [`Module::call`] failed: `reply` has got an encoded error. Any other status is a broken driver.
pub const STATUS_ERROR: i32 = 1;

/// The root module of a driver's library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Module_Ref, prefix_fields = Module_Prefix)))]
#[sabi(missing_field(panic))]
#[derive(Debug)]
pub struct Module {
    /// Tells the library its host, a `&'static Host`. Once, before anything else; 0 when accepted.
    pub start: unsafe extern "C" fn(host: *const u8) -> i32,
    /// Runs one method on the caller's thread. It calls [`Host::reply`] exactly once with the same
    /// cookie before it returns [`STATUS_REPLY`] or [`STATUS_ERROR`]. The method's name is UTF-8
    /// without NUL.
    pub call: unsafe extern "C" fn(
        instance: u64,
        call: u64,
        cookie: usize,
        method: *const u8,
        method_len: usize,
        body: *const u8,
        body_len: usize,
        handles: *const u64,
        handle_count: usize,
    ) -> i32,
    /// Asks that a call may end soon. Before, during or after it; only sets a flag.
    pub cancel: unsafe extern "C" fn(instance: u64, call: u64) -> i32,
    /// Ends an instance, after its last call has returned. Numbers are never reused.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(instance: u64) -> i32,
}

impl RootModule for Module_Ref {
    abi_stable::declare_root_module_statics! {Module_Ref}

    const BASE_NAME: &'static str = "longshore_driver";
    const NAME: &'static str = "longshore_driver";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// What the host gives a library at `start`. It grows only at its end; `size` tells how far it
/// reaches.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Bytes of this struct.
    pub size: u32,
    /// [`ABI`].
    pub abi: u32,
    /// Handed back in every call of the functions below.
    pub context: usize,
    /// Takes the reply, or the error, of the call with that cookie. 0 when taken.
    pub reply: unsafe extern "C" fn(
        context: usize,
        cookie: usize,
        body: *const u8,
        body_len: usize,
        handles: *const u64,
        handle_count: usize,
    ) -> i32,
    /// Calls a service for the call of that number, during it. The answer comes by `put` with the
    /// same cookie, once, before this returns [`STATUS_REPLY`] or [`STATUS_ERROR`].
    pub service: unsafe extern "C" fn(
        context: usize,
        call: u64,
        cookie: usize,
        name: *const u8,
        name_len: usize,
        body: *const u8,
        body_len: usize,
        put: unsafe extern "C" fn(usize, *const u8, usize),
    ) -> i32,
}

/// A descriptor and its kind in one number.
pub const fn handle(kind: u8, fd: i32) -> u64 {
    ((kind as u64) << 32) | fd as u32 as u64
}

/// The kind and the descriptor of that number; `None` when it is neither.
pub const fn split_handle(handle: u64) -> Option<(u8, i32)> {
    let kind = handle >> 32;
    let fd = handle as u32;
    if kind == 0 || kind > u8::MAX as u64 || fd > i32::MAX as u32 {
        return None;
    }
    Some((kind as u8, fd as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_back_as_it_went() {
        assert_eq!(split_handle(handle(9, 17)), Some((9, 17)));
        assert_eq!(split_handle(handle(1, i32::MAX)), Some((1, i32::MAX)));
    }

    #[test]
    fn a_number_without_kind_or_with_a_negative_descriptor_is_none() {
        for bad in [17, handle(1, -1), 256 << 32, u64::MAX] {
            assert_eq!(split_handle(bad), None, "{bad:#x}");
        }
    }
}
