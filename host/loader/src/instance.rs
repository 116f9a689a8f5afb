//! An opened instance of a driver, opened afresh when the driver broke in it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_core::context::Context;
use longshore_core::driver::{Open, Opened, OptionValue};
use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::types::Bytes;
use longshore_core::wire::{Call, Channel, HandleKind, Message, Method, OPEN, client_call};

use crate::middleware::{Guarded, OnBehalf};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that it takes to open an instance, and to open it again.
pub(crate) struct Opening {
    pub(crate) root: Option<OwnedFd>,
    pub(crate) root_path: Bytes,
    pub(crate) options: Vec<OptionValue>,
    pub(crate) host_interface: u16,
}

impl Opening {
    pub(crate) fn open(&self, channel: &impl Channel) -> Result<Opened> {
        let cx = Context::background();
        let root = match &self.root {
            Some(root) => {
                let copy = root
                    .try_clone()
                    .map_err(|error| Error::io("pass the driver's root", &error))?;
                Some(cx.give(HandleKind::Directory, copy)?)
            }
            None => None,
        };
        let request = Open {
            root,
            root_path: self.root_path.clone(),
            options: self.options.clone(),
            host_interface: self.host_interface,
        };
        let opened: Opened = client_call(channel, 0, &OPEN, &cx, &request)?;
        if opened.instance == 0 || opened.interface > self.host_interface {
            return Err(Error::broken(
                "the driver answered open with an instance that cannot be",
            ));
        }
        Ok(opened)
    }
}

/// A channel to one instance. After the driver broke in it, what comes next gets a fresh one:
/// nobody knows what a panic left half done.
pub(crate) struct Instance {
    guarded: Arc<Guarded>,
    opening: Opening,
    live: Mutex<Option<Arc<Live>>>,
}

/// An open instance, closed when its last call has returned and nobody will make another.
struct Live {
    guarded: Arc<Guarded>,
    number: u64,
    /// A call was abandoned in it: it may still run, so closing it is no longer safe.
    stuck: AtomicBool,
}

impl Live {
    fn new(guarded: &Arc<Guarded>, number: u64) -> Self {
        Self {
            guarded: Arc::clone(guarded),
            number,
            stuck: AtomicBool::new(false),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.stuck.load(Ordering::Relaxed) {
            self.guarded.close(self.number);
        }
    }
}

impl Instance {
    /// Opens an instance for the first time.
    pub(crate) fn open(guarded: &Arc<Guarded>, opening: Opening) -> Result<(Self, Opened)> {
        let opened = opening.open(guarded)?;
        let instance = Self {
            guarded: Arc::clone(guarded),
            opening,
            live: Mutex::new(Some(Arc::new(Live::new(guarded, opened.instance)))),
        };
        Ok((instance, opened))
    }

    fn live(&self, purpose: &Method) -> Result<Arc<Live>> {
        let mut live = lock(&self.live);
        if let Some(live) = live.as_ref().filter(|live| self.guarded.holds(live.number)) {
            return Ok(Arc::clone(live));
        }
        // The process that it was in is gone: there is nothing to close.
        *live = None;
        let opened = self.opening.open(&OnBehalf {
            guarded: &self.guarded,
            purpose,
        })?;
        Ok(Arc::clone(
            live.insert(Arc::new(Live::new(&self.guarded, opened.instance))),
        ))
    }

    fn retire(&self, broken: &Arc<Live>) {
        let mut live = lock(&self.live);
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, broken)) {
            *live = None;
        }
    }
}

impl Channel for Instance {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        let live = self.live(call.method)?;
        let here = Call {
            instance: live.number,
            ..call
        };
        let outcome = self.guarded.call(here, request);
        match outcome.as_ref().map_err(|error| error.kind) {
            Err(ErrorKind::Broken) => self.retire(&live),
            // A call that hangs in this process may still run; one in its own process was ended with it.
            Err(ErrorKind::Deadline) if self.guarded.holds(live.number) => live.stuck.store(true, Ordering::Relaxed),
            Err(ErrorKind::Deadline) => self.retire(&live),
            _ => {}
        }
        outcome
    }

    fn cancel(&self, instance: u64, call: u64) {
        self.guarded.cancel(instance, call);
    }

    fn close(&self, _instance: u64) {
        *lock(&self.live) = None;
    }
}
