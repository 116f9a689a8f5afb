//! Waiting for a container's end without holding a thread.

use std::sync::Arc;

use super::{Container, Containers};
use crate::error::Result;

/// A wait that was begun.
#[derive(Debug)]
pub struct Waiter {
    containers: Arc<Containers>,
    container: Arc<Container>,
    changes: tokio::sync::watch::Receiver<u64>,
    /// Ends before the wait was begun: one that comes before it is awaited counts.
    before: u64,
}

impl Waiter {
    pub(crate) fn new(containers: &Arc<Containers>, container: Arc<Container>) -> Self {
        Self {
            containers: Arc::clone(containers),
            changes: container.lives.subscribe(),
            before: container.ends(),
            container,
        }
    }

    /// The container's ID.
    pub fn id(&self) -> &str {
        self.container.id.as_str()
    }

    /// Waits until the container does not run.
    ///
    /// # Errors
    /// None yet; an engine that closes ends the wait.
    pub async fn stopped(mut self) -> Result<i64> {
        while self.container.is_unsettled() {
            if self.changes.changed().await.is_err() {
                break;
            }
        }
        Ok(self.code())
    }

    /// Waits for the next end, also of a life that has not begun yet.
    ///
    /// # Errors
    /// As [`stopped`](Self::stopped).
    pub async fn next_exit(mut self) -> Result<i64> {
        while self.container.ends() == self.before {
            if self.changes.changed().await.is_err() {
                break;
            }
        }
        Ok(self.code())
    }

    /// Waits until the container is gone.
    ///
    /// # Errors
    /// As [`stopped`](Self::stopped).
    pub async fn removed(mut self) -> Result<i64> {
        while self.containers.resolve(self.container.id.as_str()).is_ok() {
            if self.changes.changed().await.is_err() {
                break;
            }
        }
        Ok(self.code())
    }

    fn code(&self) -> i64 {
        self.container.record().ended.map_or(0, |ended| ended.code)
    }
}
