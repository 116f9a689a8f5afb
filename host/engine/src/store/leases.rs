//! Rows of leases: who needs which layer.
//!
//! A container's leases are written in the commit of its own row, before the call that makes its
//! layer, and go in the commit that removes the row. So they cost no flush of their own, and they
//! hold also for a container whose record can no longer be read.

use rusqlite::params;

use super::{ContainerRow, Tx};
use crate::error::Result;

impl Tx<'_> {
    /// Notes that a container needs its own layer and its image's chain.
    pub(super) fn add_leases(&self, row: &ContainerRow) -> Result<()> {
        for field in ["$.layer", "$.chain"] {
            self.inner.execute(
                "INSERT OR IGNORE INTO leases (layer, owner) SELECT json_extract(?1, ?2), ?3 \
                 WHERE json_extract(?1, ?2) IS NOT NULL",
                params![row.doc, field, row.id],
            )?;
        }
        Ok(())
    }

    pub(super) fn remove_leases(&self, owner: &str) -> Result<()> {
        self.inner.execute("DELETE FROM leases WHERE owner = ?1", [owner])?;
        Ok(())
    }

    /// Who needs a layer, named by its cache ID or its chain ID.
    pub(crate) fn lease_owners(&self, layer: &str) -> Result<Vec<String>> {
        let mut statement = self
            .inner
            .prepare_cached("SELECT owner FROM leases WHERE layer = ?1 ORDER BY owner")?;
        let rows = statement.query_map([layer], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Owners that have leases and no row.
    pub(crate) fn lease_strangers(&self) -> Result<Vec<String>> {
        let mut statement = self
            .inner
            .prepare("SELECT DISTINCT owner FROM leases WHERE owner NOT IN (SELECT id FROM containers)")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Drops the leases of an owner that is gone.
    pub(crate) fn drop_leases(&self, owner: &str) -> Result<()> {
        self.remove_leases(owner)
    }
}
