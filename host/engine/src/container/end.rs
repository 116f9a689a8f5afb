//! The end of a life: its shim, its processes, its cgroup, its run folder. None of it counts as gone
//! before it was seen to be: a driver's process that died, or a shim that was killed, leaves the rest to
//! this.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use longshore_core::types::ContainerId;
use longshore_shim::protocol::Request;
use longshore_shim::{Adoption, ShimClient, adopt, files, orphans};

use super::live::Live;
use super::{Container, Containers, lock};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::time::Laps;

impl Containers {
    /// Ends the shim of a life that is over, what is left of its processes and its cgroup, and its
    /// lease. Nothing to do when there is none. Repeatable: what could not be ended is tried again.
    pub(super) fn end_life(&self, container: &Arc<Container>) -> Result<()> {
        let id = container.id.as_str();
        let mut laps = Laps::begin("end");
        let taken = lock(&container.live).take();
        if let Err(error) = self.end_shim(id, taken.as_deref()) {
            *lock(&container.live) = taken;
            return Err(error);
        }
        if let Some(live) = taken {
            live.release();
            self.unmount_volumes(&container.record(), id);
            self.leave_network(&container.record(), id);
            laps.mark("exec driver: delete, shim ended");
        }
        let run = self.paths.container_run(id);
        match std::fs::remove_dir_all(&run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", run.display()), &error))
            }
            _ => Ok(()),
        }
    }

    /// Gives up a life that did not come to run. What it leaves is for [`end_life`](Self::end_life).
    pub(super) fn abandon(&self, live: &Live) {
        live.update(|s| s.given_up = true);
        if let Err(error) = live.call(Request::Delete { force: true }, Vec::new()) {
            tracing::debug!(%error, "the shim of a start that failed did not answer its end");
        }
        live.release();
    }

    fn end_shim(&self, id: &str, live: Option<&Live>) -> Result<()> {
        let deleted = live.is_some_and(|live| {
            // The driver's process may have died over it: it is asked once more.
            (0..2).any(|_| match live.call(Request::Delete { force: true }, Vec::new()) {
                Ok(_) => true,
                Err(error) => {
                    tracing::debug!(container = id, %error, "the shim did not answer its end");
                    false
                }
            })
        });
        if deleted && !cgroup::exists(&self.cgroup_of(id)) {
            return Ok(());
        }
        self.end_by_force(id)
    }

    /// Ends what no shim or driver answers for: a shim that is killed or does not do as it is told, the
    /// processes of its driver, and everything in the container's cgroup.
    pub(super) fn end_by_force(&self, id: &str) -> Result<()> {
        let path = self.cgroup_of(id);
        if let Ok(run) = File::open(self.paths.container_run(id)) {
            // A process of the driver that is frozen in the container's cgroup dies only with that.
            let _ = cgroup::remove(&path);
            // A file that no shim wrote whole names nobody.
            if let Some(identity) = files::read_identity(run.as_fd()).unwrap_or_default() {
                orphans::end(&identity)?;
            }
        }
        cgroup::remove(&path)
    }

    fn cgroup_of(&self, id: &str) -> String {
        super::spec_of::cgroup_path(&self.paths.root_id, id)
    }

    /// What has no record: of a container whose removal was cut after its row went, or whose making was
    /// cut before it came. One that lives goes on.
    pub(super) fn drop_strangers(&self) {
        let is_stranger = |name: &str| {
            ContainerId::parse(name.to_owned()).is_ok() && self.resolve(name).is_err() && !self.keeps_stranger(name)
        };
        for folder in [self.paths.run.join("containers"), self.paths.data.join("containers")] {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if is_stranger(&name) {
                    self.drop_stranger(&name, Some(&entry.path()));
                }
            }
        }
        for name in cgroup::below(&self.cgroup_of("")) {
            if is_stranger(&name) {
                self.drop_stranger(&name, None);
            }
        }
    }

    pub(super) fn drop_stranger(&self, id: &str, folder: Option<&std::path::Path>) {
        if let Ok(run) = File::open(self.paths.container_run(id))
            && let Ok(Adoption::Alive(_)) = adopt(run.as_fd())
            && let Ok(client) = ShimClient::connect(run.as_fd(), drop)
        {
            let _ = client.call(Request::Delete { force: true }, &[]);
        }
        let gone = self.end_by_force(id).and_then(|()| match folder {
            Some(folder) => std::fs::remove_dir_all(folder)
                .map_err(|error| Error::io(format!("remove {}", folder.display()), &error)),
            None => Ok(()),
        });
        if let Err(error) = gone {
            tracing::warn!(container = id, %error, "what is left of a container without a record could not be removed yet");
        }
    }
}
