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

/// What state a replica is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    /// Whole and sealed.
    Sealed,
    /// Found damaged or missing; never used again.
    Lost,
}

impl ReplicaState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Lost => "lost",
        }
    }
}

/// One driver's copy of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplicaRow {
    pub(crate) chain_id: String,
    pub(crate) driver: String,
    pub(crate) cache_id: String,
    pub(crate) state: ReplicaState,
    pub(crate) note: Vec<u8>,
}

fn replica(row: &rusqlite::Row<'_>) -> rusqlite::Result<ReplicaRow> {
    let state: String = row.get(3)?;
    Ok(ReplicaRow {
        chain_id: row.get(0)?,
        driver: row.get(1)?,
        cache_id: row.get(2)?,
        state: if state == "sealed" {
            ReplicaState::Sealed
        } else {
            ReplicaState::Lost
        },
        note: row.get(4)?,
    })
}

const REPLICA: &str = "SELECT chain_id, driver, cache_id, state, note FROM replicas";

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
                &format!("{REPLICA} WHERE chain_id = ?1 AND driver = ?2"),
                [chain_id, driver],
                replica,
            )
            .optional()?)
    }

    pub(crate) fn replicas(&self, chain_id: &str) -> Result<Vec<ReplicaRow>> {
        let mut statement = self
            .inner
            .prepare(&format!("{REPLICA} WHERE chain_id = ?1 ORDER BY driver"))?;
        let rows = statement.query_map([chain_id], replica)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn put_replica(&self, row: &ReplicaRow) -> Result<()> {
        self.inner.execute(
            "INSERT OR REPLACE INTO replicas (chain_id, driver, cache_id, state, note) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![row.chain_id, row.driver, row.cache_id, row.state.as_str(), row.note],
        )?;
        Ok(())
    }
}
