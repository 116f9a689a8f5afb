//! Starts an engine, and hears from it how that went: one line on its standard output, `ready` with its
//! socket, or `error` with a sentence. An end without a line means that another engine was faster.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::connect::Local;
use crate::error::{Failure, Kind, Result};

/// How long an engine may take to put its data root in order before it listens.
const RECOVERY: Duration = Duration::from_secs(120);

/// How long a new engine is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It leaves after an idle while.
    OnDemand,
    /// It stays until it is stopped.
    UntilStopped,
}

/// What a started engine said before it went its own way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Ready,
    /// Another engine holds the data root: look for its socket again.
    Again,
}

pub(crate) async fn start(local: &Local, stay: Stay) -> Result<Word> {
    let mut command = daemon(local, stay)?;
    let program = command.get_program().to_owned();
    let mut child = command.spawn().map_err(|error| {
        Failure::local(
            format!("the engine {} cannot be started", Path::new(&program).display()),
            &error,
        )
        .hint("keep longshored beside longshore: `make build` leaves both in one folder")
    })?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            // Bounded: a sentence, not a log.
            let read = BufReader::new(out.take(16 << 10)).read_line(&mut line);
            if read.is_err() {
                line.clear();
            }
        }
        (line, child)
    });
    match tokio::time::timeout(RECOVERY, reading).await {
        Ok(Ok((line, child))) => word(&line, child),
        Ok(Err(error)) => Err(Failure::new(
            Kind::Unreachable,
            format!("the engine could not be waited for: {error}"),
        )),
        Err(_) => Err(Failure::new(
            Kind::Unreachable,
            format!(
                "the engine of {} did not get ready within {} s",
                local.data_root.display(),
                RECOVERY.as_secs()
            ),
        )),
    }
}

fn word(line: &str, mut child: Child) -> Result<Word> {
    let line = line.trim();
    if line.starts_with("ready") {
        return Ok(Word::Ready);
    }
    if let Some(sentence) = line.strip_prefix("error ") {
        let (sentence, hint) = match sentence.split_once(" | hint: ") {
            Some((sentence, hint)) => (sentence, Some(hint)),
            None => (sentence, None),
        };
        let failure = Failure::new(Kind::Unreachable, sentence.trim());
        return Err(match hint {
            Some(hint) => failure.hint(hint.trim()),
            None => failure,
        });
    }
    // End without a word: the loser of a race ends with 0, everything else is a crash.
    match child.wait() {
        Ok(status) if !status.success() => Err(Failure::new(
            Kind::Unreachable,
            format!("the engine ended before it was ready ({status})"),
        )
        .hint("longshored --data-root DIR in a terminal shows why")),
        _ => Ok(Word::Again),
    }
}

fn daemon(local: &Local, stay: Stay) -> Result<Command> {
    let mut command = Command::new(sibling("longshored")?);
    command
        .arg(match stay {
            Stay::OnDemand => "--on-demand",
            Stay::UntilStopped => "--stay",
        })
        .arg("--data-root")
        .arg(&local.data_root)
        .arg("--exec-root")
        .arg(&local.exec_root);
    if let Some(config) = &local.config {
        command.arg("--config").arg(config);
    }
    if let Some(record) = &local.record {
        command.arg("--record").arg(record);
    }
    // The engine outlives this command: it must hold neither its folder nor its streams, or a pipe
    // behind `longshore run` would never end.
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    Ok(command)
}

/// A program of the same build, beside this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure::local("this program's own folder", &error))?;
    Ok(own.with_file_name(name))
}
