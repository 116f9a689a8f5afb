//! Lets init go on.

use libcontainer::container::{Container, ContainerStatus};
use longshore_plugin::exec::{Start, StartOutcome, Started, Status};
use longshore_plugin::{Error, Result};

use crate::place::Place;
use crate::trail::Trail;
use crate::{failure, state};

pub(crate) fn start(request: &Start) -> Result<Started> {
    let place = Place::new(&request.id, &request.state_root)?;
    let outcome = match state::of(&place)?.status {
        Status::Created => {
            place.mend_state()?;
            let attempt = format!("start container {}", place.id);
            let trail = Trail::new();
            trail
                .follow(|| Container::load(place.inner())?.start())
                .map_err(|error| failure::translate(&attempt, &error, &trail))?;
            StartOutcome::Started
        }
        Status::Running | Status::Paused => {
            mark_running(&place)?;
            StartOutcome::Already
        }
        Status::Absent => return Err(Error::not_found(format!("container {} does not exist", place.id))),
        Status::Stopped | Status::Unknown => {
            return Err(Error::invalid(format!(
                "container {} has ended: it cannot be started again",
                place.id
            )));
        }
    };
    Ok(Started { outcome })
}

/// Writes into the library's state that init runs. A helper that died after it had told init to go
/// on has not written it.
pub(crate) fn mark_running(place: &Place) -> Result<()> {
    place.mend_state()?;
    let attempt = format!("read the state of container {}", place.id);
    let trail = Trail::new();
    let mark = || {
        let mut container = Container::load(place.inner())?;
        if container.status() == ContainerStatus::Created {
            container.set_status(ContainerStatus::Running).save()?;
        }
        Ok(())
    };
    trail
        .follow(mark)
        .map_err(|error| failure::translate(&attempt, &error, &trail))
}
