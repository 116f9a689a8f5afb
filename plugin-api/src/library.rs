//! The plugin's side of the library ABI: the root module, and how it finds the one driver of its
//! library.
//!
//! The exported symbol stands here once, not in every driver: several drivers can then be linked
//! into one program (the conformance kit does that), where a symbol of each would clash. A driver
//! leaves an [`Entry`] in a section of its own instead; the linker lays the entries of a library one
//! after the other and names both ends, and a library that `export!` made has exactly one.
#![allow(
    unsafe_code,
    reason = "FFI edge: the functions of the ABI and what the linker defines"
)]

use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use longshore_abi::{ABI, Host, Module, Module_Ref, STATUS_ERROR, STATUS_REPLY, handle, split_handle};
use longshore_core::context::Services;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{HandleKind, MAX_BODY, MAX_HANDLES, Message, decode, encode};

use crate::panics;
use crate::serve::Serve;

/// What `export!` leaves behind: the manifest, and the way to the service.
pub struct Entry {
    /// The manifest's bytes; referring to them keeps their section in the file.
    pub manifest: &'static [u8],
    /// The driver's service.
    pub service: fn() -> &'static dyn Serve,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("manifest", &self.manifest.len())
            .finish_non_exhaustive()
    }
}

/// Makes the section exist in a program without any driver, such as this crate's own tests.
#[used]
#[unsafe(link_section = "longshore_driver")]
static NO_ENTRY: [Entry; 0] = [];

unsafe extern "C" {
    /// The linker defines both ends of every section whose name is an identifier.
    #[link_name = "__start_longshore_driver"]
    static FIRST: u8;
    #[link_name = "__stop_longshore_driver"]
    static END: u8;
}

/// The entry of this library; `None` unless there is exactly one.
fn entry() -> Option<&'static Entry> {
    let (first, end) = (&raw const FIRST, &raw const END);
    if end as usize - first as usize != size_of::<Entry>() {
        return None;
    }
    // SAFETY: the section holds nothing but values of `Entry`, all of them initialised statics and
    // aligned by the compiler, and its size was just seen to be that of one.
    Some(unsafe { &*first.cast::<Entry>() })
}

/// What `abi_stable` looks for. The name is its `ROOT_MODULE_LOADER_NAME`; its own attribute is not
/// used because it writes `no_mangle` as no edition since 2024 allows it.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static ROOT_MODULE: LibHeader =
    // SAFETY: `construct` answers a `Module_Ref`, erased by `abi_stable` itself.
    unsafe { LibHeader::from_constructor::<Module_Ref>(construct, CheckTypeLayout::Yes) };

extern "C" fn construct() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| {
        Module {
            start,
            call,
            cancel,
            close,
        }
        .leak_into_prefix()
    })
}

static HOST: OnceLock<&'static Host> = OnceLock::new();

/// Answers 0, or which of these the library cannot accept: 1 the host's struct, 2 its ABI, 3 the
/// number of drivers in the library.
unsafe extern "C" fn start(host: *const u8) -> i32 {
    guarded(|| {
        if host.is_null() || !host.cast::<Host>().is_aligned() {
            return 1;
        }
        let host = host.cast::<Host>();
        // SAFETY: the ABI says that `host` points to a `Host` that lives for ever; its first two
        // fields are there in every version.
        let (size, abi) = unsafe { ((*host).size, (*host).abi) };
        if (size as usize) < size_of::<Host>() {
            return 1;
        }
        if abi != ABI {
            return 2;
        }
        if entry().is_none() {
            return 3;
        }
        // SAFETY: as above, and `size` says that all fields known here are there.
        HOST.get_or_init(|| unsafe { &*host });
        0
    })
}

#[allow(clippy::too_many_arguments, reason = "the signature of the ABI")]
unsafe extern "C" fn call(
    instance: u64,
    call: u64,
    cookie: usize,
    method: *const u8,
    method_len: usize,
    body: *const u8,
    body_len: usize,
    handles: *const u64,
    handle_count: usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the ABI says that each pointer and length are a readable range during the call,
        // and that the descriptors are this library's from now on.
        let (method, body, handles) = unsafe {
            (
                slice(method, method_len),
                slice(body, body_len).to_vec(),
                slice(handles, handle_count)
                    .iter()
                    .copied()
                    .map(|raw| owned(raw))
                    .collect::<Vec<_>>(),
            )
        };
        let Some((host, entry)) = HOST.get().zip(entry()) else {
            return BROKEN;
        };
        let answer = message(body, handles).and_then(|message| {
            let method = std::str::from_utf8(method).map_err(|_| Error::broken("a method's name is not UTF-8"))?;
            (entry.service)().call(instance, call, method, message, Arc::new(HostServices { host, call }))
        });
        answer_with(host, cookie, answer)
    })
}

/// A status that the ABI does not name, so: a broken driver.
const BROKEN: i32 = -1;

fn answer_with(host: &Host, cookie: usize, answer: Result<Message>) -> i32 {
    let (status, message) = match answer {
        Ok(message) => (STATUS_REPLY, message),
        Err(error) => match encode(&error) {
            Ok(body) => (STATUS_ERROR, Message::from_body(body)),
            Err(_) => return BROKEN,
        },
    };
    let raw: Vec<u64> = message
        .handles
        .iter()
        .map(|(kind, fd)| handle(*kind as u8, fd.as_raw_fd()))
        .collect();
    // SAFETY: `host` is the one of `start`, both ranges are readable until this returns, and `cookie`
    // is the one of this call.
    let taken = unsafe {
        (host.reply)(
            host.context,
            cookie,
            message.body.as_ptr(),
            message.body.len(),
            raw.as_ptr(),
            raw.len(),
        )
    };
    if taken != 0 {
        return BROKEN;
    }
    for (_, fd) in message.handles {
        // The host's from now on.
        let _ = fd.into_raw_fd();
    }
    status
}

fn message(body: Vec<u8>, handles: Vec<Option<(u8, OwnedFd)>>) -> Result<Message> {
    if body.len() > MAX_BODY || handles.len() > MAX_HANDLES {
        return Err(Error::broken("the message is longer than the contract allows"));
    }
    let handles = handles
        .into_iter()
        .map(|handle| {
            let (kind, fd) = handle.ok_or_else(|| Error::broken("the message has a descriptor that is none"))?;
            Ok((HandleKind::from_number(kind)?, fd))
        })
        .collect::<Result<_>>()?;
    Ok(Message { body, handles })
}

unsafe extern "C" fn cancel(_instance: u64, call: u64) -> i32 {
    guarded(|| match entry() {
        Some(entry) => {
            (entry.service)().cancel(call);
            0
        }
        None => BROKEN,
    })
}

unsafe extern "C" fn close(instance: u64) -> i32 {
    guarded(|| match entry() {
        Some(entry) => {
            (entry.service)().close(instance);
            0
        }
        None => BROKEN,
    })
}

/// The last line: what panics outside the driver's own code must not unwind into the host either.
fn guarded(code: impl FnOnce() -> i32) -> i32 {
    panics::caught(|| Ok(code())).unwrap_or(BROKEN)
}

/// A range that may be empty, and then with any pointer.
///
/// # Safety
/// Unless `length` is 0, the range is readable and initialised for `'a`.
unsafe fn slice<'a, T>(begin: *const T, length: usize) -> &'a [T] {
    if length == 0 || begin.is_null() {
        return &[];
    }
    // SAFETY: as this function demands.
    unsafe { std::slice::from_raw_parts(begin, length) }
}

/// The kind and the descriptor of a handle.
///
/// # Safety
/// Nobody else closes that descriptor.
unsafe fn owned(raw: u64) -> Option<(u8, OwnedFd)> {
    let (kind, fd) = split_handle(raw)?;
    // SAFETY: as this function demands; the number is not negative.
    Some((kind, unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The host's services during one call.
struct HostServices {
    host: &'static Host,
    call: u64,
}

impl Services for HostServices {
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut answer: Option<Vec<u8>> = None;
        // SAFETY: `host` is the one of `start`; all ranges are readable until this returns; `put` is
        // called with this cookie only before it returns, so `answer` is alive and not borrowed.
        let status = unsafe {
            (self.host.service)(
                self.host.context,
                self.call,
                (&raw mut answer) as usize,
                name.as_ptr(),
                name.len(),
                body.as_ptr(),
                body.len(),
                put,
            )
        };
        match (status, answer) {
            (STATUS_REPLY, Some(body)) => Ok(body),
            (STATUS_ERROR, Some(body)) => Err(decode(&body)?),
            (status, _) => Err(Error::broken(format!("the host's service {name:?} answered {status}"))),
        }
    }
}

unsafe extern "C" fn put(cookie: usize, body: *const u8, body_len: usize) {
    if body_len > MAX_BODY {
        return;
    }
    // SAFETY: the cookie is the address of `answer` in `HostServices::call`, which waits for this.
    let answer = unsafe { &mut *(cookie as *mut Option<Vec<u8>>) };
    // SAFETY: the host says that this range is readable until this returns.
    *answer = Some(unsafe { slice(body, body_len) }.to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exported_name_is_the_one_that_abi_stable_looks_for() {
        assert_eq!(
            abi_stable::library::ROOT_MODULE_LOADER_NAME,
            "_1as_0lib_1header_0root_bmodule_bloader"
        );
    }

    #[test]
    fn a_program_without_a_driver_has_no_entry() {
        assert!(entry().is_none());
    }
}
