//! `/longshore/…`: what Docker's API has no word for.

use hyper::StatusCode;
use serde_json::json;

use crate::reply::{Answer, Reply, empty, json, text};
use crate::route::Call;

/// Which engine this is.
pub(crate) async fn status(call: &Call) -> Answer {
    let engine = call.engine();
    let paths = engine.paths();
    let files: Vec<_> = engine
        .config()
        .files
        .into_iter()
        .map(|file| json!({ "Path": file.path, "Digest": file.digest }))
        .collect();
    let warnings: Vec<String> = call.daemon.settings.problem().await.into_iter().collect();
    json(&json!({
        "Pid": std::process::id(),
        "Version": env!("CARGO_PKG_VERSION"),
        "Socket": paths.socket(),
        "DataRoot": paths.data,
        "ExecRoot": call.daemon.exec_root,
        "RootID": paths.root_id,
        "Mode": call.daemon.mode.word(),
        "Config": files,
        "Containers": engine.count(),
        "Running": engine.running(),
        "Warnings": warnings,
    }))
}

/// Ends the engine once this is answered; containers go on.
pub(crate) fn stop(call: &Call) -> Reply {
    call.daemon.stop.send_replace(true);
    empty(StatusCode::NO_CONTENT)
}

pub(crate) async fn reload(call: &Call) -> Answer {
    call.daemon.settings.reload(call.engine()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn drivers(call: &Call) -> Answer {
    json(&call.engine().drivers().await?)
}

/// What was measured, for Prometheus.
pub(crate) async fn metrics(call: &Call) -> Answer {
    Ok(text(call.engine().metrics().await?))
}

pub(crate) async fn doctor(call: &Call) -> Answer {
    json(&call.engine().doctor().await?)
}

/// Removes what a lost database spoke of. Answers what was removed.
pub(crate) async fn collect(call: &Call) -> Answer {
    json(&call.engine().collect().await?)
}

pub(crate) async fn explain(call: Call) -> Answer {
    let choice = call.choice()?;
    let engine = call.engine().clone();
    let steps = engine.explain(call.json().await?, choice).await?;
    json(&json!({ "Steps": steps }))
}
