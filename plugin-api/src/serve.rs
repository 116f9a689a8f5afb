//! The service side of a driver: instances, contexts, and the way from a message to the trait.
//!
//! One [`Service`] stands behind every transport. A library reaches it through the functions of the
//! ABI, a driver that is linked in through [`Static`]; both see the same deadlines, cancellation,
//! caught panics and encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longshore_core::context::{Context, NoServices, Services};
use longshore_core::driver::{Describe, Driver, Kind, Open, Opened, Probe};
use longshore_core::envelope;
use longshore_core::error::{Error, Result};
use longshore_core::services;
use longshore_core::wire::{Call, Calls, Channel, DESCRIBE, MAX_HANDLES, Message, Method, OPEN, PROBE, decode, encode};

use crate::panics;

/// What a transport needs of a driver, whatever its kind.
pub trait Serve: Send + Sync {
    /// Answers one call, on the caller's thread. Never panics, always closes what it was given.
    ///
    /// # Errors
    /// The driver's; `Broken` for a panic or a message outside the contract.
    fn call(
        &self,
        instance: u64,
        call: u64,
        method: &str,
        message: Message,
        services: Arc<dyn Services>,
    ) -> Result<Message>;

    /// Sets the flag of a call.
    fn cancel(&self, call: u64);

    /// Ends an instance.
    fn close(&self, instance: u64);
}

/// The open instances of a driver `D` of kind `K`.
pub struct Service<D, K> {
    instances: RwLock<BTreeMap<u64, Live<D>>>,
    /// The last number given out: from 1, as 0 answers what needs no instance. Never reused.
    last: AtomicU64,
    calls: Calls,
    kind: PhantomData<fn() -> K>,
}

/// An instance and the interface version that it was opened with.
struct Live<D> {
    driver: Arc<D>,
    interface: u16,
}

impl<D: Driver, K: Kind<D>> Service<D, K> {
    /// A service without instances.
    pub fn new() -> Self {
        Self {
            instances: RwLock::default(),
            last: AtomicU64::new(0),
            calls: Calls::default(),
            kind: PhantomData,
        }
    }

    fn run(&self, target: &Target<D>, method: &Method, cx: &Context, request: &[u8]) -> Result<Vec<u8>> {
        match (target, method.name) {
            (Target::Instance(driver), name) => K::dispatch(driver, cx, name, request),
            (Target::Common, "describe") => {
                decode::<Describe>(request)?;
                encode(&D::describe())
            }
            (Target::Common, "probe") => encode(&D::probe(cx, decode::<Probe>(request)?)?),
            (Target::Common, _) => encode(&self.open(cx, decode(request)?)?),
        }
    }

    fn open(&self, cx: &Context, request: Open) -> Result<Opened> {
        let interface = common_interface::<D>(K::KIND, request.host_interface)?;
        let driver = Arc::new(D::open(cx, request)?);
        let live = Live { driver, interface };
        let instance = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.instances
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(instance, live);
        Ok(Opened { instance, interface })
    }

    /// What a call goes to, and the interface version that both sides speak there.
    fn target(&self, instance: u64) -> Result<(Target<D>, u16)> {
        if instance == 0 {
            return Ok((Target::Common, K::VERSION));
        }
        self.instances
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&instance)
            .map(|live| (Target::Instance(Arc::clone(&live.driver)), live.interface))
            .ok_or_else(|| Error::broken(format!("no instance {instance} of this {} driver is open", K::KIND)))
    }

    fn method(instance: u64, name: &str) -> Result<&'static Method> {
        const COMMON: &[Method] = &[DESCRIBE, PROBE, OPEN];
        let methods = if instance == 0 { COMMON } else { K::methods() };
        methods
            .iter()
            .find(|method| method.name == name)
            .ok_or_else(|| Error::unsupported(format!("{name:?} is no method of {} {} here", K::KIND, K::VERSION)))
    }
}

/// What answers a call.
enum Target<D> {
    /// What is common to all kinds and needs no instance.
    Common,
    Instance(Arc<D>),
}

/// The newest version that both sides speak.
fn common_interface<D: Driver>(kind: &str, host: u16) -> Result<u16> {
    let versions = D::describe().interface;
    if host < versions.from {
        return Err(Error::unsupported(format!(
            "this driver speaks {kind} {} to {}, the host only up to {host}: use an older driver or a newer host",
            versions.from, versions.to
        )));
    }
    Ok(host.min(versions.to))
}

impl<D: Driver, K: Kind<D>> Serve for Service<D, K> {
    fn call(
        &self,
        instance: u64,
        call: u64,
        method: &str,
        message: Message,
        services: Arc<dyn Services>,
    ) -> Result<Message> {
        if message.handles.len() > MAX_HANDLES {
            return Err(Error::broken(format!(
                "{method} came with more than {MAX_HANDLES} descriptors"
            )));
        }
        let method = Self::method(instance, method)?;
        let opened = envelope::open(&message.body)?;
        // No deadline of the caller's own: then the method's class is the limit, as for the host.
        let limit = match opened.deadline {
            0 => method.class.limit(),
            left => Duration::from_millis(u64::from(left)),
        };
        let (target, interface) = self.target(instance)?;
        let cx = Context::new(call, Some(limit), self.calls.begin(call), services)
            .with_handles(message.handles)
            .with_trace(opened.trace)
            .with_interface(interface);
        let body = panics::caught(|| self.run(&target, method, &cx, opened.request));
        self.calls.end(call);
        let body = body?;
        Ok(Message {
            body,
            handles: cx.take_given(),
        })
    }

    fn cancel(&self, call: u64) {
        self.calls.cancel(call);
    }

    fn close(&self, instance: u64) {
        let driver = self
            .instances
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
        // A driver's Drop is a driver's code too.
        drop(panics::caught(|| {
            drop(driver);
            Ok(())
        }));
    }
}

impl<D: Driver, K: Kind<D>> Default for Service<D, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D, K> fmt::Debug for Service<D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// A driver that is linked in, behind the same service as one in a library.
pub struct Static<D, K> {
    service: Service<D, K>,
    services: Arc<dyn Services>,
}

impl<D: Driver, K: Kind<D>> Static<D, K> {
    /// The driver, with a host that offers no services.
    pub fn new() -> Self {
        Self::with_services(Arc::new(NoServices))
    }

    /// The driver, with these services.
    pub fn with_services(services: Arc<dyn Services>) -> Self {
        Self {
            service: Service::new(),
            services,
        }
    }
}

impl<D: Driver, K: Kind<D>> Default for Static<D, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Driver, K: Kind<D>> Channel for Static<D, K> {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        self.service.call(
            call.instance,
            call.id,
            call.method.name,
            request,
            services::of_call(call.id).unwrap_or_else(|| Arc::clone(&self.services)),
        )
    }

    fn cancel(&self, _instance: u64, call: u64) {
        self.service.cancel(call);
    }

    fn close(&self, instance: u64) {
        self.service.close(instance);
    }
}

impl<D, K> fmt::Debug for Static<D, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Static")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
