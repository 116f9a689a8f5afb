//! Who builds a mount: this process, or, for one that may have to wait for a server, a process that is
//! killed when the server does not answer. Only the volume that needs the server waits.

use std::os::fd::OwnedFd;
use std::time::Duration;

use longshore_performer::plan::{self, Builder, CheckedPlan};
use longshore_shim::perform::Performer;

use super::Components;
use crate::error::Result;

/// How long a server may take, its name's look-up included.
const LIMIT: Duration = Duration::from_secs(60);

/// Builds a checked mount plan.
///
/// # Errors
/// What building it met; `Deadline` for a server that does not answer.
pub(super) fn build(checked: CheckedPlan, components: &Components) -> Result<OwnedFd> {
    Ok(match checked.builder() {
        Builder::Here(checked) => plan::build(checked)?,
        Builder::Killable(mount) => Performer::start(components.shim()?)?.build(&mount, LIMIT)?,
    })
}
