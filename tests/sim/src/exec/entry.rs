//! What runs: checked before any effect, then a process of a session of its own.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Streams};

use longshore_core::exec::Stdio;
use longshore_core::{Context, Error, Result};
use serde_json::Value;

use super::{Defect, Sim, io};

const BUSYBOX: &str = "/bin/busybox";

/// Init until it may go on: the container's folder, the root, the working directory, the entry. It
/// becomes the entry without another process ID.
pub(crate) const GATE: &str = "own=$1
echo $$ > \"$own/.init\" && /bin/busybox mv \"$own/.init\" \"$own/init\" || exit 125
while ! test -e \"$own/started\"; do
    test -d \"$own\" || exit 125
    /bin/busybox sleep 0.002
done
root=$2
shift 2
exec /bin/busybox chroot \"$root\" /bin/sh -c 'cd \"$0\" && exec \"$@\"' \"$@\"";

/// A process that joins: the root, the working directory, the entry.
pub(crate) const JOIN: &str = "root=$1
shift
exec /bin/busybox chroot \"$root\" /bin/sh -c 'cd \"$0\" && exec \"$@\"' \"$@\"";

fn invalid(errno: i32, message: String) -> Error {
    Error {
        errno: Some(errno),
        ..Error::invalid(message)
    }
}

/// What runs, and where.
pub(crate) struct Entry {
    pub(crate) root: PathBuf,
    cwd: String,
    args: Vec<String>,
    env: Vec<String>,
}

fn texts(value: &Value, field: &str) -> Result<Vec<String>> {
    let all = value[field].as_array();
    let all = all.ok_or_else(|| Error::invalid(format!("process.{field} is no list")))?;
    Ok(all.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect())
}

/// Refuses members that this driver would pass over.
pub(crate) fn only(value: &Value, what: &str, known: &[&str]) -> Result<()> {
    let object = value.as_object();
    let object = object.ok_or_else(|| Error::invalid(format!("{what} is not there, or is no object")))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Error::unsupported(format!(
            "the sim makes no namespaces, mounts, cgroups or capabilities: {what} has {key:?}"
        ))),
        None => Ok(()),
    }
}

impl Entry {
    pub(crate) fn new(sim: &Sim, root: PathBuf, process: &Value) -> Result<Self> {
        only(process, "process", &["user", "args", "env", "cwd"])?;
        only(&process["user"], "process.user", &["uid", "gid"])?;
        if process["user"]["uid"] != 0 || process["user"]["gid"] != 0 {
            return Err(Error::unsupported("the sim runs processes as root only"));
        }
        let entry = Self {
            root,
            cwd: process["cwd"].as_str().unwrap_or("/").to_owned(),
            args: texts(process, "args")?,
            env: texts(process, "env")?,
        };
        if !sim.has(Defect::TakesAnyEntry) {
            entry.look()?;
        }
        Ok(entry)
    }

    /// Whether it is there and can run.
    fn look(&self) -> Result<()> {
        if !self.inside(&self.cwd).is_dir() {
            return Err(invalid(
                2,
                format!("the working directory {:?} is not in the root", self.cwd),
            ));
        }
        let name = self.args.first().map(String::as_str).unwrap_or_default();
        let folders = self
            .env
            .iter()
            .find_map(|pair| pair.strip_prefix("PATH="))
            .unwrap_or("/bin");
        let files: Vec<_> = if name.contains('/') {
            vec![self.inside(name)]
        } else {
            folders
                .split(':')
                .map(|folder| self.inside(folder).join(name))
                .collect()
        };
        let Some(metadata) = files.iter().find_map(|file| fs::metadata(file).ok()) else {
            return Err(invalid(2, format!("{name}: no such file")));
        };
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if !metadata.is_file() || mode & 0o111 == 0 {
            return Err(invalid(13, format!("{name}: permission denied")));
        }
        Ok(())
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs it behind a script.
    pub(crate) fn spawn(&self, sim: &Sim, cx: &Context, script: &str, first: &[&Path], stdio: &Stdio) -> Result<u32> {
        let mut command = Command::new(BUSYBOX);
        command.args(["setsid", BUSYBOX, "sh", "-c", script, "sh"]).args(first);
        command.arg(&self.root).arg(&self.cwd).args(&self.args);
        if sim.has(Defect::HandsOnTheEnvironment) {
            command.env("HOME", "/root");
        } else {
            command.env_clear();
        }
        command.envs(self.env.iter().filter_map(|pair| pair.split_once('=')));
        let [stdin, stdout, stderr] = streams(sim, cx, stdio)?;
        let spawned = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn();
        // It is the shim's to wait for, as soon as this process has ended.
        Ok(spawned.map_err(io("start a process"))?.id())
    }
}

fn streams(sim: &Sim, cx: &Context, stdio: &Stdio) -> Result<[Streams; 3]> {
    let Stdio::Pipes { stdin, stdout, stderr } = stdio else {
        return match stdio {
            Stdio::Terminal { .. } => Err(Error::unsupported("the sim has no terminals")),
            _ => Ok([Streams::null(), Streams::null(), Streams::null()]),
        };
    };
    let stdin = stdin.map(|handle| cx.take(handle)).transpose()?;
    let (stdout, mut stderr): (OwnedFd, OwnedFd) = (cx.take(*stdout)?, cx.take(*stderr)?);
    if sim.has(Defect::MixesStreams) {
        stderr = stdout.try_clone().map_err(io("copy a stream"))?;
    }
    Ok([
        stdin.map_or_else(Streams::null, Streams::from),
        stdout.into(),
        stderr.into(),
    ])
}
