//! Mounts that may hang, for want of a server's answer, built in a process of their own that can be
//! killed: `longshore-shim perform`. Both ends are here.
//!
//! The process gets one message, the checked mount, on its standard input, and answers with one: the
//! detached mount beside it, or the error. It inherits nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use longshore_core::wire::{decode, encode};
use longshore_core::{Error, Result};
use longshore_performer::plan::{self, RemoteMount};
use longshore_sys::event::{self, Ready};
use longshore_sys::process;
use longshore_sys::socket::{self, Bounds};

use crate::client::ShimBinary;

/// Longest message either way.
const MAX_MESSAGE: usize = 64 * 1024;
const SIGKILL: i32 = 9;

/// A process that waits for the one mount that it will build. It ends with the thread that started it.
#[derive(Debug)]
pub struct Performer {
    child: Option<Child>,
    socket: OwnedFd,
}

impl Performer {
    /// Starts one.
    ///
    /// # Errors
    /// What starting it met.
    pub fn start(binary: &ShimBinary) -> Result<Self> {
        let failed = |error: &std::io::Error| Error::io("start a process for a mount", error);
        let (ours, theirs) = socket::pair(Bounds::Messages).map_err(|error| failed(&error.into()))?;
        let child = binary
            .command()
            .arg("perform")
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            child: Some(child),
            socket: ours,
        })
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Has the mount built. A process that has not answered in time is killed: nobody else waits for
    /// what it waits for.
    ///
    /// # Errors
    /// What building it met; `Deadline` naming the server.
    pub fn build(self, mount: &RemoteMount, limit: Duration) -> Result<OwnedFd> {
        let what = format!("mount {} from server {:?}", mount.file_system(), mount.server());
        let failed = |error: longshore_sys::Error| Error::io(&what, &error.into());
        let until = Instant::now() + limit;
        let body = encode(mount)?;
        if body.len() > MAX_MESSAGE {
            return Err(Error::exhausted(format!("cannot {what}: its options are too long")));
        }
        socket::send(&self.socket, &body, &[]).map_err(failed)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ready = event::poll(&[(self.socket.as_fd(), Ready::READ)], Some(left)).map_err(failed)?;
            if ready.iter().any(|ready| ready.any()) {
                break;
            }
            if left.is_zero() {
                return Err(Error::deadline(format!(
                    "cannot {what}: it did not answer within {} s; see whether the server is up and can be reached",
                    limit.as_secs()
                )));
            }
        }
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = socket::receive(&self.socket, &mut buffer).map_err(failed)?;
        if received.bytes == 0 {
            return Err(Error::broken(format!(
                "cannot {what}: the process that mounts it ended without an answer"
            )));
        }
        let answer: Result<(), Error> = decode(buffer.get(..received.bytes).unwrap_or_default())?;
        answer?;
        received
            .descriptors
            .into_iter()
            .next()
            .ok_or_else(|| Error::broken(format!("cannot {what}: the answer came without the mount")))
    }
}

impl Drop for Performer {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Not reaped yet, so the number is still its own.
        if let Some(pidfd) = i32::try_from(child.id()).ok().and_then(|pid| process::open(pid).ok()) {
            let _ = process::signal(&pidfd, SIGKILL);
        }
        // One that waits in the kernel ends when that lets it; nobody here waits for that.
        let reaped = std::thread::Builder::new()
            .name("reap".into())
            .stack_size(64 * 1024)
            .spawn(move || child.wait());
        drop(reaped);
    }
}

/// The process's whole life: one mount.
///
/// # Errors
/// When the engine's end of the connection is gone, or sends what it never sends.
pub fn serve(connection: &OwnedFd) -> Result<()> {
    let failed = |error: longshore_sys::Error| Error::io("talk to the engine about a mount", &error.into());
    let mut buffer = vec![0; MAX_MESSAGE];
    let received = socket::receive(connection, &mut buffer).map_err(failed)?;
    if received.bytes == 0 {
        return Ok(());
    }
    let mount: RemoteMount = decode(buffer.get(..received.bytes).unwrap_or_default())?;
    let (answer, made): (Result<(), Error>, _) = match plan::build(mount.into()) {
        Ok(made) => (Ok(()), Some(made)),
        Err(error) => (Err(error), None),
    };
    let descriptors: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    socket::send(connection, &encode(&answer)?, &descriptors).map_err(failed)?;
    Ok(())
}
