//! Decompression, in this process: no helper is looked up on any path.
//!
//! The format is told from the first bytes, not from a name or a media type. What is packed may be a
//! bomb, cut off, or followed by something else: each of that ends in an error.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::limits::Limits;

/// Largest window of zstd that is accepted, as a power of two: 128 MiB, what its own tool takes
/// without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER: usize = 256 << 10;

/// How a stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// Gzip, in one or many members.
    Gzip,
    /// Zstandard, in one or many frames.
    Zstd,
}

impl Compression {
    /// Tells the format from the first bytes.
    ///
    /// # Errors
    /// A format that is known and not read is refused by its name.
    pub fn sniff(head: &[u8]) -> Result<Self> {
        // A tar header whose first name begins with these bytes is still a tar header.
        let is_tar = head.len() >= 262 && &head[257..262] == b"ustar";
        match head {
            _ if is_tar => Ok(Self::Plain),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Compression("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Error::Compression("bzip2")),
            [b'L', b'Z', b'I', b'P', ..] => Err(Error::Compression("lzip")),
            [0x1f, 0x9d, ..] => Err(Error::Compression("compress (.Z)")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Err(Error::Compression("lz4")),
            [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, ..] => Err(Error::Compression("lzma")),
            _ => Ok(Self::Plain),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Counts what goes into a decoder, and keeps the source's own errors apart from the decoder's.
struct Source<R> {
    inner: R,
    count: u64,
    failed: bool,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer).inspect_err(|error| {
            self.failed |= error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.count += n as u64;
        Ok(n)
    }
}

type Input<'a> = BufReader<Source<io::Chain<Cursor<Vec<u8>>, &'a mut dyn Read>>>;

enum Decoder<'a> {
    Plain(Input<'a>),
    Gzip(Box<MultiGzDecoder<Input<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<'a>>>),
}

/// A stream without its packing. Its end is the end of the whole source: what is cut off or followed
/// by something else is an error.
pub struct Decompressor<'a> {
    decoder: Decoder<'a>,
    compression: Compression,
    limits: Limits,
    produced: u64,
}

impl<'a> Decompressor<'a> {
    /// Reads the first bytes of `source` and chooses the decoder.
    ///
    /// # Errors
    /// The source fails, or is packed in a way that is not read.
    pub fn new(source: &'a mut dyn Read, limits: &Limits) -> Result<Self> {
        let mut head = Vec::with_capacity(512);
        Read::take(&mut *source, 512)
            .read_to_end(&mut head)
            .map_err(|error| Error::reading("the archive", error))?;
        let compression = Compression::sniff(&head)?;
        let chained = Cursor::new(head).chain(source);
        let input = BufReader::with_capacity(
            BUFFER,
            Source {
                inner: chained,
                count: 0,
                failed: false,
            },
        );
        let decoder = match compression {
            Compression::Plain => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => Decoder::Zstd(Box::new(zstd_decoder(input)?)),
        };
        Ok(Self {
            decoder,
            compression,
            limits: limits.clone(),
            produced: 0,
        })
    }

    /// How the source was packed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    fn source(&self) -> &Source<io::Chain<Cursor<Vec<u8>>, &'a mut dyn Read>> {
        match &self.decoder {
            Decoder::Plain(input) => input.get_ref(),
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }

    fn check(&self) -> Result<()> {
        let Limits {
            bytes,
            ratio,
            ratio_from,
            ..
        } = self.limits;
        if self.produced > bytes {
            return Err(Error::Limit {
                what: "bytes when unpacked",
                limit: bytes,
            });
        }
        if self.produced > ratio_from && self.produced / ratio > self.source().count {
            return Err(Error::Limit {
                what: "bytes for each compressed one",
                limit: ratio,
            });
        }
        Ok(())
    }
}

fn zstd_decoder(input: Input<'_>) -> Result<zstd::stream::read::Decoder<'static, Input<'_>>> {
    let start = |error| Error::Damaged { format: "zstd", error };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(start)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(start)?;
    Ok(decoder)
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.decoder {
            Decoder::Plain(input) => input.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        };
        let n = match result {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted || self.source().failed => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::Truncated("its compressed data").into_io());
            }
            Err(error) => {
                return Err(Error::Damaged {
                    format: self.compression.name(),
                    error,
                }
                .into_io());
            }
        };
        if n == 0 && !buffer.is_empty() {
            self.expect_end()?;
        }
        self.produced += n as u64;
        self.check().map_err(Error::into_io)?;
        Ok(n)
    }
}

impl Decompressor<'_> {
    /// A decoder that has ended must have taken all of its source.
    fn expect_end(&mut self) -> io::Result<()> {
        let rest = match &mut self.decoder {
            Decoder::Plain(_) => return Ok(()),
            Decoder::Gzip(decoder) => decoder.get_mut().fill_buf()?,
            Decoder::Zstd(decoder) => decoder.get_mut().fill_buf()?,
        };
        if rest.is_empty() {
            return Ok(());
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, "something follows the compressed data");
        Err(Error::Damaged {
            format: self.compression.name(),
            error,
        }
        .into_io())
    }
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("compression", &self.compression)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(mut packed: &[u8]) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        Decompressor::new(&mut packed, &Limits::default())?
            .read_to_end(&mut content)
            .map_err(|error| Error::reading("the archive", error))?;
        Ok(content)
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_apart_by_their_first_bytes() {
        let content = b"x".repeat(100_000);
        assert_eq!(unpacked(&content).unwrap(), content);
        assert_eq!(unpacked(&gzip(&content)).unwrap(), content);
        assert_eq!(unpacked(&zstd::encode_all(&content[..], 3).unwrap()).unwrap(), content);
        assert_eq!(unpacked(b"").unwrap(), b"");
    }

    #[test]
    fn many_members_and_frames_are_one_stream() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(&two).unwrap(), b"one two");
        let frame = |c: &[u8]| zstd::encode_all(c, 1).unwrap();
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
        let frames = [&skippable[..], &frame(b"one "), skippable, &frame(b"two")].concat();
        assert_eq!(unpacked(&frames).unwrap(), b"one two");
    }

    #[test]
    fn a_hundred_thousand_empty_gzip_members_do_not_overflow_the_stack() {
        let members = gzip(b"").repeat(100_000);
        assert_eq!(unpacked(&members).unwrap(), b"");
    }

    #[test]
    fn truncation_at_every_byte_is_an_error() {
        let content: Vec<u8> = (0..2000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        for packed in [gzip(&content), zstd::encode_all(&content[..], 3).unwrap()] {
            for end in (4..packed.len()).step_by(7).chain(packed.len() - 9..packed.len()) {
                assert!(unpacked(&packed[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn trailing_garbage_and_flipped_bits_are_errors() {
        let mut packed = gzip(b"content");
        packed.extend_from_slice(b"garbage longer than a header");
        assert!(matches!(unpacked(&packed), Err(Error::Damaged { format: "gzip", .. })));
        let mut packed = zstd::encode_all(&b"content"[..], 3).unwrap();
        packed.extend_from_slice(b"garbage");
        assert!(matches!(unpacked(&packed), Err(Error::Damaged { format: "zstd", .. })));
        let mut packed = gzip(b"content");
        let crc = packed.len() - 8;
        packed[crc] ^= 1;
        assert!(unpacked(&packed).is_err());
        let mut packed = gzip(b"content");
        let size = packed.len() - 1;
        packed[size] ^= 1;
        assert!(unpacked(&packed).is_err());
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (head, name) in [
            (&b"\xfd7zXZ\0\0"[..], "xz"),
            (b"BZh91AY", "bzip2"),
            (b"\x04\x22\x4d\x18", "lz4"),
        ] {
            let error = unpacked(head).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let packed = gzip(&vec![0; 8 << 20]);
        let limits = Limits {
            bytes: 1 << 20,
            ..Limits::default()
        };
        let error = io::copy(
            &mut Decompressor::new(&mut &packed[..], &limits).unwrap(),
            &mut io::sink(),
        )
        .unwrap_err();
        assert!(matches!(Error::reading("", error), Error::Limit { limit, .. } if limit == 1 << 20));
        let packed = zstd::encode_all(io::repeat(0).take(8 << 20), 3).unwrap();
        let limits = Limits {
            ratio_from: 1 << 20,
            ..Limits::default()
        };
        let error = io::copy(
            &mut Decompressor::new(&mut &packed[..], &limits).unwrap(),
            &mut io::sink(),
        )
        .unwrap_err();
        assert!(matches!(Error::reading("", error), Error::Limit { limit: 1100, .. }));
    }

    #[test]
    fn a_window_above_128_mib_is_refused() {
        // Frame header: single segment off, window descriptor 0xa8 = 2^(10+21).
        let packed = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
        assert!(matches!(unpacked(packed), Err(Error::Damaged { format: "zstd", .. })));
    }
}
