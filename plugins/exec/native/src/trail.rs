//! What the library says while it works.
//!
//! Its processes pass errors to each other as short texts without the system's number; the number
//! stands only in their log. So this collects the log's errors, in sealed-off memory that all of
//! them share because they are forked from this process.

use std::fmt::{self, Write as _};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};

/// Longest text that is taken back.
const MAX: u64 = 16 * 1024;

/// The collected errors of one call.
#[derive(Debug)]
pub(crate) struct Trail(Option<Arc<OwnedFd>>);

struct Collector(Arc<OwnedFd>);

impl Trail {
    pub(crate) fn new() -> Self {
        Self(memfd_create("trail", MemfdFlags::CLOEXEC).ok().map(Arc::new))
    }

    /// Calls the library and collects what it says.
    pub(crate) fn follow<T>(&self, call: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(file) => tracing::subscriber::with_default(Collector(Arc::clone(file)), call),
            None => call(),
        }
    }

    /// The text, the first error first.
    pub(crate) fn text(&self) -> String {
        let Some(file) = self.0.as_ref().and_then(|file| file.try_clone().ok()) else {
            return String::new();
        };
        let mut file = std::fs::File::from(file);
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(MAX).read_to_end(&mut bytes));
        drop(read);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
        let _ = written;
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        // Nothing can be done about a full memory here.
        let _ = rustix::io::write(self.0.as_fd(), line.0.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
