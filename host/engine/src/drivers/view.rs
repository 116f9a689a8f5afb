//! Drivers as `longshore driver ls` shows them.

use serde::Serialize;

use super::{Choice, Drivers, probe, values};
use crate::error::Result;

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
    /// How it is loaded.
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
    /// Every driver that was found, usable or not, and every file that was refused.
    pub(crate) fn views(&self) -> Result<Vec<DriverView>> {
        let config = self.config();
        let mut views = Vec::new();
        for found in self.registry.all() {
            let default = self
                .chosen(found.kind(), &Choice::default())
                .is_ok_and(|name| name == found.name());
            let path = self.paths.data.clone();
            let root = longshore_performer::root::Root::open(&path)?;
            let (usable, reasons) = match probe(found, Some(&root), &path, &values(&config, found)) {
                Ok(probed) => (probed.usable, probed.reasons),
                Err(error) => (
                    false,
                    vec![longshore_core::driver::Reason {
                        what: error.message,
                        remedy: error.hint.unwrap_or_default(),
                    }],
                ),
            };
            views.push(DriverView {
                kind: found.kind().to_owned(),
                name: found.name().to_owned(),
                version: found.version().to_owned(),
                file: found.path().to_string_lossy().into_owned(),
                isolation: "in-process".into(),
                transport: "dylib".into(),
                default,
                usable,
                reasons: reasons
                    .into_iter()
                    .map(|reason| DriverReason {
                        what: reason.what,
                        remedy: reason.remedy,
                    })
                    .collect(),
                calls: found.calls(),
            });
        }
        for refused in self.registry.refused() {
            views.push(DriverView {
                kind: String::new(),
                name: refused.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                version: String::new(),
                file: refused.path.to_string_lossy().into_owned(),
                isolation: "in-process".into(),
                transport: "dylib".into(),
                default: false,
                usable: false,
                reasons: vec![DriverReason {
                    what: refused.error.message.clone(),
                    remedy: "see `longshore plugin verify FILE`".into(),
                }],
                calls: 0,
            });
        }
        views.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        Ok(views)
    }
}
