//! A container of a case: its calls, each in a process of its own, and its end.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_core::ErrorKind;
use longshore_core::exec::{
    CgroupPath, Create, Created, Delete, DeleteOutcome, Exec, Executed, Freeze, FreezeOutcome, Init, Resources, Start,
    StartOutcome, State, Stated, Status, Update, Updated,
};
use longshore_core::types::{Bytes, ContainerId, ExecId};
use longshore_sys::event::{self, Ready};
use longshore_sys::process;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};

use super::helper::{Bench, Helper, Streams};
use super::traces::{cgroup_folders, cgroup_parent};
use super::{Result, bundle, differs, same, sys};
use crate::{CaseResult, Failure};

/// The state folder below a container's folder.
pub(crate) const STATE: &str = "state";

/// How long anything may take to come about. It only bounds a case that fails.
const LIMIT: Duration = Duration::from_secs(30);

/// A call's answer, as the driver gave it.
pub(crate) type Answer<T> = longshore_core::Result<T>;

/// A container.
pub(crate) struct Container<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    pub(crate) id: ContainerId,
    /// Its cgroup, where it has one.
    pub(crate) cgroup: String,
    pub(crate) spec: Value,
}

/// What a run to the end gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bench {
    fn number(&self) -> String {
        let nth = self.containers.replace(self.containers.get() + 1);
        format!("{:032x}{nth:032x}", std::process::id())
    }

    /// An exec ID that no other has.
    pub(crate) fn exec_id(&self) -> Result<ExecId> {
        Ok(ExecId::parse(self.number())?)
    }

    /// A container that runs a shell script.
    pub(crate) fn script(&self, script: &str) -> Result<Container<'_>> {
        self.container(&["sh", "-c", script])
    }

    /// A container that only is there.
    pub(crate) fn sleeping(&self) -> Result<Container<'_>> {
        let container = self.container(&["sleep", "1000"])?;
        container.running()?;
        Ok(container)
    }

    /// A container that runs a command.
    pub(crate) fn container(&self, args: &[&str]) -> Result<Container<'_>> {
        let id = ContainerId::parse(self.number())?;
        let folder = self.folder.join(id.as_str());
        bundle::make_root(&folder.join("rootfs"))?;
        fs::create_dir(folder.join(STATE))?;
        let cgroup = format!("/{}/{id}", cgroup_parent(std::process::id()));
        let spec = if self.whole {
            bundle::whole_spec(&cgroup, args)
        } else {
            bundle::plain_spec(args)
        };
        Ok(Container {
            bench: self,
            folder,
            id,
            cgroup,
            spec,
        })
    }
}

fn bytes(path: &Path) -> Answer<Bytes> {
    Bytes::parse(path.as_os_str().as_encoded_bytes())
}

/// How a child ended: its code, or 128 and the signal.
pub(crate) fn wait(pid: u32) -> Result<i32> {
    let number = i32::try_from(pid).unwrap_or(i32::MAX);
    let pidfd = sys(process::open(number))?;
    let ready = sys(event::poll(&[(pidfd.as_fd(), Ready::READ)], Some(LIMIT)))?;
    if !ready.iter().any(|ready| ready.any()) {
        return Err(differs(format!("process {pid} does not end")));
    }
    match process::wait(pidfd.as_fd()) {
        Ok(exit) => Ok(exit.status()),
        Err(error) => Err(differs(format!("process {pid} is no child of the shim: {error}"))),
    }
}

/// Looks until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> CaseResult {
    let end = Instant::now() + LIMIT;
    while !holds()? {
        if Instant::now() > end {
            return Err(differs(format!("{what} did not come about")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What comes next of a stream; nothing at its end. A terminal's master ends with an error.
fn read_some(fd: &OwnedFd) -> Result<String> {
    let mut buffer = [0; 4096];
    let ready = sys(event::poll(&[(fd.as_fd(), Ready::READ)], Some(LIMIT)))?;
    if !ready.iter().any(|ready| ready.any()) {
        return Err(differs("a stream neither brings anything nor ends"));
    }
    let count = rustix::io::read(fd.as_fd(), &mut buffer).unwrap_or(0);
    Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned())
}

/// Everything that comes through.
pub(crate) fn read(fd: &OwnedFd) -> Result<String> {
    let mut text = String::new();
    loop {
        match read_some(fd)? {
            more if more.is_empty() => return Ok(text),
            more => text.push_str(&more),
        }
    }
}

/// What is there of a stream until a word comes.
pub(crate) fn read_until(fd: &OwnedFd, word: &str) -> Result<String> {
    let mut text = String::new();
    while !text.contains(word) {
        match read_some(fd)? {
            more if more.is_empty() => return Err(differs(format!("{word:?} did not come: {text:?}"))),
            more => text.push_str(&more),
        }
    }
    Ok(text)
}

/// Writes all of it.
pub(crate) fn write(fd: &OwnedFd, text: &[u8]) -> CaseResult {
    let count = rustix::io::write(fd, text).map_err(std::io::Error::from)?;
    same("bytes that were written", count, text.len())
}

/// Both ends: to read, to write.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?)
}

/// Pipes without standard input, and the reading ends.
fn pipes() -> Result<(Streams, OwnedFd, OwnedFd)> {
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    let streams = Streams::Pipes {
        stdin: None,
        stdout,
        stderr,
    };
    Ok((streams, out, err))
}

/// The process that the shim waits for.
pub(crate) fn pid(init: &Init) -> u32 {
    match init {
        Init::Child { pid } | Init::Monitor { pid, .. } => *pid,
    }
}

/// Init itself.
pub(crate) fn inner(init: &Init) -> Result<u32> {
    match init {
        Init::Child { pid } => Ok(*pid),
        Init::Monitor { init, .. } => init.ok_or_else(|| Failure::NotHere("the driver does not know init".into())),
    }
}

pub(crate) fn signal(pid: u32, number: i32) -> CaseResult {
    let pidfd = sys(process::open(i32::try_from(pid).unwrap_or(i32::MAX)))?;
    sys(process::signal(pidfd, number))
}

/// The folder of a controller in an answer.
pub(crate) fn folder_of(paths: &[CgroupPath], controller: &str) -> Result<PathBuf> {
    let found = paths
        .iter()
        .find(|path| path.controller == controller)
        .or_else(|| paths.iter().find(|path| path.controller.is_empty()));
    let path = found.ok_or_else(|| Failure::NotHere(format!("this machine has no cgroup controller {controller}")))?;
    Ok(PathBuf::from(
        String::from_utf8_lossy(path.path.as_bytes()).into_owned(),
    ))
}

/// What one of these files of a controller says, the first that is there: v1 and v2 name them
/// differently.
pub(crate) fn limit(created: &Created, controller: &str, files: &[&str]) -> Result<String> {
    let folder = folder_of(&created.cgroups.paths, controller)?;
    let file = files.iter().map(|file| folder.join(file)).find(|file| file.exists());
    let file =
        file.ok_or_else(|| Failure::NotHere(format!("this machine does not delegate controller {controller}")))?;
    Ok(fs::read_to_string(file)?.trim().to_owned())
}

pub(crate) fn no_resources() -> Resources {
    Resources {
        memory: None,
        memory_swap: None,
        memory_reservation: None,
        cpu_shares: None,
        cpu_quota: None,
        cpu_period: None,
        cpus: None,
        mems: None,
        pids: None,
    }
}

impl Container<'_> {
    pub(crate) fn root(&self) -> PathBuf {
        self.path("rootfs")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.path(STATE)
    }

    /// Adds a member to the spec's mounts.
    pub(crate) fn mount(&mut self, mount: Value) {
        if let Some(mounts) = self.spec["mounts"].as_array_mut() {
            mounts.push(mount);
        }
    }

    /// Makes one of its files what a mode says.
    pub(crate) fn mode(&self, file: &str, mode: u32) -> CaseResult {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        Ok(fs::set_permissions(self.root().join(file), permissions)?)
    }

    /// The request of `create`, after the bundle is written.
    pub(crate) fn write_bundle(&self) -> Answer<(Bytes, Bytes)> {
        let config = self.path("config.json");
        fs::write(&config, self.spec.to_string())
            .map_err(|error| longshore_core::Error::io(format!("write {}", config.display()), &error))?;
        Ok((bytes(&self.folder)?, bytes(&self.state_root())?))
    }

    /// Begins `create` without streams.
    pub(crate) fn begin_create(&self) -> Answer<Helper> {
        let (bundle, state_root) = self.write_bundle()?;
        self.bench.begin(Streams::Null, |driver, cx, stdio| {
            let id = self.id.clone();
            let created = driver.create(
                cx,
                Create {
                    id,
                    bundle,
                    stdio,
                    state_root,
                },
            )?;
            Ok((created, None))
        })
    }

    pub(crate) fn create_with(&self, streams: Streams) -> Answer<(Created, Option<OwnedFd>)> {
        let (bundle, state_root) = self.write_bundle()?;
        self.bench.call(streams, |driver, cx, stdio| {
            let id = self.id.clone();
            let created = driver.create(
                cx,
                Create {
                    id,
                    bundle,
                    stdio,
                    state_root,
                },
            )?;
            let terminal = created.terminal;
            Ok((created, terminal))
        })
    }

    /// Creates it without streams.
    pub(crate) fn create(&self) -> Answer<Created> {
        Ok(self.create_with(Streams::Null)?.0)
    }

    /// Creates and starts it by one instance of the driver.
    pub(crate) fn create_and_start(&self) -> Answer<Created> {
        let (bundle, state_root) = self.write_bundle()?;
        let made = self.bench.call(Streams::Null, |driver, cx, stdio| {
            let id = self.id.clone();
            let request = Create {
                id: id.clone(),
                bundle,
                stdio,
                state_root: state_root.clone(),
            };
            let created = driver.create(cx, request)?;
            driver.start(cx, Start { id, state_root })?;
            Ok((created, None))
        })?;
        Ok(made.0)
    }

    /// Begins `start`.
    pub(crate) fn begin_start(&self) -> Answer<Helper> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        self.bench.begin(Streams::Null, |driver, cx, _| {
            Ok((driver.start(cx, Start { id, state_root })?, None))
        })
    }

    pub(crate) fn start(&self) -> Answer<StartOutcome> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let started = self.bench.call(Streams::Null, |driver, cx, _| {
            Ok((driver.start(cx, Start { id, state_root })?, None))
        })?;
        Ok(started.0.outcome)
    }

    /// Creates and starts it without streams; what the shim waits for.
    pub(crate) fn running(&self) -> Result<u32> {
        let created = self.create()?;
        same("start", self.start()?, StartOutcome::Started)?;
        Ok(pid(&created.init))
    }

    /// Creates it, starts it and waits for its end.
    pub(crate) fn run(&self) -> Result<Ran> {
        let (streams, out, err) = pipes()?;
        let (created, _) = self.create_with(streams)?;
        self.start()?;
        let (out, err) = (read(&out)?, read(&err)?);
        Ok(Ran {
            code: wait(pid(&created.init))?,
            out,
            err,
        })
    }

    /// A script's output; the script succeeds.
    pub(crate) fn output(&self) -> Result<String> {
        let ran = self.run()?;
        crate::check((ran.code, ran.err.as_str()) == (0, ""), || {
            format!("the entry failed: {ran:?}")
        })?;
        Ok(ran.out)
    }

    pub(crate) fn state(&self) -> Answer<Stated> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let stated = self.bench.call(Streams::Null, |driver, cx, _| {
            Ok((driver.state(cx, State { id, state_root })?, None))
        })?;
        Ok(stated.0)
    }

    pub(crate) fn status(&self) -> Answer<Status> {
        Ok(self.state()?.status)
    }

    /// Init's number while it lives.
    pub(crate) fn init(&self) -> Result<u32> {
        self.state()?.init.ok_or_else(|| differs("state does not tell init"))
    }

    pub(crate) fn delete(&self, force: bool) -> Answer<DeleteOutcome> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let deleted = self.bench.call(Streams::Null, |driver, cx, _| {
            Ok((driver.delete(cx, Delete { id, state_root, force })?, None))
        })?;
        Ok(deleted.0.outcome)
    }

    /// Deletes it with force; where the driver asks for patience, once more after growing pauses.
    pub(crate) fn end(&self) -> Answer<DeleteOutcome> {
        for pause in [20, 80, 320] {
            match self.delete(true) {
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    std::thread::sleep(Duration::from_millis(pause));
                }
                answer => return answer,
            }
        }
        self.delete(true)
    }

    pub(crate) fn freeze(&self, frozen: bool) -> Answer<FreezeOutcome> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let answer = self.bench.call(Streams::Null, |driver, cx, _| {
            Ok((driver.freeze(cx, Freeze { id, state_root, frozen })?, None))
        })?;
        Ok(answer.0.outcome)
    }

    pub(crate) fn update(&self, resources: Resources) -> Answer<Updated> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let updated = self.bench.call(Streams::Null, |driver, cx, _| {
            Ok((
                driver.update(
                    cx,
                    Update {
                        id,
                        state_root,
                        resources,
                    },
                )?,
                None,
            ))
        })?;
        Ok(updated.0)
    }

    /// The process object of an exec, as init's with other arguments.
    pub(crate) fn process(&self, args: &[&str]) -> Value {
        let mut process = self.spec["process"].clone();
        process["args"] = json!(args);
        process
    }

    pub(crate) fn exec_with(
        &self,
        exec_id: ExecId,
        process: &Value,
        streams: Streams,
    ) -> Answer<(Executed, Option<OwnedFd>)> {
        let (id, state_root) = (self.id.clone(), bytes(&self.state_root())?);
        let process = Bytes::parse(process.to_string().into_bytes())?;
        self.bench.call(streams, |driver, cx, stdio| {
            let request = Exec {
                id,
                exec_id,
                state_root,
                process,
                stdio,
            };
            let executed = driver.exec(cx, request)?;
            let terminal = executed.terminal;
            Ok((executed, terminal))
        })
    }

    /// Begins one more process without streams; what the shim waits for.
    pub(crate) fn begin_exec(&self, process: &Value) -> Answer<u32> {
        let id = ExecId::parse(self.bench.number())?;
        Ok(pid(&self.exec_with(id, process, Streams::Null)?.0.process))
    }

    /// Runs one more process to its end.
    pub(crate) fn exec(&self, process: &Value) -> Result<Ran> {
        let (streams, out, err) = pipes()?;
        let (executed, _) = self.exec_with(self.bench.exec_id()?, process, streams)?;
        let (out, err) = (read(&out)?, read(&err)?);
        Ok(Ran {
            code: wait(pid(&executed.process))?,
            out,
            err,
        })
    }

    pub(crate) fn exec_script(&self, script: &str) -> Result<Ran> {
        self.exec(&self.process(&["sh", "-c", script]))
    }

    /// Nothing is left but an empty state folder.
    pub(crate) fn nothing_left(&self) -> CaseResult {
        same("cgroups", cgroup_folders(&self.cgroup), Vec::<PathBuf>::new())?;
        let left: Vec<_> = fs::read_dir(self.state_root())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        same("the state folder", left, Vec::<PathBuf>::new())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            let sentence = format!("the container cannot be deleted with force: {error}");
            self.bench.late.borrow_mut().push(sentence);
        }
    }
}
