//! The host's part of driver calls, as an engine does it: answers checked and performed, mounts built
//! and read by descriptor.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use longshore_core::driver::{Facts, OptionValue};
use longshore_loader::Loaded;
use longshore_performer::root::Root;

use crate::{CaseResult, Failure, check};

/// A fresh root for one case; removed with the value.
#[derive(Debug)]
pub struct Place {
    _folder: tempfile::TempDir,
    /// What the root lies on, when that is mounted nowhere else.
    _mount: Option<OwnedFd>,
    /// The root.
    pub root: Root,
    /// Its path.
    pub path: PathBuf,
    /// Something beside the root that no driver may touch.
    sentinel: PathBuf,
}

impl Place {
    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: Option<&Path>) -> Result<Self, Failure> {
        let folder = match folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let path = folder.path().join("root");
        Self::at(folder, path, None)
    }

    /// As [`Self::new`], on a file system in memory that holds so many bytes and files. It is mounted
    /// nowhere and goes with the value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_memory(bytes: u64, files: u64) -> Result<Self, Failure> {
        let made = || -> longshore_sys::Result<OwnedFd> {
            let memory = longshore_sys::mount::Context::open("tmpfs")?;
            memory.set_text("size", bytes.to_string().as_bytes())?;
            memory.set_text("nr_inodes", files.to_string().as_bytes())?;
            memory.mount()
        };
        let mount = made().map_err(|error| Failure::Differs(format!("cannot mount a tmpfs: {error}")))?;
        let path = inside(&mount, "root");
        Self::at(tempfile::tempdir()?, path, Some(mount))
    }

    fn at(folder: tempfile::TempDir, path: PathBuf, mount: Option<OwnedFd>) -> Result<Self, Failure> {
        fs::create_dir(&path)?;
        let sentinel = folder.path().join("sentinel");
        fs::write(&sentinel, "untouched")?;
        Ok(Self {
            root: Root::open(&path)?,
            _folder: folder,
            _mount: mount,
            path,
            sentinel,
        })
    }

    /// Fails when something beside the root was touched.
    pub fn check_sentinel(&self) -> CaseResult {
        check(fs::read(&self.sentinel)? == b"untouched", || {
            "something beside the root was changed".into()
        })
    }

    /// A descriptor of the root for `open`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn descriptor(&self) -> Result<OwnedFd, Failure> {
        Ok(fs::File::open(&self.path)?.into())
    }

    /// The facts that a driver judges.
    ///
    /// # Errors
    /// When they cannot be gathered.
    pub fn facts(&self) -> Result<Facts, Failure> {
        Ok(longshore_performer::facts::gather(&self.root)?)
    }
}

/// Whether the driver can work on this machine; else why not.
pub(crate) fn unusable(loaded: &Loaded, place: &Place, options: &[OptionValue]) -> Result<Option<String>, Failure> {
    let probed = loaded.probe(Some(place.descriptor()?), &place.path, options.to_vec(), place.facts()?)?;
    Ok((!probed.usable).then(|| probed.reasons.first().map(|r| r.what.clone()).unwrap_or_default()))
}

/// The grants that the driver's manifest names; a driver that is linked in has all that it may need.
pub(crate) fn grants(loaded: &Loaded) -> Vec<String> {
    match loaded.manifest() {
        Some(manifest) => manifest.grants.clone(),
        None => ["fs:overlay", "fs:tmpfs", "host-path"].map(str::to_owned).to_vec(),
    }
}

/// A path inside a mount that is attached nowhere.
pub(crate) fn inside(mount: &OwnedFd, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())).join(path)
}

/// What the performer keeps in a driver's root for itself.
const OWN: &str = ".longshore";

/// The whole tree at a folder as lines of type, mode and content, sorted.
pub(crate) fn tree(top: &Path) -> Result<Vec<String>, Failure> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    fn visit(top: &Path, below: &Path, lines: &mut Vec<String>) -> std::io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(top.join(below))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            if path == Path::new(OWN) {
                continue;
            }
            let metadata = fs::symlink_metadata(top.join(&path))?;
            let kind = metadata.file_type();
            let what = if kind.is_dir() {
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", fs::read_link(top.join(&path))?.display())
            } else if kind.is_file() {
                format!("file {:?}", String::from_utf8_lossy(&fs::read(top.join(&path))?))
            } else if kind.is_char_device() {
                format!("device {}", metadata.rdev())
            } else {
                "other".to_owned()
            };
            let mode = metadata.mode() & 0o7777;
            lines.push(format!(
                "{} {mode:o} {}:{} {what}",
                path.display(),
                metadata.uid(),
                metadata.gid()
            ));
            if kind.is_dir() {
                visit(top, &path, lines)?;
            }
        }
        Ok(())
    }
    let mut lines = Vec::new();
    visit(top, Path::new(""), &mut lines)?;
    Ok(lines)
}

/// What must be the same before and after a case: mounts of this process, open descriptors.
#[derive(Debug)]
pub(crate) struct Traces {
    mounts: BTreeSet<String>,
    descriptors: usize,
}

impl Traces {
    pub(crate) fn now() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            mounts: mounts.lines().map(str::to_owned).collect(),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }

    /// Fails when something was left. The bench of the case, which held descriptors when the count
    /// began, is gone by now: fewer are fine.
    pub(crate) fn compare(self) -> CaseResult {
        let mut now = Self::now();
        // Another program's mounts come and go; what the case left stays.
        for _ in 0..40 {
            if now.mounts.is_subset(&self.mounts) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(250));
            now = Self::now();
        }
        check(now.mounts.difference(&self.mounts).next().is_none(), || {
            "a mount was left behind".into()
        })?;
        check(now.descriptors <= self.descriptors, || {
            format!("{} descriptors were left open", now.descriptors - self.descriptors)
        })
    }
}

/// What a driver says of itself: the same at each call, and what its manifest says.
pub(crate) fn check_description(loaded: &Loaded, kind: &str) -> CaseResult {
    let described = loaded.description();
    check(!described.name.is_empty() && described.kind == kind, || {
        "it has no name or another kind".into()
    })?;
    check(described.areas.len() <= 16, || "more than 16 areas".into())?;
    check(described.concurrency > 0, || "it takes no calls".into())?;
    check(loaded.describe()? == *described, || {
        "it describes itself otherwise at the second call".into()
    })?;
    match loaded.manifest() {
        Some(manifest) => check(
            manifest.name == described.name && manifest.version == described.version && manifest.kind() == kind,
            || "the manifest says otherwise".into(),
        ),
        None => Ok(()),
    }
}

/// The driver's judgement of a machine that has nothing.
pub(crate) fn probe_on_a_bare_machine(
    loaded: &Loaded,
    place: &Place,
    options: &[OptionValue],
) -> Result<longshore_core::driver::Probed, Failure> {
    let bare = Facts {
        filesystem: "none".into(),
        d_type: Some(false),
        trusted_xattrs: Some(false),
        user_xattrs: Some(false),
        reflink: Some(false),
        filesystems: vec![],
        overlay: vec![],
        overlay_mounts: Some(false),
        kernel: "2.6.0".into(),
        network: None,
    };
    Ok(loaded.probe(Some(place.descriptor()?), &place.path, options.to_vec(), bare)?)
}

/// Every reason has a remedy, and there is one.
pub(crate) fn check_remedies(probed: &longshore_core::driver::Probed) -> CaseResult {
    check(!probed.reasons.is_empty(), || "no reason is told".into())?;
    probed.reasons.iter().try_for_each(|reason| {
        check(!reason.what.is_empty() && !reason.remedy.is_empty(), || {
            format!("{:?} has no remedy", reason.what)
        })
    })
}
