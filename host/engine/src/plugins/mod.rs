//! Plugins that are installed: taken in from a file, upgraded in use, taken back, put out of use, removed.
//!
//! Here lives what is kept of them: files under their digests ([`files`]) and a row for each generation.
//! A change first loads all drivers as they would then be, beside those that serve; only when the plugin
//! can be used is the row committed and the drivers take over. Calls that are under way end where they
//! began, containers and mounts need no driver to go on. Which file may be loaded at all is the loader's
//! to say, how drivers change their place is [`crate::drivers`]' own.

pub(crate) mod files;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_loader::{Checked, Isolation};
use serde::{Deserialize, Serialize};

use crate::drivers::{DriverView, Drivers};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::paths::Paths;
use crate::store::{PluginRow, Store};

/// What a plugin's file says of itself, before anything of it has run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PluginFile {
    /// `<kind>-<name>`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file.
    pub digest: String,
    /// Where its code would run.
    pub isolation: String,
    /// What it wants that is not its own.
    pub wanted: Vec<String>,
    /// What it was granted before, by the generation in use.
    pub granted: Vec<String>,
}

/// The wish to install a file, or to upgrade to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PluginRequest {
    /// The file, on the engine's machine.
    pub file: std::path::PathBuf,
    /// The digest that was shown to whoever granted; another file is refused.
    #[serde(default)]
    pub digest: Option<String>,
    /// What it is granted.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Where its code shall run; by default a process of its own, for a component the sandbox.
    #[serde(default)]
    pub isolation: Option<String>,
}

/// A driver and, where it is installed, what is kept of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PluginView {
    /// The driver.
    #[serde(flatten)]
    pub driver: DriverView,
    /// Whether it was installed, rather than bundled or named by config.
    pub installed: bool,
    /// Whether it may serve.
    pub enabled: bool,
    /// The generation in use; zero where it was not installed.
    pub generation: i64,
    /// All generations that are kept.
    pub generations: Vec<i64>,
    /// SHA-256 of the file in use; empty where it was not installed.
    pub digest: String,
    /// What it was granted.
    pub grants: Vec<String>,
}

/// The plugins of a data root.
#[derive(Debug)]
pub(crate) struct Plugins {
    store: Arc<Store>,
    drivers: Arc<Drivers>,
    paths: Paths,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Plugins {
    /// Also removes what an installation left that was cut short.
    pub(crate) fn new(store: Arc<Store>, drivers: Arc<Drivers>, paths: Paths) -> Result<Self> {
        let plugins = Self {
            store,
            drivers,
            paths,
            changing: Mutex::default(),
        };
        plugins.sweep(&plugins.rows()?);
        Ok(plugins)
    }

    fn rows(&self) -> Result<Vec<PluginRow>> {
        self.store.read(|tx| tx.plugins())
    }

    fn sweep(&self, rows: &[PluginRow]) {
        files::sweep(&self.paths, &|digest| rows.iter().any(|row| row.digest == digest));
    }

    /// What a file says of itself.
    pub(crate) fn look(&self, file: &Path) -> Result<PluginFile> {
        let checked = check(file)?;
        let name = checked.manifest().label();
        let granted = current(&self.rows()?, &name).map(|row| row.grants.clone());
        Ok(PluginFile {
            version: checked.manifest().version.clone(),
            digest: checked.digest(),
            isolation: usual(&checked).into(),
            wanted: checked.manifest().grants.clone(),
            granted: granted.unwrap_or_default(),
            name,
        })
    }

    /// Takes a plugin in that is not there yet.
    pub(crate) fn install(&self, request: &PluginRequest) -> Result<PluginFile> {
        self.take_in(request, false)
    }

    /// Loads another file of a plugin beside the one in use, which it replaces.
    pub(crate) fn upgrade(&self, request: &PluginRequest) -> Result<PluginFile> {
        self.take_in(request, true)
    }

    fn take_in(&self, request: &PluginRequest, upgrade: bool) -> Result<PluginFile> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = check(&request.file)?;
        let name = checked.manifest().label();
        let mut rows = self.rows()?;
        let before = current(&rows, &name).cloned();
        judge(&checked, &rows, before.as_ref(), request, upgrade)?;
        if before.is_none()
            && self
                .drivers
                .is_there(checked.manifest().kind(), &checked.manifest().name)
        {
            return Err(Error::already_exists(format!(
                "plugin {name} cannot be installed: the release or the config has a driver of that kind and name"
            ))
            .hint("give the plugin another name, or take it out of longshore.toml"));
        }
        let mut grants = request.grants.clone();
        grants.extend(before.iter().flat_map(|row| row.grants.clone()));
        grants.retain(|grant| checked.manifest().grants.contains(grant));
        grants.sort();
        grants.dedup();
        let missing: Vec<_> = checked
            .manifest()
            .grants
            .iter()
            .filter(|grant| !grants.contains(grant))
            .collect();
        if !missing.is_empty() {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("plugin {name} asks for the grants {missing:?}, which it has not"),
            )
            .hint("give each with --grant, or all with --yes, if it shall have them"));
        }
        let file = format!("{name}.{}", if checked.is_component() { "wasm" } else { "so" });
        files::keep(&self.paths, &checked, &file)?;
        let row = PluginRow {
            generation: rows
                .iter()
                .filter(|row| row.name == name)
                .map(|row| row.generation)
                .max()
                .unwrap_or(0)
                + 1,
            version: checked.manifest().version.clone(),
            digest: checked.digest(),
            isolation: isolation(&checked, request, before.as_ref())?,
            enabled: true,
            current: true,
            grants,
            file,
            name: name.clone(),
        };
        let said = PluginFile {
            name: row.name.clone(),
            version: row.version.clone(),
            digest: row.digest.clone(),
            isolation: row.isolation.clone(),
            wanted: checked.manifest().grants.clone(),
            granted: row.grants.clone(),
        };
        rows.iter_mut()
            .filter(|other| other.name == name)
            .for_each(|other| other.current = false);
        rows.push(row);
        self.put(&name, rows)?;
        Ok(said)
    }

    /// Puts the generation before the one in use back in its place.
    pub(crate) fn roll_back(&self, name: &str) -> Result<()> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = self.rows()?;
        let now = installed(&rows, name)?.generation;
        let before = rows
            .iter()
            .filter(|row| row.name == name && row.generation < now)
            .map(|row| row.generation)
            .max();
        let Some(before) = before else {
            return Err(
                Error::not_found(format!("plugin {name} has no generation before {now}"))
                    .hint("`longshore plugin ls` shows the generations that are kept"),
            );
        };
        for row in rows.iter_mut().filter(|row| row.name == name) {
            row.current = row.generation == before;
        }
        self.put(name, rows)
    }

    /// Puts a plugin out of use, or back in use.
    pub(crate) fn enable(&self, name: &str, enabled: bool) -> Result<()> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = self.rows()?;
        installed(&rows, name)?;
        for row in rows.iter_mut().filter(|row| row.name == name) {
            row.enabled = enabled;
        }
        self.put(name, rows)
    }

    /// Removes a plugin with all its generations. `users` says what still needs it.
    pub(crate) fn remove(&self, name: &str, force: bool, volumes: impl Fn(&str) -> Result<usize>) -> Result<()> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = self.rows()?;
        installed(&rows, name)?;
        let users = match name.split_once('-') {
            Some(("volume", driver)) => format_users(volumes(driver)?, "volumes"),
            Some(("graph", driver)) => {
                let layers = self.store.read(|tx| tx.layers_of_driver(driver))?;
                format_users(usize::try_from(layers).unwrap_or(usize::MAX), "layers")
            }
            _ => None,
        };
        if let Some(users) = users.filter(|_| !force) {
            return Err(
                Error::in_use(format!("plugin {name} cannot be removed: it has {users}")).hint(format!(
                    "remove these first, or `longshore plugin disable {name}`; with --force they stay, unavailable"
                )),
            );
        }
        rows.retain(|row| row.name != name);
        self.put(name, rows.clone())?;
        self.sweep(&rows);
        Ok(())
    }

    /// Loads the drivers as these rows have them, beside those that serve, commits, and lets them serve.
    fn put(&self, name: &str, rows: Vec<PluginRow>) -> Result<()> {
        let done = self.drivers.prepare_plugins(&rows, name).and_then(|fresh| {
            self.store.write(|tx| tx.set_plugin(name, &rows))?;
            self.drivers.adopt(fresh);
            Ok(())
        });
        if done.is_err() {
            // The file that was copied for nothing.
            self.sweep(&self.rows()?);
        }
        done
    }

    /// All drivers, with what is kept of those that are installed.
    pub(crate) fn list(&self) -> Result<Vec<PluginView>> {
        let rows = self.rows()?;
        let view = |driver: DriverView| {
            let name = format!("{}-{}", driver.kind, driver.name);
            let row = current(&rows, &name);
            PluginView {
                installed: row.is_some(),
                enabled: row.is_none_or(|row| row.enabled),
                generation: row.map_or(0, |row| row.generation),
                generations: rows
                    .iter()
                    .filter(|row| row.name == name)
                    .map(|row| row.generation)
                    .collect(),
                digest: row.map(|row| row.digest.clone()).unwrap_or_default(),
                grants: row.map(|row| row.grants.clone()).unwrap_or_default(),
                driver,
            }
        };
        Ok(self.drivers.views()?.into_iter().map(view).collect())
    }
}

fn format_users(count: usize, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {what}"))
}

fn check(file: &Path) -> Result<Checked> {
    if !file.is_absolute() {
        return Err(Error::invalid(format!(
            "{} is no absolute path of a plugin's file",
            file.display()
        )));
    }
    longshore_loader::check(file).map_err(|refused| Error::invalid(refused.to_string()))
}

fn current<'a>(rows: &'a [PluginRow], name: &str) -> Option<&'a PluginRow> {
    rows.iter().find(|row| row.name == name && row.current)
}

fn installed<'a>(rows: &'a [PluginRow], name: &str) -> Result<&'a PluginRow> {
    current(rows, name).ok_or_else(|| {
        Error::not_found(format!("plugin {name:?} is not installed"))
            .hint("`longshore plugin ls` lists plugins; their names are KIND-NAME, as volume-mine")
    })
}

fn usual(checked: &Checked) -> &'static str {
    if checked.is_component() { "wasm" } else { "process" }
}

/// Where the plugin's code shall run: as asked for, else as before, else as is usual for its file.
fn isolation(checked: &Checked, request: &PluginRequest, before: Option<&PluginRow>) -> Result<String> {
    let wanted = request.isolation.as_deref();
    if let Some(word) = wanted.filter(|word| Isolation::parse(word).is_none()) {
        return Err(Error::invalid(format!("{word:?} is no isolation"))
            .hint(format!("write one of {}", Isolation::WORDS.join(", "))));
    }
    let fits = |word: &&str| (*word == "wasm") == checked.is_component();
    Ok(wanted
        .or(before.map(|row| row.isolation.as_str()).filter(fits))
        .unwrap_or(usual(checked))
        .to_owned())
}

/// Refuses what would be there twice, or is not what was granted.
fn judge(
    checked: &Checked,
    rows: &[PluginRow],
    before: Option<&PluginRow>,
    request: &PluginRequest,
    upgrade: bool,
) -> Result<()> {
    let manifest = checked.manifest();
    let (name, digest) = (manifest.label(), checked.digest());
    if request.digest.as_ref().is_some_and(|shown| *shown != digest) {
        return Err(
            Error::invalid(format!("the file of plugin {name} is another one than was looked at"))
                .hint("look at it again and repeat the command"),
        );
    }
    match before {
        None if upgrade => {
            return Err(
                Error::not_found(format!("plugin {name} is not installed, so it cannot be upgraded"))
                    .hint("longshore plugin install FILE"),
            );
        }
        Some(row) if row.digest == digest => {
            return Err(Error::already_exists(format!(
                "plugin {name} {} is installed already, from this very file",
                row.version
            ))
            .hint("nothing needs to be done; `longshore plugin enable` puts a disabled one back in use"));
        }
        Some(row) if !upgrade => {
            return Err(Error::already_exists(format!(
                "plugin {name} is installed already, in version {}",
                row.version
            ))
            .hint("longshore plugin upgrade FILE"));
        }
        _ => {}
    }
    let twin = rows
        .iter()
        .any(|row| row.name == name && row.version == manifest.version && row.digest != digest);
    if twin {
        return Err(Error::already_exists(format!(
            "another file is installed as plugin {name} {}",
            manifest.version
        ))
        .hint("build the plugin with another version, or remove the one that is installed"));
    }
    Ok(())
}

impl Engine {
    /// Every driver, and what is kept of those that are installed.
    pub async fn plugins(&self) -> Result<Vec<PluginView>> {
        self.run(|inner| inner.plugins.list()).await
    }

    /// What a plugin's file says of itself; nothing of it runs.
    pub async fn look_at_plugin(&self, file: std::path::PathBuf) -> Result<PluginFile> {
        self.run(move |inner| inner.plugins.look(&file)).await
    }

    /// Installs a plugin that is not there yet.
    ///
    /// # Errors
    /// `Invalid` for the file, `Denied` without the grants that it wants, `AlreadyExists`; nothing is
    /// installed then.
    pub async fn install_plugin(&self, request: PluginRequest) -> Result<PluginFile> {
        self.run(move |inner| inner.plugins.install(&request)).await
    }

    /// Loads another file of an installed plugin beside the one in use: new calls go to it, containers and
    /// mounts go on.
    pub async fn upgrade_plugin(&self, request: PluginRequest) -> Result<PluginFile> {
        self.run(move |inner| inner.plugins.upgrade(&request)).await
    }

    /// Puts the generation before the one in use back in its place.
    pub async fn roll_back_plugin(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.run(move |inner| inner.plugins.roll_back(&name)).await
    }

    /// Puts a plugin out of use or back in use. What it made stays listed.
    pub async fn enable_plugin(&self, name: &str, enabled: bool) -> Result<()> {
        let name = name.to_owned();
        self.run(move |inner| inner.plugins.enable(&name, enabled)).await
    }

    /// Removes a plugin and its files.
    ///
    /// # Errors
    /// `InUse` while there are volumes or layers of it, unless forced.
    pub async fn remove_plugin(&self, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        self.run(move |inner| {
            inner.plugins.remove(&name, force, |driver| {
                let volumes = inner.volumes.list()?;
                Ok(volumes.iter().filter(|(volume, _)| volume.driver == driver).count())
            })
        })
        .await
    }
}
