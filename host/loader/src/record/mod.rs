//! Records of calls: what a driver was asked and what it answered, one JSON object a line.
//!
//! A [`Recorder`] writes a file for all drivers of a host; [`Line`] is what `longshore-runner replay`
//! reads from it. Bodies are written as what they hold ([`Value`]), so that people can read them, and
//! so that what is secret can be found and left out: the value of every option that a driver declares
//! as a secret, or whose name says that it is one, and passwords inside mount options. Descriptors are
//! noted by their kinds. What a replay makes of all this is the runner's.

mod value;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::driver::{Description, OptionKind};
use longshore_core::envelope;
use longshore_core::error::{Error, Result};
use longshore_core::wire::{Call, Message};
use serde::{Deserialize, Serialize};

pub use value::Value;

/// Longest line that is read back.
pub const MAX_LINE: usize = 16 << 20;

/// One call.
#[derive(Clone, Serialize, Deserialize)]
pub struct Line {
    /// The driver's kind.
    pub kind: String,
    /// Its name.
    pub driver: String,
    /// Its version.
    pub version: String,
    /// The transport that carried the call.
    pub transport: String,
    /// The instance; 0 for what needs none.
    pub instance: u64,
    /// The method.
    pub method: String,
    /// What the request's descriptors were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handles: Vec<u8>,
    /// The request, without its envelope.
    pub request: serde_json::Value,
    /// Whether something secret was left out of the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The reply; none for a call that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<serde_json::Value>,
    /// The error of a call that failed: kind and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// What was left out; never written.
    #[serde(skip)]
    hidden: Vec<String>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("kind", &self.kind)
            .field("driver", &self.driver)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// How a recorded call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The kind, in words.
    pub kind: String,
    /// The sentence.
    pub message: String,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind.as_str().to_owned(),
            message: error.message.clone(),
        }
    }
}

/// A file that calls are written to.
#[derive(Debug)]
pub struct Recorder(Mutex<File>);

impl Recorder {
    /// Opens the file, for its owner alone; what is there already stays.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(libc_nofollow())
            .open(path)?;
        Ok(Arc::new(Self(Mutex::new(file))))
    }

    fn write(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line, appended: lines of two engines do not mix. A full disk loses records, no calls.
        if let Err(error) = file.write_all(&text) {
            tracing::warn!(%error, "a call could not be recorded");
        }
    }
}

/// `O_NOFOLLOW`: a record is written where it was said, and nowhere else.
fn libc_nofollow() -> i32 {
    i32::try_from(longshore_sys::path::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// The recording of one driver.
#[derive(Debug)]
pub(crate) struct Recording {
    recorder: Arc<Recorder>,
    kind: String,
    driver: String,
    version: String,
    transport: &'static str,
    /// Options whose values are secrets.
    secrets: Vec<String>,
}

impl Recording {
    pub(crate) fn new(recorder: &Arc<Recorder>, about: &Description, transport: &'static str) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            kind: about.kind.clone(),
            driver: about.name.clone(),
            version: about.version.clone(),
            transport,
            secrets: about
                .options
                .iter()
                .filter(|option| option.kind == OptionKind::Secret)
                .map(|option| option.name.clone())
                .collect(),
        }
    }

    /// Takes down a call that begins.
    pub(crate) fn asked(&self, call: Call<'_>, request: &Message) -> Line {
        let body = envelope::open(&request.body).map_or(&[][..], |opened| opened.request);
        let mut value = Value::decode(body).unwrap_or(Value::Nil);
        let mut hidden = Vec::new();
        value.redact(&self.secrets, &mut hidden);
        Line {
            kind: self.kind.clone(),
            driver: self.driver.clone(),
            version: self.version.clone(),
            transport: self.transport.to_owned(),
            instance: call.instance,
            method: call.method.name.to_owned(),
            handles: request.handles.iter().map(|(kind, _)| *kind as u8).collect(),
            request: value.to_json(),
            redacted: !hidden.is_empty(),
            reply: None,
            error: None,
            micros: 0,
            hidden,
        }
    }

    /// Writes it down with how it ended.
    pub(crate) fn answered(&self, mut line: Line, outcome: &Result<Message>, took: Duration) {
        match outcome {
            Ok(reply) => {
                let mut value = Value::decode(&reply.body).unwrap_or(Value::Nil);
                value.redact(&self.secrets, &mut Vec::new());
                value.blot(&line.hidden);
                line.reply = Some(value.to_json());
            }
            Err(error) => {
                let mut failed = Failed::from(error);
                value::blot_text(&mut failed.message, &line.hidden);
                line.error = Some(failed);
            }
        }
        line.micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.recorder.write(&line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_is_its_owners_alone_and_follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        Recorder::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Recorder::open(&link).is_err());
    }
}
