//! A library in a process of its own: the same calls and descriptors, over a socket.
//!
//! Both ends live here: [`Process`] is the channel that the engine calls, [`fn@serve`] is what
//! `longshore-runner serve` does. The process is started when its driver is loaded, confined to what the
//! driver's grants stand for, started again after it died, later and later when it dies again and
//! again, and found again by an engine that comes back while it is still there. What a call may ask
//! is the driver's kind's contract, and when a call has lasted too long is the middleware's to say.

mod cgroup;
mod confine;
mod frame;
mod link;
mod serve;
mod start;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use longshore_core::driver::Opened;
use longshore_core::envelope;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Channel, Message, OPEN, decode, encode};

use longshore_sys::socket::{self, Bounds};
use longshore_sys::{Errno, path};

use crate::middleware::Isolated;
use crate::refusal::Fault;
use frame::Kind;
use link::Link;
pub use serve::{Serving, serve};
pub(crate) use start::Spec;

/// A process that has lived so long is forgiven its former deaths.
const WELL: Duration = Duration::from_secs(60);
/// The longest pause before a process is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A call waits so long for a process that is started again; with longer to go it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How and where drivers get processes of their own.
#[derive(Clone, Debug)]
pub struct Processes {
    runner: PathBuf,
    folder: Option<PathBuf>,
    cgroup: Option<String>,
    stay: Duration,
}

impl Processes {
    /// Drivers run in `runner` (`longshore-runner`), and end with this process.
    pub fn new(runner: impl Into<PathBuf>) -> Self {
        Self {
            runner: runner.into(),
            folder: None,
            cgroup: None,
            stay: Duration::from_secs(60),
        }
    }

    /// With sockets in this folder, by which an engine that comes back within a minute finds the
    /// processes of the one that died. The folder is made, for its owner alone.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Each in a cgroup below this one.
    #[must_use]
    pub fn cgroup(mut self, parent: impl Into<String>) -> Self {
        self.cgroup = Some(parent.into());
        self
    }

    /// How long a process stays without an engine; a minute unless said otherwise.
    #[must_use]
    pub fn stay(mut self, stay: Duration) -> Self {
        self.stay = stay;
        self
    }

    /// Removes what processes left behind whose engine was killed and that ended since: sockets at which
    /// nobody listens, cgroups without a process.
    pub(crate) fn sweep(&self) {
        if let Some(folder) = self.folder.as_ref().and_then(|path| path::open_directory(path).ok()) {
            for entry in path::list(&folder).unwrap_or_default() {
                let name = String::from_utf8_lossy(&entry.name);
                let dead = socket::connect_at(folder.as_fd(), &name, Bounds::Stream)
                    .is_err_and(|error| error.is(Errno::CONNREFUSED));
                if dead {
                    let _ = path::remove_file(&folder, &entry.name);
                }
            }
        }
        if let Some(parent) = &self.cgroup {
            cgroup::sweep(parent);
        }
    }

    /// The program.
    pub fn runner(&self) -> &Path {
        &self.runner
    }
}

/// What is known of a driver's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// Its number, while there is one.
    pub pid: Option<i32>,
    /// How often it was started, or found, by this engine.
    pub starts: u64,
    /// Why the last one ended; `None` when none did.
    pub ended: Option<String>,
}

/// A driver in a process of its own.
pub(crate) struct Process {
    spec: Spec,
    /// Held while a process is started: who comes meanwhile waits for it.
    starting: Mutex<Starting>,
    current: Mutex<Option<Arc<Link>>>,
    /// The instances that this engine knows, each with the connection it was opened over. Their numbers
    /// here are never used again; those of a process begin anew with each one.
    instances: Mutex<HashMap<u64, (Arc<Link>, u64)>>,
    last: AtomicU64,
    told: Mutex<Told>,
}

/// When the process was started, and when it may be again.
#[derive(Default)]
struct Starting {
    since: Option<Instant>,
    deaths: u32,
    not_before: Option<Instant>,
}

/// What others ask for, who must not wait for a start.
#[derive(Default)]
struct Told {
    starts: u64,
    ended: Option<String>,
}

impl Process {
    /// Starts the process, or finds one that an earlier engine left.
    pub(crate) fn start(spec: Spec) -> Result<Self, Fault> {
        let link = spec.adopt_or_start()?;
        Ok(Self {
            starting: Mutex::new(Starting {
                since: Some(Instant::now()),
                ..Starting::default()
            }),
            told: Mutex::new(Told { starts: 1, ended: None }),
            current: Mutex::new(Some(Arc::new(link))),
            spec,
            instances: Mutex::default(),
            last: AtomicU64::new(0),
        })
    }

    /// What is known of it now.
    pub(crate) fn state(&self) -> ProcessState {
        let link = lock(&self.current).clone().filter(|link| link.gone().is_none());
        let told = lock(&self.told);
        ProcessState {
            pid: link.map(|link| link.pid()),
            starts: told.starts,
            ended: told.ended.clone(),
        }
    }

    /// Tells the process to leave.
    pub(crate) fn end(&self) {
        lock(&self.instances).clear();
        *lock(&self.current) = None;
        self.spec.forget();
    }

    /// A connection that is there, after a start if need be. Waits at most until `until`.
    fn link(&self, until: Instant) -> Result<Arc<Link>> {
        let mut starting = lock(&self.starting);
        let current = lock(&self.current).clone();
        if let Some(link) = current {
            let Some(why) = link.gone() else {
                return Ok(link);
            };
            *lock(&self.current) = None;
            lock(&self.instances).retain(|_, (on, _)| !Arc::ptr_eq(on, &link));
            starting.died();
            lock(&self.told).ended = Some(why);
        }
        self.pause(&starting, until)?;
        match self.spec.adopt_or_start() {
            Ok(link) => {
                let link = Arc::new(link);
                starting.since = Some(Instant::now());
                lock(&self.told).starts += 1;
                *lock(&self.current) = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(fault) => {
                starting.since = None;
                starting.died();
                lock(&self.told).ended = Some(fault.what.clone());
                Err(Error::unavailable(format!(
                    "the process of driver {} cannot be started again: {}; {}",
                    self.spec.label, fault.what, fault.remedy
                )))
            }
        }
    }

    /// Lets a process that dies again and again rest.
    fn pause(&self, starting: &Starting, until: Instant) -> Result<()> {
        let Some(not_before) = starting.not_before else {
            return Ok(());
        };
        if not_before > until {
            let left = not_before.saturating_duration_since(Instant::now());
            return Err(Error::unavailable(format!(
                "the process of driver {} ended {} times ({}); it is started again in {} s",
                self.spec.label,
                starting.deaths,
                lock(&self.told).ended.as_deref().unwrap_or("no reason known"),
                left.as_secs() + 1
            )));
        }
        thread::sleep(not_before.saturating_duration_since(Instant::now()));
        Ok(())
    }

    fn open(&self, link: &Arc<Link>, call: Call<'_>, request: Message) -> Result<Message> {
        let mut reply = link.call(0, call, request)?;
        let opened: Opened = decode(&reply.body)?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.instances).insert(number, (Arc::clone(link), opened.instance));
        reply.body = encode(&Opened {
            instance: number,
            ..opened
        })?;
        Ok(reply)
    }

    fn place(&self, instance: u64) -> Option<(Arc<Link>, u64)> {
        lock(&self.instances)
            .get(&instance)
            .map(|(link, number)| (Arc::clone(link), *number))
    }
}

impl Starting {
    /// Notes an end: 1 s of rest after the first, then 2, 4, and so on up to a minute.
    fn died(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= WELL) {
            self.deaths = 0;
        }
        let pause = Duration::from_secs(1 << self.deaths.min(6)).min(LONGEST_PAUSE);
        self.deaths += 1;
        self.not_before = Some(Instant::now() + pause);
    }
}

impl Channel for Process {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        let left = match envelope::open(&request.body)?.deadline {
            0 => PATIENCE,
            left => PATIENCE.min(Duration::from_millis(u64::from(left))),
        };
        if call.instance != 0 {
            let (link, number) = self.place(call.instance).ok_or_else(|| {
                Error::broken(format!(
                    "the instance was in a process of driver {} that is gone",
                    self.spec.label
                ))
            })?;
            return link.call(number, call, request);
        }
        let link = self.link(Instant::now() + left)?;
        if call.method.name == OPEN.name {
            return self.open(&link, call, request);
        }
        link.call(0, call, request)
    }

    fn cancel(&self, instance: u64, call: u64) {
        let link = match instance {
            0 => lock(&self.current).clone(),
            _ => self.place(instance).map(|(link, _)| link),
        };
        if let Some(link) = link {
            link.say(Kind::Cancel, 0, call);
        }
    }

    fn close(&self, instance: u64) {
        let place = lock(&self.instances).remove(&instance);
        if let Some((link, number)) = place {
            link.say(Kind::Close, number, 0);
        }
    }
}

impl Isolated for Process {
    fn holds(&self, instance: u64) -> bool {
        self.place(instance).is_some_and(|(link, _)| link.gone().is_none())
    }

    fn kill(&self, instance: u64, why: &str) {
        let link = match instance {
            0 => lock(&self.current).clone(),
            _ => self.place(instance).map(|(link, _)| link),
        };
        if let Some(link) = link {
            link.kill(why);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("driver", &self.spec.label)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_a_minute_and_a_long_life_forgives() {
        let mut starting = Starting {
            since: Some(Instant::now()),
            ..Starting::default()
        };
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            starting.died();
            let until = starting.not_before.unwrap_or(before);
            // The clock moved between both looks, by less than half a second one hopes.
            pauses.push((until.duration_since(before) + Duration::from_millis(500)).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        if let Some(long_ago) = Instant::now().checked_sub(WELL) {
            starting.since = Some(long_ago);
            starting.died();
            assert_eq!(starting.deaths, 1);
        }
    }
}
