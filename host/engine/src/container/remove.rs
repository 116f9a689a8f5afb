//! Removing a container and everything that is its own.

use std::sync::Arc;

use super::record::{MountSource, Record};
use super::{Container, Containers};
use crate::error::{Error, Result};
use crate::time::{Laps, now_seconds};

impl Containers {
    /// Removes a container. One that runs needs `force`; `volumes` removes its anonymous volumes
    /// too.
    pub(crate) fn remove(&self, container: &Arc<Container>, force: bool, volumes: bool) -> Result<()> {
        let _busy = container.begin_verb()?;
        if container.is_running() {
            if !force {
                let name = container.record().name;
                return Err(Error::in_use(format!(
                    "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
                )));
            }
            self.stop_begun(container, Some("KILL"), Some(0))?;
        }
        self.remove_begun(container, volumes)
    }

    /// Removes a container that does not run. Repeatable from the start at any point: the row goes
    /// last.
    pub(super) fn remove_begun(&self, container: &Arc<Container>, volumes: bool) -> Result<()> {
        let id = container.id.as_str();
        self.end_life(container)?;
        let mut laps = Laps::begin("remove");
        let record = container.record();
        let slot = self.drivers.graph(&record.driver)?;
        self.layers.remove_container_layer(&slot, &record.layer_ref()?)?;
        laps.mark("layer removed");
        if volumes {
            self.drop_anonymous_volumes(&record, id);
        }
        remove_folder(&self.paths.container(id))?;
        remove_folder(&self.paths.container_run(id))?;
        laps.mark("folders removed");
        self.store.write(|tx| {
            // Who waits for its code may have to ask the next engine for it.
            if let Some(ended) = record.ended.as_ref().filter(|_| record.auto_remove()) {
                tx.keep_exit(id, ended.code, now_seconds())?;
            }
            tx.remove_container(id)
        })?;
        laps.mark("row committed");
        container.note_gone();
        self.forget(id);
        container.touch();
        if let Err(error) = self.layers.prune() {
            tracing::warn!(%error, "layers that nothing needs could not be removed yet");
        }
        Ok(())
    }

    pub(super) fn drop_anonymous_volumes(&self, record: &Record, own: &str) {
        for mount in &record.mounts {
            if let MountSource::Volume { name, anonymous: true } = &mount.source
                && !name.is_empty()
                && let Err(error) = self.volumes.remove(name, true, &|| self.users_of_volume(name, own))
            {
                tracing::warn!(volume = name, %error, "an anonymous volume could not be removed");
            }
        }
    }

    /// Containers that use a volume, other than `but`.
    pub(crate) fn users_of_volume(&self, name: &str, but: &str) -> Vec<String> {
        self.all()
            .iter()
            .filter(|container| container.id.as_str() != but)
            .filter(|container| {
                container
                    .record()
                    .mounts
                    .iter()
                    .any(|mount| matches!(&mount.source, MountSource::Volume { name: used, .. } if used == name))
            })
            .map(|container| container.id.to_string())
            .collect()
    }
}

/// Removes one of the engine's own folders; nothing there is done.
fn remove_folder(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}
