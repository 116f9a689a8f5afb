//! Tells a container's state by looking at init and its cgroup, not by what was written.

use libcontainer::container::{ContainerStatus, State as Written};
use longshore_plugin::Result;
use longshore_plugin::exec::{State, Stated, Status};

use crate::cgroup::{Group, Layout};
use crate::place::Place;
use crate::process::Identity;
use crate::spec;

/// The name that the library gives init until `execve`.
const WAITING: &str = "youki:[2:INIT]";

pub(crate) fn state(request: &State) -> Result<Stated> {
    of(&Place::new(&request.id, &request.state_root)?)
}

pub(crate) fn of(place: &Place) -> Result<Stated> {
    let without = |status| Ok(Stated { status, init: None });
    if !place.known() {
        return without(Status::Absent);
    }
    let written = Written::load(&place.inner()).ok();
    let library = || written.as_ref().and_then(|state| u32::try_from(state.pid?).ok());
    let init = place
        .init()
        .or_else(|| library().map(|pid| Identity { pid, started: 0 }));
    let Some((init, stat)) = init.and_then(|init| Some((init, init.alive()?))) else {
        return without(Status::Stopped);
    };
    let told = written.is_some_and(|state| state.status == ContainerStatus::Running);
    let status = if !told && stat.comm == WAITING {
        Status::Created
    } else if group(place).is_some_and(|group| group.frozen()) {
        Status::Paused
    } else {
        Status::Running
    };
    Ok(Stated {
        status,
        init: Some(init.pid),
    })
}

/// The container's cgroup, as far as its spec can be read.
pub(crate) fn group(place: &Place) -> Option<Group> {
    let path = spec::cgroup_path(&place.spec()?).ok()?;
    Some(Group::new(Layout::here().ok()?, &path))
}
