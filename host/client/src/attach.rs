//! A session with a process: its output here, our input there, until it ends or the user leaves.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::engine::{Engine, query};
use crate::error::{Failure, Result};
use crate::signals::{Caught, resizes};
use crate::streams::copy_output;
use crate::terminal::{Raw, size};

/// Keys that leave a session unless others are given.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// The keys that an engine is told. They are said even where they are the usual ones, so that both sides
/// mean the same; bytes that are piped in are no keys.
pub(crate) fn detach_keys(tty: bool, given: Option<&str>) -> &str {
    match given {
        Some(keys) => keys,
        None if tty => DETACH_KEYS,
        None => "",
    }
}

/// How a session is held.
#[derive(Debug, Clone)]
pub(crate) struct Session<'a> {
    /// Whether our standard input goes to the process.
    pub(crate) input: bool,
    /// Whether the process has a terminal: its output comes as it is, and ours becomes raw.
    pub(crate) tty: bool,
    pub(crate) detach_keys: Option<&'a str>,
    /// The path whose `/resize` sets the size of the terminal.
    pub(crate) object: &'a str,
    /// The container that signals are passed on to.
    pub(crate) signals_to: Option<&'a str>,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The output has ended.
    Ended,
    /// The user left; the process goes on.
    Detached,
    /// A signal ended this command, with this exit code.
    Signalled(u8),
}

impl Session<'_> {
    /// Holds the session to its end. The terminal is as before when this returns.
    pub(crate) async fn hold(
        &self,
        engine: &Engine,
        stream: TokioIo<Upgraded>,
        caught: Option<Caught>,
    ) -> Result<Over> {
        let keys = parse_keys(self.detach_keys.unwrap_or(DETACH_KEYS))?;
        let raw = if self.tty && self.input { Raw::enter()? } else { None };
        let ending = match raw {
            Some(_) => Some(Caught::ending()?),
            None => None,
        };
        let (mut output, input) = tokio::io::split(stream);
        let mut watch = Watch::new(&keys);
        let left = tokio::select! {
            result = copy_output(&mut output, self.tty) => result.map(|()| Over::Ended),
            never = self.send_input(input, &mut watch) => never,
            never = self.follow_size(engine) => never,
            code = pass_on(caught, engine, self.signals_to) => Ok(Over::Signalled(code)),
            code = first(ending) => Ok(Over::Signalled(code)),
        };
        drop(raw);
        match left? {
            Over::Ended if watch.seen => Ok(Over::Detached),
            over => Ok(over),
        }
    }

    /// Sends our input and its end; never returns, for the session lasts as long as the output.
    async fn send_input(&self, mut stream: impl AsyncWrite + Unpin, watch: &mut Watch<'_>) -> Result<Over> {
        if self.input {
            let mut stdin = tokio::io::stdin();
            let mut buffer = vec![0; 32 << 10];
            loop {
                let read = stdin.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                if self.tty {
                    watch.look(&buffer[..read]);
                }
                let sent = async {
                    stream.write_all(&buffer[..read]).await?;
                    stream.flush().await
                };
                if sent.await.is_err() {
                    // The process reads no more; its output still counts.
                    return std::future::pending().await;
                }
            }
            // The end of our input is the end of its input, and not of the session.
            drop(stream.shutdown().await);
        }
        // The half is kept: dropping it must not end the output.
        let kept = stream;
        let never = std::future::pending().await;
        drop(kept);
        never
    }

    /// Keeps the process's terminal as large as ours.
    async fn follow_size(&self, engine: &Engine) -> Result<Over> {
        if !self.tty || size().is_none() {
            return std::future::pending().await;
        }
        let mut changes = resizes()?;
        loop {
            // A process that is not there yet, or not any more, has no size; the next change will do.
            drop(resize(engine, self.object).await);
            if changes.recv().await.is_none() {
                return std::future::pending().await;
            }
        }
    }
}

async fn resize(engine: &Engine, object: &str) -> Result<()> {
    let Some((rows, columns)) = size() else {
        return Ok(());
    };
    let (rows, columns) = (rows.to_string(), columns.to_string());
    let path = query(&format!("{object}/resize"), &[("h", &rows), ("w", &columns)]);
    engine.post(&path, None).await.map(drop)
}

async fn pass_on(caught: Option<Caught>, engine: &Engine, container: Option<&str>) -> u8 {
    match (caught, container) {
        (Some(caught), Some(container)) => caught.forward(engine, container).await,
        _ => std::future::pending().await,
    }
}

async fn first(caught: Option<Caught>) -> u8 {
    match caught {
        Some(caught) => caught.first().await,
        None => std::future::pending().await,
    }
}

/// Looks for the keys that detach among the bytes that are sent. The engine acts on them; this side
/// only has to know why the session ended.
#[derive(Debug)]
struct Watch<'a> {
    keys: &'a [u8],
    matched: usize,
    seen: bool,
}

impl<'a> Watch<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Watch {
            keys,
            matched: 0,
            seen: false,
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
            } else {
                self.matched = usize::from(self.keys.first() == Some(byte));
            }
            if self.matched == self.keys.len() && !self.keys.is_empty() {
                self.seen = true;
                self.matched = 0;
            }
        }
    }
}

/// Keys as `ctrl-p,ctrl-q` or `a,b`, as bytes.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Failure::usage(format!("--detach-keys {text:?} are not keys"))
            .hint("write letters, or ctrl- and a letter or one of @[\\]^_, with commas between them")
    };
    let key = |key: &str| -> Result<u8> {
        if let [byte] = key.as_bytes() {
            return Ok(*byte);
        }
        match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some([sign]) if b"@[\\]^_".contains(sign) => Ok(sign - b'@'),
            _ => Err(wrong()),
        }
    };
    text.split(',').map(key).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    #[test]
    fn keys_are_letters_and_control_characters() {
        assert_eq!(parse_keys(DETACH_KEYS).unwrap(), [16, 17]);
        assert_eq!(parse_keys("a,ctrl-[,ctrl-@").unwrap(), [b'a', 27, 0]);
        for text in ["", "ctrl-", "ctrl-P", "shift-a", "a,,b", "ctrl-1"] {
            assert!(parse_keys(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn detach_keys_are_seen_across_reads() {
        for (reads, wanted) in [
            (&[&b"ab\x10"[..], b"\x11"][..], true),
            (&[b"\x10\x10\x11"], true),
            (&[b"\x10a\x11"], false),
            (&[b"\x11\x10"], false),
        ] {
            let mut watch = Watch::new(&[16, 17]);
            reads.iter().for_each(|read| watch.look(read));
            assert_eq!(watch.seen, wanted, "{reads:?}");
        }
    }
}
