//! Re-validation of a plan, whatever transport it came over. A breach refuses it whole.

use std::os::fd::OwnedFd;
use std::path::Path;

use longshore_core::error::{Error, ErrorKind, Result};
use longshore_core::steps::{Lower, MAX_MOUNT_STEPS, MountPlan, MountStep, Place, Remote, Source};
use longshore_core::types::Handle;
use longshore_sys::path::{self, OFlags, Resolve};

use super::options;
use super::{Access, CheckedPlan, PlanScope, Setting, What};
use crate::error::{During, shown};
use crate::root::{area, check_object};

/// Most lower layers of an overlay (`OVL_MAX_STACK`).
const MOST_LOWERS: usize = 500;

/// File systems that show the kernel itself: never a volume.
const KERNELS: [(u64, &str); 6] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7363_6673, "securityfs"),
    (0x7472_6163, "tracefs"),
    (0xcafe_4a11, "bpf"),
];

/// What the build for mutants calls this file's checks of whose places a plan names.
const DEFENCE: &str = "plan-validation";

/// Checks a plan for an access, and opens everything that it names.
///
/// # Errors
/// `Broken` when the plan breaks the contract: another object, an ancestor to be written, an option,
/// file system or source that is not granted; `Invalid` for what a user wrote; else what opening met.
pub fn check_plan(plan: &MountPlan, scope: &PlanScope<'_>, access: Access) -> Result<CheckedPlan> {
    check_object(scope.object)?;
    let count = plan.steps.len();
    if count == 0 || count > MAX_MOUNT_STEPS {
        return Err(Error::broken(format!(
            "a plan of {count} steps; 1 to {MAX_MOUNT_STEPS} are allowed"
        )));
    }
    let Some(step) = plan.steps.get(usize::from(plan.root)) else {
        return Err(Error::broken(format!(
            "step {} is the plan's result, of {count}",
            plan.root
        )));
    };
    // No source or lower layer of this version names another step, so any other one is used by none.
    if count > 1 {
        return Err(Error::broken(format!(
            "a plan of {count} steps, of which only step {} is used",
            plan.root
        )));
    }
    Check { scope, access, step }.run(plan)
}

struct Check<'a> {
    scope: &'a PlanScope<'a>,
    access: Access,
    step: &'a MountStep,
}

impl Check<'_> {
    fn run(&self, plan: &MountPlan) -> Result<CheckedPlan> {
        let fs = self.step.fs.as_str();
        if options::allowed(fs).is_none() {
            return Err(Error::broken(format!(
                "file system {fs:?} is not one that a driver may mount"
            )));
        }
        if fs != "overlay" && (!self.step.lowers.is_empty() || self.step.upper.is_some() || self.step.work.is_some()) {
            return Err(Error::broken(format!("{fs} has neither lower layers nor an upper one")));
        }
        let settings = options::check(fs, &self.step.options, self.scope)?;
        let what = match (&self.step.source, fs) {
            (Source::None, "overlay") => self.overlay(settings)?,
            (Source::None, "tmpfs") => self.tmpfs(settings),
            (Source::Tree(place), "bind") => self.tree(place, &settings)?,
            (Source::HostPath(host), "bind") => self.host(host.as_bytes(), !settings.is_empty())?,
            (Source::Mount(handle), "bind") => self.made(*handle)?,
            (Source::Remote(remote), "nfs" | "nfs4" | "cifs") => self.remote(remote, settings)?,
            (source, _) => return Err(Error::broken(format!("{fs} cannot be mounted from {}", name(source)))),
        };
        let foreign = matches!(what, What::Remote { .. } | What::Bind { host: true, .. });
        Ok(CheckedPlan {
            what,
            access: self.access,
            read_only: self.step.read_only || self.access == Access::Read,
            restricted: self.scope.volume || foreign,
            subdir: plan.subdir.clone(),
        })
    }

    fn granted(&self, grant: &str) -> Result<()> {
        if self.scope.grants.contains(&grant) || crate::naive(DEFENCE) {
            return Ok(());
        }
        let sentence = format!("the plugin lacks the grant {grant:?}; `grants` in its section of the config gives it");
        Err(Error::denied(sentence))
    }

    /// Opens a folder of an area that may stand in a plan.
    fn open(&self, place: &Place) -> Result<OwnedFd> {
        if !area(self.scope.areas, place)?.source {
            return Err(Error::broken(format!("area {} may not stand in a plan", place.area)));
        }
        self.scope.root.open_place(self.scope.areas, place)
    }

    /// A folder that will be written: the object's own, for an access that writes.
    fn open_own(&self, place: &Place, what: &str) -> Result<OwnedFd> {
        if self.access == Access::Read {
            return Err(Error::broken(format!("{what} in a plan that is only read")));
        }
        if place.object.as_deref() != Some(self.scope.object) && !crate::naive(DEFENCE) {
            return Err(Error::broken(format!(
                "{what} belongs to {:?} and not to {:?}",
                place.object, self.scope.object
            )));
        }
        self.open(place)
    }

    fn may_read(&self, object: &str) -> bool {
        object == self.scope.object || self.scope.ancestors.contains(&object)
    }

    /// A folder that is only read: the object's, an ancestor's, or a shared one.
    fn open_lower(&self, place: &Place) -> Result<OwnedFd> {
        match &place.object {
            Some(object) if !self.may_read(object) && !crate::naive(DEFENCE) => Err(Error::broken(format!(
                "{object:?} is neither {:?} nor its ancestor",
                self.scope.object
            ))),
            _ => self.open(place),
        }
    }

    fn tree(&self, place: &Place, settings: &[Setting]) -> Result<What> {
        if !settings.is_empty() {
            return Err(Error::broken("rbind is only for a path of the host"));
        }
        let writes = !self.step.read_only && self.access != Access::Read;
        let from = match &place.object {
            None => return Err(Error::broken("a shared area is only a lower layer")),
            Some(_) if writes => self.open_own(place, "a writable tree")?,
            Some(_) => self.open_lower(place)?,
        };
        Ok(What::Bind {
            from,
            recursive: false,
            host: false,
        })
    }

    fn overlay(&self, settings: Vec<Setting>) -> Result<What> {
        self.granted("fs:overlay")?;
        let mut lowers = Vec::new();
        for lower in &self.step.lowers {
            self.lower(lower, &mut lowers)?;
            if lowers.len() > MOST_LOWERS {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("an overlay has at most {MOST_LOWERS} lower layers"),
                ));
            }
        }
        let upper = match (&self.step.upper, &self.step.work) {
            (None, None) => None,
            (Some(upper), Some(work)) => Some((
                self.open_own(upper, "an upper layer")?,
                self.open_own(work, "a work folder")?,
            )),
            _ => {
                return Err(Error::broken(
                    "an overlay has an upper layer exactly when it has a work folder",
                ));
            }
        };
        if lowers.len() < 2 - usize::from(upper.is_some()) {
            return Err(Error::broken(
                "an overlay needs two lower layers, or one and an upper one; one folder is a bind",
            ));
        }
        if upper.is_none() && self.access == Access::Write && !self.step.read_only {
            return Err(Error::broken("an overlay without an upper layer cannot be written"));
        }
        if let Some((upper, work)) = &upper {
            one_mount(upper, work)?;
        }
        Ok(What::Overlay {
            lowers,
            upper,
            settings,
        })
    }

    fn lower(&self, lower: &Lower, opened: &mut Vec<OwnedFd>) -> Result<()> {
        match lower {
            Lower::Tree(place) => opened.push(self.open_lower(place)?),
            Lower::Chain {
                area,
                path,
                first,
                count,
            } => {
                let (first, count) = (usize::from(*first), usize::from(*count));
                let Some(chain) = self
                    .scope
                    .ancestors
                    .get(first..first + count)
                    .filter(|chain| !chain.is_empty())
                else {
                    let sentence = format!(
                        "ancestors {first} to {} of {}",
                        first + count,
                        self.scope.ancestors.len()
                    );
                    return Err(Error::broken(sentence));
                };
                if chain.len() > MOST_LOWERS {
                    return Err(Error::new(
                        ErrorKind::Exhausted,
                        format!("an overlay has at most {MOST_LOWERS} lower layers"),
                    ));
                }
                for ancestor in chain {
                    opened.push(self.open(&Place::object(*area, *ancestor, path.clone()))?);
                }
            }
        }
        Ok(())
    }

    fn tmpfs(&self, mut settings: Vec<Setting>) -> What {
        settings.insert(0, Setting::text("source", "tmpfs"));
        What::FileSystem {
            name: "tmpfs".into(),
            settings,
        }
    }

    fn host(&self, host: &[u8], recursive: bool) -> Result<What> {
        if !self.scope.volume {
            return Err(Error::broken("only a volume may be a path of the host"));
        }
        if !self.scope.host_paths.contains(&host) {
            self.granted("host-path")?;
        }
        let from = open_host(host)?;
        refuse_private(&from, host, self.scope.private)?;
        Ok(What::Bind {
            from,
            recursive,
            host: true,
        })
    }

    fn made(&self, handle: Handle) -> Result<What> {
        self.granted("made-mounts")?;
        let Some(passed) = self.scope.mounts.get(usize::from(handle.0)) else {
            return Err(Error::broken(format!(
                "mount {} did not come with the answer",
                handle.0
            )));
        };
        let from = passed.try_clone().map_err(|e| Error::io("clone a passed mount", &e))?;
        refuse_kernels(&from, "a passed mount")?;
        Ok(What::Bind {
            from,
            recursive: false,
            host: false,
        })
    }

    fn remote(&self, remote: &Remote, settings: Vec<Setting>) -> Result<What> {
        if !self.scope.volume {
            return Err(Error::broken("only a volume may be a server's export"));
        }
        let fs = self.step.fs.as_str();
        self.granted(&format!("remote:{}", if fs == "nfs4" { "nfs" } else { fs }))?;
        check_remote(remote)?;
        Ok(What::Remote {
            fs: fs.into(),
            remote: remote.clone(),
            settings,
        })
    }
}

fn name(source: &Source) -> &'static str {
    match source {
        Source::None => "nothing",
        Source::Tree(_) => "a folder",
        Source::HostPath(_) => "a path of the host",
        Source::Remote(_) => "a server",
        Source::Mount(_) => "a passed mount",
    }
}

/// Overlay renames between its work folder and its upper layer, so both must lie on one mount; the
/// kernel's refusal says nothing about why.
fn one_mount(upper: &OwnedFd, work: &OwnedFd) -> Result<()> {
    let mount = |fd| path::mount_number(fd).during("look at an overlay's upper layer");
    let file = |fd| {
        path::stat(fd)
            .during("look at an overlay's upper layer")
            .map(|m| (m.device, m.inode))
    };
    let (upper_file, work_file) = (file(upper)?, file(work)?);
    if upper_file == work_file {
        return Err(Error::broken("an overlay's work folder is its upper layer"));
    }
    if upper_file.0 != work_file.0 || mount(upper)? != mount(work)? {
        return Err(Error::corrupt(
            "an overlay's upper layer and work folder lie on different mounts",
        ));
    }
    Ok(())
}

/// Opens a path of the host for naming it. Links are followed, `/proc`'s magic ones are not.
pub(super) fn open_host(host: &[u8]) -> Result<OwnedFd> {
    let parts = host.split(|b| *b == b'/').filter(|part| !part.is_empty());
    if !host.starts_with(b"/") || host.len() > 4095 || host.contains(&0) || parts.clone().any(|part| part == b"..") {
        return Err(Error::invalid(format!(
            "{} is not an absolute path without `..`",
            shown(host)
        )));
    }
    let root = path::open_directory(Path::new("/")).during("open /")?;
    path::open(root, host, OFlags::PATH, 0, Resolve::Host).map_err(|error| {
        // What a user wrote is not there or not as meant: nothing of ours is damaged.
        Error::io(format!("open host path {}", shown(host)), &error.source)
    })
}

/// Refuses `/`, what shows the kernel, and the engine's own folders with all in them: by what was
/// opened and not by how it was written.
pub(super) fn refuse_private(opened: &OwnedFd, host: &[u8], private: &[&Path]) -> Result<()> {
    if crate::naive(DEFENCE) {
        return Ok(());
    }
    let denied = |what: &str| Error::denied(format!("host path {} {what}", shown(host)));
    let identity = |fd: &OwnedFd| {
        path::stat(fd)
            .during("look at a host path")
            .map(|m| (m.device, m.inode))
    };
    let opened_as = identity(opened)?;
    let root = path::open_directory(Path::new("/")).during("open /")?;
    if identity(&root)? == opened_as {
        return Err(denied("is the whole file system"));
    }
    refuse_kernels(opened, &format!("host path {}", shown(host)))?;
    let real = std::fs::read_link(path::through_proc(opened)).map_err(|e| Error::io("resolve a host path", &e))?;
    for folder in private {
        let real_folder = std::fs::canonicalize(folder).unwrap_or_else(|_| (*folder).to_owned());
        let same = path::open_directory(folder).ok().map(|fd| identity(&fd)).transpose()? == Some(opened_as);
        if same || real.starts_with(&real_folder) {
            return Err(denied("is the engine's own"));
        }
    }
    Ok(())
}

fn refuse_kernels(opened: &OwnedFd, what: &str) -> Result<()> {
    let magic = path::file_system(opened).during("look at a file system")?.magic;
    match KERNELS.iter().find(|(number, _)| *number == magic) {
        Some((_, fs)) => Err(Error::denied(format!("{what} lies on {fs}, which shows the kernel"))),
        None => Ok(()),
    }
}

fn check_remote(remote: &Remote) -> Result<()> {
    let server = remote.server.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if !(1..=253).contains(&server.len()) || server.starts_with('-') || !server.bytes().all(plain) {
        return Err(Error::invalid(format!("{server:?} is not a host name or address")));
    }
    let path = remote.path.as_bytes();
    let fine = path.starts_with(b"/")
        && path.len() <= 255 - server.len().min(200)
        && !path.iter().any(u8::is_ascii_control)
        && !path.split(|b| *b == b'/').any(|part| part == b"..");
    if fine {
        Ok(())
    } else {
        Err(Error::invalid(format!("{} is not an export's path", shown(path))))
    }
}
