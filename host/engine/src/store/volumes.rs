//! Rows of volumes: a name and the rest as one document.

use rusqlite::OptionalExtension;

use super::Tx;
use crate::error::Result;

/// A volume; `doc` is the engine's record as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeRow {
    pub(crate) name: String,
    pub(crate) doc: String,
}

fn volume(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRow> {
    Ok(VolumeRow {
        name: row.get(0)?,
        doc: row.get(1)?,
    })
}

impl Tx<'_> {
    pub(crate) fn volume(&self, name: &str) -> Result<Option<VolumeRow>> {
        Ok(self
            .inner
            .query_row("SELECT name, doc FROM volumes WHERE name = ?1", [name], volume)
            .optional()?)
    }

    pub(crate) fn volumes(&self) -> Result<Vec<VolumeRow>> {
        let mut statement = self.inner.prepare("SELECT name, doc FROM volumes ORDER BY name")?;
        let rows = statement.query_map([], volume)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn put_volume(&self, row: &VolumeRow) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO volumes (name, doc) VALUES (?1, ?2)",
            [&row.name, &row.doc],
        )?;
        Ok(())
    }

    /// Removes a volume's row, and its secrets.
    pub(crate) fn remove_volume(&self, name: &str) -> Result<()> {
        self.inner.execute("DELETE FROM volumes WHERE name = ?1", [name])?;
        self.remove_secrets(name)
    }
}
