//! A network driver.

use std::sync::Arc;

use longshore_core::Context;
use longshore_core::driver::OptionValue;
use longshore_core::network::{NetworkCapabilities, NetworkDriver};
use longshore_loader::Found;

use crate::error::Result;

/// An open network driver.
pub(crate) struct NetworkSlot {
    pub(crate) name: String,
    pub(crate) capabilities: NetworkCapabilities,
    pub(crate) driver: Arc<dyn NetworkDriver>,
}

impl std::fmt::Debug for NetworkSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkSlot").field("name", &self.name).finish_non_exhaustive()
    }
}

impl NetworkSlot {
    pub(super) fn open(found: &Found, options: Vec<OptionValue>) -> Result<Self> {
        let description = found.description()?;
        Ok(Self {
            name: description.name.clone(),
            capabilities: description.capabilities.network()?.clone(),
            driver: found.open_network(&options)?,
        })
    }

    /// The context of one call.
    #[allow(clippy::unused_self, reason = "a slot's calls will carry its trace")]
    pub(crate) fn context(&self) -> Context {
        Context::background()
    }
}
