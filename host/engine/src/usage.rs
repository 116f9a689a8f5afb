//! What containers, images and volumes take on disk.

use bollard_stubs::models;
use longshore_core::graph::{Access, Whiteouts};
use serde::Serialize;

use crate::container::Record;
use crate::engine::Inner;
use crate::error::Result;

/// What a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// Bytes of its own layer.
    pub own: i64,
    /// Bytes of its whole root file system.
    pub root: i64,
}

/// What lies in a data root, as `docker system df` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all layers of images, each counted once.
    pub layers_size: i64,
    /// Images, with how many containers stand on each.
    pub images: Vec<models::ImageSummary>,
    /// Containers, with their sizes.
    pub containers: Vec<models::ContainerSummary>,
    /// Volumes, with their sizes.
    pub volumes: Vec<models::Volume>,
    /// Always empty.
    pub build_cache: Vec<serde_json::Value>,
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A container's sizes: its driver's word for what its layer takes, and the image's size.
pub(crate) fn container(inner: &Inner, record: &Record) -> Result<ContainerSize> {
    let slot = inner.drivers.graph(&record.driver)?;
    let layer = record.layer_ref()?;
    let chain = inner.layers.chain(record.chain.as_deref(), &slot)?;
    let image = match &record.chain {
        Some(top) => inner.layers.size(top)?,
        None => 0,
    };
    // Blocks that are not written yet are not counted yet.
    slot.sync()?;
    let taken = signed(slot.usage(&layer, &chain)?.exclusive);
    // A pure driver whose trees are whole copies counts the image in every layer.
    let whole = !slot.capabilities.acts
        && !chain.is_empty()
        && slot.ask_activate(&layer, &chain, Access::Unpack)?.whiteouts == Whiteouts::Merged;
    Ok(if whole {
        let below = match chain.split_first() {
            Some((parent, ancestors)) => signed(slot.usage(parent, ancestors)?.exclusive),
            None => 0,
        };
        ContainerSize {
            own: taken.saturating_sub(below).max(0),
            root: taken,
        }
    } else {
        ContainerSize {
            own: taken,
            root: taken.saturating_add(image),
        }
    })
}

/// Puts the sizes into a list of containers. One whose size cannot be told stays without.
pub(crate) fn fill(inner: &Inner, containers: &mut [models::ContainerSummary]) {
    for summary in containers {
        let id = summary.id.clone().unwrap_or_default();
        let told = inner
            .containers
            .resolve(&id)
            .and_then(|found| container(inner, &found.record()));
        match told {
            Ok(size) => {
                summary.size_rw = Some(size.own);
                summary.size_root_fs = Some(size.root);
            }
            Err(error) => tracing::warn!(container = id, %error, "what a container takes cannot be told"),
        }
    }
}

/// Everything that lies in the data root.
pub(crate) fn disk(inner: &Inner) -> Result<DiskUsage> {
    let mut containers = inner.containers.list(&crate::ListRequest {
        all: true,
        ..Default::default()
    })?;
    fill(inner, &mut containers);
    let mut images = inner.images.list()?;
    for image in &mut images {
        let users = containers
            .iter()
            .filter(|container| container.image_id.as_ref() == Some(&image.id))
            .count();
        image.containers = i64::try_from(users).unwrap_or(-1);
    }
    let volumes = inner.volumes.list()?.into_iter().map(|(mut volume, _)| {
        let size = inner.volumes.usage(&volume.name).map_or(-1, signed);
        let users = inner.containers.users_of_volume(&volume.name, "").len();
        volume.usage_data = Some(models::VolumeUsageData {
            size,
            ref_count: i64::try_from(users).unwrap_or(-1),
        });
        volume
    });
    Ok(DiskUsage {
        layers_size: inner.layers.size_of_all()?,
        volumes: volumes.collect(),
        images,
        containers,
        build_cache: Vec::new(),
    })
}
