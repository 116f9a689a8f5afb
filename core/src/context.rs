//! The context of one call: its deadline, its cancellation, its descriptors, the host's services.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::types::Handle;
use crate::wire::{HandleKind, MAX_HANDLES};

/// What the host offers a driver during a call. Never used after the call has returned.
pub trait Services: Send + Sync {
    /// Calls a service by name ("log", "clock.now") with a message body.
    ///
    /// # Errors
    /// `Unsupported` for a name that this host does not know.
    fn call(&self, name: &str, body: &[u8]) -> Result<Vec<u8>>;

    /// Whether no name is known at all.
    fn is_empty(&self) -> bool {
        false
    }
}

/// The services of a host that offers none, for tests and embedders.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoServices;

impl Services for NoServices {
    fn call(&self, name: &str, _body: &[u8]) -> Result<Vec<u8>> {
        Err(Error::unsupported(format!("this host offers no service {name:?}")))
    }

    fn is_empty(&self) -> bool {
        true
    }
}

/// A flag that one side sets and the other polls. It never waits.
#[derive(Debug, Default, Clone)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Sets the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// When a call must have ended.
#[cfg(not(target_family = "wasm"))]
mod deadline {
    use std::time::{Duration, Instant};

    use super::Services;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Deadline(Instant);

    impl Deadline {
        pub(super) fn after(left: Duration) -> Self {
            Self(Instant::now() + left)
        }

        pub(super) fn left(self, _host: &dyn Services) -> Duration {
            self.0.saturating_duration_since(Instant::now())
        }
    }
}

/// When a call must have ended: only the host knows, as a component has no clock.
#[cfg(target_family = "wasm")]
mod deadline {
    use std::time::Duration;

    use super::Services;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Deadline(Duration);

    #[derive(serde::Deserialize)]
    struct Left {
        left_ms: u32,
    }

    impl Deadline {
        pub(super) fn after(left: Duration) -> Self {
            Self(left)
        }

        pub(super) fn left(self, host: &dyn Services) -> Duration {
            const EMPTY_MAP: &[u8] = &[0x80];
            host.call("call.left", EMPTY_MAP)
                .and_then(|body| crate::wire::decode::<Left>(&body))
                .map_or(self.0, |answer| Duration::from_millis(u64::from(answer.left_ms)))
        }
    }
}

use deadline::Deadline;

/// The context of one call.
pub struct Context {
    call: u64,
    deadline: Option<Deadline>,
    trace: [u8; 16],
    interface: u16,
    cancel: Cancel,
    received: Mutex<Vec<Option<(HandleKind, OwnedFd)>>>,
    given: Mutex<Vec<(HandleKind, OwnedFd)>>,
    services: Arc<dyn Services>,
}

impl Context {
    /// A context without deadline, descriptors or services: for direct calls in tests.
    pub fn background() -> Self {
        Self::new(0, None, Cancel::default(), Arc::new(NoServices))
    }

    /// A context for call number `call`.
    pub fn new(call: u64, deadline: Option<Duration>, cancel: Cancel, services: Arc<dyn Services>) -> Self {
        Self {
            call,
            deadline: deadline.map(Deadline::after),
            trace: [0; 16],
            interface: u16::MAX,
            cancel,
            received: Mutex::default(),
            given: Mutex::default(),
            services,
        }
    }

    /// The same context with descriptors that came with the request, or go with it.
    #[must_use]
    pub fn with_handles(self, handles: Vec<(HandleKind, OwnedFd)>) -> Self {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = handles.into_iter().map(Some).collect();
        self
    }

    /// The same context with a trace ID (W3C trace context, 16 bytes).
    #[must_use]
    pub fn with_trace(mut self, trace: [u8; 16]) -> Self {
        self.trace = trace;
        self
    }

    /// The same context for a caller that speaks no interface above `interface`, the number that
    /// `open` answered. A reply that needs more is refused before it is sent.
    #[must_use]
    pub fn with_interface(mut self, interface: u16) -> Self {
        self.interface = interface;
        self
    }

    /// The interface version that the caller speaks; the highest number when nothing was agreed.
    pub fn interface(&self) -> u16 {
        self.interface
    }

    /// The call's number, unique per instance and process; 0 for a direct call.
    pub fn call(&self) -> u64 {
        self.call
    }

    /// The trace ID; zeros when there is none.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// Time left until the deadline; `None` without one, zero when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.left(&*self.services))
    }

    /// Whether the caller has cancelled the call. Long methods ask between steps.
    pub fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The flag itself, for the side that sets it.
    pub fn cancel_flag(&self) -> &Cancel {
        &self.cancel
    }

    /// `Ok`, or `Cancelled` or `Deadline` when the call should stop.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        if self.cancelled() {
            return Err(Error::cancelled("the caller cancelled the call"));
        }
        if self.remaining().is_some_and(|left| left.is_zero()) {
            return Err(Error::deadline("the call's deadline has passed"));
        }
        Ok(())
    }

    /// Takes a descriptor that came with the request. Each can be taken once.
    ///
    /// # Errors
    /// `Invalid` when there is none of that number, or it was taken.
    pub fn take(&self, handle: Handle) -> Result<OwnedFd> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(usize::from(handle.0))
            .and_then(Option::take)
            .map(|(_, fd)| fd)
            .ok_or_else(|| Error::invalid(format!("descriptor {} of this message is absent or taken", handle.0)))
    }

    /// Adds a descriptor to the reply, or to the request when called before a client's call.
    ///
    /// # Errors
    /// `Exhausted` beyond the most that one message may carry.
    pub fn give(&self, kind: HandleKind, fd: OwnedFd) -> Result<Handle> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MAX_HANDLES {
            return Err(Error::exhausted(format!(
                "a message carries at most {MAX_HANDLES} descriptors"
            )));
        }
        given.push((kind, fd));
        // MAX_HANDLES is far below 256.
        Ok(Handle(u8::try_from(given.len() - 1).unwrap_or(u8::MAX)))
    }

    /// Everything given so far: what goes out with a request (client) or a reply (service).
    pub fn take_given(&self) -> Vec<(HandleKind, OwnedFd)> {
        std::mem::take(&mut self.given.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the received descriptors: the client puts a reply's descriptors here.
    pub fn put_received(&self, handles: Vec<(HandleKind, OwnedFd)>) {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = handles.into_iter().map(Some).collect();
    }

    pub(crate) fn services(&self) -> &Arc<dyn Services> {
        &self.services
    }

    /// The host's services.
    pub fn host(&self) -> &dyn Services {
        &*self.services
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("call", &self.call)
            .field("deadline", &self.deadline)
            .field("cancelled", &self.cancelled())
            .finish_non_exhaustive()
    }
}
