//! Panics of a driver become errors here, inside the plugin.
//!
//! The host cannot do this: a panic that crosses from a separately built library aborts the process,
//! whatever the host catches.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use longshore_core::error::{Error, Result};

thread_local! {
    /// How many driver calls this thread is in: only their panics are ours.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static WHAT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a driver's code. A panic becomes `Broken` with text and place, and is printed nowhere.
pub(crate) fn caught<T>(code: impl FnOnce() -> Result<T>) -> Result<T> {
    install_hook();
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let outcome = catch_unwind(AssertUnwindSafe(code));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    outcome.unwrap_or_else(|payload| {
        // Dropping a payload may panic once more.
        std::mem::forget(payload);
        let what = WHAT.with(RefCell::take);
        Err(Error::broken(what.unwrap_or_else(|| "panicked".into())))
    })
}

/// A library has its own copy of std, so this leaves the hook of the host alone; linked in
/// statically, it passes on every panic that is not of a driver's call.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if DEPTH.with(Cell::get) > 0 {
                note(describe(info));
            } else {
                previous(info);
            }
        }));
    });
}

#[cfg(not(target_family = "wasm"))]
fn note(text: String) {
    WHAT.with(|what| *what.borrow_mut() = Some(text));
}

/// A component cannot catch a panic: it ends with it, and this is the last that it can say.
#[cfg(target_family = "wasm")]
fn note(text: String) {
    crate::guest::last_words(&text);
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("(no text)");
    match info.location() {
        Some(place) => format!("panicked: {text} at {}:{}", place.file(), place.line()),
        None => format!("panicked: {text}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use longshore_core::error::ErrorKind;

    #[test]
    fn a_panic_becomes_broken_with_its_text_and_place() {
        let number = 7;
        let error = caught::<()>(|| panic!("no such layer {number}")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Broken);
        assert!(error.message.starts_with("panicked: no such layer 7 at "), "{error}");
        assert!(error.message.contains("panics.rs:"), "{error}");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_forgotten() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let error = caught::<()>(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert!(error.message.contains("(no text)"), "{error}");
    }

    #[test]
    fn an_answer_passes_through() {
        assert_eq!(caught(|| Ok(5)).unwrap(), 5);
        assert_eq!(
            caught::<()>(|| Err(Error::in_use("x"))).unwrap_err().kind,
            ErrorKind::InUse
        );
    }
}
