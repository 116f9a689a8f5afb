//! What is known of the data root as a whole: a name and a value.

use rusqlite::OptionalExtension;

use super::Tx;
use crate::error::Result;

/// The number of the present epoch.
const EPOCH: &str = "epoch";
/// That an earlier database was lost, in words.
const LOST: &str = "lost";

impl Tx<'_> {
    fn mark(&self, name: &str) -> Result<Option<String>> {
        Ok(self
            .inner
            .query_row("SELECT value FROM marks WHERE name = ?1", [name], |row| row.get(0))
            .optional()?)
    }

    fn put_mark(&self, name: &str, value: &str) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO marks (name, value) VALUES (?1, ?2)",
            [name, value],
        )?;
        Ok(())
    }

    /// The present epoch: replicas that were made or checked in it need no check.
    pub(crate) fn epoch(&self) -> Result<i64> {
        Ok(self.mark(EPOCH)?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Begins another epoch, in which every replica is checked before its first use.
    pub(crate) fn next_epoch(&self) -> Result<i64> {
        let next = self.epoch()? + 1;
        self.put_mark(EPOCH, &next.to_string())?;
        Ok(next)
    }

    /// That an earlier database was lost: what it spoke of is kept until this is taken back.
    pub(crate) fn lost(&self) -> Result<Option<String>> {
        self.mark(LOST)
    }

    pub(crate) fn put_lost(&self, note: &str) -> Result<()> {
        self.put_mark(LOST, note)
    }

    pub(crate) fn forget_lost(&self) -> Result<()> {
        self.inner.execute("DELETE FROM marks WHERE name = ?1", [LOST])?;
        Ok(())
    }
}
