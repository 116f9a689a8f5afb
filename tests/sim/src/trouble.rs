//! Trouble on demand: what the file that the option `provoke` names says is to happen.
//!
//! The file is looked at in each call that would need a backend. Its first word is `away` (the call
//! is answered `Unavailable`), `stall` (it waits until the file says otherwise, the call is cancelled
//! or its deadline passes) or `panic`; a second word is the only object that this concerns. No file
//! is no trouble. A driver of another author that has such an option can be proven in these cases too.

use std::path::PathBuf;
use std::time::Duration;

use longshore_core::Context;
use longshore_core::driver::{OptionKind, OptionScope, OptionSpec};
use longshore_core::{Error, Result};

/// The option's name.
pub const OPTION: &str = "provoke";

/// How often a stalled call looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(5);

/// The option as a driver describes it.
pub(crate) fn option() -> OptionSpec {
    OptionSpec {
        name: OPTION.into(),
        kind: OptionKind::HostPath,
        scope: OptionScope::Driver,
        required: false,
        default: None,
        help: "a file that says which trouble the backend is in".into(),
    }
}

/// Where trouble comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// The file, when the option was given.
    pub(crate) file: Option<PathBuf>,
    /// A planted fault: a stalled call does not heed that it is cancelled.
    pub(crate) deaf: bool,
}

impl Trouble {
    /// Whether the file says this of the object now.
    pub(crate) fn is(&self, what: &str, object: &str) -> bool {
        let Some(file) = &self.file else { return false };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        words.next() == Some(what) && words.next().is_none_or(|named| named == object)
    }

    /// `Unavailable` while the backend is away.
    pub(crate) fn reach(&self, object: &str) -> Result<()> {
        if self.is("away", object) {
            return Err(Error::unavailable("the backend is away; try again when it is back"));
        }
        Ok(())
    }

    /// Waits while the backend stalls, and panics when it is told to.
    #[allow(clippy::panic, reason = "what it is for")]
    pub(crate) fn meet(&self, cx: &Context, object: &str) -> Result<()> {
        while self.is("stall", object) {
            if !self.deaf {
                cx.check()?;
            }
            std::thread::sleep(PAUSE);
        }
        if self.is("panic", object) {
            panic!("the test told the driver to");
        }
        Ok(())
    }
}
