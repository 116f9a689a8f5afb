//! Rows of containers: an ID, a unique name, and the rest as one document.

use rusqlite::{OptionalExtension, params};

use super::Tx;
use crate::error::{Error, Result};

/// A container; `doc` is the engine's record as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) doc: String,
}

fn container(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContainerRow> {
    Ok(ContainerRow {
        id: row.get(0)?,
        name: row.get(1)?,
        doc: row.get(2)?,
    })
}

impl Tx<'_> {
    pub(crate) fn containers(&self) -> Result<Vec<ContainerRow>> {
        let mut statement = self.inner.prepare("SELECT id, name, doc FROM containers")?;
        let rows = statement.query_map([], container)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Adds a container, and with it the leases of its layers; its name is free or this fails.
    pub(crate) fn add_container(&self, row: &ContainerRow) -> Result<()> {
        let holder: Option<String> = self
            .inner
            .query_row("SELECT id FROM containers WHERE name = ?1", [&row.name], |r| r.get(0))
            .optional()?;
        if let Some(holder) = holder {
            return Err(Error::already_exists(format!(
                "Conflict. The container name \"/{}\" is already in use by container \"{holder}\". \
                 You have to remove (or rename) that container to be able to reuse that name.",
                row.name
            )));
        }
        self.inner.execute(
            "INSERT INTO containers (id, name, doc) VALUES (?1, ?2, ?3)",
            params![row.id, row.name, row.doc],
        )?;
        self.add_leases(row)
    }

    pub(crate) fn update_container(&self, row: &ContainerRow) -> Result<()> {
        self.inner.execute(
            "UPDATE containers SET name = ?2, doc = ?3 WHERE id = ?1",
            params![row.id, row.name, row.doc],
        )?;
        Ok(())
    }

    pub(crate) fn remove_container(&self, id: &str) -> Result<()> {
        self.inner.execute("DELETE FROM containers WHERE id = ?1", [id])?;
        self.remove_leases(id)
    }
}
