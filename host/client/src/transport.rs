//! HTTP over one unix socket: what bollard sends through, and what Docker's API has no word for.
//!
//! One connection a request, so that a stream that lasts as long as a container never stands in the
//! way of another request.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::BollardRequest;
use bollard::errors::Error;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Longest path that fits into a socket address, less its end.
const ADDRESS: usize = 107;

/// Sends requests to one socket, each with the headers that this command adds.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    socket: Arc<PathBuf>,
    headers: Arc<Vec<(HeaderName, HeaderValue)>>,
    /// `/v1.NN`, put before each path of Docker's API; empty before versions are agreed on.
    prefix: Arc<str>,
}

impl Transport {
    pub(crate) fn new(socket: PathBuf, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Transport {
            socket: Arc::new(socket),
            headers: Arc::new(headers),
            prefix: Arc::from(""),
        }
    }

    /// The same socket, speaking this version.
    pub(crate) fn with_version(&self, version: &str) -> Self {
        Transport {
            prefix: Arc::from(format!("/v{version}")),
            ..self.clone()
        }
    }

    /// A connection, for [`Transport::send_over`]; its error is the socket's own.
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        connect(&self.socket).await
    }

    pub(crate) async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let stream = self.connect().await.map_err(|err| Error::IOError { err })?;
        self.send_over(stream, request).await
    }

    pub(crate) async fn send_over(
        &self,
        stream: UnixStream,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        *request.uri_mut() = self.uri(request.uri())?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("longshore"));
        for (name, value) in self.headers.iter() {
            headers.insert(name.clone(), value.clone());
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection's own error reaches the request; here there is nobody to tell.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender.send_request(request).await?)
    }

    /// The path alone, with the version in front where the path belongs to Docker's API.
    fn uri(&self, uri: &Uri) -> Result<Uri, Error> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let unversioned = path.starts_with("/longshore/") || path == "/_ping" || path.starts_with("/v1.");
        let prefix = if unversioned { "" } else { &self.prefix };
        Ok(format!("{prefix}{path}").parse::<Uri>()?)
    }
}

/// Connects to a socket, also to one whose path is longer than a socket address holds.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().as_bytes().len() <= ADDRESS {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let folder = std::fs::File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    UnixStream::connect(short.join(name)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn the_version_stands_before_paths_of_dockers_api_alone() {
        let transport = Transport::new("/x".into(), Vec::new()).with_version("1.41");
        for (given, wanted) in [
            ("http://longshore/containers/json?all=1", "/v1.41/containers/json?all=1"),
            ("/longshore/status", "/longshore/status"),
            ("/_ping", "/_ping"),
            ("/v1.40/info", "/v1.40/info"),
        ] {
            assert_eq!(transport.uri(&given.parse().unwrap()).unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn a_socket_path_beyond_an_address_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let handle = std::fs::File::open(&deep).unwrap();
            let short = format!("/proc/self/fd/{}/s", handle.as_raw_fd());
            let listener = tokio::net::UnixListener::bind(short).unwrap();
            connect(&deep.join("s")).await.unwrap();
            drop(listener);
        });
    }
}
