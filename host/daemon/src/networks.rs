//! Networks, as far as there are any: one for each network driver, of the driver's name.

use serde_json::{Value, json};

use crate::query::clip;
use crate::reply::{Answer, Refusal, json};
use crate::route::Call;

fn network(name: &str) -> Value {
    json!({
        "Name": name,
        "Id": name,
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": name,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

async fn names(call: &Call) -> Result<Vec<String>, Refusal> {
    let drivers = call.engine().drivers().await?;
    Ok(drivers
        .into_iter()
        .filter(|driver| driver.kind == "network")
        .map(|driver| driver.name)
        .collect())
}

pub(crate) async fn list(call: &Call) -> Answer {
    let filters = call.query.filters()?;
    if let Some(other) = filters
        .keys()
        .find(|key| !matches!(key.as_str(), "name" | "id" | "driver"))
    {
        return Err(Refusal::bad(format!("invalid filter '{}'", clip(other))).hint("filters are name, id, driver"));
    }
    let wanted = |name: &str| {
        filters
            .values()
            .all(|values| values.iter().any(|value| name.contains(value.as_str())))
    };
    let list: Vec<Value> = names(call)
        .await?
        .iter()
        .filter(|name| wanted(name))
        .map(|name| network(name))
        .collect();
    json(&list)
}

pub(crate) async fn inspect(call: &Call, id: &str) -> Answer {
    match names(call).await?.iter().find(|name| *name == id) {
        Some(name) => json(&network(name)),
        None => Err(Refusal::not_found(format!("network {} not found", clip(id)))),
    }
}
