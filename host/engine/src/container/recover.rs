//! What an engine finds when it starts: containers whose shims live on, containers that ended
//! meanwhile, containers that were being made or removed.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use longshore_core::types::ContainerId;
use longshore_shim::protocol::Phase;
use longshore_shim::{Adoption, ShimClient, adopt, files};

use super::live::{Live, Status, runs};
use super::record::{Ended, Record};
use super::{Container, Containers, lock};
use crate::error::{Error, Result};
use crate::time::now;

impl Containers {
    /// Reads every record, takes running containers up again, and puts right what an engine that
    /// died left half done. A record that cannot be read is passed over and named.
    pub(crate) fn recover(self: &Arc<Self>) -> Result<()> {
        for row in self.store.read(|tx| tx.containers())? {
            let read = ContainerId::parse(row.id.clone())
                .map_err(Error::from)
                .and_then(|id| Ok(Container::new(id, Record::from_row(&row)?)));
            match read {
                Ok(container) => self.insert(container),
                Err(error) => tracing::error!(container = row.id, %error, "a container's record is damaged"),
            }
        }
        for container in self.all() {
            if let Err(error) = self.recover_one(&container) {
                tracing::warn!(container = %container.id, %error, "a container could not be put right yet");
            }
        }
        self.drop_strangers();
        Ok(())
    }

    fn recover_one(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let id = container.id.as_str();
        let run = self.paths.container_run(id);
        let Ok(folder) = File::open(&run) else {
            return self.without_shim(container);
        };
        match adopt(folder.as_fd())? {
            Adoption::Alive(_) => match self.take_up(container, folder.as_fd()) {
                // It went between the look and the call.
                Err(_) if !matches!(adopt(folder.as_fd()), Ok(Adoption::Alive(_))) => self.without_shim(container),
                other => other,
            },
            Adoption::Gone(_) => {
                // A container of --rm has its start in no row.
                if let Some(report) = files::read_state(folder.as_fd())? {
                    let mut record = lock(&container.record);
                    record.started = record.started.take().or(report.started);
                }
                self.without_shim(container)
            }
            Adoption::Never => self.without_shim(container),
        }
    }

    /// Connects to a shim that lives.
    fn take_up(self: &Arc<Self>, container: &Arc<Container>, run: std::os::fd::BorrowedFd<'_>) -> Result<()> {
        let (notify, notices) = std::sync::mpsc::channel();
        let client = ShimClient::connect(run, move |notice| drop(notify.send(notice)))?;
        let lease = {
            let record = lock(&container.record);
            self.layers.hold(&record.driver, &record.layer, container.id.as_str())
        };
        let live = Live::new(client, lease, Status::default());
        let report = live.report()?;
        let exit = report.exit.clone();
        live.update(|s| {
            s.running = runs(report.phase) && exit.is_none();
            s.paused = report.phase == Phase::Paused;
            s.pid = report.pid.unwrap_or(0);
            s.oom = report.oom_kills > 0;
        });
        *lock(&container.live) = Some(Arc::clone(&live));
        if live.is_running() {
            {
                let mut record = lock(&container.record);
                record.started = report.started.or(record.started.take());
                record.ended = None;
            }
            for mount in &container.record().mounts {
                if let super::record::MountSource::Volume { name, .. } = &mount.source {
                    self.volumes.hold(name, container.id.as_str());
                }
            }
            self.listen(container, live, notices);
            return Ok(());
        }
        if let Some(exit) = exit {
            live.update(|s| {
                s.exit = Some((i64::from(exit.code), exit.time.clone()));
                s.settled = true;
            });
            lock(&container.record).ended = Some(Ended {
                code: i64::from(exit.code),
                oom: exit.oom,
                at: exit.time,
            });
        }
        // Made and never started, or ended: this life is over.
        live.update(|s| s.settled = true);
        self.finish_life(container)
    }

    /// No shim runs for this container.
    fn without_shim(&self, container: &Arc<Container>) -> Result<()> {
        let id = container.id.as_str();
        let folder = self.paths.container(id);
        if let Ok(data) = File::open(&folder)
            && let Some(exit) = files::read_exit(data.as_fd())?
        {
            lock(&container.record).ended = Some(Ended {
                code: i64::from(exit.code),
                oom: exit.oom,
                at: exit.time,
            });
        } else {
            let mut record = lock(&container.record);
            if record.started.is_some() && record.ended.is_none() {
                record.ended = Some(Ended {
                    code: 137,
                    oom: false,
                    at: now(),
                });
                record.error = Some("its shim was lost".into());
            }
        }
        self.finish_life(container)
    }

    fn finish_life(&self, container: &Arc<Container>) -> Result<()> {
        let record = container.record();
        let id = container.id.as_str();
        let lacks_files = !self.paths.container(id).join("hosts").exists();
        let never_made = lacks_files && record.boot == super::create::boot();
        let over = record.ended.is_some() || record.started.is_some();
        if never_made || (record.auto_remove() && over) {
            return self.remove_begun(container, true);
        }
        if lacks_files {
            // It was acknowledged before the power went, and its files were not on disk yet.
            let shares = self.drivers.network_shares_host(&record.network)?;
            super::files::write(&self.paths.container(id), &record, id, shares)?;
        }
        if record.started.is_some() {
            // Its note was recorded with its start. The layer of one that never started is made once
            // more when it does: that was not flushed.
            container.note_made();
        }
        self.end_life(container)?;
        self.save(container)
    }
}
