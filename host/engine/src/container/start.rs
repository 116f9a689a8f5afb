//! Starting: the layer's mount, the volumes' mounts, the configuration, the shim.
//!
//! ```text
//! graph activate → root mount · volumes mounted → config.json → shim: boot, create, start
//! ```
//! A start that fails leaves no shim, no mount and no run folder; the container stays as it was, with
//! the reason in its record.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use longshore_core::graph::Access;
use longshore_shim::protocol::{Boot, Driver, Event, Log, Network, Reply, Request, Stdio};
use longshore_shim::{ShimClient, places};

use super::live::{Live, Status, unexpected};
use super::record::{Ended, MountSource, Record};
use super::{AttachRequest, Container, Containers, lock};
use crate::error::{Error, Result};
use crate::layer::Lease;
use crate::paths::make_dir;
use crate::time::{Laps, now};

/// The name of a container's log in its folder on disk.
pub(super) fn log_name(id: &str) -> String {
    format!("{id}-json.log")
}

impl Containers {
    /// Starts a container. Answers false when it ran already.
    ///
    /// # Errors
    /// `Invalid` with errno `ENOENT` or `EACCES` when the entry is not there or cannot run.
    pub(crate) fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<bool> {
        let _busy = container.begin_verb()?;
        self.start_begun(container)
    }

    pub(super) fn start_begun(self: &Arc<Self>, container: &Arc<Container>) -> Result<bool> {
        if container.is_running() {
            return Ok(false);
        }
        self.end_life(container)?;
        lock(&container.execs).clear();
        let waiting = std::mem::take(&mut *lock(&container.waiting));
        let result = self.start_life(container, waiting);
        if let Err(error) = &result {
            let mut record = lock(&container.record);
            record.error = Some(error.message.clone());
            record.ended = Some(Ended {
                code: exit_code(error),
                oom: false,
                at: now(),
            });
            let auto_remove = record.auto_remove();
            drop(record);
            self.put_away(container);
            if auto_remove {
                // As after an end: whoever waits for the removal is told.
                self.remove_begun(container, true)?;
            } else {
                self.save(container)?;
            }
        }
        result.map(|()| true)
    }

    /// Takes back what a start that failed had taken: volumes, network, run folder.
    fn put_away(&self, container: &Arc<Container>) {
        let id = container.id.as_str();
        self.unmount_volumes(&container.record(), id);
        self.leave_network(&container.record(), id);
        if let Err(error) = self.end_life(container) {
            tracing::warn!(container = id, %error, "a start that failed could not be put away yet");
        }
    }

    fn start_life(self: &Arc<Self>, container: &Arc<Container>, waiting: Vec<AttachRequest>) -> Result<()> {
        let id = container.id.as_str();
        let mut record = container.record();
        let run = self.paths.container_run(id);
        let data = self.paths.container(id);
        make_dir(&run, 0o711)?;
        make_dir(&data, 0o710)?;
        // An exit of an earlier life is not this one's.
        let _ = std::fs::remove_file(data.join(places::EXIT));
        let mut laps = Laps::begin("start");
        let slot = self.drivers.graph(&record.driver)?;
        let chain = self.layers.chain(record.chain.as_deref(), &slot)?;
        let mut layer = record.layer_ref()?;
        if !container.note_made() {
            layer = slot.ensure_container(&layer, &chain)?;
        }
        record.note = layer.note.clone().into_vec();
        let active = self.layers.activate(&slot, &layer, &chain, Access::Write)?;
        laps.mark("layer mounted");
        let mounts = self.mount_volumes(&record, id, active.mount())?;
        let network = self.join_network(&record, id)?;
        let own_namespace = matches!(network, Network::New { .. });
        let spec = super::spec_of::build(self, &record, id, active.mount(), own_namespace)?;
        crate::paths::write_whole(&run.join(places::CONFIG), &spec, 0o600, false)?;
        laps.mark("volumes, network, config");
        let (client, notices) = self.spawn()?;
        laps.mark("shim spawned");
        let live = Live::new(client, Lease::Mounted(Arc::clone(&active)), Status::default());
        let booted = self.boot(container, &live, &record, &run, &data, active.mount(), mounts, network);
        if let Err(error) = booted {
            self.abandon(&live);
            return Err(error);
        }
        laps.mark("shim booted");
        // From here on the life is known: its end is listened for before it can come.
        *lock(&container.live) = Some(Arc::clone(&live));
        self.listen(container, Arc::clone(&live), notices);
        let started = self.create_and_start(&live, &record, waiting, &mut laps);
        match started {
            Ok(at) => {
                record.started = Some(at);
                record.error = None;
                record.ended = None;
                self.note_start(container, record)
            }
            Err(error) => {
                lock(&container.live).take();
                self.abandon(&live);
                Err(start_error(&record, error))
            }
        }
    }

    /// Takes the start into the record. It is written to disk only for what outlives a power cut.
    fn note_start(&self, container: &Arc<Container>, started: Record) -> Result<()> {
        let auto_remove = started.auto_remove();
        {
            let mut record = lock(&container.record);
            record.started = started.started;
            record.note = started.note;
            record.error = None;
            // The end may have come before this line.
            if container.live().is_some_and(|live| live.status().exit.is_none()) {
                record.ended = None;
            }
        }
        if auto_remove { Ok(()) } else { self.save(container) }
    }

    fn spawn(&self) -> Result<(ShimClient, std::sync::mpsc::Receiver<longshore_shim::Notice>)> {
        let binary = self.drivers.components().shim()?;
        let (notify, notices) = std::sync::mpsc::channel();
        // A listener that is gone no longer needs to be told.
        let client = ShimClient::spawn(binary, move |notice| drop(notify.send(notice)))?;
        Ok((client, notices))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one call, made in one place, of what a shim is given"
    )]
    fn boot(
        &self,
        container: &Arc<Container>,
        live: &Live,
        record: &Record,
        run: &std::path::Path,
        data: &std::path::Path,
        root: std::os::fd::BorrowedFd<'_>,
        mounts: Vec<OwnedFd>,
        network: Network,
    ) -> Result<()> {
        let open = |path: &std::path::Path| -> Result<OwnedFd> {
            File::open(path)
                .map(OwnedFd::from)
                .map_err(|e| Error::io(format!("open {}", path.display()), &e))
        };
        let library = self.drivers.exec_library(&record.exec_driver)?;
        let mut names = vec![places::ROOT.to_owned()];
        names.extend((0..mounts.len()).map(|n| format!("{}/{n}", places::VOLUMES)));
        // The engine keeps the mount for later consumers: the shim gets a clone of its own.
        let root = longshore_performer::plan::clone_mount(root)?;
        let mut descriptors = vec![open(run)?, open(data)?, root];
        descriptors.extend(mounts);
        descriptors.push(library.file);
        let boot = Boot {
            id: container.id.clone(),
            run_dir: run.to_string_lossy().into_owned(),
            log: Log::JsonFile {
                name: log_name(container.id.as_str()),
            },
            network,
            mounts: names,
            driver: Driver {
                digest: library.digest,
                options: library.options,
            },
            durable: !record.auto_remove(),
        };
        live.call(Request::Boot(Box::new(boot)), descriptors).map(drop)
    }

    fn create_and_start(
        &self,
        live: &Live,
        record: &Record,
        waiting: Vec<AttachRequest>,
        laps: &mut Laps,
    ) -> Result<String> {
        for attach in waiting {
            attach.send(live, record.tty())?;
        }
        let stdio = if record.tty() {
            let size = record.host.console_size.as_deref().unwrap_or_default();
            let at = |n: usize| size.get(n).and_then(|v| u16::try_from(*v).ok()).unwrap_or(0);
            Stdio::Terminal {
                rows: at(0),
                columns: at(1),
            }
        } else {
            Stdio::Pipes {
                stdin: record.open_stdin(),
                once: record.config.stdin_once.unwrap_or(false),
            }
        };
        match live.call(Request::Create { stdio }, Vec::new())? {
            (Reply::Created { pid, .. }, _) => live.update(|s| s.pid = pid),
            (other, _) => return Err(unexpected("create", &other)),
        }
        live.update(|s| s.running = true);
        laps.mark("exec driver: create");
        let started = live.call(Request::Start, Vec::new());
        laps.mark("exec driver: start");
        match started {
            Ok((Reply::Started { at }, _)) => Ok(at),
            Ok((other, _)) => Err(unexpected("start", &other)),
            Err(error) => {
                live.update(|s| s.running = false);
                Err(error)
            }
        }
    }

    /// Listens to a shim on a thread of its own, until the shim is gone.
    pub(super) fn listen(
        self: &Arc<Self>,
        container: &Arc<Container>,
        live: Arc<Live>,
        notices: std::sync::mpsc::Receiver<longshore_shim::Notice>,
    ) {
        let containers = Arc::clone(self);
        let container = Arc::clone(container);
        let name = format!("shim-{}", &container.id.as_str()[..8]);
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let on_event = |event: &Event| {
                container.note_event(event);
                container.touch();
            };
            let life = Arc::clone(&live);
            live.listen(notices, on_event, |exit| {
                if !life.status().given_up {
                    containers.ended(&container, exit);
                }
            });
            container.touch();
            containers.after_end(&container);
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to listen to a shim");
        }
    }

    /// Takes a container's end into its record.
    fn ended(&self, container: &Arc<Container>, exit: Option<(i64, bool, String)>) {
        let lost = exit.is_none();
        let (code, oom, at) = exit.unwrap_or_else(|| (137, false, now()));
        let auto_remove = {
            let mut record = lock(&container.record);
            record.ended = Some(Ended { code, oom, at });
            if lost {
                record.error = Some("its shim was lost".into());
            }
            record.auto_remove()
        };
        container.ends.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        if lost && let Err(error) = self.end_by_force(container.id.as_str()) {
            tracing::warn!(container = %container.id, %error, "what a lost shim left could not be ended yet");
        }
        let kept = if auto_remove {
            self.leave_exit(container)
        } else {
            self.save(container)
        };
        if let Err(error) = kept {
            tracing::warn!(container = %container.id, %error, "an end could not be recorded");
        }
    }

    /// Writes how a container of `--rm` ended into its folder, without a flush: an engine that follows
    /// one that was killed between this end and the removal knows by it that the removal was due.
    fn leave_exit(&self, container: &Arc<Container>) -> Result<()> {
        let folder = self.paths.container(container.id.as_str());
        let data = File::open(&folder).map_err(|e| Error::io(format!("open {}", folder.display()), &e))?;
        let Some(ended) = container.record().ended else {
            return Ok(());
        };
        let exit = longshore_shim::ExitRecord {
            code: u8::try_from(ended.code).unwrap_or(u8::MAX),
            signal: None,
            oom: ended.oom,
            time: ended.at,
        };
        let durability = longshore_shim::files::Durability::None;
        Ok(longshore_shim::files::replace(
            data.as_fd(),
            places::EXIT,
            &exit,
            durability,
        )?)
    }

    /// What follows an end: the life's things are put away, and a container of `--rm` goes.
    fn after_end(self: &Arc<Self>, container: &Arc<Container>) {
        let _busy = container.begin();
        if container.is_running() || container.is_gone() {
            return;
        }
        let done = if container.record().auto_remove() {
            self.remove_begun(container, true)
        } else {
            self.end_life(container)
        };
        if let Err(error) = done {
            tracing::warn!(container = %container.id, %error, "an ended container could not be put away");
        }
    }

    fn mount_volumes(&self, record: &Record, id: &str, root: std::os::fd::BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
        record
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Volume { name, .. } => Some(
                    self.volumes
                        .mount(name, id, mount, root)
                        .map_err(|e| e.context(format_args!("mount volume {name}"))),
                ),
                MountSource::Bind { .. } | MountSource::Tmpfs(_) => None,
            })
            .collect()
    }

    pub(super) fn unmount_volumes(&self, record: &Record, id: &str) {
        for mount in &record.mounts {
            if let MountSource::Volume { name, .. } = &mount.source {
                self.volumes.unmount(name, id);
            }
        }
    }
}

/// The code that Docker's client would exit with.
fn exit_code(error: &Error) -> i64 {
    match error.errno {
        Some(2) => 127,
        Some(13) => 126,
        _ => 128,
    }
}

/// Words an entry that cannot be run as Docker's clients know it: they choose their exit code by
/// these words.
fn start_error(record: &Record, error: Error) -> Error {
    let entry = record.args.first().map_or("", String::as_str);
    let reason = match error.errno {
        Some(2) if entry.contains('/') => "no such file or directory",
        Some(2) => "executable file not found in $PATH",
        Some(13) => "permission denied",
        _ => return error,
    };
    Error {
        message: format!("cannot start: exec: {entry:?}: {reason}"),
        ..error
    }
}
