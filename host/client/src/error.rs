//! What goes wrong, as the user reads it: one sentence, and a hint where there is a remedy.

use std::fmt;

/// Why a command could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line asks for something that cannot be.
    Usage,
    /// The engine answered with this HTTP status.
    Answer(u16),
    /// No engine could be reached or started.
    Unreachable,
    /// The connection broke, or the answer could not be read.
    Broken,
    /// A file or stream on this side.
    Local,
    /// The reader of our output is gone; nobody is left to tell.
    NobodyReads,
}

/// One failure: a sentence with the object and the reason, and perhaps the remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) sentence: String,
    pub(crate) hint: Option<String>,
    /// The exit code, where it is not the one of the command's own errors.
    pub(crate) code: Option<u8>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Failure {
            kind,
            sentence: sentence.into(),
            hint: None,
            code: None,
        }
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Failure::new(Kind::Usage, sentence)
    }

    pub(crate) fn local(what: impl fmt::Display, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::new(Kind::NobodyReads, format!("{what}: nobody reads it"));
        }
        Failure::new(Kind::Local, format!("{what}: {}", plain(error)))
    }

    /// What an engine said: the sentence, and the hint that its message may carry on a line of its own.
    pub(crate) fn answer(status: u16, message: &str) -> Self {
        let (sentence, hint) = match message.trim().split_once("\nhint: ") {
            Some((sentence, hint)) => (sentence, Some(hint.trim().to_owned())),
            None => (message.trim(), None),
        };
        let sentence = match sentence {
            "" => format!("the engine answered with status {status} and no reason"),
            words => words.to_owned(),
        };
        Failure {
            kind: Kind::Answer(status),
            sentence,
            hint,
            code: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == Kind::Answer(404)
    }
}

/// The system's words without Rust's "(os error N)".
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

impl From<bollard::errors::Error> for Failure {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError { status_code, message } => Failure::answer(status_code, &message),
            Error::DockerStreamError { error } => Failure::answer(500, &error),
            Error::IOError { err } => Failure::new(
                Kind::Broken,
                format!("the connection to the engine broke: {}", plain(&err)),
            ),
            Error::HyperResponseError { err } => Failure::broken(&err),
            other => Failure::new(Kind::Broken, format!("the engine's answer could not be read: {other}")),
        }
    }
}

impl Failure {
    pub(crate) fn broken(error: &hyper::Error) -> Self {
        let mut reason: &dyn std::error::Error = error;
        while let Some(deeper) = reason.source() {
            reason = deeper;
        }
        Failure::new(Kind::Broken, format!("the connection to the engine broke: {reason}")).hint("longshore doctor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_carry_its_hint() {
        let failure = Failure::answer(404, "no volume \"x\"\nhint: longshore volume ls\n");
        assert_eq!(failure.sentence, "no volume \"x\"");
        assert_eq!(failure.hint.as_deref(), Some("longshore volume ls"));
        assert!(failure.is_not_found());
        assert!(Failure::answer(500, "").sentence.contains("status 500 and no reason"));
    }

    #[test]
    fn the_number_of_an_error_is_not_shown() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(plain(&error), "no such file or directory");
    }
}
