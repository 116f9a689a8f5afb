//! A component as a [`Channel`], with a few instances that wait for calls.
//!
//! An instance takes one call at a time. What a driver opens is known here by a number of our own and
//! by the request that opened it, so that any instance can serve it: one that has not opened it does
//! so first. A pure driver keeps nothing between calls, and the contract lets any call reach a fresh
//! instance, so which of them a call meets makes no difference.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::context::Cancel;
use longshore_core::driver::{Description, Opened};
use longshore_core::envelope;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Calls, Channel, MAX_BODY, Message, Method, OPEN, decode, encode};
use wasmtime::Store;
use wasmtime::component::{Component as Compiled, ComponentExportIndex, InstancePre, TypedFunc};

use crate::file::Checked;
use crate::refusal::{Fault, Problem};
use crate::services::HostServices;
use crate::wasm::engine::Engine;
use crate::wasm::guest::Guest;
use crate::wasm::{ended, imports};

/// The interface of `plugin-api/wit/driver.wit` that a driver exports.
const PLUGIN: &str = "longshore:driver/plugin@1.0.0";
/// Most calls at once to one component, whatever it says that it takes.
pub(crate) const MOST_AT_ONCE: u16 = 16;
/// Instances that are kept for the next call, and the most memory of one that is.
const MOST_WAITING: usize = 4;
const MOST_KEPT: usize = 8 << 20;
/// How long an instance may take to close something.
const CLOSING: Duration = Duration::from_secs(5);

type CallExport = TypedFunc<(u64, u64, &'static str, Vec<u8>), (Result<Vec<u8>, Vec<u8>>,)>;

/// A driver in Wasm.
pub struct Component {
    engine: Arc<Engine>,
    parts: InstancePre<Guest>,
    call: ComponentExportIndex,
    close: ComponentExportIndex,
    services: Arc<HostServices>,
    waiting: Mutex<Vec<Running>>,
    opened: Mutex<Openings>,
    calls: Calls,
}

/// One instance.
struct Running {
    store: Store<Guest>,
    call: CallExport,
    close: TypedFunc<(u64,), ()>,
    /// What is open in it: our number, and its own.
    open: BTreeMap<u64, u64>,
}

/// What the driver has opened: the request of each, to open it again elsewhere. A request holds no
/// secret: those travel beside it.
#[derive(Default)]
struct Openings {
    last: u64,
    requests: BTreeMap<u64, Vec<u8>>,
}

impl Openings {
    /// Notes a request that has opened something, under a number that is never used again.
    fn note(&mut self, request: Vec<u8>) -> u64 {
        self.last += 1;
        self.requests.insert(self.last, request);
        self.last
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks what only a component must be.
pub(crate) fn check(description: &Description) -> Result<(), Fault> {
    if !crate::open::acts(description) {
        return Ok(());
    }
    Err(Fault::new(
        Problem::Policy,
        "it acts on the machine by itself, which nothing in a sandbox can",
        "use the driver's library (.so)",
    ))
}

impl Component {
    /// Compiles a checked file, or takes what was compiled before, and links what it imports.
    pub(crate) fn load(engine: &Arc<Engine>, checked: &Checked) -> Result<Self, Fault> {
        let compiled = engine.compiled(checked)?;
        let linker = imports::link(compiled.engine(), &compiled)?;
        let (call, close) = exports(&compiled)?;
        let parts = linker.instantiate_pre(&compiled).map_err(|error| {
            Fault::new(
                Problem::Import,
                format_args!("what it imports cannot be linked ({error:#})"),
                "build it again with a longshore-plugin of this host's release",
            )
        })?;
        Ok(Self {
            engine: Arc::clone(engine),
            parts,
            call,
            close,
            services: Arc::new(HostServices {
                label: checked.manifest().label(),
            }),
            waiting: Mutex::default(),
            opened: Mutex::default(),
            calls: Calls::default(),
        })
    }

    fn run(&self, call: Call<'_>, body: Vec<u8>, cancel: Cancel) -> Result<Vec<u8>> {
        let limit = limit(call.method, &body)?;
        let _clock = self.engine.started()?.clock.run();
        let mut running = self.ready(call.id, limit, cancel)?;
        let answer = if call.instance == 0 && call.method.name == OPEN.name {
            self.open(&mut running, call, body)
        } else {
            self.answer(&mut running, call, body)
        };
        match answer {
            Ok(answer) => {
                self.keep(running);
                answer
            }
            Err(error) => Err(ended::error(call.method.name, running.store.data(), &error)),
        }
    }

    /// An instance in which the call has begun: one that waits, or a new one.
    fn ready(&self, id: u64, limit: Duration, cancel: Cancel) -> Result<Running> {
        let waiting = lock(&self.waiting).pop();
        if let Some(mut running) = waiting {
            Guest::begin(&mut running.store, id, limit, cancel);
            return Ok(running);
        }
        let memory = self.engine.settings().memory;
        let mut store = Guest::store(self.parts.engine(), &self.services, memory);
        Guest::begin(&mut store, id, limit, cancel);
        self.instance(&mut store)
            .map(|(call, close)| (call, close, BTreeMap::new()))
            .map_err(|error| ended::error("starting", store.data(), &error))
            .map(|(call, close, open)| Running {
                store,
                call,
                close,
                open,
            })
    }

    fn instance(&self, store: &mut Store<Guest>) -> wasmtime::Result<(CallExport, TypedFunc<(u64,), ()>)> {
        let instance = self.parts.instantiate(&mut *store)?;
        Ok((
            instance.get_typed_func(&mut *store, self.call)?,
            instance.get_typed_func(&mut *store, self.close)?,
        ))
    }

    /// Opens something and gives it a number of our own. The outer error ends the instance.
    fn open(&self, running: &mut Running, call: Call<'_>, body: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>>> {
        let answer = running.call(0, call.id, OPEN.name, body.clone())?;
        Ok(answer.and_then(|answer| {
            let mut opened: Opened = decode(&answer)?;
            let ours = lock(&self.opened).note(body);
            running.open.insert(ours, opened.instance);
            opened.instance = ours;
            encode(&opened)
        }))
    }

    fn answer(&self, running: &mut Running, call: Call<'_>, body: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>>> {
        let instance = match self.number_in(running, call)? {
            Ok(instance) => instance,
            Err(error) => return Ok(Err(error)),
        };
        running.call(instance, call.id, call.method.name, body)
    }

    /// The number under which the instance knows what the call is for; opened there if need be.
    fn number_in(&self, running: &mut Running, call: Call<'_>) -> wasmtime::Result<Result<u64>> {
        if call.instance == 0 {
            return Ok(Ok(0));
        }
        if let Some(known) = running.open.get(&call.instance) {
            return Ok(Ok(*known));
        }
        let Some(request) = lock(&self.opened).requests.get(&call.instance).cloned() else {
            return Ok(Err(Error::broken(format!("no instance {} is open", call.instance))));
        };
        let answer = running.call(0, call.id, OPEN.name, request)?;
        Ok(answer.and_then(|answer| decode::<Opened>(&answer)).map(|opened| {
            running.open.insert(call.instance, opened.instance);
            opened.instance
        }))
    }

    /// Keeps an instance for the next call, unless there are enough, or it has become too large.
    fn keep(&self, mut running: Running) {
        if running.store.data().memory() > MOST_KEPT || self.close_forgotten(&mut running).is_err() {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.len() < MOST_WAITING {
            waiting.push(running);
        }
    }

    /// Closes in an instance what is closed for the host.
    fn close_forgotten(&self, running: &mut Running) -> wasmtime::Result<()> {
        let forgotten: Vec<(u64, u64)> = {
            let openings = lock(&self.opened);
            let open = running.open.iter().map(|(ours, its)| (*ours, *its));
            open.filter(|(ours, _)| !openings.requests.contains_key(ours)).collect()
        };
        for (ours, its) in forgotten {
            running.open.remove(&ours);
            Guest::begin(&mut running.store, 0, CLOSING, Cancel::default());
            running.close.call(&mut running.store, (its,))?;
        }
        Ok(())
    }
}

impl Running {
    fn call(
        &mut self,
        instance: u64,
        id: u64,
        method: &'static str,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>>> {
        let (answer,) = self.call.call(&mut self.store, (instance, id, method, body))?;
        Ok(match answer {
            Ok(answer) if answer.len() <= MAX_BODY => Ok(answer),
            Ok(answer) => Err(Error::broken(format!(
                "{method} answered {} bytes, the limit is {MAX_BODY}",
                answer.len()
            ))),
            Err(error) => Err(decode::<Error>(&error)
                .unwrap_or_else(|error| Error::broken(format!("the driver's error cannot be read: {error}")))),
        })
    }
}

impl Channel for Component {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        if !request.handles.is_empty() {
            return Err(Error::unsupported(format!(
                "{} comes with a descriptor, which cannot be passed to a driver in Wasm",
                call.method.name
            )));
        }
        let cancel = self.calls.begin(call.id);
        let outcome = self.run(call, request.body, cancel);
        self.calls.end(call.id);
        outcome.map(Message::from_body)
    }

    fn cancel(&self, _instance: u64, call: u64) {
        self.calls.cancel(call);
    }

    fn close(&self, instance: u64) {
        lock(&self.opened).requests.remove(&instance);
        let Ok(started) = self.engine.started() else { return };
        let _clock = started.clock.run();
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for running in waiting {
            self.keep(running);
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("driver", &self.services.label)
            .field("waiting", &lock(&self.waiting).len())
            .finish_non_exhaustive()
    }
}

/// How long a call may take.
fn limit(method: &Method, body: &[u8]) -> Result<Duration> {
    let most = method.class.limit();
    Ok(match envelope::open(body)?.deadline {
        0 => most,
        left => most.min(Duration::from_millis(u64::from(left))),
    })
}

/// The two functions that a driver exports.
fn exports(compiled: &Compiled) -> Result<(ComponentExportIndex, ComponentExportIndex), Fault> {
    let plugin = compiled.get_export_index(None, PLUGIN);
    let function = |name: &str| {
        let plugin = plugin.as_ref()?;
        compiled.get_export_index(Some(plugin), name)
    };
    function("call").zip(function("close")).ok_or_else(|| {
        let others: Vec<String> = compiled
            .component_type()
            .exports(compiled.engine())
            .map(|(name, _)| format!("{name:?}"))
            .take(4)
            .collect();
        Fault::new(
            Problem::Symbol,
            format_args!("it does not export {PLUGIN:?} (it exports {})", others.join(", ")),
            "build it with a longshore-plugin of this host's release, or use a newer host",
        )
    })
}
