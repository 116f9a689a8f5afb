//! A network driver.

use std::sync::Arc;

use longshore_core::driver::OptionValue;
use longshore_core::network::{NetworkCapabilities, NetworkDriver};
use longshore_loader::Loaded;
use longshore_performer::root::Root;

use crate::error::Result;
use crate::paths::{Paths, make_dir};

/// An open network driver.
pub(crate) struct NetworkSlot {
    pub(crate) name: String,
    pub(crate) capabilities: NetworkCapabilities,
    pub(crate) driver: Arc<dyn NetworkDriver>,
}

impl std::fmt::Debug for NetworkSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkSlot")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl NetworkSlot {
    pub(super) fn open(found: &Loaded, paths: &Paths, options: Vec<OptionValue>) -> Result<Self> {
        let description = found.description();
        let path = paths.driver("network");
        make_dir(&path, 0o700)?;
        let root = super::folder_of(&Root::open(&path)?)?;
        Ok(Self {
            name: description.name.clone(),
            capabilities: description.capabilities.network()?.clone(),
            driver: found.open_network(root, &path, options)?,
        })
    }
}
