//! Turns what the library says into an error of the contract.

use libcontainer::error::LibcontainerError;
use longshore_plugin::{Error, ErrorKind};

use crate::trail::Trail;

/// Stands before the number in an error of [`entry`](crate::entry): it has to pass through the
/// library as text.
pub(crate) const MARK: &str = "longshore errno=";

/// Numbers by name, as nix prints them, and what they mean for the caller.
const NUMBERS: &[(&str, i32, ErrorKind)] = &[
    ("EPERM", 1, ErrorKind::Denied),
    ("EACCES", 13, ErrorKind::Denied),
    ("EROFS", 30, ErrorKind::Denied),
    ("ENOMEM", 12, ErrorKind::Exhausted),
    ("EAGAIN", 11, ErrorKind::Exhausted),
    ("ENFILE", 23, ErrorKind::Exhausted),
    ("EMFILE", 24, ErrorKind::Exhausted),
    ("ENOSPC", 28, ErrorKind::Exhausted),
    ("EDQUOT", 122, ErrorKind::Exhausted),
    ("ENOENT", 2, ErrorKind::Invalid),
    ("ENOTDIR", 20, ErrorKind::Invalid),
    ("EISDIR", 21, ErrorKind::Invalid),
    ("EINVAL", 22, ErrorKind::Invalid),
    ("ELOOP", 40, ErrorKind::Invalid),
    ("ENAMETOOLONG", 36, ErrorKind::Invalid),
    ("EBUSY", 16, ErrorKind::InUse),
];

/// The error of `attempt` ("create container abc").
pub(crate) fn translate(attempt: &str, error: &LibcontainerError, trail: &Trail) -> Error {
    let said = whole(error);
    if let Some(error) = marked(attempt, &said) {
        return error;
    }
    match error {
        LibcontainerError::Exist => Error::already_exists(format!("cannot {attempt}: it has been created before")),
        LibcontainerError::NoDirectory => Error::not_found(format!("cannot {attempt}: it is not there")),
        LibcontainerError::IncorrectStatus(status) => Error::invalid(format!("cannot {attempt}: it is {status}")),
        LibcontainerError::InvalidSpec(_)
        | LibcontainerError::MissingSpec(_)
        | LibcontainerError::Spec(_)
        | LibcontainerError::InvalidID(_)
        | LibcontainerError::InvalidInput(_)
        | LibcontainerError::NoUserNamespace => Error::invalid(format!("cannot {attempt}: {said}")),
        _ => classify(attempt, &said, &trail.text()),
    }
}

/// An error and all its sources.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().replace('\0', "");
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

/// The entry's own error, out of the texts that it passed through.
fn marked(attempt: &str, said: &str) -> Option<Error> {
    let (_, rest) = said.split_once(MARK)?;
    let (number, sentence) = rest.split_once(' ')?;
    Some(Error::invalid(format!("cannot {attempt}: {sentence}")).with_errno(number.parse().ok()?))
}

/// The first error that the library logged is nearest to the cause.
fn classify(attempt: &str, said: &str, log: &str) -> Error {
    let cause = log.lines().next().unwrap_or_default();
    let message = match cause {
        "" => format!("cannot {attempt}: {said}"),
        cause => format!("cannot {attempt}: {said} ({cause})"),
    };
    let names = |text: &str| {
        NUMBERS
            .iter()
            .find(|(name, number, _)| mentions(text, name, *number))
            .copied()
    };
    match names(cause).or_else(|| names(said)).or_else(|| names(log)) {
        Some((_, number, kind)) if kind == ErrorKind::Denied && cause.contains("failed to chdir") => {
            Error::invalid(message).with_errno(number)
        }
        Some((_, number, kind)) => Error::new(kind, message).with_errno(number),
        None if cause.contains("verify cwd") || said.contains("current working directory") => Error::invalid(message),
        None => Error::unavailable(message),
    }
}

/// Whether a text has the number by its name (nix) or as the standard library prints it.
fn mentions(text: &str, name: &str, number: i32) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| word == name)
        || text.contains(&format!("(os error {number})"))
        || text.contains(&format!("code: {number},"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entrys_own_number_survives() {
        let said = "failed to create container: exec process failed with error longshore errno=2 exec: \"x\" not found";
        let error = marked("create container a", said);
        assert!(error.is_some_and(|e| e.errno == Some(2) && e.message.ends_with("exec: \"x\" not found")));
        assert!(marked("create container a", "failed").is_none());
    }

    #[test]
    fn numbers_in_the_log_decide_the_kind() {
        let table = [
            ("failed to chdir e=ENOENT\nmore", ErrorKind::Invalid, Some(2)),
            ("failed to chdir e=EACCES", ErrorKind::Invalid, Some(13)),
            ("failed to set rlimit err=Nix(EPERM)", ErrorKind::Denied, Some(1)),
            ("failed to add task err=ENOSPC", ErrorKind::Exhausted, Some(28)),
            (
                "cannot mount err=No such file (os error 2)",
                ErrorKind::Invalid,
                Some(2),
            ),
            (
                "failed err=Os { code: 28, kind: StorageFull }",
                ErrorKind::Exhausted,
                Some(28),
            ),
            ("failed to verify cwd", ErrorKind::Invalid, None),
            ("", ErrorKind::Unavailable, None),
        ];
        for (log, kind, number) in table {
            let error = classify("create container a", "failed", log);
            assert_eq!((error.kind, error.errno), (kind, number), "{log}");
        }
    }
}
