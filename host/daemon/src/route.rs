//! From a request to what serves it: the version in front, the path, the methods.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, SERVER};
use hyper::{Request, StatusCode};
use longshore_engine::{Choice, Engine};

use crate::query::{Query, clip, parts};
use crate::reply::{Answer, Refusal, Reply};
use crate::state::Daemon;
use crate::{containers, exec, images, networks, own, plugins, system, volumes};

/// The newest version of Docker's API that is served, and the oldest.
pub(crate) const NEWEST: Version = Version(1, 47);
pub(crate) const OLDEST: Version = Version(1, 24);
/// The header by which a request chooses drivers for itself.
const DRIVER: &str = "x-longshore-driver";
/// The header by which a command tells its `--config`.
const CONFIG: &str = "x-longshore-config";

/// A version of Docker's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One request, taken apart.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) version: Version,
    pub(crate) query: Query,
    pub(crate) request: Request<Incoming>,
}

impl Call {
    pub(crate) fn engine(&self) -> &Engine {
        &self.daemon.engine
    }

    /// The drivers that this request chooses.
    pub(crate) fn choice(&self) -> Result<Choice, Refusal> {
        let Some(value) = self.request.headers().get(DRIVER) else {
            return Ok(Choice::default());
        };
        let text = value
            .to_str()
            .map_err(|_| Refusal::bad(format!("{DRIVER}: the header is not text")))?;
        Ok(Choice::parse(text)?)
    }

    /// The whole JSON body.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Refusal> {
        let (head, body) = self.request.into_parts();
        crate::body::json(&head.headers, body).await
    }
}

/// Takes `v1.41` from the front of a path.
fn version(parts: &mut Vec<String>) -> Result<Version, Refusal> {
    let Some(text) = parts.first().and_then(|first| first.strip_prefix('v')) else {
        return Ok(NEWEST);
    };
    let Some((major, minor)) = text.split_once('.') else {
        return Ok(NEWEST);
    };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
        return Ok(NEWEST);
    };
    let asked = Version(major, minor);
    if asked > NEWEST {
        return Err(Refusal::bad(format!(
            "client version {asked} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    if asked < OLDEST {
        return Err(Refusal::bad(format!(
            "client version {asked} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        )));
    }
    parts.remove(0);
    Ok(asked)
}

/// Serves one request.
pub(crate) async fn serve(daemon: Arc<Daemon>, request: Request<Incoming>) -> Reply {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut reply = match answer(daemon, request).await {
        Ok(reply) => reply,
        Err(refusal) => {
            tracing::info!(%method, path, status = refusal.status.as_u16(), "{}", refusal.message);
            refusal.reply()
        }
    };
    tracing::debug!(%method, path, status = reply.status().as_u16(), "served");
    let headers = reply.headers_mut();
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("Longshore/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    if let Ok(version) = HeaderValue::from_str(&NEWEST.to_string()) {
        headers.insert("api-version", version);
    }
    reply
}

async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> Answer {
    let query = Query::parse(request.uri().query())?;
    let mut parts = parts(request.uri().path())?;
    let version = version(&mut parts)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if !matches!(
        parts.as_slice(),
        ["_ping" | "version"] | ["longshore", "status"] | ["longshore", "engine", _]
    ) && let Some(named) = request.headers().get(CONFIG)
    {
        let named = named
            .to_str()
            .map_err(|_| Refusal::bad(format!("{CONFIG}: the header is not text")))?;
        daemon.settings.other(&daemon.engine, named, daemon.is_idle()).await?;
    }
    let method = request.method().clone();
    let call = Call {
        daemon,
        version,
        query,
        request,
    };
    dispatch(method.as_str(), &parts, call).await
}

/// A name that itself may hold slashes.
fn name(parts: &[&str]) -> String {
    parts.join("/")
}

async fn dispatch(method: &str, parts: &[&str], call: Call) -> Answer {
    match parts.split_first() {
        Some((&"containers", rest)) => to_containers(method, rest, call).await,
        Some((&"images", rest)) => to_images(method, rest, call).await,
        Some((&"exec", rest)) => to_exec(method, rest, call).await,
        Some((&"volumes", rest)) => to_volumes(method, rest, call).await,
        Some((&"longshore", rest)) => to_own(method, rest, call).await,
        _ => match (method, parts) {
            ("GET" | "HEAD", ["_ping"]) => system::ping(&call).await,
            ("GET", ["version"]) => system::version(),
            ("GET", ["info"]) => system::info(&call).await,
            ("GET", ["system", "df"]) => system::disk_usage(&call).await,
            ("GET", ["networks"]) => networks::list(&call).await,
            ("GET", ["networks", id]) => networks::inspect(&call, id).await,
            ("GET", ["plugins"]) => crate::reply::json(&serde_json::json!([])),
            ("GET", ["plugins", id, "json"]) => Err(Refusal::not_found(format!("plugin {:?} not found", clip(id)))),
            _ => Err(not_served(method, parts)),
        },
    }
}

async fn to_containers(method: &str, rest: &[&str], call: Call) -> Answer {
    match (method, rest) {
        ("GET", ["json"]) => containers::list(&call).await,
        ("POST", ["create"]) => containers::create(call).await,
        ("GET", [id, "json"]) => containers::inspect(&call, id).await,
        ("GET", [id, "logs"]) => containers::logs(&call, id).await,
        ("POST", [id, "start"]) => containers::start(&call, id).await,
        ("POST", [id, "stop"]) => containers::stop(&call, id).await,
        ("POST", [id, "restart"]) => containers::restart(&call, id).await,
        ("POST", [id, "kill"]) => containers::kill(&call, id).await,
        ("POST", [id, "wait"]) => containers::wait(&call, id).await,
        ("POST", [id, "attach"]) => containers::attach(call, id).await,
        ("POST", [id, "resize"]) => containers::resize(&call, id).await,
        ("POST", [id, "pause"]) => containers::freeze(&call, id, true).await,
        ("POST", [id, "unpause"]) => containers::freeze(&call, id, false).await,
        ("POST", [id, "exec"]) => {
            let id = (*id).to_owned();
            exec::create(call, &id).await
        }
        ("DELETE", [id]) => containers::remove(&call, id).await,
        _ => Err(not_served(method, &[&["containers"], rest].concat())),
    }
}

async fn to_images(method: &str, rest: &[&str], call: Call) -> Answer {
    match (method, rest) {
        ("GET", ["json"]) => images::list(&call).await,
        ("POST", ["load"]) => images::load(call).await,
        ("POST", ["create"]) => images::create(call).await,
        ("GET", ["get"]) => {
            let names = call.query.all("names");
            images::save(&call, names).await
        }
        ("GET", ["search"]) | ("POST", ["prune"]) => Err(not_served(method, &[&["images"], rest].concat())),
        ("GET", [image @ .., "json"]) if !image.is_empty() => images::inspect(&call, &name(image)).await,
        ("GET", [image @ .., "history"]) if !image.is_empty() => images::history(&call, &name(image)).await,
        ("GET", [image @ .., "get"]) if !image.is_empty() => images::save(&call, vec![name(image)]).await,
        ("POST", [image @ .., "tag"]) if !image.is_empty() => images::tag(&call, &name(image)).await,
        ("DELETE", image) if !image.is_empty() => images::remove(&call, &name(image)).await,
        _ => Err(not_served(method, &[&["images"], rest].concat())),
    }
}

async fn to_exec(method: &str, rest: &[&str], call: Call) -> Answer {
    match (method, rest) {
        ("POST", [id, "start"]) => exec::start(call, id).await,
        ("POST", [id, "resize"]) => exec::resize(&call, id).await,
        ("GET", [id, "json"]) => exec::inspect(&call, id).await,
        _ => Err(not_served(method, &[&["exec"], rest].concat())),
    }
}

async fn to_volumes(method: &str, rest: &[&str], call: Call) -> Answer {
    match (method, rest) {
        ("GET", []) => volumes::list(&call).await,
        ("POST", ["create"]) => volumes::create(call).await,
        ("POST", ["prune"]) => volumes::prune(&call).await,
        ("GET", [volume]) => volumes::inspect(&call, volume).await,
        ("DELETE", [volume]) => volumes::remove(&call, volume).await,
        _ => Err(not_served(method, &[&["volumes"], rest].concat())),
    }
}

async fn to_own(method: &str, rest: &[&str], call: Call) -> Answer {
    match (method, rest) {
        ("GET", ["status"]) => own::status(&call).await,
        ("POST", ["engine", "stop"]) => Ok(own::stop(&call)),
        ("POST", ["engine", "reload"]) => own::reload(&call).await,
        ("GET", ["drivers"]) => own::drivers(&call).await,
        ("GET", ["plugins"]) => plugins::list(&call).await,
        ("POST", ["plugins", "look"]) => plugins::look(call).await,
        ("POST", ["plugins", "install"]) => plugins::install(call, false).await,
        ("POST", ["plugins", "upgrade"]) => plugins::install(call, true).await,
        ("POST", ["plugins", name, "rollback"]) => plugins::roll_back(&call, name).await,
        ("POST", ["plugins", name, "enable"]) => plugins::enable(&call, name, true).await,
        ("POST", ["plugins", name, "disable"]) => plugins::enable(&call, name, false).await,
        ("DELETE", ["plugins", name]) => plugins::remove(&call, name).await,
        ("GET", ["metrics"]) => own::metrics(&call).await,
        ("GET", ["doctor"]) => own::doctor(&call).await,
        ("POST", ["collect"]) => own::collect(&call).await,
        ("POST", ["explain"]) => own::explain(call).await,
        _ => Err(not_served(method, &[&["longshore"], rest].concat())),
    }
}

/// Operations of Docker's API that are known and not served; `*` is any one part, `**` one or more.
const NOT_SERVED: &[&str] = &[
    "GET containers/*/top",
    "GET containers/*/changes",
    "GET containers/*/export",
    "GET containers/*/stats",
    "GET containers/*/attach/ws",
    "POST containers/*/update",
    "POST containers/*/rename",
    "HEAD containers/*/archive",
    "GET containers/*/archive",
    "PUT containers/*/archive",
    "POST containers/prune",
    "POST images/**/push",
    "POST images/prune",
    "GET images/search",
    "GET images/**/attestations",
    "POST build",
    "POST build/prune",
    "POST build/cancel",
    "POST auth",
    "POST commit",
    "GET events",
    "PUT volumes/*",
    "DELETE networks/*",
    "POST networks/create",
    "POST networks/*/connect",
    "POST networks/*/disconnect",
    "POST networks/prune",
    "GET plugins/privileges",
    "POST plugins/pull",
    "POST plugins/create",
    "DELETE plugins/**",
    "POST plugins/**",
    "GET distribution/**/json",
    "POST session",
    "POST grpc",
    "GET nodes",
    "GET nodes/*",
    "DELETE nodes/*",
    "POST nodes/*/update",
    "GET swarm",
    "GET swarm/unlockkey",
    "POST swarm/*",
    "GET services",
    "GET services/*",
    "DELETE services/*",
    "POST services/create",
    "POST services/*/update",
    "GET services/*/logs",
    "GET tasks",
    "GET tasks/*",
    "GET tasks/*/logs",
    "GET secrets",
    "GET secrets/*",
    "DELETE secrets/*",
    "POST secrets/create",
    "POST secrets/*/update",
    "GET configs",
    "GET configs/*",
    "DELETE configs/*",
    "POST configs/create",
    "POST configs/*/update",
];

fn fits(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), Some((_, more))) => fits(rest, more) || fits(pattern, more),
        (Some((head, rest)), Some((part, more))) => {
            (*head == "*" && !part.is_empty() || head == part) && fits(rest, more)
        }
        _ => false,
    }
}

/// Says of a path that it is not served yet, or not one at all.
fn not_served(method: &str, parts: &[&str]) -> Refusal {
    let known = NOT_SERVED.iter().find(|known| {
        known
            .split_once(' ')
            .is_some_and(|(its_method, path)| its_method == method && fits(&path.split('/').collect::<Vec<_>>(), parts))
    });
    match known {
        Some(known) => Refusal::not_here(format!(
            "{} is not available in this version of longshored",
            spoken(known)
        )),
        None => Refusal::new(StatusCode::NOT_FOUND, "page not found"),
    }
}

/// `GET containers/*/top` as documents write it: `GET /containers/{id}/top`.
fn spoken(known: &str) -> String {
    known
        .replacen(' ', " /", 1)
        .replace("**", "{name}")
        .replace('*', "{id}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn versioned(path: &str) -> Result<(Version, String), Refusal> {
        let mut parts = parts(path)?;
        let version = version(&mut parts)?;
        Ok((version, parts.join("/")))
    }

    #[test]
    fn the_version_in_front_is_taken_or_refused() {
        assert_eq!(versioned("/v1.41/info").unwrap(), (Version(1, 41), "info".into()));
        assert_eq!(versioned("/info").unwrap(), (NEWEST, "info".into()));
        assert_eq!(versioned("/volumes/v1").unwrap().1, "volumes/v1");
        let new = versioned("/v1.99/info").unwrap_err();
        assert_eq!(new.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            new.message,
            "client version 1.99 is too new. Maximum supported API version is 1.47"
        );
        let old = versioned("/v1.9/info").unwrap_err();
        assert!(
            old.message
                .starts_with("client version 1.9 is too old. Minimum supported API version is 1.24")
        );
        assert_eq!(versioned("/v1.x/info").unwrap().1, "v1.x/info");
    }

    #[test]
    fn what_is_known_but_not_served_says_so_and_the_rest_is_no_page() {
        for (method, path, said) in [
            ("GET", "containers/a/top", "GET /containers/{id}/top"),
            ("POST", "images/a/b/c/push", "POST /images/{name}/push"),
            ("POST", "build", "POST /build"),
            ("POST", "swarm/init", "POST /swarm/{id}"),
            ("GET", "distribution/a/b/json", "GET /distribution/{name}/json"),
        ] {
            let refusal = not_served(method, &path.split('/').collect::<Vec<_>>());
            assert_eq!(refusal.status, StatusCode::NOT_IMPLEMENTED, "{path}");
            assert_eq!(
                refusal.message,
                format!("{said} is not available in this version of longshored")
            );
        }
        for (method, path) in [
            ("GET", "nothing"),
            ("DELETE", "build"),
            ("GET", "containers//top"),
            ("GET", "containers/a/top/x"),
            ("GET", ""),
        ] {
            let refusal = not_served(method, &path.split('/').collect::<Vec<_>>());
            assert_eq!(
                (refusal.status.as_u16(), refusal.message.as_str()),
                (404, "page not found"),
                "{path}"
            );
        }
    }
}
