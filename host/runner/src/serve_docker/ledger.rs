//! What a server knows of its volumes, in one file that is replaced whole: written before anything is
//! done that it must know of after its death.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use longshore_core::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Longest file that is read.
const LARGEST: u64 = 64 << 20;
/// What the file's form is called; a file of another one is not touched.
const FORM: u32 = 1;

/// How far a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It is being made, or a server died meanwhile.
    Making,
    /// It is there.
    Ready,
    /// It is being removed, or a server died meanwhile.
    Removing,
}

/// A volume.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) options: BTreeMap<String, String>,
    /// Options that the driver lists as secrets; they are in this file alone, which only root reads.
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) note: Vec<u8>,
    pub(super) created: String,
    /// Who has it mounted, by Docker's IDs.
    pub(super) mounts: BTreeSet<String>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("state", &self.state)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    form: u32,
    /// The boot in which the mounts were made: none outlives it.
    boot: String,
    volumes: BTreeMap<String, Record>,
}

/// All volumes of a data root.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    boot: String,
    volumes: BTreeMap<String, Record>,
}

impl Ledger {
    /// Reads the file; one that is not there is empty.
    pub(super) fn open(data: &Path) -> Result<Self> {
        let path = data.join("served.json");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => file
                .take(LARGEST)
                .read_to_end(&mut text)
                .map_err(|error| Error::io(format!("read {}", path.display()), &error))
                .map(drop)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    boot,
                    volumes: BTreeMap::new(),
                });
            }
            Err(error) => return Err(Error::io(format!("open {}", path.display()), &error)),
        }
        let wrong = |why: String| {
            let remedy = "move it away to begin with no volumes";
            Error::new(ErrorKind::Corrupt, format!("{}: {why}: {remedy}", path.display()))
        };
        let content: Content = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if content.form != FORM {
            return Err(wrong(format!("it is of form {}, not {FORM}", content.form)));
        }
        let mut volumes = content.volumes;
        if content.boot != boot {
            volumes.values_mut().for_each(|record| record.mounts.clear());
        }
        Ok(Self { path, boot, volumes })
    }

    /// A volume.
    pub(super) fn get(&self, name: &str) -> Option<&Record> {
        self.volumes.get(name)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.volumes.iter()
    }

    /// Changes a volume's record, or removes it, durably. Nothing has changed when that fails.
    pub(super) fn set(&mut self, name: &str, record: Option<Record>) -> Result<()> {
        let before = match record {
            Some(record) => self.volumes.insert(name.to_owned(), record),
            None => self.volumes.remove(name),
        };
        self.write().inspect_err(|_| {
            match before {
                Some(before) => self.volumes.insert(name.to_owned(), before),
                None => self.volumes.remove(name),
            };
        })
    }

    fn write(&self) -> Result<()> {
        #[derive(Serialize)]
        struct Written<'a> {
            form: u32,
            boot: &'a str,
            volumes: &'a BTreeMap<String, Record>,
        }
        let content = Written {
            form: FORM,
            boot: &self.boot,
            volumes: &self.volumes,
        };
        let text = serde_json::to_vec(&content)
            .map_err(|error| Error::invalid(format!("write {}: {error}", self.path.display())))?;
        replace(&self.path, &text)
    }
}

/// Writes a file whole, durably, readable for its owner alone.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let failed = |error: &std::io::Error| Error::io(format!("write {}", path.display()), error);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = path.with_file_name(format!(".{name}.new"));
    let written = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&scratch)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&scratch, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn record(mounts: &[&str]) -> Record {
        Record {
            state: State::Ready,
            options: BTreeMap::new(),
            secrets: BTreeMap::from([("o.password".to_owned(), "hunter2".to_owned())]),
            note: vec![1, 2],
            created: String::new(),
            mounts: mounts.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn what_was_written_is_there_after_death_and_mounts_only_in_the_same_boot() {
        let data = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(data.path()).unwrap();
        ledger.set("aa", Some(record(&["c1"]))).unwrap();
        ledger.set("bb", Some(record(&[]))).unwrap();
        ledger.set("bb", None).unwrap();
        drop(ledger);
        let ledger = Ledger::open(data.path()).unwrap();
        assert!(ledger.get("aa").unwrap().mounts.contains("c1") && ledger.all().count() == 1);
        assert!(!format!("{ledger:?}").contains("hunter2"));
        let path = data.path().join("served.json");
        let other = fs::read_to_string(&path).unwrap().replace(&ledger.boot, "another");
        fs::write(&path, other).unwrap();
        assert!(Ledger::open(data.path()).unwrap().get("aa").unwrap().mounts.is_empty());
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_kept() {
        let data = tempfile::tempdir().unwrap();
        for text in ["", "{", r#"{"form":9,"boot":"","volumes":{}}"#] {
            fs::write(data.path().join("served.json"), text).unwrap();
            let error = Ledger::open(data.path()).unwrap_err();
            assert!(
                error.kind == ErrorKind::Corrupt && error.message.contains("move it away"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(data.path().join("served.json")).unwrap(), text);
        }
    }
}
