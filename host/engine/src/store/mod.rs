//! The engine's one database: everything that changes is a row here.
//!
//! SQLite with a write-ahead log and full synchronisation: a commit that has returned is on disk.
//! What is immutable and content-addressed is a file elsewhere. Rows that nest (a container's
//! config) are JSON documents; what is searched for is a column. One connection, one writer; a
//! caller composes a change as one [`Tx`] and commits it once.

mod containers;
mod images;
mod layers;
mod operations;
mod volumes;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction};

pub(crate) use containers::ContainerRow;
pub(crate) use images::ImageRow;
pub(crate) use layers::{LayerRow, ReplicaRow, ReplicaState};
pub(crate) use volumes::VolumeRow;

use crate::error::{Error, Result};

/// The layout of the tables; a newer one on disk is refused.
const SCHEMA_VERSION: i64 = 1;

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

/// One change, committed whole or not at all.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    inner: Transaction<'a>,
}

impl Store {
    /// Opens or makes the database. One that cannot be read is put aside, named, and a new one is
    /// made: start-up always succeeds, and what lies in content-addressed files is found again.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<String>)> {
        match Self::try_open(path) {
            Ok(store) => Ok((store, None)),
            Err(error) if error.kind == longshore_core::ErrorKind::Corrupt => {
                let aside = path.with_extension(format!("db.damaged-{}", std::process::id()));
                std::fs::rename(path, &aside).map_err(|e| Error::io(format!("put {} aside", path.display()), &e))?;
                for suffix in ["db-wal", "db-shm"] {
                    let _ = std::fs::remove_file(path.with_extension(suffix));
                }
                let note = format!(
                    "{} was damaged ({}) and is now {}",
                    path.display(),
                    error.message,
                    aside.display()
                );
                Ok((Self::try_open(path)?, Some(note)))
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(Error::unsupported(format!(
                "the data root was written by a newer engine (tables of version {version}, this one knows {SCHEMA_VERSION})"
            ))
            .hint("start the newer engine on it"));
        }
        if version == 0 {
            connection.execute_batch(include_str!("schema.sql"))?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(Error::corrupt(check));
        }
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Runs one change and commits it; durable when this returns `Ok`.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let tx = Tx {
            inner: connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?,
        };
        let value = change(&tx)?;
        tx.inner.commit()?;
        Ok(value)
    }

    /// Runs queries on one consistent state.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let tx = Tx {
            inner: connection.transaction()?,
        };
        query(&tx)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
