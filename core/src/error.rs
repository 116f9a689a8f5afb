//! The closed set of errors that a driver may answer, and what each one tells the caller to do.
//!
//! "The driver says no" (every kind but the last two) and "the driver is broken" never mix: a
//! caller may believe the first and must distrust the second.

use std::fmt;

use longshore_macros::Data;

/// What went wrong, as far as the caller's next step depends on it.
#[derive(Data)]
pub enum ErrorKind {
    /// The named object is not there.
    NotFound,
    /// The name is taken by an object made from another request.
    AlreadyExists,
    /// Something still uses the object: children, mounts, processes.
    InUse,
    /// The request itself is wrong; the message names the field.
    Invalid,
    /// This driver, version, kernel or technology cannot do it.
    Unsupported,
    /// Permission is missing: of the process, or a grant of the plugin.
    Denied,
    /// Space, quota, descriptors or depth are used up.
    Exhausted,
    /// A backend is away; the same call may succeed later.
    Unavailable,
    /// The caller cancelled the call.
    Cancelled,
    /// The call did not end in time. On a call that changes something the outcome is unknown.
    Deadline,
    /// What is on disk is not what the driver wrote; the object is to be isolated.
    Corrupt,
    /// The driver misbehaved: a panic, an answer outside the contract, a dead process. On a call
    /// that changes something the outcome is unknown.
    Broken,
    /// A kind that this side does not know, from a newer peer.
    #[data(other)]
    Unknown,
}

impl ErrorKind {
    /// The kind as the field's word, for messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::InUse => "in use",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline exceeded",
            Self::Corrupt => "corrupt",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

/// An error of a driver or of the host acting for one: a kind, a sentence, and the system's number
/// where there is one.
#[derive(Data)]
pub struct Error {
    /// What the caller may conclude.
    pub kind: ErrorKind,
    /// One sentence: what was attempted on which object, and why it failed.
    pub message: String,
    /// The `errno` behind it, as a positive number.
    pub errno: Option<i32>,
}

/// The result of every driver method.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! shorthands {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

shorthands! {
    /// [`ErrorKind::NotFound`] with a message.
    not_found => NotFound,
    /// [`ErrorKind::AlreadyExists`] with a message.
    already_exists => AlreadyExists,
    /// [`ErrorKind::InUse`] with a message.
    in_use => InUse,
    /// [`ErrorKind::Invalid`] with a message.
    invalid => Invalid,
    /// [`ErrorKind::Unsupported`] with a message.
    unsupported => Unsupported,
    /// [`ErrorKind::Denied`] with a message.
    denied => Denied,
    /// [`ErrorKind::Exhausted`] with a message.
    exhausted => Exhausted,
    /// [`ErrorKind::Unavailable`] with a message.
    unavailable => Unavailable,
    /// [`ErrorKind::Cancelled`] with a message.
    cancelled => Cancelled,
    /// [`ErrorKind::Deadline`] with a message.
    deadline => Deadline,
    /// [`ErrorKind::Corrupt`] with a message.
    corrupt => Corrupt,
    /// [`ErrorKind::Broken`] with a message.
    broken => Broken,
}

impl Error {
    /// An error without a system number.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            errno: None,
        }
    }

    /// The same error with the system's number.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// An I/O error met while doing `attempted` ("open layer abc"), with the kind that its number
    /// stands for (errno(3)).
    pub fn io(attempted: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::AlreadyExists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::ResourceBusy | Io::DirectoryNotEmpty => ErrorKind::InUse,
            Io::Unsupported => ErrorKind::Unsupported,
            Io::InvalidInput | Io::InvalidFilename => ErrorKind::Invalid,
            Io::TimedOut | Io::ConnectionRefused | Io::ConnectionReset | Io::NotConnected => ErrorKind::Unavailable,
            _ => match error.raw_os_error() {
                // EMFILE, ENFILE: tables of descriptors are a resource like space.
                Some(23 | 24) => ErrorKind::Exhausted,
                // EIO: what was written cannot be trusted.
                Some(5) => ErrorKind::Corrupt,
                _ => ErrorKind::Unavailable,
            },
        };
        let this = Self::new(kind, format!("cannot {attempted}: {error}"));
        match error.raw_os_error() {
            Some(number) => this.with_errno(number),
            None => this,
        }
    }

    /// Whether a changing call that ended so may or may not have had its effect.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.kind, ErrorKind::Deadline | ErrorKind::Broken)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
