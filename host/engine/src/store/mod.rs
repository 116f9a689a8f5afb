//! The engine's one database: everything that changes is a row here.
//!
//! SQLite with a write-ahead log and full synchronisation: a commit that has returned is on disk.
//! What is immutable and content-addressed is a file elsewhere. Rows that nest (a container's
//! config) are JSON documents; what is searched for is a column. One connection, one writer; a
//! caller composes a change as one [`Tx`] and commits it once.

mod containers;
mod exits;
mod images;
mod layers;
mod leases;
mod marks;
mod operations;
mod plugins;
mod secrets;
mod volumes;

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction};

pub(crate) use containers::ContainerRow;
pub(crate) use images::ImageRow;
pub(crate) use layers::{DamagedRow, LayerRow, ReplicaRow};
pub(crate) use operations::OperationRow;
pub(crate) use plugins::PluginRow;
pub(crate) use volumes::VolumeRow;

use crate::error::{Error, Result};

/// The layout of the tables; a newer one on disk is refused.
const SCHEMA_VERSION: i64 = 4;

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
        let lost = lost(path);
        if lost.is_some() {
            // A log of another database must not be played into the new one.
            for suffix in ["db-wal", "db-shm"] {
                let _ = std::fs::remove_file(path.with_extension(suffix));
            }
        }
        let named = |store: Self, note: Option<String>| -> Result<(Self, Option<String>)> {
            if let Some(note) = &note {
                store.write(|tx| tx.put_lost(note))?;
            }
            // Said at every start until it is put right.
            let note = store.read(|tx| tx.lost())?;
            Ok((store, note))
        };
        match Self::try_open(path) {
            Ok(store) => named(store, lost),
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
                named(Self::try_open(path)?, Some(note))
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<Self> {
        make_private(path)?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", "FAST")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(Error::unsupported(format!(
                "the data root was written by a newer engine (tables of version {version}, this one knows {SCHEMA_VERSION})"
            ))
            .hint("start the newer engine on it"));
        }
        for (from, sql) in [
            (0, include_str!("schema.sql")),
            (1, include_str!("upgrade_2.sql")),
            (2, include_str!("upgrade_3.sql")),
            (3, include_str!("upgrade_4.sql")),
        ] {
            if version <= from {
                let next = from + 1;
                connection.execute_batch(&format!("BEGIN;\n{sql}\nPRAGMA user_version = {next};\nCOMMIT;"))?;
            }
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

/// The database holds secrets: its file, and with it those of its log, are the owner's alone.
fn make_private(path: &Path) -> Result<()> {
    let open = || -> std::io::Result<()> {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
    };
    open().map_err(|e| Error::io(format!("open {}", path.display()), &e))
}

/// Says so when the database is empty or gone while the data root holds what it spoke of.
fn lost(path: &Path) -> Option<String> {
    let how = match std::fs::metadata(path) {
        Ok(there) if there.len() == 0 => "empty",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "gone",
        _ => return None,
    };
    let root = path.parent()?;
    let held = ["containers", "image/imagedb/content/sha256"]
        .iter()
        .any(|folder| std::fs::read_dir(root.join(folder)).is_ok_and(|mut entries| entries.next().is_some()));
    held.then(|| {
        format!(
            "{} was {how} although the data root holds images or containers; a new one was made: load the images again",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::Store;

    #[test]
    fn a_database_that_is_garbage_or_emptied_is_named_and_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("longshore.db");
        assert_eq!(Store::open(&path).unwrap().1, None, "a first start loses nothing");
        std::fs::create_dir_all(root.path().join("containers/x")).unwrap();
        assert_eq!(Store::open(&path).unwrap().1, None, "a whole one is taken as it is");
        std::fs::write(&path, b"").unwrap();
        assert!(Store::open(&path).unwrap().1.unwrap().contains("was empty"));
        assert!(
            Store::open(&path).unwrap().1.unwrap().contains("was empty"),
            "until it is put right"
        );
        std::fs::write(&path, vec![0xa5; 20_000]).unwrap();
        let (store, note) = Store::open(&path).unwrap();
        assert!(note.unwrap().contains("was damaged"));
        assert!(store.read(|tx| tx.images()).unwrap().is_empty());
    }

    #[test]
    fn a_database_of_the_first_layout_is_brought_up_with_its_containers_leases() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("longshore.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(include_str!("schema.sql")).unwrap();
        old.execute_batch(
            "INSERT INTO containers VALUES ('c1', 'web', '{\"layer\":\"l1\",\"chain\":\"sha256:a\"}'), ('c2', 'torn', '{');
             INSERT INTO layers VALUES ('sha256:a', 'sha256:b', NULL, 1);
             INSERT INTO replicas VALUES ('sha256:a', 'vfs', 'r1', 'sealed', x''), ('sha256:a', 'other', 'r2', 'lost', x'');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let (store, _) = Store::open(&path).unwrap();
        let (owners, replicas) = store
            .read(|tx| Ok((tx.lease_owners("sha256:a")?, tx.replicas("sha256:a")?)))
            .unwrap();
        assert_eq!(owners, ["c1"]);
        assert_eq!(replicas.len(), 1);
        assert_eq!((replicas[0].seal.as_ref(), replicas[0].epoch), (None, 0));
    }

    #[test]
    fn the_database_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("longshore.db");
        std::fs::write(&path, b"").unwrap();
        let (store, _) = Store::open(&path).unwrap();
        store.write(|tx| tx.put_secret("v", "o.password", b"x")).unwrap();
        for entry in std::fs::read_dir(root.path()).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
        }
        drop(store);
    }

    #[test]
    fn leases_come_and_go_with_their_container() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&root.path().join("longshore.db")).unwrap();
        let row = super::ContainerRow {
            id: "one".into(),
            name: "web".into(),
            doc: r#"{"layer":"l1","chain":"sha256:a"}"#.into(),
        };
        let owners = |layer: &str| store.read(|tx| tx.lease_owners(layer)).unwrap();
        store.write(|tx| tx.add_container(&row)).unwrap();
        assert_eq!(
            (owners("l1"), owners("sha256:a")),
            (vec!["one".to_owned()], vec!["one".to_owned()])
        );
        store.write(|tx| tx.remove_container("one")).unwrap();
        assert!(owners("l1").is_empty() && owners("sha256:a").is_empty());
    }

    #[test]
    fn a_name_has_one_container() {
        let root = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&root.path().join("longshore.db")).unwrap();
        let add = |id: &str| {
            let row = super::ContainerRow {
                id: id.into(),
                name: "web".into(),
                doc: "{}".into(),
            };
            store.write(|tx| tx.add_container(&row))
        };
        add("one").unwrap();
        let error = add("two").unwrap_err();
        assert_eq!(error.kind, longshore_core::ErrorKind::AlreadyExists);
        assert!(
            error.message.contains("/web") && error.message.contains("one"),
            "{error}"
        );
    }
}
