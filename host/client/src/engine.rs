//! One engine that answered: Docker's API through bollard, everything else as plain requests.

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker, body_full};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::{Failure, Kind, Result};
use crate::transport::Transport;

/// The newest version of Docker's API that this client was written against, and the oldest it speaks.
const NEWEST: (usize, usize) = (1, 51);
const OLDEST: (usize, usize) = (1, 24);
/// No answer that is held in memory is larger.
const LARGEST_ANSWER: usize = 256 << 20;
/// Bollard wants a limit for the wait until an answer begins; a load may take long to get there.
const PATIENCE: u64 = 7 * 24 * 3600;

/// A connection to an engine, versions agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    transport: Transport,
    pub(crate) docker: Docker,
    /// The version of Docker's API that both sides speak.
    pub(crate) version: (usize, usize),
}

/// What `_ping` told.
#[derive(Debug)]
pub(crate) struct Pong {
    version: Option<(usize, usize)>,
    pub(crate) warnings: Vec<String>,
}

/// Asks over a fresh connection who answers.
pub(crate) async fn ping(transport: &Transport, stream: UnixStream) -> Result<Pong> {
    let request = request(Method::GET, "/_ping", None)?;
    let response = transport.send_over(stream, request).await?;
    let response = told(response).await?;
    let headers = response.headers();
    let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(str::to_owned);
    Ok(Pong {
        version: headers
            .get("api-version")
            .and_then(text)
            .as_deref()
            .and_then(parse_version),
        warnings: headers.get_all("x-longshore-warning").iter().filter_map(text).collect(),
    })
}

fn parse_version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Engine {
    /// Agrees on the version as Docker's own client does: the older side's newest.
    pub(crate) fn new(transport: &Transport, pong: &Pong) -> Result<Engine> {
        let theirs = pong.version.unwrap_or(OLDEST);
        if theirs < OLDEST {
            return Err(Failure::new(
                Kind::Unreachable,
                format!(
                    "the engine speaks Docker's API {}.{} and this client needs {}.{} or later",
                    theirs.0, theirs.1, OLDEST.0, OLDEST.1
                ),
            ));
        }
        let version = theirs.min(NEWEST);
        let (major, minor) = version;
        let transport = transport.with_version(&format!("{major}.{minor}"));
        let carrier = transport.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request| {
                let carrier = carrier.clone();
                async move { told(carrier.send(request).await?).await }
            },
            Some("http://longshore"),
            PATIENCE,
            &ClientVersion {
                major_version: major,
                minor_version: minor,
            },
        )?;
        Ok(Engine {
            transport,
            docker,
            version,
        })
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Sends, and gives the answer once it began well.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>> {
        let request = request(method, path, body)?;
        Ok(told(self.transport.send(request).await?).await?)
    }

    pub(crate) async fn text(&self, method: Method, path: &str, body: Option<&Value>) -> Result<String> {
        let response = self.send(method, path, body).await?;
        Ok(String::from_utf8_lossy(&whole(response).await?).into_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        parse(path, &self.text(Method::GET, path, None).await?)
    }

    /// The same below `/longshore/`, which only an engine of ours knows.
    pub(crate) async fn get_own(&self, name: &str) -> Result<Value> {
        self.get(&format!("/longshore/{name}"))
            .await
            .map_err(|failure| match failure.is_not_found() {
                true => Failure::new(
                    failure.kind,
                    format!("the engine is not Longshore's: it has no word for {name}"),
                ),
                false => failure,
            })
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        let text = self.text(Method::POST, path, body).await?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        parse(path, &text)
    }

    /// Turns the connection of this request into a stream of bytes.
    pub(crate) async fn hijack(&self, path: &str, body: Option<&Value>) -> Result<TokioIo<Upgraded>> {
        let mut request = request(Method::POST, path, body)?;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("tcp"));
        let response = told(self.transport.send(request).await?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::new(
                Kind::Broken,
                format!(
                    "the engine did not open a stream for {path}: it answered with status {}",
                    response.status().as_u16()
                ),
            ));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| Failure::broken(&error))?;
        Ok(TokioIo::new(upgraded))
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Result<BollardRequest> {
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(body_full(bytes))
        .map_err(|error| Failure::usage(format!("{path:?} cannot be asked for: {error}")))
}

/// The answer, or what the engine says is wrong. Bollard reads the sentence alone; an engine of ours also
/// sends the remedy, which goes on a line of its own until it becomes a [`Failure`].
async fn told(response: Response<Incoming>) -> std::result::Result<Response<Incoming>, Error> {
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER);
    let body = body
        .collect()
        .await
        .map_err(|error| Error::IOError {
            err: std::io::Error::other(error),
        })?
        .to_bytes();
    Err(Error::DockerResponseServerError {
        status_code: status.as_u16(),
        message: refusal(&body),
    })
}

/// The sentence of a refusal, and its hint below it.
fn refusal(body: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    match text("hint") {
        "" => text("message").to_owned(),
        hint => format!("{}\nhint: {hint}", text("message")),
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), LARGEST_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(Failure::new(
            Kind::Broken,
            format!("the engine's answer broke off: {error}"),
        )),
    }
}

fn parse(path: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            Kind::Broken,
            format!("the engine's answer for {path} is not JSON: {error}"),
        )
    })
}

/// A name as one part of a path. Names that would lead elsewhere are refused before a path is made.
pub(crate) fn part(name: &str) -> Result<String> {
    let wrong = name.is_empty()
        || name
            .split('/')
            .any(|piece| piece.is_empty() || piece == "." || piece == "..")
        || name.chars().any(char::is_control);
    if wrong || name.len() > 4096 {
        return Err(Failure::usage(format!("{name:?} is not a name")));
    }
    Ok(encode(name, "/:@"))
}

/// Percent-encodes all but unreserved characters and those in `kept`.
pub(crate) fn encode(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || kept.as_bytes().contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `path?a=b&c=d`, without the pairs whose value is empty.
pub(crate) fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(mark);
        out.push_str(key);
        out.push('=');
        out.push_str(&encode(value, ""));
        mark = '&';
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", "..", "a/../b", "/a", "a//b", "a\0b", "a\n", "./x"] {
            assert!(part(bad).is_err(), "{bad:?}");
        }
        assert_eq!(part("host:5000/a b:1?x#y").unwrap(), "host:5000/a%20b:1%3Fx%23y");
    }

    #[test]
    fn empty_values_are_left_out_of_a_query() {
        assert_eq!(
            query("/x", &[("a", ""), ("b", "1&2"), ("c", "{}")]),
            "/x?b=1%262&c=%7B%7D"
        );
    }

    #[test]
    fn a_refusal_has_a_sentence_and_perhaps_a_hint() {
        assert_eq!(refusal(br#"{"message":"why"}"#), "why");
        assert_eq!(refusal(br#"{"message":"why","hint":"do this"}"#), "why\nhint: do this");
        assert_eq!(refusal(b"no json\n"), "no json\n");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("1.9"), Some((1, 9)));
        assert!(parse_version("1.9") < parse_version("1.41"));
        assert_eq!(parse_version("one"), None);
    }
}
