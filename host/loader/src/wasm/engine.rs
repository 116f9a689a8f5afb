//! The compiler and the settings that all components of a host share. It starts with the first one.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use longshore_core::error::{Error, Result};
use wasmtime::Config;
use wasmtime::component::Component as Compiled;

use crate::file::Checked;
use crate::refusal::{Fault, Problem};
use crate::wasm::cache::Cache;
use crate::wasm::clock::Clock;

/// How components are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder for compiled code, made where it is not there; none compiles at every start. Only
    /// its owner may get into it, and it holds nothing else.
    pub cache: Option<PathBuf>,
    /// Whether the process may have handlers for SIGSEGV, SIGFPE and SIGILL, which make components
    /// faster. An embedder with handlers of its own says no.
    pub signal_handlers: bool,
    /// The most memory that one instance may have, in bytes.
    pub memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: None,
            signal_handlers: true,
            memory: 64 << 20,
        }
    }
}

/// Compiles and runs components. Nothing of it exists before the first component is loaded: no
/// compiler, no thread, no signal handler.
pub struct Engine {
    settings: Settings,
    started: OnceLock<Result<Started>>,
}

pub(super) struct Started {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) clock: Clock,
    cache: Option<Cache>,
}

impl Engine {
    /// An engine that has not started.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            started: OnceLock::new(),
        })
    }

    /// Whether a component was loaded, so that compiler and clock are there.
    pub fn is_started(&self) -> bool {
        self.started.get().is_some()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn started(&self) -> Result<&Started> {
        self.started
            .get_or_init(|| Started::new(&self.settings))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The machine code of a checked file: from the cache, or compiled now.
    pub(super) fn compiled(&self, checked: &Checked) -> Result<Compiled, Fault> {
        let started = self.started().map_err(|error| {
            Fault::new(
                Problem::Load,
                format_args!("components cannot be run here ({error})"),
                "set isolation = \"in-process\" or \"process\" for it",
            )
        })?;
        let digest = checked.identity.digest.unwrap_or_default();
        if let Some(cache) = &started.cache
            && let Some(known) = cache.load(&started.wasmtime, &digest)
        {
            return Ok(known);
        }
        let bytes = checked.bytes()?;
        let compiled = Compiled::from_binary(&started.wasmtime, &bytes).map_err(|error| refused(&error))?;
        if let Some(cache) = &started.cache {
            cache.store(&started.wasmtime, &digest, &compiled);
        }
        Ok(compiled)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("settings", &self.settings)
            .field("started", &self.is_started())
            .finish_non_exhaustive()
    }
}

impl Started {
    fn new(settings: &Settings) -> Result<Self> {
        let wasmtime = wasmtime::Engine::new(&config(settings))
            .map_err(|error| Error::unsupported(format!("start wasmtime: {error:#}")))?;
        let clock = Clock::start(wasmtime.clone())
            .map_err(|error| Error::exhausted(format!("start the thread that ends calls: {error}")))?;
        Ok(Self {
            cache: settings.cache.as_deref().and_then(Cache::open),
            wasmtime,
            clock,
        })
    }
}

fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // The frames of a stripped component name nothing, and unwinding tables are registered for the
        // whole process.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false)
        .signals_based_traps(settings.signal_handlers);
    if !settings.signal_handlers {
        // Bounds are compared in code then, so no address space is set aside to fault in.
        config
            .memory_reservation(settings.memory as u64)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0);
    }
    config
}

fn refused(error: &wasmtime::Error) -> Fault {
    let text = format!("{error:#}");
    let line: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
    Fault::new(
        Problem::Load,
        format_args!("the compiler refuses it ({line})"),
        "build it again for the target wasm32-wasip2",
    )
}
