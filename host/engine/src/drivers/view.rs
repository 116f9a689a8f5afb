//! Drivers as `longshore driver ls` shows them.

use longshore_loader::{Isolation, Loaded};
use longshore_performer::root::Root;
use serde::Serialize;

use super::{Choice, Drivers, probe, values};
use crate::config::Config;
use crate::error::Result;
use crate::store::PluginRow;

/// One driver.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DriverView {
    /// `graph`, `volume`, `exec` or `network`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub file: String,
    /// Where its code runs: `in-process`, `process` or `wasm`.
    pub isolation: String,
    /// The transport that carries its calls.
    pub transport: String,
    /// Whether config chooses it.
    pub default: bool,
    /// Whether it can work here.
    pub usable: bool,
    /// Why not, or what is missing, with remedies.
    pub reasons: Vec<DriverReason>,
    /// Calls that were made to it.
    pub calls: u64,
    /// Threads that were left in it because a call did not come back.
    pub abandoned: usize,
    /// Its process, where it has one of its own and that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// Something that is missing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DriverReason {
    /// What.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Drivers {
    /// Every driver that was found, usable or not.
    pub(crate) fn views(&self) -> Result<Vec<DriverView>> {
        let config = self.config();
        let mut views = Vec::new();
        for entry in self.registry().entries() {
            let mut view = DriverView {
                kind: entry.kind.clone(),
                name: entry.name.clone(),
                version: entry.version.clone(),
                file: entry
                    .path
                    .as_ref()
                    .map(|path| path.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                isolation: entry.isolation.unwrap_or(Isolation::InProcess).as_str().into(),
                transport: "dylib".into(),
                default: self
                    .chosen(&entry.kind, &Choice::default())
                    .is_ok_and(|name| name == entry.name),
                usable: false,
                reasons: Vec::new(),
                calls: 0,
                abandoned: 0,
                pid: None,
            };
            match &entry.state {
                Ok(loaded) => self.judge(loaded, &config, &mut view)?,
                Err(refused) => view.reasons.push(DriverReason {
                    what: refused.what.clone(),
                    remedy: refused.remedy.clone(),
                }),
            }
            views.push(view);
        }
        views.extend(self.docker_views());
        views.extend(self.disabled().into_iter().filter_map(disabled));
        views.sort_by(|a, b| (&a.kind, &a.name, &a.version).cmp(&(&b.kind, &b.name, &b.version)));
        Ok(views)
    }

    fn judge(&self, loaded: &Loaded, config: &Config, view: &mut DriverView) -> Result<()> {
        view.transport = loaded.transport().to_owned();
        view.isolation = loaded.isolation().to_owned();
        view.calls = loaded.metrics().iter().map(|metric| metric.count).sum();
        let root = Root::open(&self.paths.data)?;
        match probe(loaded, &root, &self.paths.data, &values(config, loaded)) {
            Ok(probed) => {
                view.usable = probed.usable && loaded.quarantined().is_none();
                view.reasons
                    .extend(probed.reasons.into_iter().map(|reason| DriverReason {
                        what: reason.what,
                        remedy: reason.remedy,
                    }));
            }
            Err(error) => view.reasons.push(DriverReason {
                what: error.message,
                remedy: error.hint.unwrap_or_default(),
            }),
        }
        view.abandoned = loaded.abandoned();
        if view.abandoned > 0 {
            view.reasons.push(DriverReason {
                what: format!(
                    "{} of its calls never came back, their threads are abandoned",
                    view.abandoned
                ),
                remedy: "report it to the driver's author; `longshore engine restart` ends them, containers go on"
                    .into(),
            });
        }
        let process = loaded.process();
        view.pid = process.as_ref().and_then(|process| process.pid);
        if let Some(why) = process.filter(|now| now.pid.is_none()).and_then(|now| now.ended) {
            view.reasons.push(DriverReason {
                what: format!("its process is gone: {why}"),
                remedy: "its next call starts it again".into(),
            });
        }
        if let Some(why) = loaded.quarantined() {
            view.reasons.push(DriverReason {
                what: why,
                remedy: "it is tried again by itself; `longshore engine restart` loads it again".into(),
            });
        }
        Ok(())
    }
}

/// A plugin that was put out of use, which is not loaded.
fn disabled(row: PluginRow) -> Option<DriverView> {
    let (kind, name) = row.name.split_once('-')?;
    Some(DriverView {
        kind: kind.to_owned(),
        name: name.to_owned(),
        version: row.version,
        file: row.file,
        transport: if row.isolation == "in-process" {
            "dylib"
        } else {
            &row.isolation
        }
        .into(),
        isolation: row.isolation,
        default: false,
        usable: false,
        reasons: vec![DriverReason {
            what: "it is disabled".into(),
            remedy: format!("longshore plugin enable {}", row.name),
        }],
        calls: 0,
        abandoned: 0,
        pid: None,
    })
}
