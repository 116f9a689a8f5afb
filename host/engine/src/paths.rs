//! The data root and the run folder: where everything lies, the root's ID, and the lock that makes
//! one process its only writer.
//!
//! The layout is Docker's, because operators know it. Paths here are the engine's own folders; what
//! lies in untrusted trees is opened by the performer alone.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The folders of one engine.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The data root, absolute.
    pub data: PathBuf,
    /// `<exec root>/<root id>`.
    pub run: PathBuf,
    /// 16 hexadecimal digits, made once for a data root.
    pub root_id: String,
}

impl Paths {
    /// Makes what is missing of both folders and reads or makes the root's ID.
    ///
    /// # Errors
    /// Any I/O error, naming the folder.
    pub fn prepare(data: &Path, exec_root: &Path) -> Result<Self> {
        make_dir(data, 0o711)?;
        let data = fs::canonicalize(data).map_err(|e| Error::io(format!("open data root {}", data.display()), &e))?;
        for below in ["containers", "image", "volumes", "tmp", "plugins"] {
            make_dir(&data.join(below), 0o700)?;
        }
        let root_id = root_id(&data)?;
        make_dir(exec_root, 0o711)?;
        let exec_root = fs::canonicalize(exec_root)
            .map_err(|e| Error::io(format!("open run folder {}", exec_root.display()), &e))?;
        let run = exec_root.join(&root_id);
        make_dir(&run, 0o711)?;
        make_dir(&run.join("containers"), 0o711)?;
        Ok(Self { data, run, root_id })
    }

    /// The engine's database.
    pub fn database(&self) -> PathBuf {
        self.data.join("longshore.db")
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("engine.sock")
    }

    /// A driver's root.
    pub fn driver(&self, folder: &str) -> PathBuf {
        self.data.join(folder)
    }

    /// A layer's record of a graph driver.
    pub fn layer_record(&self, folder: &str, chain_hex: &str) -> PathBuf {
        self.data
            .join("image")
            .join(folder)
            .join("layerdb/sha256")
            .join(chain_hex)
    }

    /// An image's config.
    pub fn image_config(&self, image_hex: &str) -> PathBuf {
        self.data.join("image/imagedb/content/sha256").join(image_hex)
    }

    /// A container's folder on disk.
    pub fn container(&self, id: &str) -> PathBuf {
        self.data.join("containers").join(id)
    }

    /// A container's folder in the run folder.
    pub fn container_run(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }

    /// The mark of an orderly stop.
    fn clean_mark(&self) -> PathBuf {
        self.data.join("clean")
    }

    /// Takes the mark of an orderly stop away. Answers whether it was there and is of this boot: then
    /// neither an engine nor the machine has stopped otherwise since.
    pub(crate) fn take_clean_mark(&self, boot: &str) -> bool {
        let path = self.clean_mark();
        let clean = !boot.is_empty() && read_bounded(&path, 256).is_ok_and(|text| text.trim_ascii() == boot.as_bytes());
        // One that cannot be taken away would speak for a stop that is yet to come.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => false,
            _ => clean,
        }
    }

    /// Leaves the mark of an orderly stop.
    pub(crate) fn leave_clean_mark(&self, boot: &str) -> Result<()> {
        write_whole(&self.clean_mark(), format!("{boot}\n").as_bytes(), 0o600, true)
    }

    /// Scratch space on the data root's file system; emptied at start.
    pub fn tmp(&self) -> PathBuf {
        self.data.join("tmp")
    }
}

/// Makes a directory and its parents, with `mode` for those it makes.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| Error::io(format!("make folder {}", path.display()), &e))
}

/// Writes a file whole: to a temporary name beside it, then renamed over it. With `durable` both the
/// file and its folder are flushed before the call returns.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32, durable: bool) -> Result<()> {
    let error = |e: &std::io::Error| Error::io(format!("write {}", path.display()), e);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = path.with_file_name(format!(".{name}.new"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&scratch)
        .map_err(|e| error(&e))?;
    file.write_all(content).map_err(|e| error(&e))?;
    if durable {
        file.sync_data().map_err(|e| error(&e))?;
    }
    fs::rename(&scratch, path).map_err(|e| error(&e))?;
    if durable && let Some(folder) = path.parent() {
        fs::File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| error(&e))?;
    }
    Ok(())
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let error = |e: &std::io::Error| Error::io(format!("read {}", path.display()), e);
    let file = fs::File::open(path).map_err(|e| error(&e))?;
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(|e| error(&e))?;
    if content.len() as u64 > limit {
        return Err(Error::corrupt(format!(
            "{} is larger than {limit} bytes",
            path.display()
        )));
    }
    Ok(content)
}

fn is_root_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The root's ID. One that is damaged or gone is taken from the lock file, where the last engine wrote
/// it too: by it running containers are found.
fn root_id(data: &Path) -> Result<String> {
    let file = data.join("id");
    let read = |path: &Path| match read_bounded(path, 4096) {
        Err(error) if error.kind != longshore_core::ErrorKind::NotFound => Err(error),
        text => Ok(String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()),
    };
    let written = read(&file)?;
    if is_root_id(written.trim()) {
        return Ok(written.trim().to_owned());
    }
    let locked = read(&data.join("engine.lock"))?;
    let id = match locked.split_whitespace().skip_while(|word| *word != "root").nth(1) {
        Some(id) if is_root_id(id) => id.to_owned(),
        _ => hex::encode(random::<8>()?),
    };
    write_whole(&file, format!("{id}\n").as_bytes(), 0o644, true)?;
    Ok(id)
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Error::io("read /dev/urandom", &e))?;
    Ok(bytes)
}

/// The lock of a data root, held as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

impl Lock {
    /// Takes the lock: an open-file-description write lock on `engine.lock`, with this process's
    /// number and build written into it.
    ///
    /// # Errors
    /// `InUse`, naming the holder, when another process has it.
    pub(crate) fn take(paths: &Paths) -> Result<Self> {
        let path = paths.data.join("engine.lock");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io(format!("open {}", path.display()), &e))?;
        if crate::naive("data-root-lock") {
            return Ok(Self { _file: file.into() });
        }
        if !longshore_sys::lock::try_write(file.as_fd()).map_err(|e| Error::io("lock the data root", &e.into()))? {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Error::in_use(format!(
                "data root {} is in use by another engine ({})",
                paths.data.display(),
                holder.trim()
            ))
            .hint("stop it with `longshore engine stop`, or use another --data-root"));
        }
        let text = format!(
            "pid {} build {} root {}\n",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            paths.root_id
        );
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|e| Error::io(format!("write {}", path.display()), &e))?;
        Ok(Self { _file: file.into() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_roots_id_that_is_damaged_or_gone_is_found_again() {
        let top = tempfile::tempdir().unwrap();
        let (data, run) = (top.path().join("data"), top.path().join("run"));
        let first = Paths::prepare(&data, &run).unwrap();
        drop(Lock::take(&first).unwrap());
        for content in [&b""[..], b"0123", &[0xa5; 100]] {
            fs::write(data.join("id"), content).unwrap();
            assert_eq!(Paths::prepare(&data, &run).unwrap().root_id, first.root_id);
        }
        fs::remove_file(data.join("id")).unwrap();
        assert_eq!(Paths::prepare(&data, &run).unwrap().root_id, first.root_id);
    }

    #[test]
    fn the_mark_of_an_orderly_stop_counts_once_and_in_its_own_boot() {
        let top = tempfile::tempdir().unwrap();
        let paths = Paths::prepare(&top.path().join("data"), &top.path().join("run")).unwrap();
        assert!(!paths.take_clean_mark("boot"));
        paths.leave_clean_mark("boot").unwrap();
        assert!(paths.take_clean_mark("boot"));
        assert!(!paths.take_clean_mark("boot"), "taken");
        paths.leave_clean_mark("boot").unwrap();
        assert!(!paths.take_clean_mark("another"));
        paths.leave_clean_mark("").unwrap();
        assert!(!paths.take_clean_mark(""), "no boot is known");
    }
}
