//! Bodies on their way between HTTP, which waits without a thread, and the engine, which reads and
//! writes in one. Both ways are bounded: a slow side holds the other up, and when one is gone the
//! other ends.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::query::clip;
use crate::reply::Refusal;

/// Largest JSON document.
const LARGEST_JSON: usize = 4 << 20;
/// Chunks on their way.
const CHUNKS: usize = 8;
/// What is collected before it is sent.
const CHUNK: usize = 64 * 1024;
/// How long the rest of a body that nobody wants is read, so that its sender reads the answer instead
/// of a broken pipe.
const DRAIN: Duration = Duration::from_secs(5);

/// Reads on and throws away.
async fn drain(mut body: Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DRAIN, all).await;
}

/// The whole body of a JSON request.
async fn whole(mut body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body is larger than {LARGEST_JSON} bytes"),
        )
    };
    let mut collected = BytesMut::new();
    if body.size_hint().lower() > LARGEST_JSON as u64 {
        tokio::spawn(drain(body));
        return Err(too_large());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad(format!("the request's body broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if collected.len() + data.len() > LARGEST_JSON {
                tokio::spawn(drain(body));
                return Err(too_large());
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

/// Reads a body of JSON; an absent one is `None`.
pub(crate) async fn json_or_none<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Option<T>, Refusal> {
    let text = whole(body).await?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
        return Err(Refusal::bad(format!(
            "unsupported Content-Type header ({}): must be 'application/json'",
            clip(kind)
        )));
    }
    parse(&text).map(Some)
}

/// Reads a body of JSON.
pub(crate) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Incoming) -> Result<T, Refusal> {
    json_or_none(headers, body)
        .await?
        .ok_or_else(|| Refusal::bad("invalid JSON: the body is empty"))
}

/// Deepest nesting of a document. The parser stops at as much by itself, but not in members that it
/// passes over.
const DEPTH: usize = 128;

/// Whether brackets and braces nest deeper than [`DEPTH`], those in texts left out.
fn is_too_deep(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return true;
        }
    }
    false
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    if is_too_deep(text) {
        return Err(Refusal::bad(format!("invalid JSON: it nests deeper than {DEPTH}")));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let inner = error.inner();
        if field == "." {
            Refusal::bad(format!("invalid JSON: {inner}"))
        } else {
            Refusal::bad(format!("invalid JSON: {field}: {inner}"))
        }
    })?;
    reader
        .end()
        .map_err(|error| Refusal::bad(format!("invalid JSON: more follows the document: {error}")))?;
    Ok(value)
}

/// A request's body as a reader for a thread.
#[derive(Debug)]
pub(crate) struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl BodyReader {
    /// Passes a body on from now.
    pub(crate) fn new(mut body: Incoming) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let chunk = match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_)) => continue,
                    Err(error) => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("the request's body broke off: {error}"),
                    )),
                };
                let last = chunk.is_err();
                if sender.send(chunk).await.is_err() {
                    drain(body).await;
                    return;
                }
                if last {
                    return;
                }
            }
        });
        Self {
            chunks,
            now: Bytes::new(),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.now = chunk?,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.now.len());
        if let (Some(to), Some(from)) = (into.get_mut(..length), self.now.get(..length)) {
            to.copy_from_slice(from);
        }
        self.now.advance(length);
        Ok(length)
    }
}

/// An answer's body as a writer for a thread. Flushing tells whether the reader is still there.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    now: BytesMut,
}

/// The chunks that a [`BodyWriter`] writes.
pub(crate) type Chunks = mpsc::Receiver<io::Result<Bytes>>;

impl BodyWriter {
    pub(crate) fn new() -> (Self, Chunks) {
        let (chunks, receiver) = mpsc::channel(CHUNKS);
        let writer = Self {
            chunks,
            now: BytesMut::new(),
        };
        (writer, receiver)
    }

    /// What breaks the answer off.
    pub(crate) fn breaker(&self) -> mpsc::Sender<io::Result<Bytes>> {
        self.chunks.clone()
    }

    fn send(&mut self) -> io::Result<()> {
        if self.now.is_empty() {
            return Ok(());
        }
        let chunk = self.now.split().freeze();
        self.chunks
            .blocking_send(Ok(chunk))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for BodyWriter {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.now.extend_from_slice(from);
        if self.now.len() >= CHUNK {
            self.send()?;
        }
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunks.is_closed() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        self.send()
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // Nobody is left to tell when the reader is gone.
        let _ = self.send();
    }
}

/// Chunks as the stream of an answer.
pub(crate) fn chunks(mut receiver: Chunks) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use longshore_engine::models::ContainerCreateBody;

    #[test]
    fn json_of_a_wrong_type_names_the_field() {
        let refused = parse::<ContainerCreateBody>(br#"{"HostConfig":{"Memory":"much"}}"#).unwrap_err();
        assert!(refused.message.contains("HostConfig.Memory"), "{}", refused.message);
        assert!(parse::<ContainerCreateBody>(br#"{"Cmd":["a"],"Cmd":["b"]}"#).is_err());
        let refused = parse::<ContainerCreateBody>(b"{} {}").unwrap_err();
        assert!(refused.message.contains("more follows"), "{}", refused.message);
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(
            parse::<ContainerCreateBody>(deep.as_bytes())
                .unwrap_err()
                .status
                .as_u16(),
            400
        );
    }

    #[test]
    fn a_writer_ends_when_its_reader_is_gone() {
        let (mut writer, chunks) = BodyWriter::new();
        writer.write_all(b"x").unwrap();
        drop(chunks);
        assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (mut writer, chunks) = BodyWriter::new();
        drop(chunks);
        assert!(writer.write_all(&vec![0; 2 * CHUNK]).is_err());
    }

    #[test]
    fn what_is_written_arrives_whole() {
        let (mut writer, mut chunks) = BodyWriter::new();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                writer.write_all(&[7; 1000]).unwrap();
            }
        });
        let mut length = 0;
        while let Some(chunk) = chunks.blocking_recv() {
            length += chunk.unwrap().len();
        }
        thread.join().unwrap();
        assert_eq!(length, 1_000_000);
    }
}
