//! Digests: parsed once at the edge, computed while streaming.

use std::fmt;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, Shown};

/// A content digest: `sha256:` and 64 lower-case hex digits. No path character can be in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Parses the text form.
    ///
    /// # Errors
    /// Anything but `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = || Error::Digest(Shown::new(text.as_bytes()));
        let digits = text.strip_prefix("sha256:").ok_or_else(malformed)?;
        Self::from_hex(digits).ok_or_else(malformed)
    }

    /// From 64 lower-case hex digits alone, as blob files are named.
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != 64 || !digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Of bytes in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The name of a layer together with everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Digest);

impl ChainId {
    /// Of the lowest layer: its diff ID.
    pub fn base(diff_id: &Digest) -> Self {
        Self(*diff_id)
    }

    /// Of a layer over a parent: the digest of both in their text forms, with a space between.
    pub fn child(parent: &Self, diff_id: &Digest) -> Self {
        Self(Digest::of(format!("{parent} {diff_id}").as_bytes()))
    }

    /// Of a whole chain, lowest layer first; none for no layers.
    pub fn of_chain<'a>(diff_ids: impl IntoIterator<Item = &'a Digest>) -> Option<Self> {
        diff_ids.into_iter().fold(None, |below, diff_id| {
            Some(below.map_or_else(|| Self::base(diff_id), |below| Self::child(&below, diff_id)))
        })
    }

    /// From a digest that is known to be a chain ID, as records hold them.
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest that it is.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Hashes and counts what is read through it.
pub struct HashReader<R> {
    inner: R,
    hash: Sha256,
    count: u64,
}

impl<R: Read> HashReader<R> {
    /// Around a reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    /// Bytes read so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The digest and the number of all bytes read.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.hash.finalize().into()), self.count)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

impl<R> fmt::Debug for HashReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashReader")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Hashes and counts what is written through it.
pub struct HashWriter<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> HashWriter<W> {
    /// Around a writer.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    /// The writer, and the digest and the number of all bytes written.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest(self.hash.finalize().into()), self.count)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hash.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W> fmt::Debug for HashWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashWriter")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn only_sha256_with_64_lower_case_digits_is_a_digest() {
        let good = format!("sha256:{}", "a".repeat(64));
        assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
        for bad in [
            "",
            "sha256:",
            &"a".repeat(64),
            &format!("sha512:{}", "a".repeat(128)),
            &format!("sha256:{}", "A".repeat(64)),
            &format!("sha256:{}", "a".repeat(63)),
            &format!("sha256:{}", "a".repeat(65)),
            &format!("sha256:../{}", "a".repeat(61)),
            &format!("sha256:{}\n", "a".repeat(64)),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_chain_id_depends_on_the_order_of_layers() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(ChainId::of_chain([&a]).unwrap().digest(), &a);
        let ab = ChainId::of_chain([&a, &b]).unwrap();
        assert_eq!(ab, ChainId::child(&ChainId::base(&a), &b));
        assert_eq!(ab.digest(), &Digest::of(format!("{a} {b}").as_bytes()));
        assert_ne!(Some(ab), ChainId::of_chain([&b, &a]));
        assert_eq!(ChainId::of_chain([]), None);
    }

    #[test]
    fn reader_and_writer_hash_what_passes() {
        let mut reader = HashReader::new(&b"some content"[..]);
        let mut writer = HashWriter::new(Vec::new());
        io::copy(&mut reader, &mut writer).unwrap();
        let (content, digest, count) = writer.finish();
        assert_eq!((digest, count), (Digest::of(&content), 12));
        assert_eq!(reader.finish(), (digest, 12));
    }
}
