//! Makes a container whose init waits before `execve`.

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use longshore_plugin::exec::{Create, Created, Init, Stdio};
use longshore_plugin::{Context, Error, Result};

use crate::cgroup::{Group, Layout};
use crate::entry::Entry;
use crate::place::{Place, path};
use crate::process::Identity;
use crate::stream::Streams;
use crate::terminal::Console;
use crate::trail::Trail;
use crate::{cgroup, failure, spec};

pub(crate) fn create(cx: &Context, request: &Create) -> Result<Created> {
    let place = Place::new(&request.id, &request.state_root)?;
    let bundle = path(&request.bundle, "bundle")?;
    place.check_free()?;
    let layout = Layout::here()?;
    let mut spec = spec::read(&bundle)?;
    spec::check(&spec, &layout)?;
    let process = spec::process(&spec)?;
    let (entry, owner) = (Entry::of(process)?, process.user().uid());
    let group = Group::new(layout, &spec::cgroup_path(&spec)?);
    if group.used() {
        // Undoing a create that fails kills what is in the cgroup: that must be its own.
        return Err(Error::in_use(format!(
            "the cgroup of container {} holds processes already",
            place.id
        )));
    }
    spec::adapt(&mut spec, &bundle, matches!(request.stdio, Stdio::Terminal { .. }))?;
    cgroup::seen::write_out(&mut spec, &group)?;
    let streams = Streams::take(cx, &request.stdio, owner)?;
    place.claim(&spec)?;
    let undo = Undo {
        place: &place,
        group: &group,
    };
    let _made = place.hold()?;
    let console = Console::listen(&place, &request.stdio)?;
    let pid = run(&place, entry, streams, console.as_ref())?;
    place.write_init(Identity::of(pid))?;
    place.keep_state()?;
    let terminal = console.map(|console| console.deliver(cx, owner)).transpose()?;
    cx.check()?;
    std::mem::forget(undo);
    Ok(Created {
        init: Init::Child { pid },
        terminal,
        cgroups: group.answer(),
    })
}

/// Calls the library. Init becomes a child of this process's parent.
fn run(place: &Place, entry: Entry, streams: Streams, console: Option<&Console>) -> Result<u32> {
    leave_caller_behind()?;
    let attempt = format!("create container {}", place.id);
    let trail = Trail::new();
    let container = trail.follow(|| {
        streams
            .on(ContainerBuilder::new(place.id.clone(), SyscallType::default()))
            .with_executor(entry)
            .with_console_socket(console.map(|console| console.path.clone()))
            .with_root_path(&place.root)?
            .validate_id()?
            .as_init(&place.root)
            .with_systemd(false)
            .as_sibling(true)
            .with_detach(true)
            .build()
    });
    let container = container.map_err(|error| failure::translate(&attempt, &error, &trail))?;
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok());
    pid.ok_or_else(|| Error::broken(format!("cannot {attempt}: the library made no process")))
}

/// Sees to what the library would hand on from the caller: its groups, where a spec names none, and
/// the descriptors that a service manager announced to it.
pub(crate) fn leave_caller_behind() -> Result<()> {
    if std::env::var_os("LISTEN_FDS").is_some_and(|count| count != "0") {
        return Err(Error::invalid(
            "the caller's environment has LISTEN_FDS, which would hand its sockets to the container: remove it",
        ));
    }
    nix::unistd::setgroups(&[]).map_err(|e| Error::io("leave the caller's groups", &std::io::Error::from(e)))
}

/// Takes back a create that failed. Forgotten when it succeeded.
struct Undo<'a> {
    place: &'a Place,
    group: &'a Group,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // What stays is found by `delete`, which the caller tries next.
        if self.group.clear().is_ok() {
            drop(self.place.clear());
        }
    }
}
