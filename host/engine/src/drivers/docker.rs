//! Third-party plugins that speak Docker's protocol: found where Docker finds them, when one of them is
//! first named, and opened as drivers like any other.
//!
//! A plugin may hang at any call, also at the first. So no lock is held while one is spoken to, and no
//! engine waits for one at its start.

use std::sync::Arc;

use longshore_docker_plugins::{Folders, GRANTS, Plugin, TRANSPORT};
use longshore_loader::Loaded;

use super::view::{DriverReason, DriverView};
use super::{Drivers, VolumeSlot, lock};
use crate::error::{Error, Result};

impl Drivers {
    /// Whether a driver is one of ours, which answers or is refused at once, and no plugin.
    pub(crate) fn is_own(&self, kind: &str, name: &str) -> bool {
        self.find(kind, name).is_ok()
    }

    /// The volume driver behind a plugin of that name; none where Docker would find none.
    pub(super) fn docker_volume(&self, name: &str) -> Result<Option<Arc<VolumeSlot>>> {
        if let Some(slot) = lock(&self.docker_volumes).get(name) {
            return Ok(Some(Arc::clone(slot)));
        }
        let Some(found) = Folders::default().find(name)? else {
            return Ok(None);
        };
        let plugin = Plugin::activate(found).map_err(|error| {
            Error::from(error).hint("start the plugin, or see `longshore driver ls` for the drivers that are here")
        })?;
        let loaded = Loaded::over(plugin.channel("volume")?)?.reached_by(TRANSPORT);
        let grants = GRANTS.map(str::to_owned).to_vec();
        let slot = VolumeSlot::open_granted(&loaded, &self.paths, self.components.clone(), Vec::new(), grants)?;
        // Two who asked at once have opened it twice; one of them stays.
        Ok(Some(Arc::clone(
            lock(&self.docker_volumes)
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(slot)),
        )))
    }

    /// The plugins that are there, each asked what it is.
    pub(super) fn docker_views(&self) -> Vec<DriverView> {
        let folders = Folders::default();
        let mut views = Vec::new();
        for name in folders.names() {
            let blank = |kind: &str, file: String| DriverView {
                kind: kind.to_owned(),
                name: name.clone(),
                version: String::new(),
                file,
                isolation: "process".into(),
                transport: TRANSPORT.into(),
                default: false,
                usable: true,
                reasons: Vec::new(),
                calls: 0,
                abandoned: 0,
                pid: None,
            };
            let asked = folders.find(&name).and_then(|found| {
                let found = found.ok_or_else(|| longshore_core::Error::unavailable("it is gone"))?;
                let file = found.by.to_string_lossy().into_owned();
                Ok((Plugin::activate(found)?, file))
            });
            match asked {
                Ok((plugin, file)) => views.extend(plugin.kinds().into_iter().map(|kind| {
                    let mut view = blank(kind, file.clone());
                    if kind != "volume" {
                        view.usable = false;
                        view.reasons.push(DriverReason {
                            what: format!("networks of this engine use no {kind} plugin of Docker's yet"),
                            remedy: format!("use one of the {kind} drivers that come with Longshore"),
                        });
                    }
                    view
                })),
                Err(error) => {
                    let mut view = blank("volume", String::new());
                    view.usable = false;
                    view.reasons.push(DriverReason {
                        what: error.message,
                        remedy: "start the plugin, or remove its socket or file".into(),
                    });
                    views.push(view);
                }
            }
        }
        views
    }
}
