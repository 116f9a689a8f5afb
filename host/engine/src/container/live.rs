//! The connection to one container's shim, and what its events change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use longshore_shim::protocol::{Event, Phase, Report};
use longshore_shim::{Notice, Reply, Request, ShimClient};

use super::lock;
use crate::error::{Error, Result};
use crate::layer::Lease;

/// What is known of a life.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) pid: u32,
    pub(crate) oom: bool,
    /// Set once, when init has ended and its record is written.
    pub(crate) exit: Option<(i64, String)>,
    /// The exit has been taken into the container's record, and what had to follow it has.
    pub(crate) settled: bool,
    /// The start failed and its reason is recorded: what the shim says after that is not an end.
    pub(crate) given_up: bool,
}

/// One life of a container: from its shim's start until the shim is gone.
#[derive(Debug)]
pub(crate) struct Live {
    client: ShimClient,
    status: Mutex<Status>,
    changed: Condvar,
    /// Keeps the layer leased while it is mounted.
    layer: Mutex<Option<Lease>>,
}

impl Live {
    pub(crate) fn new(client: ShimClient, layer: Lease, status: Status) -> Arc<Self> {
        Arc::new(Self {
            client,
            status: Mutex::new(status),
            changed: Condvar::new(),
            layer: Mutex::new(Some(layer)),
        })
    }

    /// Asks the shim.
    pub(crate) fn call(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>)> {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let response = self.client.call(request, &borrowed)?;
        Ok((response.reply, response.descriptors))
    }

    /// Gives the layer's lease back: the shim is gone. Whoever still listens does not keep it.
    pub(crate) fn release(&self) {
        drop(lock(&self.layer).take());
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        lock(&self.status).running
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.status));
        self.changed.notify_all();
    }

    /// Waits until `done`, or the time has passed. Answers whether it was done.
    pub(crate) fn wait(&self, limit: Option<Duration>, done: impl Fn(&Status) -> bool) -> bool {
        let status = lock(&self.status);
        match limit {
            Some(limit) => {
                let (status, _) = self
                    .changed
                    .wait_timeout_while(status, limit, |s| !done(s))
                    .unwrap_or_else(PoisonError::into_inner);
                done(&status)
            }
            None => {
                drop(
                    self.changed
                        .wait_while(status, |s| !done(s))
                        .unwrap_or_else(PoisonError::into_inner),
                );
                true
            }
        }
    }

    /// What the shim knows.
    pub(crate) fn report(&self) -> Result<Report> {
        match self.call(Request::State, Vec::new())? {
            (Reply::State(report), _) => Ok(*report),
            (other, _) => Err(unexpected("state", &other)),
        }
    }

    /// Reads the shim's notices until its connection ends. `ended` is called once with the exit, or
    /// with `None` when the shim was lost before it.
    pub(crate) fn listen(
        self: Arc<Self>,
        notices: std::sync::mpsc::Receiver<Notice>,
        on_event: impl Fn(&Event),
        ended: impl FnOnce(Option<(i64, bool, String)>),
    ) {
        let mut ended = Some(ended);
        for notice in notices {
            let Notice::Event(event) = notice else {
                break;
            };
            match &event {
                Event::Oom => self.update(|s| s.oom = true),
                Event::Exited(record) => {
                    self.update(|s| {
                        s.running = false;
                        s.paused = false;
                        s.exit = Some((i64::from(record.code), record.time.clone()));
                    });
                    if let Some(ended) = ended.take() {
                        ended(Some((i64::from(record.code), record.oom, record.time.clone())));
                    }
                    self.update(|s| s.settled = true);
                }
                _ => {}
            }
            on_event(&event);
            if ended.is_none() {
                // What follows an end asks the shim to go; nothing it says after that matters.
                return;
            }
        }
        if let Some(ended) = ended.take() {
            self.update(|s| s.running = false);
            ended(None);
            self.update(|s| {
                s.exit.get_or_insert((137, String::new()));
                s.settled = true;
            });
        }
    }
}

/// Whether a phase counts as running for a client.
pub(crate) fn runs(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Starting | Phase::Running | Phase::Paused | Phase::Draining
    )
}

/// A reply of another request: the shim broke its protocol.
pub(crate) fn unexpected(request: &str, reply: &Reply) -> Error {
    Error::new(
        longshore_core::ErrorKind::Broken,
        format!("the shim answered {request} with {reply:?}"),
    )
}
