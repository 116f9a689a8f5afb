//! Variables and labels, from flags and from files.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Failure, Result};

/// No file of variables is larger.
const LARGEST_FILE: u64 = 4 << 20;

/// Variables of files first, of flags after them: the later one wins in the engine.
pub(crate) fn variables(files: &[impl AsRef<Path>], flags: &[String]) -> Result<Vec<String>> {
    let own = |name: &str| std::env::var(name).ok();
    let mut all = Vec::new();
    for file in files {
        let path = file.as_ref();
        all.extend(parse_file(path, &read(path)?, own)?);
    }
    for flag in flags {
        all.push(variable(flag, own)?);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<String> {
    let attempt = || -> std::io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        let mut file = std::fs::File::open(path)?.take(LARGEST_FILE + 1);
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = attempt().map_err(|error| Failure::local(format!("--env-file {}", path.display()), &error))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(Failure::usage(format!(
            "--env-file {} is larger than {LARGEST_FILE} bytes",
            path.display()
        )));
    }
    Ok(text)
}

/// `NAME=VALUE` as it is, `NAME` with the value it has here. A name without a value here goes as it is:
/// it takes the image's variable away.
fn variable(flag: &str, own: impl Fn(&str) -> Option<String>) -> Result<String> {
    let name = flag.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::usage(format!("-e {flag:?} has no name before the value"))
            .hint("write NAME=VALUE, or NAME to pass on this shell's value"));
    }
    if flag.contains('\0') {
        return Err(Failure::usage(format!("-e {name} has a zero byte")));
    }
    if flag.contains('=') {
        return Ok(flag.to_owned());
    }
    Ok(own(flag).map_or_else(|| flag.to_owned(), |value| format!("{flag}={value}")))
}

/// Lines of a file: comments and empty lines go, nothing is quoted, a name alone takes its value from here.
fn parse_file(path: &Path, text: &str, own: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let place = || format!("--env-file {} line {}", path.display(), number + 1);
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return Err(Failure::usage(format!("{}: no name before the value", place())));
        }
        if name.contains(char::is_whitespace) || line.contains('\0') {
            return Err(Failure::usage(format!(
                "{}: the name {name:?} has white space in it",
                place()
            )));
        }
        match value {
            Some(value) => all.push(format!("{name}={value}")),
            None => all.extend(own(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(all)
}

/// `NAME=VALUE` or `NAME`, as labels and options are written.
pub(crate) fn pairs(flag: &str, words: &[String]) -> Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if name.is_empty() {
            return Err(
                Failure::usage(format!("{flag} {word:?} has no name before the value")).hint("write NAME=VALUE")
            );
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    fn own(name: &str) -> Option<String> {
        (name == "HERE").then(|| "set".to_owned())
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = "\u{feff}# comment\n\n  A=1\nB=\nC=a=b \nHERE\nNOWHERE\nD='x y'\r\n";
        assert_eq!(
            parse_file(Path::new("f"), text, own).unwrap(),
            ["A=1", "B=", "C=a=b ", "HERE=set", "D='x y'"]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, wanted) in [("A=1\n=x", "line 2"), ("a b=1", "line 1"), ("\n\nx y", "line 3")] {
            let failure = parse_file(Path::new("f"), text, own).unwrap_err();
            assert!(failure.sentence.contains(wanted), "{failure}");
        }
    }

    #[test]
    fn flags_pass_on_what_is_here() {
        assert_eq!(variable("A=1", own).unwrap(), "A=1");
        assert_eq!(variable("A=", own).unwrap(), "A=");
        assert_eq!(variable("HERE", own).unwrap(), "HERE=set");
        assert_eq!(variable("NOWHERE", own).unwrap(), "NOWHERE");
        assert!(variable("=x", own).is_err());
        assert!(variable("", own).is_err());
    }

    #[test]
    fn labels_may_lack_a_value() {
        let labels = pairs("-l", &["a=b=c".to_owned(), "d".to_owned()]).unwrap();
        assert_eq!(labels["a"], "b=c");
        assert_eq!(labels["d"], "");
        assert!(pairs("-l", &["=x".to_owned()]).is_err());
    }
}
