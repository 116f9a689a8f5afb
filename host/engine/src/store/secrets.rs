//! Rows of volumes' secrets. The database's file is readable by its owner alone, and what is deleted
//! from it is overwritten.

use rusqlite::params;

use super::Tx;
use crate::error::Result;

impl Tx<'_> {
    /// A volume's secrets: the option that each one is, and its value.
    pub(crate) fn secrets(&self, volume: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut statement = self
            .inner
            .prepare("SELECT name, value FROM secrets WHERE volume = ?1 ORDER BY name")?;
        let rows = statement.query_map([volume], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn put_secret(&self, volume: &str, name: &str, value: &[u8]) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO secrets (volume, name, value) VALUES (?1, ?2, ?3)",
            params![volume, name, value],
        )?;
        Ok(())
    }

    pub(super) fn remove_secrets(&self, volume: &str) -> Result<()> {
        self.inner.execute("DELETE FROM secrets WHERE volume = ?1", [volume])?;
        Ok(())
    }
}
