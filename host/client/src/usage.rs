//! What clap finds wrong with a command line, in the form of all other failures: a sentence and a hint.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::error::Failure;
use crate::{output, run};

/// Help and versions are printed as they are and are no failures.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            match error.print() {
                Ok(()) => ExitCode::SUCCESS,
                // As if the pipe's signal had ended this process.
                Err(_) => ExitCode::from(141),
            }
        }
        _ => {
            output::failure(&failure(&error.render().to_string()));
            ExitCode::from(run::OWN)
        }
    }
}

/// The first paragraph is the sentence; a tip, or else the usage, is the hint.
fn failure(rendered: &str) -> Failure {
    let mut lines = rendered.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let mut sentence = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for (number, line) in lines.by_ref().take_while(|line| !line.is_empty()).enumerate() {
        sentence.push_str(if number == 0 { " " } else { ", " });
        sentence.push_str(line);
    }
    let rest: Vec<&str> = lines.collect();
    let after = |mark: &str| rest.iter().find_map(|line| line.strip_prefix(mark));
    let failure = Failure::usage(sentence);
    match (after("tip: "), after("Usage: ")) {
        (Some(tip), _) => failure.hint(tip),
        (None, Some(usage)) => failure.hint(format!("usage: {usage}")),
        (None, None) => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn a_wrong_command_line_is_one_sentence_and_one_hint() {
        for (words, sentence, hint) in [
            (
                &["run", "--memroy", "1g", "x"][..],
                "unexpected argument '--memroy' found",
                "a similar argument exists: '--memory'",
            ),
            (
                &["run"],
                "the following required arguments were not provided: <IMAGE>...",
                "usage: longshore run",
            ),
            (
                &["completion", "tcsh"],
                "invalid value 'tcsh' for '<SHELL>' [possible values: bash, zsh, fish]",
                "",
            ),
            (
                &["loda"],
                "unrecognized subcommand 'loda'",
                "a similar subcommand exists: 'load'",
            ),
        ] {
            let words = std::iter::once("longshore").chain(words.iter().copied());
            let error = Cli::try_parse_from(words).unwrap_err();
            let failure = failure(&error.render().to_string());
            assert_eq!(failure.sentence, sentence);
            assert!(failure.hint.unwrap_or_default().contains(hint), "{hint}");
        }
    }
}
