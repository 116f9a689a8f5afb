//! What it means for the caller that an instance has ended in its call.

use longshore_core::error::Error;
use wasmtime::Trap;

use crate::wasm::guest::{Guest, Stop};
use crate::wasm::imports::NotGranted;

/// The contract's error for the end of an instance while it was in `method`.
pub(super) fn error(method: &str, guest: &Guest, error: &wasmtime::Error) -> Error {
    match guest.stopped() {
        Some(Stop::Deadline(limit)) => Error::deadline(format!(
            "{method} did not end within {} ms: its instance was stopped",
            limit.as_millis()
        )),
        Some(Stop::Cancelled) => Error::cancelled(format!("{method} was cancelled: its instance was stopped")),
        None => Error::broken(format!("{method} ended its instance: {}", reason(guest, error))),
    }
}

fn reason(guest: &Guest, error: &wasmtime::Error) -> String {
    if let Some(words) = guest.last_words() {
        return words.to_owned();
    }
    if let Some(most) = guest.wanted_more_than() {
        return format!("it wanted more memory than its {} MiB", most >> 20);
    }
    if let Some(NotGranted(name)) = error.downcast_ref() {
        return format!("it called {name}, which it is not granted");
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "its calls nest too deeply".to_owned(),
        Some(Trap::UnreachableCodeReached) => "it gave up without a word".to_owned(),
        Some(trap) => trap.to_string(),
        None => format!("{error:#}").chars().take(300).collect(),
    }
}
