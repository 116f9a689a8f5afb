//! What is printed: tables, templates, JSON; and how it reaches the terminal.

pub(crate) mod json;
pub(crate) mod listing;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod units;

use std::io::{IsTerminal, Write};

use crate::error::{Failure, Result};

/// Prints text and the end of the line.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    let mut text = text.as_ref().to_owned();
    text.push('\n');
    print(&text)
}

/// Prints text as it is. That nobody reads any more is no reason to panic.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::local("standard output", &error))
}

/// Says something on standard error, as one line.
pub(crate) fn warn(sentence: &str) {
    note(&format!("longshore: {sentence}"));
}

/// Prints to standard error; if that fails there is nowhere to say so.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Prints a failure: the sentence, and the hint below it.
pub(crate) fn failure(failure: &Failure) {
    let colour = std::io::stderr().is_terminal() && colours_wanted();
    let mark = |code, text: &str| paint(colour, code, text);
    let mut text = format!("{} {}", mark("31", "longshore:"), failure.sentence);
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\n{} {hint}", mark("36", "hint:")));
    }
    note(&text);
}

/// Whether standard output may be coloured.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal() && colours_wanted()
}

fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text in a colour of the terminal's sixteen.
pub(crate) fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
