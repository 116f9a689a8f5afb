//! The terminal on standard input: raw mode, and its size.

use std::io::IsTerminal;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Failure, Result};

/// Raw mode on standard input; the terminal is as it was when this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Nothing where standard input is no terminal.
    pub(crate) fn enter() -> Result<Option<Raw>> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let wrong = |error: rustix::io::Errno| Failure::local("the terminal cannot be made raw", &error.into());
        let before = tcgetattr(&input).map_err(wrong)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw).map_err(wrong)?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing is left to be done if the terminal is gone.
        let _gone = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal on standard output, or on standard input.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout())
        .or_else(|_| tcgetwinsize(std::io::stdin()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// `-it` with an input that is no terminal cannot work: raw keys would never come.
pub(crate) fn check_input(interactive: bool, tty: bool) -> Result<()> {
    if interactive && tty && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the input device is not a TTY")
            .hint("leave out -t to pass standard input through a pipe")
            .exit(1));
    }
    Ok(())
}
