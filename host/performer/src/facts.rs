//! What drivers judge: the machine and the root's file system, found out once by the host.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use longshore_core::driver::Facts;
use longshore_core::error::Result;
use longshore_core::types::Pair;
use longshore_sys::mount::Context;
use longshore_sys::path::{self, OFlags, Resolve};
use longshore_sys::{data, xattr};

use crate::error::During;
use crate::remove;
use crate::root::{Root, folder};

/// Magic numbers of `statfs(2)` and the names that go with them.
const NAMES: [(u64, &str); 17] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlay"),
    (0xf2f5_2010, "f2fs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0xe0f5_e1e2, "erofs"),
    (0x7371_7368, "squashfs"),
    (0x6165_676c, "pstore"),
    (0x6173_6673, "aufs"),
    (0xca45_1a4e, "bcachefs"),
    (0x00c3_6400, "ceph"),
];

/// A folder of ours in the root for the probes' files; it goes with all in it when it is dropped.
struct Bench {
    parent: OwnedFd,
    name: Vec<u8>,
    fd: OwnedFd,
}

impl Bench {
    fn new(root: &Root) -> Result<Self> {
        let parent = root.own(b"probe")?;
        let name = remove::fresh_name()?;
        let fd = folder(parent.as_fd(), &name)?;
        Ok(Self { parent, name, fd })
    }

    fn folder(&self, name: &[u8]) -> Result<OwnedFd> {
        folder(self.fd.as_fd(), name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = remove::whatever(self.parent.as_fd(), &self.name) {
            tracing::warn!(%error, "a probe left its folder behind");
        }
    }
}

/// Finds out all facts about this machine and a root. Files made for it are gone afterwards.
///
/// # Errors
/// When the root cannot be looked at; what cannot be found out is told as not known.
pub fn gather(root: &Root) -> Result<Facts> {
    let filesystems = file_systems();
    let bench = match Bench::new(root) {
        Ok(bench) => Some(bench),
        Err(error) => {
            tracing::debug!(%error, root = %root.path().display(), "nothing can be tried in this root");
            None
        }
    };
    let bench = bench.as_ref();
    let has_overlay = filesystems.iter().any(|name| name == "overlay");
    Ok(Facts {
        filesystem: name_of(root)?,
        d_type: bench.and_then(d_type),
        trusted_xattrs: bench.map(|bench| takes(bench.fd.as_fd(), b"trusted.longshore.probe")),
        user_xattrs: bench.map(|bench| takes(bench.fd.as_fd(), b"user.longshore.probe")),
        reflink: bench.and_then(reflink),
        overlay: if has_overlay { overlay_parameters() } else { Vec::new() },
        overlay_mounts: bench.filter(|_| has_overlay).map(|bench| overlay_mounts(bench).is_ok()),
        filesystems,
        kernel: path::kernel_release(),
        network: None,
    })
}

/// The file systems of this kernel.
fn file_systems() -> Vec<String> {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().last())
        .map(str::to_owned)
        .collect()
}

/// The name of a root's file system: by its number, else as the table of mounts has it.
fn name_of(root: &Root) -> Result<String> {
    let magic = path::file_system(root)
        .during(format_args!("look at {}", root.path().display()))?
        .magic;
    if let Some((_, name)) = NAMES.iter().find(|(number, _)| *number == magic) {
        return Ok((*name).to_owned());
    }
    let number = path::mount_number(root)
        .map(|number| number.to_string())
        .unwrap_or_default();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = table.lines().find(|line| line.split(' ').next() == Some(&number));
    let name = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').next());
    Ok(name.map_or_else(|| format!("{magic:#x}"), str::to_owned))
}

/// Parameters of the kernel's overlay, sorted by name.
fn overlay_parameters() -> Vec<Pair> {
    let mut all: Vec<Pair> = fs::read_dir("/sys/module/overlay/parameters")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some(Pair {
                key: entry.file_name().into_string().ok()?,
                value: fs::read_to_string(entry.path()).ok()?.trim_end().to_owned(),
            })
        })
        .collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// Whether a listing tells that a folder is one.
fn d_type(bench: &Bench) -> Option<bool> {
    let inner = bench.folder(b"listed").ok()?;
    drop(inner);
    let entries = path::list(&bench.fd).ok()?;
    let entry = entries.iter().find(|entry| entry.name == b"listed")?;
    Some(entry.kind == Some(path::Kind::Directory))
}

fn takes(fd: BorrowedFd<'_>, name: &[u8]) -> bool {
    xattr::set(fd, name, b"y")
        .and_then(|()| xattr::remove(fd, name))
        .is_ok()
}

/// Whether two files can share a block.
fn reflink(bench: &Bench) -> Option<bool> {
    let from = path::make_file(&bench.fd, b"from", 0o600).ok()?;
    let mut file = fs::File::from(from);
    std::io::Write::write_all(&mut file, &[7; 4096]).ok()?;
    let to = path::make_file(&bench.fd, b"to", 0o600).ok()?;
    Some(data::share(&file, &to).is_ok())
}

/// Mounts a small overlay with all its layers in the root, without attaching it, and lets it go.
fn overlay_mounts(bench: &Bench) -> Result<()> {
    let context = Context::open("overlay").during("begin a mount of overlay")?;
    for (key, name) in [
        ("lowerdir+", b"lower".as_slice()),
        ("upperdir", b"upper"),
        ("workdir", b"work"),
    ] {
        let made = bench.folder(name)?;
        let set = context.set_descriptor(key, &made);
        set.or_else(|_| context.set_text(key, path::through_proc(&made).as_bytes()))
            .during("give overlay a layer")?;
    }
    // Letting go of an overlay flushes the whole file system of its upper layer, unless told not to.
    // Kernels that do not know the word take the flush.
    let _ = context.set_flag("volatile");
    let mounted = context.mount().during("mount an overlay")?;
    // Overlay falls back to read-only, without an error, when it cannot use its work folder.
    path::make_directory(&mounted, b"x", 0o700).during("write to an overlay")?;
    path::open(&mounted, b"x", OFlags::PATH, 0, Resolve::BeneathMounts)
        .during("read from an overlay")
        .map(drop)
}
