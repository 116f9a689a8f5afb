//! The mark that a sim leaves in its root: that the root is its own, and which one it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use longshore_core::types::Bytes;
use longshore_core::{Error, Result};

/// The mark's name; no object of the host's can have it.
const MARK: &str = ".sim";
/// What the host keeps in each root.
const HOSTS: &str = ".longshore";

static LAST: AtomicU64 = AtomicU64::new(0);

/// A root's path as the host told it.
pub(crate) fn path(told: &Bytes) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(told.as_bytes()))
}

/// The number of a root, by which all instances over it find what they share. An empty root becomes
/// the sim's; `Corrupt` for one that holds something else's things, which stay as they are.
pub(crate) fn number(root: &Path, takes_any: bool) -> Result<u64> {
    // Several instances may be the first over one root at once; one of them marks it.
    static MARKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _marking = MARKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mark = root.join(MARK);
    match std::fs::read_to_string(&mark) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::corrupt(format!("root {} has the mark of another sim", root.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let failed = |what: &str, e: &std::io::Error| Error::io(format!("{what} root {}", root.display()), e);
            let entries = std::fs::read_dir(root).map_err(|e| failed("list", &e))?;
            let foreign = entries
                .filter_map(|entry| entry.ok())
                .any(|entry| entry.file_name() != HOSTS);
            if foreign && !takes_any {
                return Err(Error::corrupt(format!(
                    "root {} holds another driver's things: give this one a root of its own",
                    root.display()
                )));
            }
            let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            std::fs::write(&mark, number.to_string()).map_err(|e| failed("mark", &e))?;
            Ok(number)
        }
        Err(error) => Err(Error::io(format!("read the mark of root {}", root.display()), &error)),
    }
}

/// What a folder and all in it take on disk, in bytes, and how many things that are.
pub(crate) fn usage(folder: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let failed = |e: &std::io::Error| Error::io(format!("count {}", folder.display()), e);
    let mut waiting = vec![folder.to_owned()];
    let (mut bytes, mut things) = (0, 0);
    let mut seen = std::collections::HashSet::new();
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path).map_err(|e| failed(&e))?;
        if seen.insert(metadata.ino()) {
            bytes += metadata.blocks() * 512;
            things += 1;
        }
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(|e| failed(&e))? {
                waiting.push(entry.map_err(|e| failed(&e))?.path());
            }
        }
    }
    Ok((bytes, things))
}
