//! Rows of layers and their replicas.

use rusqlite::{OptionalExtension, params};

use super::Tx;
use crate::error::Result;

/// A layer, whatever driver holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerRow {
    pub(crate) chain_id: String,
    pub(crate) diff_id: String,
    pub(crate) parent: Option<String>,
    /// Bytes of its files.
    pub(crate) size: i64,
}

/// One driver's whole and sealed copy of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplicaRow {
    pub(crate) chain_id: String,
    pub(crate) driver: String,
    pub(crate) cache_id: String,
    pub(crate) note: Vec<u8>,
    /// What its tree is known by; an engine of the first layout wrote none.
    pub(crate) seal: Option<String>,
    /// The epoch in which it was made or last compared with its seal.
    pub(crate) epoch: i64,
}

/// A copy that was found unlike its seal. Its tree stays as it is, and is never used again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DamagedRow {
    pub(crate) chain_id: String,
    pub(crate) driver: String,
    pub(crate) cache_id: String,
    /// What was found.
    pub(crate) what: String,
}

fn replica(row: &rusqlite::Row<'_>) -> rusqlite::Result<ReplicaRow> {
    Ok(ReplicaRow {
        chain_id: row.get(0)?,
        driver: row.get(1)?,
        cache_id: row.get(2)?,
        note: row.get(3)?,
        seal: row.get(4)?,
        epoch: row.get(5)?,
    })
}

// An engine of the first layout knew replicas that were lost; none of them is used.
const REPLICA: &str = "SELECT chain_id, driver, cache_id, note, seal, epoch FROM replicas WHERE state = 'sealed'";

impl Tx<'_> {
    pub(crate) fn layer(&self, chain_id: &str) -> Result<Option<LayerRow>> {
        Ok(self
            .inner
            .query_row(
                "SELECT chain_id, diff_id, parent, size FROM layers WHERE chain_id = ?1",
                [chain_id],
                |row| {
                    Ok(LayerRow {
                        chain_id: row.get(0)?,
                        diff_id: row.get(1)?,
                        parent: row.get(2)?,
                        size: row.get(3)?,
                    })
                },
            )
            .optional()?)
    }

    /// The layer and its ancestors, itself first.
    pub(crate) fn layer_chain(&self, top: &str) -> Result<Vec<LayerRow>> {
        let mut chain = Vec::new();
        let mut next = Some(top.to_owned());
        while let Some(chain_id) = next {
            let row = self
                .layer(&chain_id)?
                .ok_or_else(|| crate::Error::corrupt(format!("layer {chain_id} has no record")))?;
            next = row.parent.clone();
            chain.push(row);
            if chain.len() > longshore_core::wire::MAX_CHAIN {
                return Err(crate::Error::corrupt(format!("layer {top} has too many ancestors")));
            }
        }
        Ok(chain)
    }

    pub(crate) fn put_layer(&self, row: &LayerRow) -> Result<()> {
        self.inner.execute(
            "INSERT INTO layers (chain_id, diff_id, parent, size) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![row.chain_id, row.diff_id, row.parent, row.size],
        )?;
        Ok(())
    }

    pub(crate) fn remove_layer(&self, chain_id: &str) -> Result<()> {
        self.inner
            .execute("DELETE FROM replicas WHERE chain_id = ?1", [chain_id])?;
        self.inner
            .execute("DELETE FROM layers WHERE chain_id = ?1", [chain_id])?;
        Ok(())
    }

    /// Layers that no image and no other layer refers to.
    pub(crate) fn unused_layers(&self) -> Result<Vec<String>> {
        let mut statement = self.inner.prepare(
            "SELECT chain_id FROM layers l WHERE NOT EXISTS (SELECT 1 FROM images i WHERE i.chain = l.chain_id) \
             AND NOT EXISTS (SELECT 1 FROM layers c WHERE c.parent = l.chain_id)",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn replica(&self, chain_id: &str, driver: &str) -> Result<Option<ReplicaRow>> {
        Ok(self
            .inner
            .query_row(
                &format!("{REPLICA} AND chain_id = ?1 AND driver = ?2"),
                [chain_id, driver],
                replica,
            )
            .optional()?)
    }

    pub(crate) fn replicas(&self, chain_id: &str) -> Result<Vec<ReplicaRow>> {
        let mut statement = self
            .inner
            .prepare(&format!("{REPLICA} AND chain_id = ?1 ORDER BY driver"))?;
        let rows = statement.query_map([chain_id], replica)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every replica of every layer.
    pub(crate) fn all_replicas(&self) -> Result<Vec<ReplicaRow>> {
        let mut statement = self.inner.prepare(REPLICA)?;
        let rows = statement.query_map([], replica)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn put_replica(&self, row: &ReplicaRow) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO replicas (chain_id, driver, cache_id, state, note, seal, epoch) \
             VALUES (?1, ?2, ?3, 'sealed', ?4, ?5, ?6)",
            params![row.chain_id, row.driver, row.cache_id, row.note, row.seal, row.epoch],
        )?;
        Ok(())
    }

    /// Notes that a replica was found to be as its seal says.
    pub(crate) fn note_checked(&self, cache_id: &str, epoch: i64) -> Result<()> {
        self.inner.execute(
            "UPDATE replicas SET epoch = ?2 WHERE cache_id = ?1",
            params![cache_id, epoch],
        )?;
        Ok(())
    }

    /// Puts a replica aside: it is damaged.
    pub(crate) fn isolate(&self, row: &ReplicaRow, what: &str) -> Result<()> {
        self.inner.execute(
            "DELETE FROM replicas WHERE chain_id = ?1 AND driver = ?2 AND cache_id = ?3",
            params![row.chain_id, row.driver, row.cache_id],
        )?;
        self.inner.execute(
            "INSERT OR REPLACE INTO damaged (driver, cache_id, chain_id, note, what) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.driver, row.cache_id, row.chain_id, row.note, what],
        )?;
        Ok(())
    }

    /// Every damaged replica.
    pub(crate) fn damaged(&self) -> Result<Vec<DamagedRow>> {
        let mut statement = self
            .inner
            .prepare("SELECT chain_id, driver, cache_id, what FROM damaged ORDER BY chain_id, driver")?;
        let rows = statement.query_map([], |row| {
            Ok(DamagedRow {
                chain_id: row.get(0)?,
                driver: row.get(1)?,
                cache_id: row.get(2)?,
                what: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes the damaged replicas of a layer out of the table: driver and cache ID of each.
    pub(crate) fn take_damaged(&self, chain_id: &str) -> Result<Vec<(String, String)>> {
        let mut statement = self
            .inner
            .prepare("DELETE FROM damaged WHERE chain_id = ?1 RETURNING driver, cache_id")?;
        let rows = statement.query_map([chain_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every cache ID of a driver that a row speaks of.
    pub(crate) fn known_cache_ids(&self, driver: &str) -> Result<std::collections::HashSet<String>> {
        let mut statement = self.inner.prepare(
            "SELECT cache_id FROM replicas WHERE driver = ?1 UNION SELECT cache_id FROM damaged WHERE driver = ?1 \
             UNION SELECT object FROM operations WHERE driver = ?1 UNION SELECT layer FROM leases",
        )?;
        let rows = statement.query_map([driver], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
