//! Runs one more process in a running container.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use longshore_plugin::exec::{Exec, Executed, Init, Status, Stdio};
use longshore_plugin::{Context, Error, Result};

use crate::entry::{Entry, Terminal};
use crate::place::Place;
use crate::stream::Streams;
use crate::terminal::Console;
use crate::trail::Trail;
use crate::{create, failure, spec, start, state};

pub(crate) fn exec(cx: &Context, request: &Exec) -> Result<Executed> {
    let place = Place::new(&request.id, &request.state_root)?;
    let now = state::of(&place)?;
    match now.status {
        Status::Running => {}
        Status::Absent => return Err(Error::not_found(format!("container {} does not exist", place.id))),
        Status::Paused => {
            return Err(Error::invalid(format!(
                "container {} is paused: resume it first",
                place.id
            )));
        }
        _ => return Err(Error::invalid(format!("container {} is not running", place.id))),
    }
    start::mark_running(&place)?;
    let mut process: Process = serde_json::from_slice(request.process.as_bytes())
        .map_err(|e| Error::invalid(format!("the process of exec {}: {e}", request.exec_id)))?;
    spec::check_process(&process)?;
    let container = place
        .spec()
        .ok_or_else(|| Error::corrupt(format!("the spec of container {} is gone", place.id)))?;
    let seccomp = container.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let owner = process.user().uid();
    let terminal = match request.stdio {
        Stdio::Terminal { rows, columns } => Some(Terminal { rows, columns, owner }),
        _ => None,
    };
    let entry = Entry::joining(&process, seccomp, terminal)?;
    spec::adapt_process(&mut process, matches!(request.stdio, Stdio::Terminal { .. }));
    // `entry` drops them, after it has loaded the filter.
    process.set_capabilities(None);
    let streams = Streams::take(cx, &request.stdio, owner)?;
    place.use_exec_id(request.exec_id.as_str())?;
    let _made = place.hold()?;
    let console = Console::listen(&place, &request.stdio)?;
    let pid = run(
        &place,
        request.exec_id.as_str(),
        &process,
        entry,
        streams,
        console.as_ref(),
    )?;
    Ok(Executed {
        process: Init::Child { pid },
        terminal: console.map(|console| console.deliver(cx, owner)).transpose()?,
    })
}

/// Calls the library. The process becomes a child of this process's parent.
fn run(
    place: &Place,
    exec: &str,
    process: &Process,
    entry: Entry,
    streams: Streams,
    console: Option<&Console>,
) -> Result<u32> {
    create::leave_caller_behind()?;
    let file = ProcessFile::write(place, exec, process)?;
    let attempt = format!("exec in container {}", place.id);
    let before = place.leftovers();
    let trail = Trail::new();
    let pid = trail.follow(|| {
        streams
            .on(ContainerBuilder::new(place.id.clone(), SyscallType::default()))
            .with_executor(entry)
            .with_console_socket(console.map(|console| console.path.clone()))
            .with_root_path(&place.root)?
            .validate_id()?
            .as_tenant()
            .with_process(Some(&file.0))
            .as_sibling(true)
            .with_detach(true)
            .build()
    });
    for made in place.leftovers().iter().filter(|path| !before.contains(path)) {
        drop(std::fs::remove_file(made));
    }
    let pid = pid.map_err(|error| failure::translate(&attempt, &error, &trail))?;
    u32::try_from(pid.as_raw()).map_err(|_| Error::broken(format!("cannot {attempt}: the library made no process")))
}

/// The process object as the library reads it.
struct ProcessFile(PathBuf);

impl ProcessFile {
    fn write(place: &Place, exec: &str, process: &Process) -> Result<Self> {
        let path = place.root.join(format!("process-{exec}.json"));
        let attempt = |e| Error::io(format!("write {}", path.display()), &e);
        let text =
            serde_json::to_vec(process).map_err(|e| Error::invalid(format!("the process of exec {exec}: {e}")))?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        std::io::Write::write_all(&mut file.map_err(attempt)?, &text).map_err(attempt)?;
        Ok(Self(path))
    }
}

impl Drop for ProcessFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
