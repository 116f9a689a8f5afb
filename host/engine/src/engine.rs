//! The engine as its users see it: asynchronous, every blocking step on a bounded pool.

#[cfg(test)]
mod defences;

use std::io::{Read, Write};
use std::sync::Arc;

use bollard_stubs::models;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::container::{AttachRequest, ExecSession, ListRequest, LogRequest};
use crate::container::{Containers, CreatedContainer};
use crate::doctor::Finding;
use crate::drivers::{Choice, DriverView, Drivers};
use crate::error::{Error, Result};
use crate::explain::Explained;
use crate::image::{Images, Loaded};
use crate::layer::Layers;
use crate::paths::{Lock, Paths};
use crate::plugins::Plugins;
use crate::store::Store;
use crate::usage::{ContainerSize, DiskUsage};
use crate::volume::Volumes;

/// Most blocking operations at once. Followers of logs have their own limit.
const OPERATIONS: usize = 64;
/// Most followers of logs at once.
const FOLLOWERS: usize = 256;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) paths: Paths,
    pub(crate) _lock: Lock,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) plugins: Plugins,
    pub(crate) layers: Arc<Layers>,
    pub(crate) images: Arc<Images>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) containers: Arc<Containers>,
    pub(crate) store: Arc<Store>,
    /// This boot's ID.
    pub(crate) boot: String,
    /// What start-up found damaged and put aside.
    pub(crate) damaged: std::sync::Mutex<Option<String>>,
}

impl Inner {
    /// Notes that this stop is an orderly one.
    fn close(&self) {
        let closed = self
            .layers
            .note_checked()
            .and_then(|()| self.paths.leave_clean_mark(&self.boot));
        if let Err(error) = closed {
            tracing::warn!(%error, "the next start will check every layer before its first use");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
        self.drivers.end();
    }
}

/// A data root's engine. Clones are the same engine; containers live on when the last one is
/// dropped.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
    operations: Arc<Semaphore>,
    followers: Arc<Semaphore>,
}

impl Engine {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
            operations: Arc::new(Semaphore::new(OPERATIONS)),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    async fn on<T: Send + 'static>(
        &self,
        pool: &Arc<Semaphore>,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let broken = |what: String| Error::new(longshore_core::ErrorKind::Broken, what);
        let permit = Arc::clone(pool)
            .acquire_owned()
            .await
            .map_err(|_| broken("the engine is closing".into()))?;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner)
        })
        .await
        .map_err(|e| broken(format!("an operation ended early: {e}")))?
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.on(&self.operations, work).await
    }

    /// Notes that the engine ends in good order, so that the next one need not compare layers with
    /// their seals. Dropping the last clone does the same; this is for who cannot tell when that is.
    pub async fn close(&self) -> Result<()> {
        self.run(|inner| {
            inner.close();
            inner.drivers.end();
            Ok(())
        })
        .await
    }

    /// What was measured of all drivers, in the text form of Prometheus.
    pub async fn metrics(&self) -> Result<String> {
        self.run(|inner| Ok(inner.drivers.metrics())).await
    }

    /// Where everything lies.
    pub fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        self.inner.containers.all().iter().filter(|c| c.is_running()).count()
    }

    /// How many containers there are.
    pub fn count(&self) -> usize {
        self.inner.containers.all().len()
    }

    /// The config that is in force.
    pub fn config(&self) -> Config {
        self.inner.drivers.config()
    }

    /// Puts another config in force, whole or not at all.
    ///
    /// # Errors
    /// `Invalid` when it names a driver that is not there or cannot run here.
    pub async fn reload(&self, config: Config) -> Result<()> {
        self.run(move |inner| inner.drivers.reload(config)).await
    }

    /// Every driver that was found, usable or not.
    pub async fn drivers(&self) -> Result<Vec<DriverView>> {
        self.run(|inner| inner.drivers.views()).await
    }

    /// What is well and what is not, with remedies.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        self.run(crate::doctor::examine).await
    }

    /// What images, containers and volumes take on disk.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.run(crate::usage::disk).await
    }

    /// Removes what no record speaks of any more because an earlier database was lost: folders of
    /// containers that do not run, and trees of layers. What runs stays. Answers what was removed.
    ///
    /// # Errors
    /// `InUse` while a container runs that is in no record: nobody knows which layers it needs.
    pub async fn collect(&self) -> Result<Vec<String>> {
        self.run(crate::collect::collect).await
    }

    /// What a run would do, without doing it.
    pub async fn explain(&self, body: models::ContainerCreateBody, choice: Choice) -> Result<Vec<Explained>> {
        self.run(move |inner| crate::explain::explain(inner, body, &choice))
            .await
    }
}

/// Images.
impl Engine {
    /// Loads images from an archive of `docker save`, or of an OCI layout, compressed or not.
    pub async fn load(&self, archive: impl Read + Send + 'static) -> Result<Vec<Loaded>> {
        self.load_with(archive, Choice::default()).await
    }

    /// The same into a chosen graph driver.
    pub async fn load_with(&self, mut archive: impl Read + Send + 'static, choice: Choice) -> Result<Vec<Loaded>> {
        self.run(move |inner| {
            let slot = inner.drivers.graph(&inner.drivers.chosen("graph", &choice)?)?;
            inner.images.load(&mut archive, &slot)
        })
        .await
    }

    /// Makes an image of one layer from a root file system's archive. Answers its ID.
    pub async fn import(
        &self,
        mut archive: impl Read + Send + 'static,
        name: Option<String>,
        changes: Vec<String>,
        message: String,
        choice: Choice,
    ) -> Result<String> {
        self.run(move |inner| {
            let slot = inner.drivers.graph(&inner.drivers.chosen("graph", &choice)?)?;
            inner
                .images
                .import(&mut archive, name.as_deref(), &changes, &message, &slot)
        })
        .await
    }

    /// Whether every one of these images is here; to be asked before [`save`](Self::save) begins.
    pub async fn check_images(&self, names: Vec<String>) -> Result<()> {
        self.run(move |inner| names.iter().try_for_each(|name| inner.images.resolve(name).map(drop)))
            .await
    }

    /// Writes images as an archive that `docker load` and readers of OCI layouts take.
    pub async fn save(&self, names: Vec<String>, mut to: impl Write + Send + 'static) -> Result<()> {
        self.run(move |inner| inner.images.save(&names, &mut to)).await
    }

    /// Lists images.
    pub async fn images(&self) -> Result<Vec<models::ImageSummary>> {
        self.run(|inner| inner.images.list()).await
    }

    /// Shows an image.
    pub async fn inspect_image(&self, name: &str) -> Result<models::ImageInspect> {
        let name = name.to_owned();
        self.run(move |inner| {
            let driver = inner.drivers.chosen("graph", &Choice::default())?;
            inner.images.inspect(&name, &driver)
        })
        .await
    }

    /// Shows an image's history, newest first, as Docker's JSON objects.
    pub async fn history(&self, name: &str) -> Result<Vec<serde_json::Value>> {
        let name = name.to_owned();
        self.run(move |inner| inner.images.history(&name)).await
    }

    /// Gives an image another name.
    pub async fn tag(&self, image: &str, name: &str) -> Result<()> {
        let (image, name) = (image.to_owned(), name.to_owned());
        self.run(move |inner| inner.images.tag(&image, &name)).await
    }

    /// Removes a name, and the image with its last name.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<models::ImageDeleteResponseItem>> {
        let name = name.to_owned();
        self.run(move |inner| {
            inner
                .images
                .remove(&name, force, &|image| inner.containers.user_of_image(image))
        })
        .await
    }
}

/// Containers.
impl Engine {
    /// Makes a container.
    pub async fn create(
        &self,
        name: Option<&str>,
        body: models::ContainerCreateBody,
        choice: Choice,
    ) -> Result<CreatedContainer> {
        let name = name.map(str::to_owned);
        self.run(move |inner| inner.containers.create(name.as_deref(), body, &choice))
            .await
    }

    /// Starts a container. Answers false when it ran already.
    pub async fn start(&self, word: &str) -> Result<bool> {
        let word = word.to_owned();
        self.run(move |inner| inner.containers.start(&inner.containers.resolve(&word)?))
            .await
    }

    /// Stops a container. Answers false when it did not run. Without a timeout (in seconds) the
    /// container's own is taken, else ten; a negative one waits for ever.
    pub async fn stop(&self, word: &str, signal: Option<String>, timeout: Option<i64>) -> Result<bool> {
        let word = word.to_owned();
        self.run(move |inner| {
            let container = inner.containers.resolve(&word)?;
            inner.containers.stop(&container, signal.as_deref(), timeout)
        })
        .await
    }

    /// Stops a container if it runs, and starts it.
    pub async fn restart(&self, word: &str, signal: Option<String>, timeout: Option<i64>) -> Result<()> {
        let word = word.to_owned();
        self.run(move |inner| {
            let container = inner.containers.resolve(&word)?;
            inner.containers.stop(&container, signal.as_deref(), timeout)?;
            inner.containers.start(&container).map(drop)
        })
        .await
    }

    /// Sends a signal to a container's init; empty is SIGKILL.
    pub async fn kill(&self, word: &str, signal: &str) -> Result<()> {
        let (word, signal) = (word.to_owned(), signal.to_owned());
        self.run(move |inner| inner.containers.kill(&inner.containers.resolve(&word)?, &signal))
            .await
    }

    /// Freezes or thaws a container's processes.
    pub async fn freeze(&self, word: &str, frozen: bool) -> Result<()> {
        let word = word.to_owned();
        self.run(move |inner| inner.containers.freeze(&inner.containers.resolve(&word)?, frozen))
            .await
    }

    /// Waits until a container does not run. Answers its exit code.
    pub async fn wait(&self, word: &str) -> Result<i64> {
        self.waiter(word)?.stopped().await
    }

    /// Begins to wait for a container: what is waited for is fixed by this call, so that an end that
    /// comes before [`Waiter`](crate::container::Waiter) is awaited is not missed.
    pub fn waiter(&self, word: &str) -> Result<crate::container::Waiter> {
        crate::container::Waiter::begin(&self.inner.containers, word)
    }

    /// Removes a container.
    pub async fn remove(&self, word: &str, force: bool, volumes: bool) -> Result<()> {
        let word = word.to_owned();
        self.run(move |inner| match inner.containers.resolve(&word) {
            // One that is in no record is removed as far as it is known.
            Err(error) if force && error.kind == longshore_core::ErrorKind::NotFound => {
                if inner.containers.remove_stranger(&word) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            found => inner.containers.remove(&found?, force, volumes),
        })
        .await
    }

    /// Lists containers, newest first.
    pub async fn list(&self, request: ListRequest) -> Result<Vec<models::ContainerSummary>> {
        self.run(move |inner| inner.containers.list(&request)).await
    }

    /// Shows a container.
    pub async fn inspect(&self, word: &str) -> Result<models::ContainerInspectResponse> {
        let word = word.to_owned();
        self.run(move |inner| Ok(inner.containers.inspect(&inner.containers.resolve(&word)?)))
            .await
    }

    /// Whether a container has a terminal; with it the check that a client may attach now.
    pub async fn attach_check(&self, word: &str) -> Result<bool> {
        let word = word.to_owned();
        self.run(move |inner| {
            let container = inner.containers.resolve(&word)?;
            inner.containers.check_attach(&container)?;
            Ok(container.record().tty())
        })
        .await
    }

    /// Lists containers with what each one takes on disk, which is counted file by file where its
    /// driver does not keep count.
    pub async fn list_with_sizes(&self, request: ListRequest) -> Result<Vec<models::ContainerSummary>> {
        self.run(move |inner| {
            let mut containers = inner.containers.list(&request)?;
            crate::usage::fill(inner, &mut containers);
            Ok(containers)
        })
        .await
    }

    /// What a container takes on disk.
    pub async fn size(&self, word: &str) -> Result<ContainerSize> {
        let word = word.to_owned();
        self.run(move |inner| crate::usage::container(inner, &inner.containers.resolve(&word)?.record()))
            .await
    }

    /// Hands a client's connection to a container; the container's shim serves it from then on.
    pub async fn attach(&self, word: &str, request: AttachRequest) -> Result<()> {
        let word = word.to_owned();
        self.run(move |inner| inner.containers.attach(&inner.containers.resolve(&word)?, request))
            .await
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, word: &str, rows: u16, columns: u16) -> Result<()> {
        let word = word.to_owned();
        self.run(move |inner| {
            inner
                .containers
                .resize(&inner.containers.resolve(&word)?, rows, columns)
        })
        .await
    }

    /// Writes a container's log, framed unless it has a terminal. Ends with the container when it
    /// follows, and when the reader is gone.
    pub async fn logs(&self, word: &str, request: LogRequest, mut to: impl Write + Send + 'static) -> Result<()> {
        let word = word.to_owned();
        let pool = if request.follow {
            &self.followers
        } else {
            &self.operations
        };
        self.on(pool, move |inner| {
            inner
                .containers
                .logs(&inner.containers.resolve(&word)?, &request, &mut to)
        })
        .await
    }

    /// Notes one more process for a running container. Answers the session's ID.
    pub async fn exec_create(&self, word: &str, config: models::ExecConfig) -> Result<String> {
        let word = word.to_owned();
        self.run(move |inner| inner.containers.exec_create(&inner.containers.resolve(&word)?, config))
            .await
    }

    /// Starts a session. With a client its connection goes to the shim.
    pub async fn exec_start(
        &self,
        id: &str,
        tty: bool,
        client: Option<AttachRequest>,
        size: Option<(u16, u16)>,
    ) -> Result<()> {
        let id = id.to_owned();
        self.run(move |inner| inner.containers.exec_start(&id, tty, client, size))
            .await
    }

    /// Shows a session.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecSession> {
        let id = id.to_owned();
        self.run(move |inner| inner.containers.exec_look(&id)).await
    }

    /// Sets the size of a session's terminal.
    pub async fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let id = id.to_owned();
        self.run(move |inner| inner.containers.exec_resize(&id, rows, columns))
            .await
    }
}

/// Volumes.
impl Engine {
    /// Makes a volume, or takes the equal one that is there.
    pub async fn create_volume(&self, request: models::VolumeCreateRequest) -> Result<models::Volume> {
        self.run(move |inner| inner.volumes.create(request)).await
    }

    /// Lists volumes.
    pub async fn volumes(&self) -> Result<Vec<models::Volume>> {
        self.run(|inner| Ok(inner.volumes.list()?.into_iter().map(|(volume, _)| volume).collect()))
            .await
    }

    /// Shows a volume.
    pub async fn inspect_volume(&self, name: &str) -> Result<models::Volume> {
        let name = name.to_owned();
        self.run(move |inner| inner.volumes.inspect(&name)).await
    }

    /// Removes a volume that no container uses.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        self.run(move |inner| remove_volume(inner, &name, force)).await
    }

    /// Removes volumes that no container uses: the anonymous ones, or all. Answers their names.
    pub async fn prune_volumes(&self, all: bool) -> Result<Vec<String>> {
        self.run(move |inner| {
            let mut removed = Vec::new();
            for (volume, anonymous) in inner.volumes.list()? {
                if (all || anonymous) && remove_volume(inner, &volume.name, false).is_ok() {
                    removed.push(volume.name);
                }
            }
            Ok(removed)
        })
        .await
    }
}

fn remove_volume(inner: &Inner, name: &str, force: bool) -> Result<()> {
    inner
        .volumes
        .remove(name, force, &|| inner.containers.users_of_volume(name, ""))
}
