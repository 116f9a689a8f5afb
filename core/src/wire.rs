//! Messages, channels and the encoding: how a call crosses a boundary.
//!
//! A body is MessagePack with field names, at most 1 MiB and 64 levels deep. Descriptors travel
//! beside it. A [`Channel`] moves a message to one instance of a driver and brings the reply back;
//! each transport is one implementation of it, and nothing else differs between transports.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::{Error, Result};

/// Largest body, in bytes, each way.
pub const MAX_BODY: usize = 1 << 20;
/// Deepest nesting of a body.
pub const MAX_DEPTH: usize = 64;
/// Most descriptors beside one body.
pub const MAX_HANDLES: usize = 16;
/// Longest page of a listing, in objects.
pub const MAX_PAGE: u32 = 1000;
/// Longest chain of ancestors in a request.
pub const MAX_CHAIN: usize = 500;

/// What a descriptor is; checked by the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandleKind {
    /// A directory.
    Directory = 1,
    /// A regular file.
    File = 2,
    /// One end of a pipe.
    Pipe = 3,
    /// A socket.
    Socket = 4,
    /// A namespace.
    Namespace = 5,
    /// A detached mount.
    Mount = 6,
    /// A process.
    Pidfd = 7,
    /// A device, such as a terminal's master.
    Device = 8,
    /// Sealed memory.
    Memory = 9,
}

impl HandleKind {
    /// The kind of that number.
    ///
    /// # Errors
    /// `Broken` for a number that is none.
    pub fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Directory,
            2 => Self::File,
            3 => Self::Pipe,
            4 => Self::Socket,
            5 => Self::Namespace,
            6 => Self::Mount,
            7 => Self::Pidfd,
            8 => Self::Device,
            9 => Self::Memory,
            other => return Err(Error::broken(format!("{other} is no kind of descriptor"))),
        })
    }
}

/// A body and the descriptors beside it. Dropping it closes them.
#[derive(Default)]
pub struct Message {
    /// MessagePack.
    pub body: Vec<u8>,
    /// Descriptors, owned.
    pub handles: Vec<(HandleKind, OwnedFd)>,
}

impl Message {
    /// A message without descriptors.
    pub fn from_body(body: Vec<u8>) -> Self {
        Self {
            body,
            handles: Vec::new(),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("body", &self.body.len())
            .field("handles", &self.handles)
            .finish()
    }
}

/// What one call is, beside its message.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The instance; 0 answers `describe`, `probe` and `open`.
    pub instance: u64,
    /// The call's number: from 1, unique per process.
    pub id: u64,
    /// The method's row of its kind's table.
    pub method: &'a Method,
}

/// A way to one loaded driver. Every transport is one implementation.
pub trait Channel: Send + Sync {
    /// Makes a call and waits for its reply.
    ///
    /// # Errors
    /// Whatever the driver answered, or `Broken` and `Deadline` of the transport itself.
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message>;

    /// Asks that a call may end soon. Only sets a flag; may come before, during or after the call.
    fn cancel(&self, instance: u64, call: u64);

    /// Ends an instance, after its last call has returned.
    fn close(&self, instance: u64);
}

impl<T: Channel + ?Sized> Channel for std::sync::Arc<T> {
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

/// How long a method may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 5 seconds.
    Quick,
    /// 60 seconds.
    Normal,
    /// 30 seconds without progress; here bounded by an hour in all.
    Long,
}

impl Class {
    /// The longest time that a call of this class may take.
    pub fn limit(self) -> Duration {
        match self {
            Self::Quick => Duration::from_secs(5),
            Self::Normal => Duration::from_secs(60),
            Self::Long => Duration::from_secs(3600),
        }
    }

    /// The class as it is written in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Normal => "normal",
            Self::Long => "long",
        }
    }
}

/// Which calls may run beside a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Any others: it only reads.
    Any,
    /// No other changing call on the same object.
    Object,
    /// No other call of this driver.
    Alone,
}

impl Lock {
    /// The lock as it is written in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Object => "object",
            Self::Alone => "alone",
        }
    }
}

/// One row of a kind's method table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The method's name, as in the trait.
    pub name: &'static str,
    /// How long it may take.
    pub class: Class,
    /// What may run beside it.
    pub lock: Lock,
    /// Whether it changes something, so that a lost answer means: outcome unknown.
    pub changes: bool,
    /// The interface version that brought it.
    pub since: u16,
    /// The capability without which it is not asked for.
    pub capability: Option<&'static str>,
}

/// The methods of instance 0, common to all kinds.
pub const DESCRIBE: Method = common("describe", Class::Quick, Lock::Any, false);
/// See [`DESCRIBE`].
pub const PROBE: Method = common("probe", Class::Normal, Lock::Any, false);
/// See [`DESCRIBE`].
pub const OPEN: Method = common("open", Class::Normal, Lock::Alone, true);

const fn common(name: &'static str, class: Class, lock: Lock, changes: bool) -> Method {
    Method {
        name,
        class,
        lock,
        changes,
        since: 0,
        capability: None,
    }
}

/// What a request body holds around the request itself.
#[derive(Serialize, serde::Deserialize, Debug)]
pub struct Envelope<T> {
    /// Milliseconds left for the call; 0 for no deadline.
    #[serde(default)]
    pub deadline: u32,
    /// Trace ID, 16 bytes, or empty.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<u8>,
    /// The request.
    pub request: T,
}

/// Encodes a body.
///
/// # Errors
/// `Exhausted` over [`MAX_BODY`]; `Invalid` for what cannot be encoded.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(256);
    let mut serializer = rmp_serde::Serializer::new(&mut body).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| Error::invalid(format!("cannot encode the message: {error}")))?;
    if body.len() > MAX_BODY {
        return Err(Error::exhausted(format!(
            "the message has {} bytes, the limit is {MAX_BODY}",
            body.len()
        )));
    }
    Ok(body)
}

/// Decodes a body: all of it, within the limits.
///
/// # Errors
/// `Broken` for anything that is not exactly one value of this type.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if body.len() > MAX_BODY {
        return Err(Error::broken(format!(
            "the message has {} bytes, the limit is {MAX_BODY}",
            body.len()
        )));
    }
    let mut reader = std::io::Cursor::new(body);
    let mut deserializer = rmp_serde::Deserializer::new(&mut reader);
    // The crate's default of 1,024 levels overflows a 2 MiB stack in a build without optimisation.
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)
        .map_err(|error| Error::broken(format!("cannot decode the message: {error}")))?;
    if reader.position() != body.len() as u64 {
        return Err(Error::broken("the message has bytes after its end"));
    }
    Ok(value)
}

static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

/// The next call number of this process.
pub fn next_call() -> u64 {
    NEXT_CALL.fetch_add(1, Ordering::Relaxed)
}

/// The client's half of one call: encodes, sends with the descriptors given to `cx`, decodes, and
/// leaves the reply's descriptors in `cx`.
///
/// # Errors
/// The driver's, the transport's, or `Broken` for an answer outside the contract.
pub fn client_call<Req, Rep>(
    channel: &impl Channel,
    instance: u64,
    method: &Method,
    cx: &Context,
    request: &Req,
) -> Result<Rep>
where
    Req: Serialize + ?Sized,
    Rep: DeserializeOwned,
{
    #[derive(Serialize)]
    struct Borrowed<'a, T: ?Sized> {
        deadline: u32,
        #[serde(with = "serde_bytes", skip_serializing_if = "slice_is_empty")]
        trace: &'a [u8],
        request: &'a T,
    }
    cx.check()?;
    let trace = cx.trace();
    let body = encode(&Borrowed {
        deadline: cx
            .remaining()
            .map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)),
        trace: if trace == [0; 16] { &[] } else { &trace },
        request,
    })?;
    let call = Call {
        instance,
        id: if cx.call() == 0 { next_call() } else { cx.call() },
        method,
    };
    let _offer = crate::services::Offer::new(call.id, cx.services());
    let reply = channel.call(
        call,
        Message {
            body,
            handles: cx.take_given(),
        },
    )?;
    if reply.handles.len() > MAX_HANDLES {
        return Err(Error::broken(format!("{} answered too many descriptors", method.name)));
    }
    let answer = decode(&reply.body).map_err(|error| {
        Error::broken(format!(
            "the answer to {} is outside the contract: {error}",
            method.name
        ))
    })?;
    cx.put_received(reply.handles);
    Ok(answer)
}

fn slice_is_empty(slice: &[u8]) -> bool {
    slice.is_empty()
}

/// Which calls are under way and which of them are cancelled: the service's side of
/// [`Channel::cancel`]. A tree and no hash map: that would ask for randomness, which a component has
/// not.
#[derive(Debug, Default)]
pub struct Calls(std::sync::Mutex<BTreeMap<u64, crate::context::Cancel>>);

impl Calls {
    /// Notes a call that begins, and gives its flag. A cancel that came before is seen.
    pub fn begin(&self, call: u64) -> crate::context::Cancel {
        self.lock().entry(call).or_default().clone()
    }

    /// Forgets a call that has ended.
    pub fn end(&self, call: u64) {
        self.lock().remove(&call);
    }

    /// Sets the flag of a call that is under way.
    pub fn cancel(&self, call: u64) {
        if let Some(flag) = self.lock().get(&call) {
            flag.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, crate::context::Cancel>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
