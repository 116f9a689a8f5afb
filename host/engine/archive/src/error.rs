//! What can be wrong with an archive, and what each of these means for whoever asked.

use std::fmt;
use std::io;

use longshore_core::ErrorKind;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes of a name that are shown at most: a name may be as long as its archive.
const SHOWN: usize = 200;

/// The name of an entry, a file or an object, fit to be shown on a terminal.
///
/// Names in archives are bytes chosen by strangers: control characters and what is not UTF-8 come out
/// escaped, and a long name is cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Of raw bytes.
    pub fn new(name: &[u8]) -> Self {
        let cut = &name[..name.len().min(SHOWN)];
        let mut text = String::from_utf8_lossy(cut).escape_debug().to_string();
        if cut.len() < name.len() {
            text.push_str("...");
        }
        Self(text)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an archive was refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed, or what it is packed in is damaged.
    #[error("reading {what} failed: {error}")]
    Read {
        /// Of what.
        what: &'static str,
        /// The system's or the decoder's word.
        #[source]
        error: io::Error,
    },
    /// The destination failed.
    #[error("writing {what} failed: {error}")]
    Write {
        /// Of what.
        what: &'static str,
        /// The system's word.
        #[source]
        error: io::Error,
    },
    /// A compression that is not read.
    #[error("{0} compression is not read; pack the archive with gzip or zstd, or leave it plain")]
    Compression(&'static str),
    /// The compressed data are damaged.
    #[error("the {format} data are damaged: {error}")]
    Damaged {
        /// The compression.
        format: &'static str,
        /// The decoder's word.
        #[source]
        error: io::Error,
    },
    /// The archive ends in the middle of something.
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    /// A header that is not one, at an offset of the uncompressed archive.
    #[error("the archive is malformed at byte {at}: {reason}")]
    Header {
        /// Where the header begins.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry that is refused.
    #[error("entry {entry} is refused: {reason}")]
    Entry {
        /// Its name.
        entry: Shown,
        /// Why.
        reason: String,
    },
    /// More of something than is accepted.
    #[error("the archive is refused: more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
    /// An object in an unpacked or to be packed tree could not be handled.
    #[error("{attempt} {path} failed: {error}")]
    Tree {
        /// What was attempted.
        attempt: &'static str,
        /// On what, relative to the tree's root.
        path: Shown,
        /// The system's word.
        #[source]
        error: io::Error,
    },
    /// The destination tree refused or failed.
    #[error("entry {entry} could not be unpacked: {error}")]
    Sink {
        /// The entry's name.
        entry: Shown,
        /// The performer's word.
        error: longshore_core::Error,
    },
    /// A tree or a record is not what it was when the layer was unpacked.
    #[error("the layer cannot be put together again: {path}: {reason}")]
    Altered {
        /// The file.
        path: Shown,
        /// How it differs.
        reason: &'static str,
    },
    /// A record of headers and padding is malformed.
    #[error("the tar-split record is malformed: {0}")]
    Split(String),
    /// A digest that is not `sha256:` and 64 lower-case hex digits.
    #[error("malformed digest {0}: expected sha256: and 64 lower-case hex digits")]
    Digest(Shown),
    /// Content whose digest or size is not the one that was told.
    #[error("{object} has {found}, but {told} was told")]
    Mismatch {
        /// Which object.
        object: String,
        /// What it has.
        found: String,
        /// What was told.
        told: String,
    },
    /// An image archive that is not one, or not one that is accepted.
    #[error("the image archive is refused: {0}")]
    Image(String),
}

impl Error {
    /// What the caller may conclude, in the closed set that drivers and the engine share.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { error, .. } | Self::Write { error, .. } | Self::Tree { error, .. } => io_kind(error),
            Self::Sink { error, .. } => error.kind,
            Self::Compression(_) => ErrorKind::Unsupported,
            Self::Altered { .. } | Self::Split(_) => ErrorKind::Corrupt,
            _ => ErrorKind::Invalid,
        }
    }

    pub(crate) fn entry(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            entry: Shown::new(name),
            reason: reason.into(),
        }
    }

    pub(crate) fn image(reason: impl Into<String>) -> Self {
        Self::Image(reason.into())
    }

    /// Takes an error of this crate out of the I/O error that carried it through a `Read`.
    pub(crate) fn reading(what: &'static str, error: io::Error) -> Self {
        match carried(error) {
            Ok(own) => own,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated(what),
            Err(error) => Self::Read { what, error },
        }
    }

    pub(crate) fn writing(what: &'static str, error: io::Error) -> Self {
        carried(error).unwrap_or_else(|error| Self::Write { what, error })
    }

    pub(crate) fn tree(attempt: &'static str, path: &[u8], error: impl Into<io::Error>) -> Self {
        Self::Tree {
            attempt,
            path: Shown::new(path),
            error: error.into(),
        }
    }

    /// Sends this error through an interface that knows I/O errors alone.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

/// The error of this crate inside an I/O error, or that error as it was.
pub(crate) fn carried(error: io::Error) -> std::result::Result<Error, io::Error> {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        let kind = error.kind();
        return match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(own)) => Ok(*own),
            _ => Err(kind.into()),
        };
    }
    Err(error)
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}
