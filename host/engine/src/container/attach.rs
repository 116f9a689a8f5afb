//! Attaching: a client's connection goes to the shim, which pumps it from then on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use longshore_shim::protocol::{Attach, Reply, Request};

use super::live::{Live, unexpected};
use super::{Container, Containers, lock};
use crate::error::{Error, Result};

/// A client that wants a container's streams, with its connection.
#[derive(Debug)]
pub struct AttachRequest {
    /// The client's connection. It is the container's from now on.
    pub connection: OwnedFd,
    /// What had been read from it already.
    pub read: Vec<u8>,
    /// Pass its input on.
    pub stdin: bool,
    /// Send it standard output.
    pub stdout: bool,
    /// Send it standard error.
    pub stderr: bool,
    /// Send it the log first.
    pub logs: bool,
    /// Whether the container waits for it when it reads slowly.
    pub lossless: bool,
    /// The keys that end the connection; empty for `ctrl-p,ctrl-q`.
    pub detach_keys: String,
}

impl AttachRequest {
    pub(super) fn send(self, live: &Live, tty: bool) -> Result<u64> {
        let attach = self.to_attach(tty);
        match live.call(Request::AttachStream(Box::new(attach)), vec![self.connection])? {
            (Reply::Attached { stream }, _) => Ok(stream),
            (other, _) => Err(unexpected("attach", &other)),
        }
    }

    pub(super) fn to_attach(&self, tty: bool) -> Attach {
        Attach {
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            framed: !tty,
            lossless: self.lossless,
            detach_keys: self.detach_keys.clone(),
            prefix: self.read.clone(),
            log_from: self.logs.then_some(0),
        }
    }
}

impl Containers {
    /// Attaches a client. To a container that is not running yet the client is attached when it
    /// starts, so that nothing of its first output is missed.
    pub(crate) fn attach(&self, container: &Arc<Container>, mut request: AttachRequest) -> Result<()> {
        request.stdin &= container.record().open_stdin();
        match container.live().filter(|live| !live.status().settled) {
            Some(live) => request.send(&live, container.record().tty()).map(drop),
            None => {
                let mut waiting = lock(&container.waiting);
                if waiting.len() >= 64 {
                    return Err(Error::new(
                        longshore_core::ErrorKind::Exhausted,
                        format!("too many clients wait for container {}", container.id),
                    ));
                }
                waiting.push(request);
                Ok(())
            }
        }
    }

    /// Whether a client may attach now.
    pub(crate) fn check_attach(&self, container: &Arc<Container>) -> Result<()> {
        if container.live().is_some_and(|live| live.status().paused) {
            return Err(Error::in_use(format!(
                "container {} is paused, unpause the container before attach",
                container.id
            )));
        }
        Ok(())
    }
}
