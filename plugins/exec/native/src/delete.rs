//! Removes a container: its processes, its cgroup, its state.

use std::time::{Duration, Instant};

use longshore_plugin::exec::{Delete, DeleteOutcome, Deleted, Status};
use longshore_plugin::{Error, Result};

use crate::cgroup::Group;
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
        end(&place, &group)?;
    }
    place.clear()?;
    Ok(Deleted {
        outcome: DeleteOutcome::Deleted,
    })
}

/// Empties and removes the cgroup. The library's processes of a call that was killed go on for a
/// moment and may make it anew: as long as there are any, it is done again.
fn end(place: &Place, group: &Group) -> Result<()> {
    /// They end by themselves when they notice that their caller is gone.
    const LIMIT: Duration = Duration::from_secs(5);
    let begin = Instant::now();
    while !place.settled() {
        if begin.elapsed() > LIMIT {
            return Err(Error::unavailable(format!(
                "processes that were making container {} do not end",
                place.id
            )));
        }
        group.clear()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    group.clear()
}
