//! `/longshore/plugins…`: plugins that are installed, upgraded and removed.

use hyper::StatusCode;
use longshore_engine::PluginRequest;

use crate::reply::{Answer, empty, json, json_with};
use crate::route::Call;

pub(crate) async fn list(call: &Call) -> Answer {
    json(&call.engine().plugins().await?)
}

/// What a file says of itself, for whoever has to grant.
pub(crate) async fn look(call: Call) -> Answer {
    let engine = call.engine().clone();
    let request: PluginRequest = call.json().await?;
    json(&engine.look_at_plugin(request.file).await?)
}

pub(crate) async fn install(call: Call, upgrade: bool) -> Answer {
    let engine = call.engine().clone();
    let request: PluginRequest = call.json().await?;
    let installed = if upgrade {
        engine.upgrade_plugin(request).await?
    } else {
        engine.install_plugin(request).await?
    };
    json_with(StatusCode::CREATED, &installed)
}

pub(crate) async fn roll_back(call: &Call, name: &str) -> Answer {
    call.engine().roll_back_plugin(name).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn enable(call: &Call, name: &str, enabled: bool) -> Answer {
    call.engine().enable_plugin(name, enabled).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn remove(call: &Call, name: &str) -> Answer {
    call.engine().remove_plugin(name, call.query.flag("force")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
