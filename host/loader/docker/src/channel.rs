//! An implementation of a kind's trait as a channel: the calls of instance 0 answered here, all others
//! dispatched as a driver's service does.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::context::{Context, NoServices};
use longshore_core::driver::{Description, Kind, Opened, Probed, Reason};
use longshore_core::envelope;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Calls, Channel, Message, encode};

/// The one instance: a plugin keeps its state itself.
const INSTANCE: u64 = 1;

/// An adapter `D` of kind `K`.
pub(crate) struct Adapted<D, K> {
    description: Description,
    driver: D,
    /// Whether the plugin answers; else why not.
    alive: fn(&D) -> Result<()>,
    calls: Calls,
    kind: PhantomData<fn() -> K>,
}

impl<D, K> Adapted<D, K> {
    pub(crate) fn new(description: Description, driver: D, alive: fn(&D) -> Result<()>) -> Self {
        Self {
            description,
            driver,
            alive,
            calls: Calls::default(),
            kind: PhantomData,
        }
    }

    fn probe(&self) -> Probed {
        let reasons: Vec<Reason> = (self.alive)(&self.driver)
            .err()
            .map(|error| Reason {
                what: error.message,
                remedy: "start the plugin".into(),
            })
            .into_iter()
            .collect();
        Probed {
            usable: reasons.is_empty(),
            reasons,
            capabilities: self.description.capabilities.clone(),
        }
    }
}

impl<D: Send + Sync, K: Kind<D>> Channel for Adapted<D, K> {
    // Descriptors of the request are closed with it: the protocol carries none.
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        let body = match (call.instance, call.method.name) {
            (0, "describe") => encode(&self.description)?,
            (0, "probe") => encode(&self.probe())?,
            (0, "open") => encode(&Opened {
                instance: INSTANCE,
                interface: K::VERSION,
            })?,
            (INSTANCE, method) => {
                let opened = envelope::open(&request.body)?;
                let limit = match opened.deadline {
                    0 => call.method.class.limit(),
                    left => Duration::from_millis(u64::from(left)),
                };
                let cx = Context::new(call.id, Some(limit), self.calls.begin(call.id), Arc::new(NoServices));
                let answered = K::dispatch(&self.driver, &cx, method, opened.request);
                self.calls.end(call.id);
                answered?
            }
            (other, _) => return Err(Error::broken(format!("no instance {other} is open"))),
        };
        Ok(Message {
            body,
            handles: Vec::new(),
        })
    }

    fn cancel(&self, _instance: u64, call: u64) {
        self.calls.cancel(call);
    }

    fn close(&self, _instance: u64) {}
}

impl<D, K> fmt::Debug for Adapted<D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapted")
            .field("name", &self.description.name)
            .finish_non_exhaustive()
    }
}
