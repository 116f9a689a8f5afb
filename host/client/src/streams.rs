//! Output of containers as the API sends it: raw from a terminal, in frames from two pipes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{Failure, Kind, Result};

/// Which of our two outputs bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Standard,
    Error,
}

/// Bytes of a payload, and where they belong.
type Piece<'a> = (Output, &'a [u8]);

/// Takes frames apart: a byte that names the stream, three zeroes, four bytes of length, the payload.
/// Payloads are passed on as they come; no frame is ever held whole.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; 8],
    /// Bytes of the header that are there.
    filled: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
}

impl Frames {
    /// The next piece of payload in `bytes`, and what is left after it.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Option<Piece<'a>>, &'a [u8])> {
        let mut bytes = bytes;
        if self.left == 0 {
            let taken = bytes.len().min(8 - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < 8 {
                return Ok((None, bytes));
            }
            let [_, _, _, _, a, b, c, d] = self.header;
            self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            self.filled = 0;
            if self.left == 0 {
                return Ok((None, bytes));
            }
        }
        let output = match self.header[0] {
            0 | 1 => Output::Standard,
            2 => Output::Error,
            3 => {
                let text = String::from_utf8_lossy(bytes);
                return Err(Failure::answer(500, &text));
            }
            other => {
                return Err(Failure::new(
                    Kind::Broken,
                    format!("the engine sent a frame of the unknown stream {other}"),
                ));
            }
        };
        let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
        self.left -= payload.len();
        let piece = (!payload.is_empty()).then_some((output, payload));
        Ok((piece, rest))
    }
}

/// Copies what a container prints until it ends.
pub(crate) async fn copy_output(source: &mut (impl AsyncRead + Unpin), raw: bool) -> Result<()> {
    let mut frames = Frames::default();
    let mut out = tokio::io::stdout();
    let mut error = tokio::io::stderr();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match source.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            // A reset is how a stream ends whose other side was killed.
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(cause) => return Err(Failure::local("the container's output", &cause)),
        };
        if raw {
            write(&mut out, &buffer[..read], "standard output").await?;
            continue;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let (piece, after) = frames.next(rest)?;
            match piece {
                Some((Output::Standard, bytes)) => {
                    write(&mut out, bytes, "standard output").await?;
                }
                Some((Output::Error, bytes)) => write(&mut error, bytes, "standard error").await?,
                None => {}
            }
            rest = after;
        }
    }
}

async fn write(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8], what: &str) -> Result<()> {
    let written = async {
        out.write_all(bytes).await?;
        out.flush().await
    };
    written.await.map_err(|error| Failure::local(what, &error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload.as_bytes());
        bytes
    }

    fn apart(chunks: &[&[u8]]) -> (String, String) {
        let mut frames = Frames::default();
        let (mut out, mut error) = (String::new(), String::new());
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let (piece, after) = frames.next(rest).unwrap();
                match piece {
                    Some((Output::Standard, bytes)) => out += std::str::from_utf8(bytes).unwrap(),
                    Some((Output::Error, bytes)) => error += std::str::from_utf8(bytes).unwrap(),
                    None => {}
                }
                rest = after;
            }
        }
        (out, error)
    }

    #[test]
    fn frames_come_apart_wherever_they_are_cut() {
        let bytes = [frame(1, "one"), frame(2, "bad"), frame(1, ""), frame(1, "two")].concat();
        let wanted = ("onetwo".to_owned(), "bad".to_owned());
        assert_eq!(apart(&[&bytes]), wanted);
        for cut in 1..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(apart(&[left, right]), wanted, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(apart(&single), wanted);
    }

    #[test]
    fn an_unknown_stream_is_an_error() {
        let mut frames = Frames::default();
        assert!(frames.next(&frame(9, "x")).is_err());
    }

    #[test]
    fn a_frame_of_four_gigabytes_is_not_waited_for() {
        let mut frames = Frames::default();
        let mut bytes = vec![1, 0, 0, 0, 255, 255, 255, 255];
        bytes.extend(b"now");
        let (piece, _) = frames.next(&bytes).unwrap();
        assert_eq!(piece, Some((Output::Standard, &b"now"[..])));
    }
}
