//! Rows of driver calls under way.

use rusqlite::params;

use super::Tx;
use crate::error::Result;

/// A call that makes something, noted before it is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OperationRow {
    pub(crate) id: i64,
    /// `layer` or `volume`: what is made.
    pub(crate) kind: String,
    pub(crate) driver: String,
    /// The cache ID or the volume's name.
    pub(crate) object: String,
    /// What the undo needs, as JSON.
    pub(crate) doc: String,
}

impl Tx<'_> {
    pub(crate) fn begin_operation(&self, kind: &str, driver: &str, object: &str, doc: &str) -> Result<i64> {
        self.inner.execute(
            "INSERT INTO operations (kind, driver, object, doc) VALUES (?1, ?2, ?3, ?4)",
            params![kind, driver, object, doc],
        )?;
        Ok(self.inner.last_insert_rowid())
    }

    pub(crate) fn end_operation(&self, id: i64) -> Result<()> {
        self.inner.execute("DELETE FROM operations WHERE id = ?1", [id])?;
        Ok(())
    }

    pub(crate) fn operations(&self) -> Result<Vec<OperationRow>> {
        let mut statement = self
            .inner
            .prepare("SELECT id, kind, driver, object, doc FROM operations ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            Ok(OperationRow {
                id: row.get(0)?,
                kind: row.get(1)?,
                driver: row.get(2)?,
                object: row.get(3)?,
                doc: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
