//! A loaded library as a [`Channel`]: the one place that runs a driver's code in this process.
//!
//! A library is never unloaded: its thread-locals, its statics and the layouts that `abi_stable`
//! compared live in it. Loading the same file again gives the library that is there.
#![allow(unsafe_code, reason = "FFI edge: loading, and the functions of the ABI")]

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use libloading::os::unix::{Library as Raw, RTLD_LOCAL, RTLD_NOW};
use longshore_abi::{ABI, Host, Module_Ref, STATUS_ERROR, STATUS_REPLY, handle, split_handle};
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Channel, HandleKind, MAX_BODY, MAX_HANDLES, Message, decode, encode};
use longshore_sys::path::{self as sys, FileType};

use crate::file::Identity;
use crate::refusal::{Fault, Problem};
use crate::services::{CallServices, HostServices};

/// A library that is loaded, for as long as this process lives.
pub(crate) struct Library {
    module: Module_Ref,
    desk: &'static Desk,
}

/// Where replies arrive and services are asked for: what `Host::context` points to.
struct Desk {
    /// A cookie for each call under way; its reply once that has come. A cookie is a number and no
    /// address, so a late or forged one finds nothing.
    replies: Mutex<HashMap<usize, Option<Message>>>,
    last: AtomicUsize,
    services: Box<dyn CallServices>,
    label: String,
}

/// Every library that this process has loaded, by the file that it is.
static LOADED: Mutex<Vec<(Identity, &'static Library)>> = Mutex::new(Vec::new());

/// Loads a checked file, or gives the library that it already is.
pub(crate) fn load(file: &OwnedFd, identity: Identity, label: &str) -> Result<&'static Library, Fault> {
    let services = HostServices {
        label: label.to_owned(),
    };
    load_with(file, identity, label, Box::new(services))
}

fn load_with(
    file: &OwnedFd,
    identity: Identity,
    label: &str,
    services: Box<dyn CallServices>,
) -> Result<&'static Library, Fault> {
    // Held while loading: two threads that load one file shall start it once.
    let mut loaded = lock(&LOADED);
    let same = |known: &Identity| known.device == identity.device && known.inode == identity.inode;
    if let Some((known, library)) = loaded.iter().find(|(known, _)| same(known)) {
        if known.digest == identity.digest || known.digest.is_none() || identity.digest.is_none() {
            return Ok(library);
        }
        return Err(Fault::new(
            Problem::Load,
            "it was overwritten in place since it was loaded",
            "replace a library by rename, and restart the engine",
        ));
    }
    let library: &'static Library = Box::leak(Box::new(open(file, label, services)?));
    loaded.push((identity, library));
    Ok(library)
}

/// Loads from a descriptor without looking at the file again: for the shim's helper, to which the
/// engine passes what it has checked.
pub(crate) fn load_unchecked(file: &OwnedFd, label: &str) -> Result<&'static Library, Fault> {
    load(file, unchecked(file)?, label)
}

/// As [`load_unchecked`], for a process that serves an engine: whose services are the library's.
pub(crate) fn load_serving(
    file: &OwnedFd,
    label: &str,
    services: Box<dyn CallServices>,
) -> Result<&'static Library, Fault> {
    load_with(file, unchecked(file)?, label, services)
}

fn unchecked(file: &OwnedFd) -> Result<Identity, Fault> {
    let metadata = sys::stat(file).map_err(|error| load_fault(error.to_string()))?;
    Ok(Identity {
        device: metadata.device,
        inode: metadata.inode,
        digest: None,
    })
}

fn load_fault(what: String) -> Fault {
    Fault::new(
        Problem::Load,
        format_args!("the system's loader refuses it ({what})"),
        "install what it needs, or build it again on this system",
    )
}

fn open(file: &OwnedFd, label: &str, services: Box<dyn CallServices>) -> Result<Library, Fault> {
    // The system's loader knows libraries by the path that they were opened with. This path names a
    // descriptor, so the descriptor must stay open for ever: were its number used again, the next
    // file opened by it would silently be this library.
    let file = file.try_clone().map_err(|error| load_fault(error.to_string()))?;
    let path = sys::through_proc(&file);
    let _ = file.into_raw_fd();
    // SAFETY: running the library's initialisers is what loading means. The file was checked to be a
    // whole library for this machine that only trusted users can have written.
    let raw = unsafe { Raw::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        let text = error.to_string();
        load_fault(text.replace(&path, "it"))
    })?;
    let module = root_module(&raw);
    // Also when it is refused: its initialisers have run.
    std::mem::forget(raw);
    let library = Library {
        module: module?,
        desk: Box::leak(Box::new(Desk {
            replies: Mutex::default(),
            last: AtomicUsize::new(0),
            services,
            label: label.to_owned(),
        })),
    };
    library.start()?;
    Ok(library)
}

fn root_module(raw: &Raw) -> Result<Module_Ref, Fault> {
    let name = ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes();
    // SAFETY: a library that exports this name holds a `LibHeader` of `abi_stable` there, which
    // begins with the header that `upgrade` checks before it believes anything else.
    let header = unsafe { raw.get::<AbiHeaderRef>(name) }
        .map(|symbol| *symbol)
        .map_err(|_| {
            Fault::new(
                Problem::Symbol,
                "it has a manifest but exports no root module",
                "build the driver with longshore_plugin::export! and without a version script of its own",
            )
        })?;
    header
        .upgrade()
        .and_then(|header| header.init_root_module::<Module_Ref>())
        .map_err(|error| abi_fault(&error))
}

/// The report of `abi_stable` compares both layouts in full, over pages. This says what differs.
fn abi_fault(error: &LibraryError) -> Fault {
    let remedy = "rebuild it with a longshore-plugin of this host's release";
    match error {
        LibraryError::IncompatibleVersionNumber {
            expected_version,
            actual_version,
            ..
        } => Fault::new(
            Problem::Abi,
            format_args!("it speaks library ABI {actual_version}, this host speaks {expected_version}"),
            remedy,
        ),
        LibraryError::InvalidAbiHeader(header) => Fault::new(
            Problem::Abi,
            format_args!(
                "it was built with abi_stable {}.{}, this host with {}.{}",
                header.abi_major,
                header.abi_minor,
                abi_stable::library::AbiHeader::VALUE.abi_major,
                abi_stable::library::AbiHeader::VALUE.abi_minor,
            ),
            remedy,
        ),
        LibraryError::AbiInstability(report) => Fault::new(
            Problem::Abi,
            format_args!(
                "its root module has another layout ({})",
                first_difference(&report.to_string())
            ),
            remedy,
        ),
        other => Fault::new(
            Problem::Abi,
            format_args!("its root module cannot be used ({})", first_line(&other.to_string())),
            remedy,
        ),
    }
}

/// The first error of the report with what was expected and found, and the field that it is at.
fn first_difference(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with("Error:")) else {
        return first_line(report);
    };
    let after = |word: &str| {
        let found = lines.iter().skip(at).position(|line| *line == word)?;
        lines.get(at + found + 1).copied()
    };
    let mut text = first_line(lines[at].trim_start_matches("Error:"));
    if let Some((expected, found)) = after("Expected:").zip(after("Found:")) {
        text += &format!(": expected {}, found {}", first_line(expected), first_line(found));
    }
    let inside = lines[..at]
        .iter()
        .rposition(|line| line.ends_with("error(s)inside:"))
        .unwrap_or(0);
    let field = lines[inside..at]
        .iter()
        .find_map(|line| line.strip_prefix("field_name:"));
    match field {
        // Fields without a name are the report's own wrapping.
        Some(field) if field.parse::<u32>().is_err() => format!("{text}, at field {field}"),
        _ => text,
    }
}

fn first_line(text: &str) -> String {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("no reason given");
    line.trim_end_matches(':').chars().take(200).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    fn start(&self) -> Result<(), Fault> {
        let host: &'static Host = Box::leak(Box::new(Host {
            size: u32::try_from(size_of::<Host>()).unwrap_or(0),
            abi: ABI,
            context: std::ptr::from_ref(self.desk) as usize,
            reply,
            service,
        }));
        let start = self.module.start();
        // SAFETY: `host` lives for ever, as the ABI demands; this is the first call into the library.
        let status = unsafe { start(std::ptr::from_ref(host).cast()) };
        let what = match status {
            0 => return Ok(()),
            1 | 2 => "it does not accept this host's ABI".to_owned(),
            3 => "it does not hold exactly one driver".to_owned(),
            other => format!("it refuses to start ({other})"),
        };
        Err(Fault::new(
            Problem::Abi,
            what,
            "rebuild it with a longshore-plugin of this host's release",
        ))
    }

    /// Makes a call by the method's name alone: what a method is, the library knows.
    pub(crate) fn call_named(&self, instance: u64, call: u64, method: &str, request: Message) -> Result<Message> {
        let cookie = self.desk.last.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.desk.replies).insert(cookie, None);
        let status = self.answer(instance, call, method, request, cookie);
        let reply = lock(&self.desk.replies).remove(&cookie).flatten();
        match (status, reply) {
            (STATUS_REPLY, Some(reply)) => Ok(reply),
            (STATUS_ERROR, Some(reply)) => Err(decode::<Error>(&reply.body)
                .map_err(|error| Error::broken(format!("the driver's error cannot be read: {error}")))?),
            (status, reply) => Err(Error::broken(format!(
                "the driver ended {method} with status {status} and {} reply",
                if reply.is_some() { "a" } else { "no" }
            ))),
        }
    }

    fn answer(&self, instance: u64, call: u64, method: &str, request: Message, cookie: usize) -> i32 {
        let handles: Vec<u64> = request
            .handles
            .into_iter()
            // The library's from now on, whatever it answers.
            .map(|(kind, fd)| handle(kind as u8, fd.into_raw_fd()))
            .collect();
        let function = self.module.call();
        // SAFETY: every pointer and length are a readable range until this returns, the descriptors
        // are given away, and the library was started.
        unsafe {
            function(
                instance,
                call,
                cookie,
                method.as_ptr(),
                method.len(),
                request.body.as_ptr(),
                request.body.len(),
                handles.as_ptr(),
                handles.len(),
            )
        }
    }
}

impl Channel for Library {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        self.call_named(call.instance, call.id, call.method.name, request)
    }

    fn cancel(&self, instance: u64, call: u64) {
        let function = self.module.cancel();
        // SAFETY: the library was started; the function takes numbers only.
        unsafe { function(instance, call) };
    }

    fn close(&self, instance: u64) {
        let function = self.module.close();
        // SAFETY: as above.
        unsafe { function(instance) };
    }
}

impl Channel for &'static Library {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        (**self).call(call, request)
    }
    fn cancel(&self, instance: u64, call: u64) {
        (**self).cancel(instance, call);
    }
    fn close(&self, instance: u64) {
        (**self).close(instance);
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("driver", &self.desk.label)
            .finish_non_exhaustive()
    }
}

const TAKEN: i32 = 0;
const REFUSED: i32 = -1;

unsafe extern "C" fn reply(
    context: usize,
    cookie: usize,
    body: *const u8,
    body_len: usize,
    handles: *const u64,
    handle_count: usize,
) -> i32 {
    let taken = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `context` is the address that `start` gave to this library, of a leaked `Desk`.
        let desk = unsafe { &*(context as *const Desk) };
        if body_len > MAX_BODY || handle_count > MAX_HANDLES {
            return REFUSED;
        }
        let mut replies = lock(&desk.replies);
        let Some(place @ None) = replies.get_mut(&cookie) else {
            return REFUSED;
        };
        // SAFETY: the ABI says that both ranges are readable until this returns.
        let (body, handles) = unsafe { (slice(body, body_len).to_vec(), slice(handles, handle_count)) };
        let Some(handles) = take(handles) else {
            return REFUSED;
        };
        *place = Some(Message { body, handles });
        TAKEN
    }));
    taken.unwrap_or(REFUSED)
}

/// Takes the descriptors of a reply: all of them, or none when one is not what it says.
fn take(handles: &[u64]) -> Option<Vec<(HandleKind, OwnedFd)>> {
    let mut seen = Vec::with_capacity(handles.len());
    for handle in handles {
        let (kind, fd) = split_handle(*handle)?;
        let kind = HandleKind::from_number(kind).ok()?;
        // SAFETY: borrowed for one `fstat`, which tells whether it is open at all.
        let open = unsafe { BorrowedFd::borrow_raw(fd) };
        if seen.iter().any(|(_, other)| *other == fd) || !is_kind(open, kind) {
            return None;
        }
        seen.push((kind, fd));
    }
    // SAFETY: each was seen open and is named once; the library gives them to the host.
    Some(
        seen.into_iter()
            .map(|(kind, fd)| (kind, unsafe { OwnedFd::from_raw_fd(fd) }))
            .collect(),
    )
}

/// Whether a descriptor is of that kind, as far as `fstat` tells.
pub(crate) fn is_kind(fd: BorrowedFd<'_>, kind: HandleKind) -> bool {
    let Ok(metadata) = sys::stat(fd) else {
        return false;
    };
    // Anonymous inodes (a pidfd before Linux 6.9) have no type at all.
    match kind {
        HandleKind::Directory => metadata.is_directory(),
        HandleKind::File | HandleKind::Memory | HandleKind::Namespace => metadata.is_file(),
        HandleKind::Pipe => metadata.kind == FileType::Fifo,
        HandleKind::Socket => metadata.kind == FileType::Socket,
        HandleKind::Device => matches!(metadata.kind, FileType::CharacterDevice | FileType::BlockDevice),
        HandleKind::Mount => metadata.is_directory() || metadata.is_file(),
        HandleKind::Pidfd => fd.as_raw_fd() >= 0,
    }
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

#[allow(clippy::too_many_arguments, reason = "the signature of the ABI")]
unsafe extern "C" fn service(
    context: usize,
    call: u64,
    cookie: usize,
    name: *const u8,
    name_len: usize,
    body: *const u8,
    body_len: usize,
    put: unsafe extern "C" fn(usize, *const u8, usize),
) -> i32 {
    let status = catch_unwind(AssertUnwindSafe(|| {
        if name_len > 64 || body_len > MAX_BODY {
            return REFUSED;
        }
        // SAFETY: `context` is the address that `start` gave to this library, of a leaked `Desk`; the
        // ABI says that both ranges are readable until this returns.
        let (desk, name, body) = unsafe { (&*(context as *const Desk), slice(name, name_len), slice(body, body_len)) };
        let answer = std::str::from_utf8(name)
            .map_err(|_| Error::invalid("a service's name is UTF-8"))
            .and_then(|name| desk.services.serve(call, name, body));
        let (status, body) = match answer {
            Ok(body) => (STATUS_REPLY, body),
            Err(error) => (STATUS_ERROR, encode(&error).unwrap_or_default()),
        };
        // SAFETY: called once with the library's own cookie, before this returns.
        unsafe { put(cookie, body.as_ptr(), body.len()) };
        status
    }));
    status.unwrap_or(REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_report_only_the_first_error_and_its_field_are_shown() {
        let report = "Compared <this>:\n --- Type Layout ---\n field_name:start\n\n1 error(s)inside:\n <other>\n\n \
                      field_name:close\n type:x\n\nError:wrong size\nExpected:\n    8\nFound:\n    4\n\nError:more";
        assert_eq!(
            first_difference(report),
            "wrong size: expected 8, found 4, at field close"
        );
        assert_eq!(first_difference("one line\nmore"), "one line");
        assert_eq!(first_difference(""), "no reason given");
    }

    #[test]
    fn descriptors_that_are_closed_twice_named_or_of_another_kind_are_refused() {
        assert!(take(&[handle(HandleKind::File as u8, 900_000)]).is_none());
        assert!(take(&[17]).is_none());
        let Ok((reader, _writer)) = std::io::pipe() else {
            return;
        };
        let number = reader.as_raw_fd();
        assert!(take(&[handle(HandleKind::Directory as u8, number)]).is_none());
        let pipe = handle(HandleKind::Pipe as u8, number);
        assert!(take(&[pipe, pipe]).is_none());
        std::mem::forget(reader);
        assert_eq!(take(&[pipe]).map(|taken| taken.len()), Some(1));
    }
}
