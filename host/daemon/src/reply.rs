//! Answers: JSON, nothing, streams, and refusals with Docker's status for each kind of error.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use longshore_engine::ErrorKind;
use serde::Serialize;

/// The body of any answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// Any answer.
pub(crate) type Reply = Response<Body>;
/// What a route gives.
pub(crate) type Answer = Result<Reply, Refusal>;

pub(crate) const JSON: &str = "application/json";

/// An answer that says why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[derive(Serialize)]
struct RefusalBody<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn not_here(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = RefusalBody {
            message: &self.message,
            hint: self.hint.as_deref(),
        };
        let mut reply = json_text(serde_json::to_vec(&body).unwrap_or_default());
        *reply.status_mut() = self.status;
        reply
    }
}

/// Docker's status for a kind of error.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::InUse => StatusCode::CONFLICT,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<longshore_engine::Error> for Refusal {
    fn from(error: longshore_engine::Error) -> Self {
        Self {
            status: status_of(error.kind),
            message: error.message,
            hint: error.hint,
        }
    }
}

/// What a failed start answers. That a program is missing or may not be run is the request's fault:
/// Docker says 400, and its command derives 127 and 126 from the words.
pub(crate) fn start_refusal(error: longshore_engine::Error) -> Refusal {
    const NO_ENTRY: i32 = 2;
    const NOT_ALLOWED: i32 = 13;
    let by_errno = matches!(error.errno, Some(NO_ENTRY | NOT_ALLOWED)) && error.kind != ErrorKind::NotFound;
    let by_words = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
    ]
    .iter()
    .any(|words| error.message.contains(words));
    let mut refusal = Refusal::from(error);
    if (by_errno || by_words) && refusal.status != StatusCode::NOT_FOUND {
        refusal.status = StatusCode::BAD_REQUEST;
    }
    refusal
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

fn json_text(text: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)).map_err(never).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    reply
}

/// An answer of that status and value.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut text = serde_json::to_vec(value).map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the answer cannot be written as JSON: {error}"),
        )
    })?;
    text.push(b'\n');
    let mut reply = json_text(text);
    *reply.status_mut() = status;
    Ok(reply)
}

/// A value.
pub(crate) fn json(value: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, value)
}

/// A status alone.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(never).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// Text.
pub(crate) fn text(words: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(words.into()).map_err(never).boxed_unsync());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

/// A body that comes bit by bit. Its head is sent at once.
pub(crate) fn stream(
    content_type: &'static str,
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Reply {
    let chunks: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> = Box::pin(chunks);
    let mut reply = Response::new(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn each_kind_of_error_has_dockers_status() {
        for (kind, status) in [
            (ErrorKind::NotFound, 404),
            (ErrorKind::AlreadyExists, 409),
            (ErrorKind::InUse, 409),
            (ErrorKind::Invalid, 400),
            (ErrorKind::Denied, 403),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Exhausted, 500),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Broken, 500),
            (ErrorKind::Deadline, 500),
        ] {
            let refusal = Refusal::from(longshore_engine::Error::new(kind, "why").hint("do this"));
            assert_eq!(refusal.status.as_u16(), status, "{kind:?}");
            assert_eq!(refusal.message, "why");
            assert_eq!(refusal.hint.as_deref(), Some("do this"));
        }
    }

    #[test]
    fn a_program_that_is_missing_is_the_requests_fault() {
        let mut error =
            longshore_engine::Error::new(ErrorKind::Unknown, "exec: \"x\": executable file not found in $PATH");
        error.errno = Some(2);
        assert_eq!(start_refusal(error).status, StatusCode::BAD_REQUEST);
        let mut error = longshore_engine::Error::new(ErrorKind::Denied, "exec /x: permission denied");
        error.errno = Some(13);
        assert_eq!(start_refusal(error).status, StatusCode::BAD_REQUEST);
        let missing = longshore_engine::Error::not_found("No such container: x");
        assert_eq!(start_refusal(missing).status, StatusCode::NOT_FOUND);
    }
}
