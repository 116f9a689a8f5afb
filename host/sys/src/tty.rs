//! Terminals: their size.

use std::os::fd::AsFd;

use rustix::termios::{self, Winsize};

use crate::error::{Named, Result};

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of a terminal.
///
/// # Errors
/// The kernel's; `ENOTTY` when it is none.
pub fn size(terminal: impl AsFd) -> Result<Size> {
    let found = termios::tcgetwinsize(terminal).named("ioctl TIOCGWINSZ")?;
    Ok(Size {
        rows: found.ws_row,
        columns: found.ws_col,
    })
}

/// Sets the size of a terminal; its foreground processes get SIGWINCH.
///
/// # Errors
/// As [`size`].
pub fn set_size(terminal: impl AsFd, size: Size) -> Result<()> {
    let wanted = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    termios::tcsetwinsize(terminal, wanted).named("ioctl TIOCSWINSZ")
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    termios::isatty(fd)
}
