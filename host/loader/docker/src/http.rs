//! One call of the protocol: a POST with JSON, its answer bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use longshore_core::error::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::protocol::{IpamRefusal, Refusal};

/// Longest answer.
const LARGEST: usize = 1 << 20;
/// What Docker's client says that it takes.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1+json";
/// How long a listener may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// What a call does, which says what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Changes,
}

/// Makes a call, once.
///
/// # Errors
/// `Invalid` with what the plugin says against it; `Unavailable` when nobody listens; `Deadline` when it
/// does not answer; `Unsupported` when it does not know the method; `Broken` when its answer is none, or the connection
/// ended after a changing call was sent.
pub(crate) fn post<A: Serialize, R: DeserializeOwned>(
    address: &Address,
    who: &str,
    method: &str,
    argument: &A,
    limit: Duration,
    effect: Effect,
) -> Result<R> {
    let body = serde_json::to_vec(argument).map_err(|error| Error::invalid(format!("{who}: {method}: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Error::io(format!("{who}: {method}"), &error))?;
    let answered = runtime.block_on(async {
        tokio::time::timeout(limit, exchange(address, method, body, effect))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Deadline,
                    format!("no answer within {} s", limit.as_secs_f32().ceil()),
                ))
            })
    });
    // What hangs in this runtime, such as a look-up of a name, is not waited for.
    runtime.shutdown_background();
    let (status, body) = answered.map_err(|error| Error {
        message: format!("{who}: {method}: {}", error.message),
        ..error
    })?;
    read(who, method, status, &body)
}

async fn exchange(address: &Address, method: &str, body: Vec<u8>, effect: Effect) -> Result<(StatusCode, Bytes)> {
    let nobody = |error: std::io::Error| {
        Error::unavailable(format!(
            "nobody answers at {} ({error}): is the plugin running?",
            address.shown()
        ))
    };
    let slow = |_| Error::unavailable(format!("{} accepts no connection", address.shown()));
    match address {
        Address::Unix(path) => {
            let connected = tokio::time::timeout(CONNECT, tokio::net::UnixStream::connect(path));
            talk(connected.await.map_err(slow)?.map_err(nobody)?, method, body, effect).await
        }
        Address::Tcp { host, port, tls } => {
            let connected = tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect((host.as_str(), *port)));
            let stream = connected.await.map_err(slow)?.map_err(nobody)?;
            let Some(tls) = tls else {
                return talk(stream, method, body, effect).await;
            };
            let name = rustls_pki_types::ServerName::try_from(host.clone())
                .map_err(|_| Error::invalid(format!("{host:?} is no host name that a certificate can have")))?;
            let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls.config()?));
            let secured = connector
                .connect(name, stream)
                .await
                .map_err(|error| Error::unavailable(format!("TLS with {} failed: {error}", address.shown())))?;
            talk(secured, method, body, effect).await
        }
    }
}

async fn talk<S>(stream: S, method: &str, body: Vec<u8>, effect: Effect) -> Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // From here on the plugin may have got the call.
    let lost = |error: String| match effect {
        Effect::None => Error::unavailable(format!("the connection broke off: {error}")),
        Effect::Changes => Error::broken(format!(
            "the connection broke off, whether it was done is not known: {error}"
        )),
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| lost(error.to_string()))?;
    let request = Request::post(format!("/{method}"))
        .header("Host", "plugin.moby.localhost")
        .header("Accept", MEDIA_TYPE)
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Error::invalid(error.to_string()))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| lost(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Error::broken(format!("the answer is longer than {LARGEST} bytes"))
                } else {
                    lost(error.to_string())
                }
            })?;
        Ok((status, body.to_bytes()))
    };
    // The connection itself never ends before the exchange with anything that matters.
    tokio::select! {
        done = exchange => done,
        Err(error) = connection => Err(lost(error.to_string())),
    }
}

fn read<R: DeserializeOwned>(who: &str, method: &str, status: StatusCode, body: &[u8]) -> Result<R> {
    if status == StatusCode::NOT_FOUND {
        return Err(Error::unsupported(format!("{who} does not know {method}")));
    }
    // Docker's plugins say what is wrong in a field, with any status.
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let mut said = refusal.map(|refusal| refusal.err).unwrap_or_default();
    if said.is_empty() && method.starts_with("IpamDriver.") {
        let refusal: Option<IpamRefusal> = serde_json::from_slice(body).ok();
        said = refusal.map(|refusal| refusal.error).unwrap_or_default();
    }
    if !said.is_empty() {
        let said: String = said.chars().take(1024).collect();
        return Err(Error::invalid(format!("{who}: {said}")));
    }
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
        return Err(Error::invalid(format!("{who}: {method}: status {status} {text}")));
    }
    // An answer without content is an empty object.
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Error::broken(format!("{who}: the answer to {method} cannot be read: {error}")))
}
