//! Removes a container: its processes, its cgroup, its state.

use longshore_plugin::exec::{Delete, DeleteOutcome, Deleted, Status};
use longshore_plugin::{Error, Result};

use crate::place::Place;
use crate::state;

pub(crate) fn delete(request: &Delete) -> Result<Deleted> {
    let place = Place::new(&request.id, &request.state_root)?;
    let now = state::of(&place)?;
    if now.status == Status::Absent {
        place.clear()?;
        return Ok(Deleted {
            outcome: DeleteOutcome::Absent,
        });
    }
    if now.status != Status::Stopped && !request.force {
        return Err(Error::in_use(format!(
            "container {} still runs: stop it, or delete it with force",
            place.id
        )));
    }
    // Without a spec `create` got nowhere: it writes that first.
    if let Some(group) = state::group(&place) {
        // Init is gone or shall go; what it left in the cgroup goes with it.
        group.kill()?;
        group.remove()?;
    }
    place.clear()?;
    Ok(Deleted {
        outcome: DeleteOutcome::Deleted,
    })
}
