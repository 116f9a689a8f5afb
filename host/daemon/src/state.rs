//! What every connection of the daemon shares.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_engine::Engine;
use tokio::sync::watch;

use crate::args::Mode;
use crate::settings::Settings;

/// Longest wait of a start for clients that are attaching.
const ATTACHING: Duration = Duration::from_secs(5);

/// The daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) mode: Mode,
    pub(crate) exec_root: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) attaching: Attaching,
    /// Connections that are served.
    pub(crate) connections: Arc<watch::Sender<usize>>,
    /// Becomes true when the daemon is to end.
    pub(crate) stop: watch::Sender<bool>,
}

/// One connection, as long as it is served.
#[derive(Debug)]
pub(crate) struct Served(Arc<watch::Sender<usize>>);

impl Daemon {
    /// Counts a connection until the answer is dropped.
    pub(crate) fn served(&self) -> Served {
        self.connections.send_modify(|count| *count += 1);
        Served(Arc::clone(&self.connections))
    }

    /// Whether nobody but the asking connection is served.
    pub(crate) fn is_idle(&self) -> bool {
        *self.connections.borrow() <= 1
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Clients whose connections are on their way to a container. A client attaches and then starts, on
/// another connection: the start waits until the first has arrived, or the first output would be
/// missed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attaching(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: Mutex<HashMap<String, usize>>,
    arrived: tokio::sync::Notify,
}

/// One such client; it has arrived, or is gone, when this is dropped.
#[derive(Debug)]
pub(crate) struct Arriving {
    of: Attaching,
    container: String,
}

impl Attaching {
    pub(crate) fn begin(&self, container: &str) -> Arriving {
        *self.counts().entry(container.to_owned()).or_default() += 1;
        Arriving {
            of: self.clone(),
            container: container.to_owned(),
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody is on the way to that container.
    pub(crate) async fn arrived(&self, container: &str) {
        let wait = async {
            loop {
                let notified = self.0.arrived.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if !self.counts().contains_key(container) {
                    return;
                }
                notified.await;
            }
        };
        if tokio::time::timeout(ATTACHING, wait).await.is_err() {
            tracing::warn!(container, "a client that was attaching did not arrive before the start");
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.container) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.container);
            }
        }
        drop(counts);
        self.of.0.arrived.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_waits_for_those_who_are_attaching_to_that_container() {
        let attaching = Attaching::default();
        attaching.arrived("a").await;
        let first = attaching.begin("a");
        let second = attaching.begin("a");
        attaching.arrived("b").await;
        let waiting = tokio::spawn({
            let attaching = attaching.clone();
            async move { attaching.arrived("a").await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert!(waiting.await.is_ok());
    }
}
