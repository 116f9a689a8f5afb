//! A data root with one image on a file system with a journal, and an engine that is warm; all of it
//! gone with the value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Where containers are measured.
#[derive(Debug)]
pub(crate) struct Stand {
    folder: tempfile::TempDir,
    mounted: bool,
    tree: PathBuf,
}

/// Runs a command to its end; its output when it succeeds, its last words when not.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(format!("{:?}: {words}", command.get_program()).into());
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

impl Stand {
    pub(crate) fn new(tree: &Path) -> Result<Self> {
        let mut stand = Self {
            folder: tempfile::tempdir()?,
            mounted: false,
            tree: tree.to_owned(),
        };
        let disk = stand.folder.path().join("disk");
        std::fs::File::create(&disk)?.set_len(4 << 30)?;
        output(
            Command::new("mkfs.ext4")
                .args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&disk),
        )?;
        std::fs::create_dir(stand.fs())?;
        output(Command::new("mount").args(["-o", "loop"]).arg(&disk).arg(stand.fs()))?;
        stand.mounted = true;
        let rootfs = stand.rootfs();
        std::fs::create_dir_all(rootfs.join("bin"))?;
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
        for name in ["true", "sleep", "sh"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name))?;
        }
        for name in ["proc", "sys", "dev", "etc", "tmp"] {
            std::fs::create_dir(rootfs.join(name))?;
        }
        let archive = stand.folder.path().join("base.tar");
        output(
            Command::new("tar")
                .arg("-C")
                .arg(&rootfs)
                .arg("-cf")
                .arg(&archive)
                .arg("."),
        )?;
        output(stand.longshore().arg("import").arg(&archive).arg("base"))?;
        Ok(stand)
    }

    pub(crate) fn fs(&self) -> PathBuf {
        self.folder.path().join("fs")
    }

    /// Replaces the engine of this stand by one in the foreground that logs what the filter says.
    pub(crate) fn engine(&self, filter: &str) -> Result<Engine> {
        output(self.longshore().args(["engine", "stop"]))?;
        let log = self.folder.path().join("engine.log");
        let mut command = Command::new(self.tree.join("bin/longshored"));
        command
            .args(["--log", filter])
            .env_remove("LONGSHORE_CONFIG")
            .env_remove("LONGSHORE_COMPONENTS");
        self.roots(&mut command);
        let mut spawn = || -> Result<Child> {
            Ok(command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(&log)?)
                .spawn()?)
        };
        let process = spawn()?;
        let mut engine = Engine {
            process,
            log: log.clone(),
            skip: 0,
        };
        for _ in 0..100 {
            // The one before holds the data root for a moment longer.
            if matches!(engine.process.try_wait(), Ok(Some(_))) {
                engine.process = spawn()?;
            }
            if output(self.longshore().args(["engine", "status"])).is_ok() {
                return Ok(engine);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("the engine does not answer: {}", std::fs::read_to_string(&engine.log)?).into())
    }

    fn roots(&self, command: &mut Command) {
        command.arg("--data-root").arg(self.fs().join("data"));
        command.arg("--exec-root").arg(self.folder.path().join("run"));
    }

    /// The same root file system, for peers.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.fs().join("rootfs")
    }

    /// The command line on this stand.
    pub(crate) fn longshore(&self) -> Command {
        let mut command = Command::new(self.tree.join("bin/longshore"));
        // What is measured is the tree with its own defaults.
        command
            .env_remove("LONGSHORE_CONFIG")
            .env_remove("LONGSHORE_COMPONENTS");
        self.roots(&mut command);
        command
    }
}

/// An engine that this program started, ended with the value.
#[derive(Debug)]
pub(crate) struct Engine {
    process: Child,
    log: PathBuf,
    skip: u64,
}

impl Engine {
    /// Empties its log.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.skip = std::fs::metadata(&self.log)?.len();
        Ok(())
    }

    /// Ends it; what it has logged since it was last told to forget.
    pub(crate) fn end(mut self) -> Result<String> {
        self.stop();
        let log = std::fs::read(&self.log)?;
        let from = usize::try_from(self.skip)?.min(log.len());
        Ok(String::from_utf8_lossy(&log[from..]).into_owned())
    }

    fn stop(&mut self) {
        let pid = self.process.id().to_string();
        // It is our child and was not waited for: the number is still its own.
        let _ = output(Command::new("kill").args(["-TERM", &pid]));
        let _ = self.process.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        // Leftovers of an interrupted run go before the engine.
        if let Ok(ids) = output(self.longshore().args(["ps", "-aq"])) {
            for id in ids.lines() {
                let _ = output(self.longshore().args(["rm", "-f", id]));
            }
        }
        let _ = output(self.longshore().args(["engine", "stop"]));
        // An engine that was told to stop has its database open for a moment longer.
        for _ in 0..50 {
            if output(Command::new("umount").arg(self.fs())).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("longshore-bench: {} could not be unmounted", self.fs().display());
    }
}
