//! Reading a container's log: Docker's json-file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{Container, Containers};
use crate::error::{Error, Result};

/// Longest line of the file: 16 KiB of output, escaped, and its frame.
const MAX_LINE: u64 = 256 * 1024;
/// How long a follower sleeps when there is nothing new.
const POLL: Duration = Duration::from_millis(50);

/// What is asked of a log.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    /// Go on until the container ends.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Put each line's time before it.
    pub timestamps: bool,
    /// Seconds since 1970 of the first line wanted.
    pub since: Option<i64>,
    /// Seconds since 1970 of the last.
    pub until: Option<i64>,
    /// How many of the last lines; all when absent.
    pub tail: Option<usize>,
}

#[derive(Deserialize)]
struct Line {
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
}

impl LogRequest {
    fn wants(&self, line: &Line) -> bool {
        let stream = if line.stream == "stderr" {
            self.stderr
        } else {
            self.stdout
        };
        let at = crate::image::parse_time(&line.time).unwrap_or(0);
        stream && self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }

    fn write(&self, line: &Line, tty: bool, to: &mut dyn Write) -> std::io::Result<()> {
        let text = if self.timestamps {
            format!("{} {}", line.time, line.log)
        } else {
            line.log.clone()
        };
        if !tty {
            let stream = if line.stream == "stderr" { 2 } else { 1 };
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let mut head = [stream, 0, 0, 0, 0, 0, 0, 0];
            head[4..].copy_from_slice(&length.to_be_bytes());
            to.write_all(&head)?;
        }
        to.write_all(text.as_bytes())
    }
}

impl Containers {
    /// Writes a container's log to `to`, framed unless the container has a terminal. Ends when the
    /// reader is gone.
    pub(crate) fn logs(&self, container: &Arc<Container>, request: &LogRequest, to: &mut dyn Write) -> Result<()> {
        if !request.stdout && !request.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let tty = container.record().tty();
        let path = self
            .paths
            .container(container.id.as_str())
            .join(super::start::log_name(container.id.as_str()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !request.follow => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match self.wait_for_log(container, &path)? {
                Some(file) => file,
                None => return Ok(()),
            },
            Err(e) => return Err(Error::io(format!("open {}", path.display()), &e)),
        };
        let mut reader = BufReader::new(file);
        if pass_on(&mut reader, request, tty, to, true)? && request.follow {
            loop {
                // Asked before reading, so that what was written before the end is read after it.
                let over = container.live().is_none_or(|live| live.status().settled);
                if !pass_on(&mut reader, request, tty, to, false)? || over {
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    fn wait_for_log(&self, container: &Arc<Container>, path: &std::path::Path) -> Result<Option<File>> {
        while container.live().is_some_and(|live| !live.status().settled) {
            match File::open(path) {
                Ok(file) => return Ok(Some(file)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::thread::sleep(POLL),
                Err(e) => return Err(Error::io(format!("open {}", path.display()), &e)),
            }
        }
        Ok(None)
    }
}

/// Passes on every whole line from here; answers whether the reader is still there. `first` applies
/// the limit of last lines.
fn pass_on(
    reader: &mut BufReader<File>,
    request: &LogRequest,
    tty: bool,
    to: &mut dyn Write,
    first: bool,
) -> Result<bool> {
    let mut kept: VecDeque<Line> = VecDeque::new();
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut raw)
            .map_err(|e| Error::io("read a log", &e))?;
        if raw.last() != Some(&b'\n') && read as u64 == MAX_LINE {
            // No shim writes such a line. It is passed over in pieces, none of which is a record.
            continue;
        }
        if raw.last() != Some(&b'\n') {
            // A line that is being written: it is read again when it is whole.
            let back = i64::try_from(read).unwrap_or(0);
            reader
                .seek(SeekFrom::Current(-back))
                .map_err(|e| Error::io("read a log", &e))?;
            break;
        }
        // A line that a power cut left half written is passed over.
        let Ok(line) = serde_json::from_slice::<Line>(&raw) else {
            continue;
        };
        if !request.wants(&line) {
            continue;
        }
        match request.tail.filter(|_| first) {
            Some(limit) => {
                kept.push_back(line);
                if kept.len() > limit {
                    kept.pop_front();
                }
            }
            None => {
                if request.write(&line, tty, to).is_err() {
                    return Ok(false);
                }
            }
        }
    }
    for line in &kept {
        if request.write(line, tty, to).is_err() {
            return Ok(false);
        }
    }
    Ok(to.flush().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn line(text: &str, stream: &str, second: u32) -> String {
        let time = format!("2024-01-01T00:00:{second:02}Z");
        serde_json::json!({"log": format!("{text}\n"), "stream": stream, "time": time}).to_string() + "\n"
    }

    fn read(content: &str, request: &LogRequest) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, content).unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        let mut out = Vec::new();
        assert!(pass_on(&mut reader, request, true, &mut out, true).unwrap());
        String::from_utf8(out).unwrap()
    }

    fn both() -> LogRequest {
        LogRequest {
            stdout: true,
            stderr: true,
            ..LogRequest::default()
        }
    }

    #[test]
    fn streams_times_and_the_last_lines_are_chosen() {
        let content = line("a", "stdout", 1) + &line("b", "stderr", 2) + &line("c", "stdout", 3);
        assert_eq!(read(&content, &both()), "a\nb\nc\n");
        assert_eq!(
            read(
                &content,
                &LogRequest {
                    stderr: false,
                    ..both()
                }
            ),
            "a\nc\n"
        );
        assert_eq!(
            read(
                &content,
                &LogRequest {
                    tail: Some(2),
                    ..both()
                }
            ),
            "b\nc\n"
        );
        assert_eq!(
            read(
                &content,
                &LogRequest {
                    tail: Some(0),
                    ..both()
                }
            ),
            ""
        );
        let first = crate::image::parse_time("2024-01-01T00:00:02Z");
        assert_eq!(read(&content, &LogRequest { since: first, ..both() }), "b\nc\n");
        assert_eq!(read(&content, &LogRequest { until: first, ..both() }), "a\nb\n");
    }

    #[test]
    fn a_line_that_is_too_long_does_not_end_the_log() {
        let limit = usize::try_from(MAX_LINE).unwrap();
        for length in [limit - 1, limit, limit + 1, 3 * limit] {
            let content = line("a", "stdout", 1) + &"x".repeat(length) + "\n" + &line("b", "stdout", 2);
            assert_eq!(read(&content, &both()), "a\nb\n", "{length}");
        }
    }

    #[test]
    fn a_damaged_line_is_passed_over_and_a_partial_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (whole, half) = (line("a", "stdout", 1), line("b", "stdout", 2));
        let cut = half.len() / 2;
        std::fs::write(&path, format!("{{\"log\": broken\n{whole}{}", &half[..cut])).unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        let mut out = Vec::new();
        pass_on(&mut reader, &both(), true, &mut out, true).unwrap();
        assert_eq!(out, b"a\n");
        let mut more = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        more.write_all(&half.as_bytes()[cut..]).unwrap();
        pass_on(&mut reader, &both(), true, &mut out, false).unwrap();
        assert_eq!(out, b"a\nb\n");
    }
}
