//! Connections that cease to be HTTP: their descriptor goes to a container's shim, which serves them
//! from then on. Of such a connection nothing stays here.

use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::reply::{Refusal, Reply, empty};
use crate::route::Version;

pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// What a stream of a container is called: clients since 1.42 are told whether it is framed.
pub(crate) fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || version < Version(1, 42) {
        RAW
    } else {
        MULTIPLEXED
    }
}

/// A client's connection, no longer HTTP.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    /// What had been read from it already.
    pub(crate) read: Vec<u8>,
}

impl Client {
    /// The same connection once more, to tell an error when handing the first over failed.
    pub(crate) fn second(&self) -> Option<UnixStream> {
        self.stream.try_clone().ok()
    }
}

fn taken(upgraded: Upgraded) -> io::Result<Client> {
    let parts = upgraded
        .downcast::<TokioIo<tokio::net::UnixStream>>()
        .map_err(|_| io::Error::other("the connection is not the socket's own"))?;
    let stream = parts.io.into_inner().into_std()?;
    stream.set_nonblocking(false)?;
    Ok(Client {
        stream,
        read: parts.read_buf.to_vec(),
    })
}

/// Answers that the connection is a stream from here on, and passes it to `then` when the answer is
/// out.
pub(crate) fn hijack<F>(
    on: OnUpgrade,
    content_type: &'static str,
    then: impl FnOnce(Client) -> F + Send + 'static,
) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        match on.await.map_err(io::Error::other).and_then(taken) {
            Ok(client) => then(client).await,
            Err(error) => tracing::debug!(%error, "a client left before its stream began"),
        }
    });
    let mut reply = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    reply
}

/// Takes a request's right to its connection.
pub(crate) fn right_to_connection(extensions: &mut hyper::http::Extensions) -> Result<OnUpgrade, Refusal> {
    extensions.remove::<OnUpgrade>().ok_or_else(|| {
        Refusal::bad("this request gets a stream: it must ask for the connection")
            .hint("send the headers Connection: Upgrade and Upgrade: tcp")
    })
}

/// Writes a last sentence to a stream, framed as its standard error unless it has a terminal.
pub(crate) fn say(stream: &mut UnixStream, tty: bool, sentence: &str) {
    let text = format!("{sentence}\r\n");
    let mut bytes = Vec::with_capacity(text.len() + 8);
    if !tty {
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    }
    bytes.extend_from_slice(text.as_bytes());
    // A client that is gone needs no sentence; one that does not read gets none.
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
