//! Docker's `json-file` log: one JSON object a line of output.
//!
//! The bytes are those that dockerd writes: its escapes, its times, its way with long lines (pieces
//! of 16 KiB whose `log` lacks the final line feed). A file that one began the other goes on with.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::SystemTime;

use longshore_shim::files::beneath;
use longshore_shim::multiplex::Output;
use longshore_shim::time::rfc3339;

/// Longest piece of a line, as in Docker's copier.
pub(crate) const PIECE: usize = 16 * 1024;

/// Cuts what a process writes into lines and pieces, and encodes them.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: [Vec<u8>; 2],
}

impl Lines {
    /// Takes output; appends complete records to `to`. Returns how many there were.
    pub(crate) fn take(&mut self, output: Output, mut bytes: &[u8], time: &str, to: &mut Vec<u8>) -> u64 {
        let pending = &mut self.pending[index(output)];
        let mut records = 0;
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(pending.len());
            let window = bytes.get(..room).unwrap_or(bytes);
            let (piece, complete) = match window.iter().position(|byte| *byte == b'\n') {
                Some(at) => (bytes.split_at(at + 1), true),
                // The line feed right after a full piece belongs to a record of its own, as there.
                None => (bytes.split_at(window.len()), window.len() == room),
            };
            bytes = piece.1;
            if !complete {
                pending.extend_from_slice(piece.0);
            } else if pending.is_empty() {
                encode(piece.0, output, time, to);
                records += 1;
            } else {
                pending.extend_from_slice(piece.0);
                encode(pending, output, time, to);
                pending.clear();
                records += 1;
            }
        }
        records
    }

    /// What was written after the last line feed.
    pub(crate) fn pending(&self, output: Output) -> &[u8] {
        &self.pending[index(output)]
    }

    /// The end of a stream: its last line without a line feed becomes a record.
    pub(crate) fn finish(&mut self, output: Output, time: &str, to: &mut Vec<u8>) -> u64 {
        let pending = std::mem::take(&mut self.pending[index(output)]);
        if pending.is_empty() {
            return 0;
        }
        encode(&pending, output, time, to);
        1
    }
}

fn index(output: Output) -> usize {
    usize::from(output == Output::Stderr)
}

fn encode(line: &[u8], output: Output, time: &str, to: &mut Vec<u8>) {
    to.reserve(line.len() + 80);
    to.extend_from_slice(b"{\"log\":\"");
    escape(line, to);
    to.extend_from_slice(b"\",\"stream\":\"");
    to.extend_from_slice(output.as_str().as_bytes());
    to.extend_from_slice(b"\",\"time\":\"");
    to.extend_from_slice(time.as_bytes());
    to.extend_from_slice(b"\"}\n");
}

fn escape(line: &[u8], to: &mut Vec<u8>) {
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => to.extend_from_slice(b"\\\""),
                '\\' => to.extend_from_slice(b"\\\\"),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                    to.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
                }
                other => to.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // One replacement a byte, as Go's decoder counts them.
        for _ in chunk.invalid() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
}

/// The log of one container, open for its whole life.
#[derive(Debug)]
pub(crate) struct JsonLog {
    file: File,
    lines: Lines,
    /// The length up to which the file holds whole records.
    length: u64,
    batch: Vec<u8>,
    lost: u64,
}

impl JsonLog {
    /// Opens or makes the log `name` of a folder.
    pub(crate) fn open(folder: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(beneath(folder, name))?;
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            lines: Lines::default(),
            length,
            batch: Vec::new(),
            lost: 0,
        })
    }

    /// The length of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What is not yet in the file.
    pub(crate) fn pending(&self, output: Output) -> &[u8] {
        self.lines.pending(output)
    }

    /// Logs what was read from a stream.
    pub(crate) fn write(&mut self, output: Output, bytes: &[u8]) {
        let records = self
            .lines
            .take(output, bytes, &rfc3339(SystemTime::now()), &mut self.batch);
        self.flush(records);
    }

    /// Logs the last line of a stream.
    pub(crate) fn finish(&mut self, output: Output) {
        let records = self.lines.finish(output, &rfc3339(SystemTime::now()), &mut self.batch);
        self.flush(records);
    }

    /// Flushes the file to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads a part of the file. Empty at its end.
    pub(crate) fn read_at(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        let read = self.file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn flush(&mut self, records: u64) {
        if records == 0 {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if self.lost > 0 {
            self.announce_loss(&mut batch);
        }
        match self.file.write_all(&batch) {
            Ok(()) => {
                self.length += batch.len() as u64;
                self.lost = 0;
            }
            // The container goes on without room for its log; a record written in part is taken
            // back, or the file could no longer be read.
            Err(_) => {
                self.lost += records;
                let _ = self.file.set_len(self.length);
            }
        }
        batch.clear();
        self.batch = batch;
    }

    fn announce_loss(&self, batch: &mut Vec<u8>) {
        let mut first = Vec::new();
        let line = format!(
            "longshore: {} lines of this log were lost, the disk was full\n",
            self.lost
        );
        encode(line.as_bytes(), Output::Stderr, &rfc3339(SystemTime::now()), &mut first);
        first.append(batch);
        *batch = first;
    }
}

/// One record of a log file.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
struct Record {
    log: String,
    stream: String,
}

/// Decodes whole records at the beginning of `bytes`: what each stream had written, and how many
/// bytes were used. A line that is no record is skipped.
pub(crate) fn decode(bytes: &[u8]) -> (Vec<(Output, Vec<u8>)>, usize) {
    let mut pieces = Vec::new();
    let mut used = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            break;
        }
        used += line.len();
        if let Ok(record) = serde_json::from_slice::<Record>(line) {
            let output = if record.stream == "stderr" {
                Output::Stderr
            } else {
                Output::Stdout
            };
            pieces.push((output, record.log.into_bytes()));
        }
    }
    (pieces, used)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::fd::AsFd;

    fn encoded(line: &[u8]) -> String {
        let mut to = Vec::new();
        escape(line, &mut to);
        String::from_utf8(to).unwrap()
    }

    fn logs(inputs: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut to) = (Lines::default(), Vec::new());
        let mut records = 0;
        for input in inputs {
            records += lines.take(Output::Stdout, input, "T", &mut to);
        }
        records += lines.finish(Output::Stdout, "T", &mut to);
        let (pieces, used) = decode(&to);
        assert_eq!((used, pieces.len() as u64), (to.len(), records));
        pieces
            .into_iter()
            .map(|(_, piece)| String::from_utf8(piece).unwrap())
            .collect()
    }

    #[test]
    fn text_is_escaped_as_docker_escapes_it() {
        for (line, text) in [
            (&b"plain"[..], "plain"),
            (b"a\"b\\c\n", r#"a\"b\\c\n"#),
            (b"\r\t\x1b[0m\x7f", "\\r\\u0009\\u001b[0m\x7f"),
            (b"<&>", r"\u003c\u0026\u003e"),
            ("\u{e4}\u{2028}\u{1f600}".as_bytes(), "\u{e4}\\u2028\u{1f600}"),
            (b"a\xff\xfeb", r"a\ufffd\ufffdb"),
            (b"\xe2\x82", r"\ufffd\ufffd"),
        ] {
            assert_eq!(encoded(line), text);
        }
    }

    #[test]
    fn a_record_is_dockers() {
        let (mut lines, mut to) = (Lines::default(), Vec::new());
        lines.take(Output::Stderr, b"hi\n", "2024-01-01T00:00:00.5Z", &mut to);
        assert_eq!(
            String::from_utf8(to).unwrap(),
            "{\"log\":\"hi\\n\",\"stream\":\"stderr\",\"time\":\"2024-01-01T00:00:00.5Z\"}\n"
        );
    }

    #[test]
    fn lines_are_cut_however_they_arrive() {
        let long = "x".repeat(PIECE);
        let longer = "x".repeat(PIECE + 3);
        for (inputs, expected) in [
            (vec![&b"a\nb\n"[..]], vec!["a\n", "b\n"]),
            (vec![b"a", b"b\nc", b"\n"], vec!["ab\n", "c\n"]),
            (vec![b"a\nrest"], vec!["a\n", "rest"]),
            (vec![b"\n\n"], vec!["\n", "\n"]),
            (vec![long.as_bytes(), b"\n"], vec![&long, "\n"]),
            (vec![longer.as_bytes(), b"\nz"], vec![&long, "xxx\n", "z"]),
            (vec![b"ab", long.as_bytes()], vec![&format!("ab{}", &long[2..]), "xx"]),
            (vec![], vec![]),
        ] {
            assert_eq!(logs(&inputs), expected);
        }
    }

    #[test]
    fn the_streams_do_not_mix() {
        let (mut lines, mut to) = (Lines::default(), Vec::new());
        lines.take(Output::Stdout, b"out", "T", &mut to);
        lines.take(Output::Stderr, b"err\n", "T", &mut to);
        lines.take(Output::Stdout, b"put\n", "T", &mut to);
        let (pieces, _) = decode(&to);
        assert_eq!(
            pieces,
            [
                (Output::Stderr, b"err\n".to_vec()),
                (Output::Stdout, b"output\n".to_vec())
            ]
        );
    }

    #[test]
    fn a_record_not_yet_whole_is_left_for_later() {
        let whole = b"{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n";
        let mut bytes = whole.to_vec();
        bytes.extend_from_slice(b"{\"log\":\"b");
        let (pieces, used) = decode(&bytes);
        assert_eq!((pieces.len(), used), (1, whole.len()));
    }

    #[test]
    fn a_log_goes_on_where_it_was_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let fd = File::open(folder.path()).unwrap();
        for text in ["one\n", "two"] {
            let mut log = JsonLog::open(fd.as_fd(), "c-json.log").unwrap();
            log.write(Output::Stdout, text.as_bytes());
            log.finish(Output::Stdout);
            log.sync().unwrap();
        }
        let log = JsonLog::open(fd.as_fd(), "c-json.log").unwrap();
        let (pieces, used) = decode(&log.read_at(0, 1 << 20).unwrap());
        assert_eq!(used as u64, log.length());
        assert_eq!(
            pieces.iter().map(|(_, p)| p.as_slice()).collect::<Vec<_>>(),
            [&b"one\n"[..], b"two"]
        );
        assert!(log.read_at(log.length(), 10).unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_so_later() {
        let folder = tempfile::tempdir().unwrap();
        let fd = File::open(folder.path()).unwrap();
        let mut log = JsonLog::open(fd.as_fd(), "log").unwrap();
        let good = log.file.try_clone().unwrap();
        log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        log.write(Output::Stdout, b"a\nb\n");
        assert_eq!((log.lost, log.length()), (2, 0));
        log.file = good;
        log.write(Output::Stdout, b"c\n");
        let (pieces, _) = decode(&log.read_at(0, 1 << 20).unwrap());
        assert_eq!(pieces.len(), 2);
        assert!(String::from_utf8_lossy(&pieces[0].1).contains("2 lines"));
        assert_eq!(pieces[1].1, b"c\n");
    }
}
