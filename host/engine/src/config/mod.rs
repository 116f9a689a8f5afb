//! `longshore.toml`: which driver of each kind is the default, and the drivers' options.
//!
//! Files are merged in order, later ones winning key by key: the system's, the user's, the one of
//! `--config`. An unknown key is refused with line, column and the nearest known key; nothing is
//! taken from a file that is refused.

mod parse;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
pub use parse::parse;

/// Largest config file in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// One kind's choice and options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindConfig {
    /// The default driver (for networks: the default network's driver).
    pub driver: Option<String>,
    /// Options, by driver.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
}

/// What is said of one plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// A file outside the component folder.
    pub path: Option<PathBuf>,
    /// Where its code runs: `in-process`, `process` or `wasm`.
    pub isolation: Option<String>,
    /// Grants beyond those of bundled plugins.
    pub grants: Vec<String>,
}

/// All of the config.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Graph drivers.
    pub graph: KindConfig,
    /// Volume drivers.
    pub volume: KindConfig,
    /// Exec drivers.
    pub exec: KindConfig,
    /// Network drivers.
    pub network: KindConfig,
    /// The file that calls of drivers are recorded in.
    pub record: Option<PathBuf>,
    /// Plugins, by `<kind>-<name>`.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// The files that this was read from, in order.
    pub files: Vec<ConfigFile>,
}

/// A file that took part.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigFile {
    /// Where.
    pub path: PathBuf,
    /// SHA-256 of its content in hexadecimal digits; empty when it was not there.
    pub digest: String,
}

impl Config {
    /// The built-in defaults.
    pub fn built_in() -> Self {
        let kind = |driver: &str| KindConfig {
            driver: Some(driver.to_owned()),
            options: BTreeMap::new(),
        };
        Self {
            graph: kind("overlay"),
            volume: kind("local"),
            exec: kind("native"),
            network: kind("none"),
            ..Self::default()
        }
    }

    /// Reads the files that exist of `standard`, then `explicit`, which must exist.
    ///
    /// # Errors
    /// `Invalid` for a file that is refused, with its place; any I/O error.
    pub fn load(standard: &[PathBuf], explicit: Option<&Path>) -> Result<Self> {
        let mut config = Self::built_in();
        for path in standard {
            match read(path) {
                Ok(text) => config.take(path, &text)?,
                Err(error) if error.kind == longshore_core::ErrorKind::NotFound => config.files.push(ConfigFile {
                    path: path.clone(),
                    digest: String::new(),
                }),
                Err(error) => return Err(error),
            }
        }
        if let Some(path) = explicit {
            let text = read(path).map_err(|e| e.hint("give an existing file to --config"))?;
            config.take(path, &text)?;
        }
        Ok(config)
    }

    /// Whether any file that this was read from has another content now.
    pub fn changed_on_disk(&self) -> bool {
        self.files.iter().any(|file| {
            let now = read(&file.path).map(|text| digest(&text)).unwrap_or_default();
            now != file.digest
        })
    }

    /// The section of one kind.
    pub fn kind(&self, kind: &str) -> Option<&KindConfig> {
        match kind {
            "graph" => Some(&self.graph),
            "volume" => Some(&self.volume),
            "exec" => Some(&self.exec),
            "network" => Some(&self.network),
            _ => None,
        }
    }

    /// The options of one driver, under its name or one of its aliases.
    pub fn options(&self, kind: &str, names: &[&str]) -> BTreeMap<String, String> {
        let mut merged = BTreeMap::new();
        if let Some(section) = self.kind(kind) {
            for name in names {
                if let Some(options) = section.options.get(*name) {
                    merged.extend(options.clone());
                }
            }
        }
        merged
    }

    fn take(&mut self, path: &Path, text: &str) -> Result<()> {
        let other = parse(text).map_err(|e| e.context(path.display()))?;
        for (mine, theirs) in [
            (&mut self.graph, other.graph),
            (&mut self.volume, other.volume),
            (&mut self.exec, other.exec),
            (&mut self.network, other.network),
        ] {
            if theirs.driver.is_some() {
                mine.driver = theirs.driver;
            }
            for (driver, options) in theirs.options {
                mine.options.entry(driver).or_default().extend(options);
            }
        }
        if other.record.is_some() {
            self.record = other.record;
        }
        self.plugins.extend(other.plugins);
        self.files.push(ConfigFile {
            path: path.to_owned(),
            digest: digest(text),
        });
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = crate::paths::read_bounded(path, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{} is not UTF-8", path.display())))
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
