//! The keys that end a client's connection without ending the container.
//!
//! The beginning of the sequence is held back until it is clear that it is not the whole: the next
//! byte tells, or a second without one.

use longshore_core::{Error, Result};

/// Docker's default: ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Looks for the keys in what a client sends.
#[derive(Debug)]
pub(crate) struct Detach {
    keys: Vec<u8>,
    matched: usize,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing so far: these bytes are input.
    Input(Vec<u8>),
    /// The keys; these bytes came before them.
    Keys(Vec<u8>),
}

impl Detach {
    /// Reads Docker's notation: single characters and `ctrl-` with one of `a-z@[\]^_`, with commas
    /// between. Empty stands for the default.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let keys = if text.is_empty() {
            DEFAULT.to_vec()
        } else {
            text.split(',').map(|key| parse_key(key, text)).collect::<Result<_>>()?
        };
        Ok(Self { keys, matched: 0 })
    }

    /// Takes input.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Found {
        let mut input = Vec::with_capacity(bytes.len() + self.matched);
        for byte in bytes {
            if self.keys.get(self.matched) != Some(byte) {
                self.fall_back(*byte, &mut input);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return Found::Keys(input);
            }
        }
        Found::Input(input)
    }

    /// Whether something is held back.
    pub(crate) fn holds(&self) -> bool {
        self.matched > 0
    }

    /// Gives up waiting: what was held back is input.
    pub(crate) fn release(&mut self) -> Vec<u8> {
        let held = self.keys.get(..self.matched).map(<[u8]>::to_vec).unwrap_or_default();
        self.matched = 0;
        held
    }

    /// `byte` does not go on with the sequence: the longest end of what was held and `byte` that
    /// still begins it stays held, the rest is input.
    fn fall_back(&mut self, byte: u8, input: &mut Vec<u8>) {
        let mut seen = self.release();
        seen.push(byte);
        let keep = (0..seen.len())
            .rev()
            .find(|keep| self.keys.starts_with(&seen[seen.len() - keep..]))
            .unwrap_or(0);
        input.extend_from_slice(&seen[..seen.len() - keep]);
        self.matched = keep;
    }
}

fn parse_key(key: &str, text: &str) -> Result<u8> {
    let wrong = || {
        Error::invalid(format!(
            "the detach keys {text:?} hold {key:?}, which is no key: write single characters or ctrl-a to ctrl-z, ctrl-@, ctrl-[, ctrl-\\, ctrl-], ctrl-^, ctrl-_"
        ))
    };
    match key.as_bytes() {
        [single] => Ok(*single),
        [b'c', b't', b'r', b'l', b'-', letter @ (b'a'..=b'z')] => Ok(letter - b'a' + 1),
        b"ctrl-@" => Ok(0),
        [b'c', b't', b'r', b'l', b'-', sign @ (b'['..=b'_')] => Ok(sign - b'@'),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_are_read_in_dockers_notation() {
        for (text, keys) in [
            ("", &[0x10, 0x11][..]),
            ("a", b"a"),
            ("ctrl-a", &[1]),
            ("ctrl-z,q", &[26, b'q']),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 27, 28, 29, 30, 31]),
        ] {
            assert_eq!(Detach::parse(text).unwrap().keys, keys, "{text}");
        }
        for bad in ["ctrl-", "ctrl-A", "ctrl-aa", "ab", "a,", ",", "\u{e4}", "ctrl-1"] {
            assert!(Detach::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_however_they_are_split() {
        for (keys, reads, passed, found) in [
            ("", vec![&b"ab\x10\x11cd"[..]], &b"ab"[..], true),
            ("", vec![b"ab\x10", b"\x11"], b"ab", true),
            ("", vec![b"\x10", b"x", b"\x11"], b"\x10x\x11", false),
            ("", vec![b"\x10\x10\x11"], b"\x10", true),
            ("a,a,b", vec![b"aaab"], b"a", true),
            ("a,b,a,c", vec![b"abab", b"ac"], b"ab", true),
            ("a", vec![b"xya"], b"xy", true),
        ] {
            let mut detach = Detach::parse(keys).unwrap();
            let mut input = Vec::new();
            let mut at_end = false;
            for read in reads {
                match detach.feed(read) {
                    Found::Input(bytes) => input.extend(bytes),
                    Found::Keys(bytes) => {
                        input.extend(bytes);
                        at_end = true;
                    }
                }
            }
            assert_eq!((input.as_slice(), at_end), (passed, found), "{keys}");
        }
    }

    #[test]
    fn what_is_held_back_can_be_let_go() {
        let mut detach = Detach::parse("").unwrap();
        assert_eq!(detach.feed(b"a\x10"), Found::Input(b"a".to_vec()));
        assert!(detach.holds());
        assert_eq!(detach.release(), b"\x10");
        assert!(!detach.holds());
        assert_eq!(detach.feed(b"\x11"), Found::Input(b"\x11".to_vec()));
    }
}
