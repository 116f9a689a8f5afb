//! Volumes.

use hyper::StatusCode;
use longshore_engine::models;

use crate::query::clip;
use crate::reply::{Answer, Refusal, empty, json, json_with};
use crate::route::Call;

pub(crate) async fn list(call: &Call) -> Answer {
    let filters = call.query.filters()?;
    if let Some(other) = filters
        .keys()
        .find(|key| !matches!(key.as_str(), "name" | "driver" | "label"))
    {
        return Err(Refusal::bad(format!("invalid filter '{}'", clip(other))).hint("filters are name, driver, label"));
    }
    let mut volumes = call.engine().volumes().await?;
    volumes.retain(|volume| {
        filters.iter().all(|(key, values)| {
            values.iter().any(|value| match key.as_str() {
                "name" => volume.name.contains(value.as_str()),
                "driver" => volume.driver == *value,
                _ => crate::images::has_label(&volume.labels, value),
            })
        })
    });
    json(&models::VolumeListResponse {
        volumes: Some(volumes),
        warnings: Some(Vec::new()),
    })
}

pub(crate) async fn create(call: Call) -> Answer {
    let engine = call.engine().clone();
    let request: models::VolumeCreateRequest = call.json().await?;
    json_with(StatusCode::CREATED, &engine.create_volume(request).await?)
}

pub(crate) async fn inspect(call: &Call, name: &str) -> Answer {
    json(&call.engine().inspect_volume(name).await?)
}

pub(crate) async fn remove(call: &Call, name: &str) -> Answer {
    call.engine().remove_volume(name, call.query.flag("force")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(call: &Call) -> Answer {
    let filters = call.query.filters()?;
    if let Some(other) = filters.keys().find(|key| *key != "all") {
        return Err(Refusal::bad(format!("invalid filter '{}'", clip(other))).hint("the filter is all"));
    }
    // Before 1.42 there was no `all`, and every unused volume went.
    let all = call.version < crate::route::Version(1, 42)
        || filters
            .get("all")
            .is_some_and(|values| values.iter().any(|value| matches!(value.as_str(), "1" | "true")));
    json(&models::VolumePruneResponse {
        volumes_deleted: Some(call.engine().prune_volumes(all).await?),
        space_reclaimed: Some(0),
    })
}
