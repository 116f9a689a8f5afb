//! The protocol: POSTs with JSON on a unix socket, each bounded in size and time. What is refused is said
//! in `Err`, with status 500, because one of the two clients looks at the status first.

use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_core::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::messages::{Activated, Capable, Create, Done, Got, Listed, Mount, Mounted, Named, Nothing, Scoped};
use super::volumes::Volumes;

/// Longest request.
const LARGEST: usize = 64 * 1024;
/// Most connections at once; others wait until one of them ends.
const MOST: usize = 64;
/// How long the head and the body of a request may each take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long calls under way may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(10);
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.docker.plugins.v1.2+json");

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(listener: &UnixListener, volumes: Arc<Volumes>) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("serve Docker's protocol", &error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST)
        .build()
        .map_err(failed)?;
    let listener = listener.try_clone().map_err(failed)?;
    let served = runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let room = Arc::new(Semaphore::new(MOST));
        tokio::select! {
            () = accept(&listener, &room, &volumes) => {}
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        // All places are free when the last answer is on its way.
        let every = u32::try_from(MOST).unwrap_or(u32::MAX);
        if tokio::time::timeout(FAREWELL, room.acquire_many(every)).await.is_err() {
            eprintln!("longshore-runner: calls that are still under way are not waited for");
        }
        Ok(())
    });
    runtime.shutdown_background();
    served.map_err(failed)
}

async fn accept(listener: &tokio::net::UnixListener, room: &Arc<Semaphore>, volumes: &Arc<Volumes>) {
    loop {
        let Ok(place) = Arc::clone(room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let volumes = Arc::clone(volumes);
                tokio::spawn(async move {
                    connection(stream, volumes).await;
                    drop(place);
                });
            }
            // Out of descriptors, for one: it passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One call a connection: an idle one would keep its place from others.
async fn connection(stream: UnixStream, volumes: Arc<Volumes>) {
    let service = service_fn(move |request| {
        let volumes = Arc::clone(&volumes);
        async move { Ok::<_, Infallible>(answer(request, volumes).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Who breaks off has no one to be told so.
    let _ = served.await;
}

async fn answer(request: Request<Incoming>, volumes: Arc<Volumes>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "the protocol has only POST");
    }
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let body = match tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), LARGEST).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let sentence = format!("{method}: the request is longer than {LARGEST} bytes");
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &sentence);
        }
        Ok(Err(error)) => return refused(StatusCode::BAD_REQUEST, &format!("{method}: {error}")),
        Err(_) => {
            return refused(
                StatusCode::REQUEST_TIMEOUT,
                &format!("{method}: the request does not end"),
            );
        }
    };
    let name = method.clone();
    match tokio::task::spawn_blocking(move || call(&volumes, &name, &body)).await {
        Ok(Some(Ok(text))) => respond(StatusCode::OK, text),
        Ok(Some(Err(error))) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        // What Docker takes as "does not have this method".
        Ok(None) => refused(
            StatusCode::NOT_FOUND,
            &format!("there is no method {:?} here", shortened(&method)),
        ),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("{method}: {error}")),
    }
}

/// Makes a call; none when there is no such method.
fn call(volumes: &Volumes, method: &str, body: &[u8]) -> Option<Result<Vec<u8>>> {
    let Some(verb) = method.strip_prefix("VolumeDriver.") else {
        return (method == "Plugin.Activate").then(|| {
            json(&Activated {
                implements: ["VolumeDriver"],
            })
        });
    };
    let err = String::new;
    Some(match verb {
        "Create" => read(method, body)
            .and_then(|asked: Create| volumes.create(&asked.name, asked.opts.unwrap_or_default()))
            .and_then(|()| json(&Done::default())),
        "Remove" => read(method, body)
            .and_then(|asked: Named| volumes.remove(&asked.name))
            .and_then(|()| json(&Done::default())),
        "Mount" => read(method, body)
            .and_then(|asked: Mount| volumes.mount(&asked.name, &asked.id))
            .and_then(|mountpoint| json(&Mounted { mountpoint, err: err() })),
        "Path" => read(method, body)
            .and_then(|asked: Named| volumes.path(&asked.name))
            .and_then(|mountpoint| json(&Mounted { mountpoint, err: err() })),
        "Unmount" => read(method, body)
            .and_then(|asked: Mount| volumes.unmount(&asked.name, &asked.id))
            .and_then(|()| json(&Done::default())),
        "Get" => read(method, body)
            .and_then(|asked: Named| volumes.get(&asked.name))
            .and_then(|volume| json(&Got { volume, err: err() })),
        "List" => read(method, body)
            .and_then(|_: Nothing| volumes.list())
            .and_then(|volumes| json(&Listed { volumes, err: err() })),
        "Capabilities" => read(method, body).and_then(|_: Nothing| {
            json(&Capable {
                capabilities: Scoped { scope: volumes.scope() },
            })
        }),
        _ => return None,
    })
}

/// A request; one without content, which Docker and Podman send where there is nothing to say, is empty.
fn read<T: DeserializeOwned>(method: &str, body: &[u8]) -> Result<T> {
    let body = match body.trim_ascii() {
        b"" | b"null" => b"{}",
        body => body,
    };
    serde_json::from_slice(body).map_err(|error| Error::invalid(format!("{method}: {}", shortened(&error.to_string()))))
}

fn json<T: Serialize>(answer: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|error| Error::broken(format!("write an answer: {error}")))
}

fn refused(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    let answer = Done { err: sentence.into() };
    respond(status, json(&answer).unwrap_or_default())
}

fn respond(status: StatusCode, text: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// As much of a text of somebody else as is worth repeating.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
