//! Stops and resumes all processes of a container.

use longshore_plugin::exec::{Freeze, FreezeOutcome, Frozen, Status};
use longshore_plugin::{Error, Result};

use crate::place::Place;
use crate::state;

pub(crate) fn freeze(request: &Freeze) -> Result<Frozen> {
    let place = Place::new(&request.id, &request.state_root)?;
    let outcome = match (state::of(&place)?.status, request.frozen) {
        (Status::Absent, _) => return Err(Error::not_found(format!("container {} does not exist", place.id))),
        (Status::Running, false) | (Status::Paused, true) => FreezeOutcome::Already,
        (Status::Running, true) | (Status::Paused, false) => {
            let group = state::group(&place);
            let group = group.ok_or_else(|| Error::corrupt(format!("the spec of container {} is gone", place.id)))?;
            group.freeze(request.frozen)?;
            FreezeOutcome::Done
        }
        _ => return Err(Error::invalid(format!("container {} is not running", place.id))),
    };
    Ok(Frozen { outcome })
}
