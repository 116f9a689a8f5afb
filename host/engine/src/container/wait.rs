//! Waiting for a container's end without holding a thread.

use std::sync::Arc;

use super::{Container, Containers};
use crate::error::Result;
use crate::time::now_seconds;

/// A wait that was begun.
#[derive(Debug)]
pub struct Waiter(Wait);

#[derive(Debug)]
enum Wait {
    /// For a container that there is.
    For {
        containers: Arc<Containers>,
        container: Arc<Container>,
        changes: tokio::sync::watch::Receiver<u64>,
        /// Ends before the wait was begun: one that comes before it is awaited counts.
        before: u64,
    },
    /// For one that ended and was removed by itself, with its exit code.
    Over { id: String, code: i64 },
}

impl Waiter {
    /// Begins to wait for a container. One that was removed by itself after its end is still known for a
    /// while by its whole ID.
    pub(crate) fn begin(containers: &Arc<Containers>, word: &str) -> Result<Self> {
        let container = match containers.resolve(word) {
            Ok(container) => container,
            Err(error) => {
                let kept = containers.store.read(|tx| tx.kept_exit(word, now_seconds()))?;
                let code = kept.ok_or(error)?;
                let id = word.to_owned();
                return Ok(Self(Wait::Over { id, code }));
            }
        };
        Ok(Self(Wait::For {
            containers: Arc::clone(containers),
            changes: container.lives.subscribe(),
            before: container.ends(),
            container,
        }))
    }

    /// The container's ID.
    pub fn id(&self) -> &str {
        match &self.0 {
            Wait::For { container, .. } => container.id.as_str(),
            Wait::Over { id, .. } => id,
        }
    }

    /// Waits until the container does not run.
    ///
    /// # Errors
    /// None yet; an engine that closes ends the wait.
    pub async fn stopped(self) -> Result<i64> {
        self.until(|_, container, _| !container.is_unsettled()).await
    }

    /// Waits for the next end, also of a life that has not begun yet.
    ///
    /// # Errors
    /// As [`stopped`](Self::stopped).
    pub async fn next_exit(self) -> Result<i64> {
        self.until(|_, container, before| container.ends() != before).await
    }

    /// Waits until the container is gone.
    ///
    /// # Errors
    /// As [`stopped`](Self::stopped).
    pub async fn removed(self) -> Result<i64> {
        self.until(|containers, container, _| containers.resolve(container.id.as_str()).is_err())
            .await
    }

    async fn until(self, done: impl Fn(&Containers, &Container, u64) -> bool) -> Result<i64> {
        let (containers, container, mut changes, before) = match self.0 {
            Wait::For {
                containers,
                container,
                changes,
                before,
            } => (containers, container, changes, before),
            Wait::Over { code, .. } => return Ok(code),
        };
        while !done(&containers, &container, before) {
            if changes.changed().await.is_err() {
                break;
            }
        }
        Ok(container.record().ended.map_or(0, |ended| ended.code))
    }
}
