//! Signals of this process, passed on to the container or heeded here.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::engine::{Engine, part, query};
use crate::error::{Failure, Result};

/// What Docker passes on, as far as it can be caught.
const PASSED_ON: [(i32, &str); 9] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
];
/// What ends this command while the terminal is raw.
const ENDING: [(i32, &str); 2] = [(1, "HUP"), (15, "TERM")];
/// After so many requests to end, this command ends without the container.
const LAST: u32 = 3;

/// Signals that were caught and not yet dealt with.
#[derive(Debug)]
pub(crate) struct Caught {
    receiver: mpsc::UnboundedReceiver<(i32, &'static str)>,
}

impl Caught {
    /// From here on these signals no longer end this process.
    pub(crate) fn all() -> Result<Caught> {
        Caught::some(&PASSED_ON)
    }

    pub(crate) fn ending() -> Result<Caught> {
        Caught::some(&ENDING)
    }

    fn some(which: &'static [(i32, &'static str)]) -> Result<Caught> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for &(number, name) in which {
            let mut stream = signal(SignalKind::from_raw(number))
                .map_err(|error| Failure::local(format!("SIG{name} cannot be caught"), &error))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send((number, name)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Caught { receiver })
    }

    /// Passes signals on; gives the exit code once the user has asked three times in vain.
    pub(crate) async fn forward(mut self, engine: &Engine, container: &str) -> u8 {
        let mut asked = 0;
        while let Some((number, name)) = self.receiver.recv().await {
            let Ok(id) = part(container) else { break };
            let path = query(&format!("/containers/{id}/kill"), &[("signal", name)]);
            // A container that has just ended has nothing to be told.
            drop(engine.post(&path, None).await);
            if matches!(name, "INT" | "TERM") {
                asked += 1;
                if asked >= LAST {
                    return exit_code(number);
                }
            }
        }
        std::future::pending().await
    }

    /// The exit code of the first signal that comes.
    pub(crate) async fn first(mut self) -> u8 {
        match self.receiver.recv().await {
            Some((number, _)) => exit_code(number),
            None => std::future::pending().await,
        }
    }
}

fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(255)
}

/// Changes of the terminal's size.
pub(crate) fn resizes() -> Result<tokio::signal::unix::Signal> {
    signal(SignalKind::window_change()).map_err(|error| Failure::local("SIGWINCH cannot be caught", &error))
}
