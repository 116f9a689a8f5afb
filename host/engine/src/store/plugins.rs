//! Rows of installed plugins: one for each generation that is kept, one of them in use.

use rusqlite::params;

use super::Tx;
use crate::error::Result;

/// One generation of an installed plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginRow {
    /// `<kind>-<name>`.
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) version: String,
    /// SHA-256 of its file, which names the folder that holds it.
    pub(crate) digest: String,
    /// The file's name in that folder.
    pub(crate) file: String,
    pub(crate) isolation: String,
    pub(crate) grants: Vec<String>,
    pub(crate) enabled: bool,
    /// Whether this generation is the one that serves.
    pub(crate) current: bool,
}

impl Tx<'_> {
    /// All generations of all plugins, by name and age.
    pub(crate) fn plugins(&self) -> Result<Vec<PluginRow>> {
        let mut statement = self.inner.prepare(
            "SELECT name, generation, version, digest, file, isolation, grants, enabled, current \
             FROM plugins ORDER BY name, generation",
        )?;
        let rows = statement.query_map([], |row| {
            let grants: String = row.get(6)?;
            Ok(PluginRow {
                name: row.get(0)?,
                generation: row.get(1)?,
                version: row.get(2)?,
                digest: row.get(3)?,
                file: row.get(4)?,
                isolation: row.get(5)?,
                // A grant is a word; what cannot be read grants nothing.
                grants: serde_json::from_str(&grants).unwrap_or_default(),
                enabled: row.get(7)?,
                current: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Replaces all rows of one plugin; none removes it.
    pub(crate) fn set_plugin(&self, name: &str, rows: &[PluginRow]) -> Result<()> {
        self.inner.execute("DELETE FROM plugins WHERE name = ?1", [name])?;
        for row in rows.iter().filter(|row| row.name == name) {
            self.inner.execute(
                "INSERT INTO plugins VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    row.name,
                    row.generation,
                    row.version,
                    row.digest,
                    row.file,
                    row.isolation,
                    serde_json::to_string(&row.grants)?,
                    row.enabled,
                    row.current
                ],
            )?;
        }
        Ok(())
    }

    /// How many layers a graph driver holds.
    pub(crate) fn layers_of_driver(&self, driver: &str) -> Result<i64> {
        Ok(self
            .inner
            .query_row("SELECT count(*) FROM replicas WHERE driver = ?1", [driver], |row| {
                row.get(0)
            })?)
    }
}
