//! The container's ports: the sockets that hold them, and the keeper that serves some of them.
//!
//! The sockets stay here whatever becomes of the keeper, so that nobody else gets a port while the
//! container lives. The keeper is this program again, started when there is something to serve, and
//! again when it dies; what it does is in `longshore_performer::net::keeper`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore_core::{Error, Result};
use longshore_performer::net::keeper::{self, Proxy};
use longshore_sys::process;
use longshore_sys::socket::{self, Bounds};

/// The pause before a keeper is started again: one that cannot live must not keep the shim busy.
const PAUSE: Duration = Duration::from_secs(1);
const SIGKILL: i32 = 9;

#[derive(Debug)]
struct Held {
    socket: OwnedFd,
    proxy: Option<Proxy>,
}

#[derive(Debug)]
struct Keeper {
    pid: u32,
    pidfd: OwnedFd,
    control: OwnedFd,
}

/// The ports of one container.
#[derive(Debug, Default)]
pub(super) struct Ports {
    held: Vec<Held>,
    keeper: Option<Keeper>,
    again_at: Option<Instant>,
}

impl Ports {
    /// Takes sockets, each with what is to be served on it, and has the keeper serve them.
    pub(super) fn hold(&mut self, ports: Vec<Option<Proxy>>, sockets: Vec<OwnedFd>) -> Result<()> {
        if ports.len() != sockets.len() {
            return Err(Error::invalid(format!(
                "{} ports came with {} sockets",
                ports.len(),
                sockets.len()
            )));
        }
        let before = self.held.len();
        let held = ports.into_iter().zip(sockets);
        self.held.extend(held.map(|(proxy, socket)| Held { socket, proxy }));
        let done = match &self.keeper {
            Some(keeper) => keeper::serve(&keeper.control, &served(&self.held, before)),
            None => self.start(),
        };
        // A port that is not served would answer nobody.
        done.inspect_err(|_| self.held.truncate(before))
    }

    fn start(&mut self) -> Result<()> {
        self.again_at = None;
        if self.held.iter().all(|held| held.proxy.is_none()) {
            return Ok(());
        }
        let keeper = Keeper::spawn()?;
        keeper::serve(&keeper.control, &served(&self.held, 0))?;
        self.keeper = Some(keeper);
        Ok(())
    }

    /// The keeper's process, to be waited for.
    pub(super) fn keeper(&self) -> Option<BorrowedFd<'_>> {
        self.keeper.as_ref().map(|keeper| keeper.pidfd.as_fd())
    }

    pub(super) fn is_keeper(&self, pid: i32) -> bool {
        self.keeper
            .as_ref()
            .is_some_and(|keeper| i64::from(keeper.pid) == i64::from(pid))
    }

    /// The keeper ended: it is reaped, and another one is due.
    pub(super) fn keeper_ended(&mut self, now: Instant) {
        let ended = self
            .keeper
            .as_ref()
            .is_some_and(|keeper| !matches!(process::try_wait(keeper.pidfd.as_fd()), Ok(None)));
        if ended {
            self.keeper = None;
            self.again_at = Some(now + PAUSE);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| now >= at) && self.start().is_err() {
            self.again_at = Some(now + PAUSE);
        }
    }

    /// Lets all ports go.
    pub(super) fn let_go(&mut self) {
        self.held.clear();
        self.again_at = None;
        if let Some(keeper) = self.keeper.take() {
            // It holds copies of the sockets, and what asks for the ports next must not meet them.
            let _ = process::signal(&keeper.pidfd, SIGKILL);
            let _ = process::wait(keeper.pidfd.as_fd());
        }
    }
}

impl Keeper {
    fn spawn() -> Result<Self> {
        let failed = |error: &std::io::Error| Error::io("start the keeper of the container's ports", error);
        let (control, theirs) = socket::pair(Bounds::Messages).map_err(|error| failed(&error.into()))?;
        // A keeper that reads no orders must not stop the container's loop.
        socket::set_nonblocking(&control, true).map_err(|error| failed(&error.into()))?;
        let child = Command::new("/proc/self/exe")
            .arg("keep")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        let pid = child.id();
        let pidfd = process::open(i32::try_from(pid).unwrap_or(0)).map_err(|error| failed(&error.into()))?;
        Ok(Self { pid, pidfd, control })
    }
}

fn served(held: &[Held], from: usize) -> Vec<(Proxy, BorrowedFd<'_>)> {
    held.iter()
        .skip(from)
        .filter_map(|held| Some((held.proxy.clone()?, held.socket.as_fd())))
        .collect()
}
