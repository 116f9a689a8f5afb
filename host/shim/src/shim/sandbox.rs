//! What a container lives in: its mounts in the shim's own mount namespace, its network namespace,
//! the folders and the driver that it was given. The kernel takes all of it away with the shim.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use longshore_core::types::IfName;
use longshore_core::{Error, Result};
use longshore_shim::places;
use longshore_shim::protocol::{Boot, Driver, MAX_MOUNTS, Network};
use longshore_sys::mount::{self, Attributes, Depth, Propagation};
use longshore_sys::namespace::{self, Kind};
use longshore_sys::path::{self, OFlags, Resolve};
use longshore_sys::{Errno, net};

/// The sandbox of one container.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The run folder's path.
    pub(crate) path: String,
    /// The run folder, opened in the shim's mount namespace.
    pub(crate) run_dir: OwnedFd,
    /// The container's folder on disk.
    pub(crate) data_dir: OwnedFd,
    /// The network namespace.
    pub(crate) network: Option<OwnedFd>,
    /// The exec driver's library.
    pub(crate) library: OwnedFd,
    /// The exec driver.
    pub(crate) driver: Driver,
    mounts: Vec<String>,
}

impl Sandbox {
    /// Makes it. What was made before a failure goes with the shim.
    pub(crate) fn make(boot: &Boot, mut descriptors: Vec<OwnedFd>) -> Result<Self> {
        check(boot, descriptors.len())?;
        let (Some(library), mut rest) = (descriptors.pop(), descriptors.into_iter()) else {
            return Err(Error::invalid("boot without descriptors"));
        };
        let (Some(given), Some(data_dir)) = (rest.next(), rest.next()) else {
            return Err(Error::invalid("boot without its folders"));
        };
        own_mount_namespace()?;
        let mut sandbox = Self {
            path: boot.run_dir.clone(),
            run_dir: reopen_run_dir(&boot.run_dir, &given)?,
            data_dir,
            network: None,
            library,
            driver: boot.driver.clone(),
            mounts: Vec::new(),
        };
        make_directory(&sandbox.run_dir, places::DRIVER)
            .map_err(|error| Error::io("make the exec driver's folder", &error.into()))?;
        for (place, detached) in boot.mounts.iter().zip(rest) {
            sandbox.attach(place, &detached)?;
        }
        if let Network::New { up } = &boot.network {
            sandbox.network = Some(sandbox.make_network(up)?);
        }
        Ok(sandbox)
    }

    fn attach(&mut self, place: &str, detached: &OwnedFd) -> Result<()> {
        let failed = |error: longshore_sys::Error| {
            Error::io(format!("attach the mount {place} of the container"), &error.into())
        };
        let is_directory = path::stat(detached).map_err(failed)?.is_directory();
        if place != places::ROOT {
            make_directory(&self.run_dir, places::VOLUMES).map_err(failed)?;
        }
        let target = self.target(place, is_directory).map_err(failed)?;
        mount::attach(detached, &target).map_err(failed)?;
        self.mounts.push(place.to_owned());
        Ok(())
    }

    /// Makes the directory or file that a mount covers, and opens it.
    fn target(&self, place: &str, directory: bool) -> longshore_sys::Result<OwnedFd> {
        let (folder, name) = match place.split_once('/') {
            Some((folder, name)) => (self.look(folder)?, name),
            None => (self.look(".")?, place),
        };
        if directory {
            make_directory(&folder, name)?;
        } else {
            match path::make_file(&folder, name.as_bytes(), 0o600) {
                Err(error) if error.is(Errno::EXIST) => {}
                other => drop(other?),
            }
        }
        self.look(place)
    }

    fn look(&self, place: &str) -> longshore_sys::Result<OwnedFd> {
        path::open(
            &self.run_dir,
            place.as_bytes(),
            OFlags::PATH | OFlags::NOFOLLOW,
            0,
            Resolve::BeneathMounts,
        )
    }

    fn make_network(&mut self, up: &[IfName]) -> Result<OwnedFd> {
        let failed = |error: longshore_sys::Error| Error::io("make the container's network namespace", &error.into());
        let before = namespace::open_own(Kind::Network).map_err(failed)?;
        namespace::unshare(&[Kind::Network]).map_err(failed)?;
        let raised = up.iter().try_for_each(|link| {
            net::raise(link.as_str())
                .map_err(|error| Error::io(format!("raise the link {link} in the container"), &error.into()))
        });
        let made = namespace::open_own(Kind::Network);
        namespace::enter(before, Kind::Network).map_err(failed)?;
        raised?;
        let made = made.map_err(failed)?;
        // The OCI configuration names namespaces by path. In this mount namespace there is one.
        let target = self.target(places::NETWORK, false).map_err(failed)?;
        let bound = mount::clone_tree(&made, Depth::One).map_err(failed)?;
        mount::attach(bound, target).map_err(failed)?;
        self.mounts.push(places::NETWORK.to_owned());
        Ok(made)
    }

    /// A clone of the root mount, without what was mounted on it.
    pub(crate) fn clone_root(&self) -> Result<OwnedFd> {
        let failed = |error: longshore_sys::Error| Error::io("clone the container's root mount", &error.into());
        let root = self.look(places::ROOT).map_err(failed)?;
        mount::clone_tree(root, Depth::One).map_err(failed)
    }

    /// Lets go of mounts and namespace, and removes what was made in the run folder.
    pub(crate) fn release(&mut self) {
        // Each step is tried whatever became of the one before: at the shim's end the kernel lets go
        // of all of it, and the engine removes the folder.
        while let Some(place) = self.mounts.pop() {
            let _ = self.look(&place).and_then(mount::detach);
            let (folder, name) = place.split_once('/').unwrap_or((".", &place));
            if let Ok(folder) = self.look(folder) {
                let _ = path::remove_directory(&folder, name.as_bytes())
                    .or_else(|_| path::remove_file(&folder, name.as_bytes()));
            }
        }
        // The driver's own only when it left nothing in it.
        for name in [places::VOLUMES, places::DRIVER] {
            let _ = path::remove_directory(&self.run_dir, name.as_bytes());
        }
        for name in [places::SOCKET, places::IDENTITY, places::STATE] {
            let _ = path::remove_file(&self.run_dir, name.as_bytes());
        }
        self.network = None;
    }
}

fn check(boot: &Boot, descriptors: usize) -> Result<()> {
    if boot.mounts.len() > MAX_MOUNTS {
        return Err(Error::exhausted(format!("a container has at most {MAX_MOUNTS} mounts")));
    }
    if descriptors != boot.mounts.len() + 3 {
        return Err(Error::invalid(format!(
            "boot came with {descriptors} descriptors, not {}",
            boot.mounts.len() + 3
        )));
    }
    let mut places: Vec<_> = boot.mounts.iter().collect();
    places.sort_unstable();
    places.dedup();
    if places.len() != boot.mounts.len() {
        return Err(Error::invalid("boot names a place for two mounts"));
    }
    match places.iter().find(|place| !places::is_mount_place(place)) {
        Some(place) => Err(Error::invalid(format!(
            "boot names {place:?}, which is no place for a mount"
        ))),
        None => Ok(()),
    }
}

fn own_mount_namespace() -> Result<()> {
    let failed = |error: longshore_sys::Error| Error::io("make the shim's own mount namespace", &error.into());
    namespace::unshare(&[Kind::Mount]).map_err(failed)?;
    let root = path::open_directory(Path::new("/")).map_err(failed)?;
    let slave = Attributes {
        propagation: Some(Propagation::Slave),
        ..Attributes::default()
    };
    mount::set_attributes(root, slave, Depth::Recursive).map_err(failed)
}

/// The descriptor that was given leads into the engine's mount namespace, where nothing of ours can
/// be attached; the same folder is opened here by its path.
fn reopen_run_dir(run_dir: &str, given: &OwnedFd) -> Result<OwnedFd> {
    let failed = |error: longshore_sys::Error| Error::io(format!("open the run folder {run_dir}"), &error.into());
    let opened = path::open_directory(Path::new(run_dir)).map_err(failed)?;
    let (ours, theirs) = (
        path::stat(&opened).map_err(failed)?,
        path::stat(given.as_fd()).map_err(failed)?,
    );
    if (ours.device, ours.inode) != (theirs.device, theirs.inode) {
        return Err(Error::invalid(format!(
            "the run folder {run_dir} is not the folder that was given with it"
        )));
    }
    Ok(opened)
}

fn make_directory(folder: &OwnedFd, name: &str) -> longshore_sys::Result<()> {
    match path::make_directory(folder, name.as_bytes(), 0o700) {
        Err(error) if error.is(Errno::EXIST) => Ok(()),
        other => other,
    }
}
