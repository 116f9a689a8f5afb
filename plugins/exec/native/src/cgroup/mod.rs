//! Cgroups: which hierarchies there are, and a container's place in each.
//!
//! The library makes the cgroups and puts init into them. Freezing, killing and removing are done
//! here: the library's wait without a bound, and forget hierarchies after the first error.

pub(crate) mod seen;
pub(crate) mod update;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_plugin::exec::{CgroupPath, CgroupVersion, Cgroups};
use longshore_plugin::types::Bytes;
use longshore_plugin::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Where cgroups are mounted; the library knows no other place.
const ROOT: &str = "/sys/fs/cgroup";

/// How long a freeze may take; then it is taken back.
const FREEZE_LIMIT: Duration = Duration::from_secs(2);

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Deepest cgroup below a container's that is looked at.
const MAX_DEPTH: u8 = 32;

/// The hierarchies of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) version: CgroupVersion,
    /// Controllers and mount point of each; "" for the unified one of a V2 machine.
    hierarchies: Vec<(Vec<String>, PathBuf)>,
}

/// The fields of one line of `/proc/<pid>/mountinfo` (proc(5)) that matter here.
struct Line {
    point: PathBuf,
    options: String,
    kind: String,
    super_options: String,
}

fn lines(mountinfo: &str) -> impl Iterator<Item = Line> + '_ {
    mountinfo.lines().filter_map(|line| {
        let (own, shared) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(4);
        let mut shared = shared.split(' ');
        Some(Line {
            point: unescape(own.next()?),
            options: own.next()?.to_owned(),
            kind: shared.next()?.to_owned(),
            super_options: shared.nth(1)?.to_owned(),
        })
    })
}

/// Blanks and such are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'\\').then(|| field.get(at + 1..at + 4)).flatten();
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            out.push(code);
            at += 4;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Whether a mount at or below the cgroups' root is read-only.
pub(crate) fn mounted_read_only(mountinfo: &str) -> bool {
    lines(mountinfo).any(|line| {
        line.kind.starts_with("cgroup")
            && line.point.starts_with(ROOT)
            && line.options.split(',').any(|option| option == "ro")
    })
}

/// Names among a hierarchy's options that are no controllers.
const NO_CONTROLLERS: &[&str] = &[
    "rw",
    "ro",
    "none",
    "xattr",
    "clone_children",
    "noprefix",
    "cpuset_v2_mode",
    "favordynmods",
];

impl Layout {
    pub(crate) fn here() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo");
        Ok(Self::parse(
            &text.map_err(|e| Error::io("read /proc/self/mountinfo", &e))?,
        ))
    }

    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut version = CgroupVersion::None;
        let mut hierarchies: Vec<(Vec<String>, PathBuf)> = Vec::new();
        for line in lines(mountinfo).filter(|line| line.point.starts_with(ROOT)) {
            match line.kind.as_str() {
                "cgroup2" if line.point == Path::new(ROOT) => {
                    return Self {
                        version: CgroupVersion::V2,
                        hierarchies: vec![(vec![String::new()], line.point)],
                    };
                }
                "cgroup2" => version = CgroupVersion::Hybrid,
                "cgroup" => {
                    if version == CgroupVersion::None {
                        version = CgroupVersion::V1;
                    }
                    let named = |option: &&str| !NO_CONTROLLERS.contains(option) && !option.contains('=');
                    let controllers: Vec<String> =
                        line.super_options.split(',').filter(named).map(str::to_owned).collect();
                    let new = !hierarchies.iter().any(|(known, _)| *known == controllers);
                    // A hierarchy with a name only (systemd's) is not the library's.
                    if new && !controllers.is_empty() {
                        hierarchies.push((controllers, line.point));
                    }
                }
                _ => {}
            }
        }
        if version == CgroupVersion::Hybrid && hierarchies.is_empty() {
            version = CgroupVersion::None;
        }
        Self { version, hierarchies }
    }

    /// Where a controller is mounted.
    pub(crate) fn mount_of(&self, controller: &str) -> Option<&Path> {
        let found = self
            .hierarchies
            .iter()
            .find(|(names, _)| names.iter().any(|name| name == controller || name.is_empty()));
        found.map(|(_, point)| point.as_path())
    }
}

/// A container's cgroup: one folder in each hierarchy.
#[derive(Debug)]
pub(crate) struct Group {
    layout: Layout,
    path: PathBuf,
}

impl Group {
    /// `path` is absolute and without `..`.
    pub(crate) fn new(layout: Layout, path: &Path) -> Self {
        Self {
            layout,
            path: path.strip_prefix("/").unwrap_or(path).to_owned(),
        }
    }

    fn unified(&self) -> bool {
        self.layout.version == CgroupVersion::V2
    }

    /// The folder of a controller.
    fn folder(&self, controller: &str) -> Option<PathBuf> {
        Some(self.layout.mount_of(controller)?.join(&self.path))
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.layout.hierarchies.iter().map(|(_, point)| point.join(&self.path))
    }

    /// Its folder in each hierarchy, under each name by which that is looked for.
    fn named_folders(&self) -> Vec<(String, PathBuf)> {
        let mut all: Vec<(String, PathBuf)> = Vec::new();
        for (controllers, point) in &self.layout.hierarchies {
            let mounted = point.file_name().map(|name| name.to_string_lossy().into_owned());
            for name in mounted.into_iter().chain(controllers.iter().cloned()) {
                if !all.iter().any(|(known, _)| *known == name) {
                    all.push((name, point.join(&self.path)));
                }
            }
        }
        all
    }

    /// The cgroups that exist, for the caller.
    pub(crate) fn answer(&self) -> Cgroups {
        let mut paths = Vec::new();
        for (controllers, point) in &self.layout.hierarchies {
            let folder = point.join(&self.path);
            let Ok(path) = Bytes::parse(folder.as_os_str().as_bytes()) else {
                continue;
            };
            if folder.is_dir() {
                paths.extend(controllers.iter().map(|controller| CgroupPath {
                    controller: controller.clone(),
                    path: path.clone(),
                }));
            }
        }
        Cgroups {
            version: self.layout.version,
            paths,
        }
    }

    /// All processes in it and below.
    fn processes(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        self.folders().for_each(|folder| collect(&folder, 0, &mut found));
        found.sort_by_key(|pid| pid.as_raw_nonzero());
        found.dedup();
        found
    }

    /// Whether there is a process in it.
    pub(crate) fn used(&self) -> bool {
        !self.processes().is_empty()
    }

    /// Whether its processes are stopped or being stopped.
    pub(crate) fn frozen(&self) -> bool {
        let Some((file, word)) = self.freezer(false) else {
            return false;
        };
        fs::read_to_string(file).is_ok_and(|text| {
            if self.unified() {
                text.trim() == word
            } else {
                text.trim() != "THAWED"
            }
        })
    }

    /// The file to write, and the word for frozen or not.
    fn freezer(&self, thaw: bool) -> Option<(PathBuf, &'static str)> {
        let folder = self.folder("freezer")?;
        Some(match (self.unified(), thaw) {
            (true, false) => (folder.join("cgroup.freeze"), "1"),
            (true, true) => (folder.join("cgroup.freeze"), "0"),
            (false, false) => (folder.join("freezer.state"), "FROZEN"),
            (false, true) => (folder.join("freezer.state"), "THAWED"),
        })
    }

    fn settled(&self, frozen: bool) -> io::Result<bool> {
        let Some(folder) = self.folder("freezer") else {
            return Ok(false);
        };
        if self.unified() {
            let word = if frozen { "frozen 1" } else { "frozen 0" };
            return Ok(fs::read_to_string(folder.join("cgroup.events"))?
                .lines()
                .any(|line| line == word));
        }
        let word = if frozen { "FROZEN" } else { "THAWED" };
        Ok(fs::read_to_string(folder.join("freezer.state"))?.trim() == word)
    }

    /// Stops or resumes all processes; returns when they are. Processes that cannot be stopped in
    /// time run again.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let shown = self.path.display();
        let verb = if frozen { "freeze" } else { "thaw" };
        let attempt = |e| Error::io(format!("{verb} cgroup {shown}"), &e);
        let (file, word) = self
            .freezer(!frozen)
            .ok_or_else(|| Error::unsupported("no cgroup freezer is mounted".to_owned()))?;
        let end = Instant::now() + FREEZE_LIMIT;
        loop {
            // v1 has to be told again: a process that was forked meanwhile may have been missed.
            write(&file, word).map_err(attempt)?;
            if self.settled(frozen).map_err(attempt)? {
                return Ok(());
            }
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        if frozen && let Some((file, word)) = self.freezer(true) {
            drop(write(&file, word));
        }
        Err(Error::deadline(format!(
            "cannot {verb} cgroup {shown}: its processes did not stop in {FREEZE_LIMIT:?}"
        )))
    }

    /// Kills all processes and waits until they are gone.
    fn kill(&self) -> Result<()> {
        let end = Instant::now() + KILL_LIMIT;
        while self.used() {
            if Instant::now() > end {
                let left = self.processes().len();
                return Err(Error::unavailable(format!(
                    "{left} processes in cgroup {} do not end: they wait for a device",
                    self.path.display()
                )));
            }
            self.kill_once();
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn kill_once(&self) {
        if self.unified()
            && self
                .folder("")
                .is_some_and(|folder| write(&folder.join("cgroup.kill"), "1").is_ok())
        {
            return;
        }
        // Frozen processes cannot fork away from the list, and their numbers cannot pass to others.
        if let Some((file, word)) = self.freezer(false) {
            drop(write(&file, word));
        }
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
        // On v1 a frozen process does not even die.
        if let Some((file, word)) = self.freezer(true) {
            drop(write(&file, word));
        }
    }

    /// Kills all processes and removes its folders. What a `create` that was itself killed left behind
    /// may still put a process in, so a folder that is in use is emptied once more.
    pub(crate) fn clear(&self) -> Result<()> {
        /// The kernel may hold a cgroup for a moment after its last process.
        const PAUSES: [u64; 4] = [0, 10, 40, 160];
        let mut last = Ok(());
        for pause in PAUSES {
            std::thread::sleep(Duration::from_millis(pause));
            self.kill()?;
            last = self.remove();
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn remove(&self) -> Result<()> {
        let mut failed = None;
        for folder in self.folders() {
            if let Err(error) = remove_tree(&folder, 0) {
                failed.get_or_insert((folder, error));
            }
        }
        match failed {
            Some((folder, error)) => {
                let number = error.raw_os_error().unwrap_or(0);
                Err(
                    Error::unavailable(format!("cannot remove cgroup {}: {error}", folder.display()))
                        .with_errno(number),
                )
            }
            None => Ok(()),
        }
    }
}

fn collect(folder: &Path, depth: u8, found: &mut Vec<Pid>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
    if depth < MAX_DEPTH {
        below(folder).for_each(|child| collect(&child, depth + 1, found));
    }
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

fn remove_tree(folder: &Path, depth: u8) -> io::Result<()> {
    if depth < MAX_DEPTH {
        for child in below(folder) {
            remove_tree(&child, depth + 1)?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(file)?, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 24 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
36 31 0:29 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn layouts_are_told_apart() {
        let hybrid = Layout::parse(HYBRID);
        assert_eq!(hybrid.version, CgroupVersion::Hybrid);
        assert_eq!(hybrid.hierarchies.len(), 2);
        assert_eq!(
            hybrid.mount_of("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(hybrid.mount_of("pids"), None);
        let v1: String = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Layout::parse(&v1).version, CgroupVersion::V1);
        let v2 = Layout::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(v2.version, CgroupVersion::V2);
        assert_eq!(v2.mount_of("memory"), Some(Path::new(ROOT)));
        assert_eq!(Layout::parse("").version, CgroupVersion::None);
        let empty = "35 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Layout::parse(empty).version, CgroupVersion::None);
    }

    #[test]
    fn escapes_and_read_only_mounts_are_read() {
        assert_eq!(unescape("/a\\040b\\134"), Path::new("/a b\\"));
        assert!(!mounted_read_only(HYBRID));
        assert!(mounted_read_only(&HYBRID.replacen(
            "memory rw,relatime",
            "memory ro,relatime",
            1
        )));
    }
}
