//! Takes the envelope off a request without decoding the request itself.
//!
//! A service and the host's call middleware need the deadline before they know, or care, which
//! struct the request is. So this walks the outer map, reads the small fields, and hands the
//! request on as the bytes that it is. It does not recurse: hostile nesting costs a counter.

use crate::error::{Error, Result};

/// The fields of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Milliseconds left for the call; 0 for no deadline.
    pub deadline: u32,
    /// Trace ID; zeros when there is none.
    pub trace: [u8; 16],
    /// The request, still encoded.
    pub request: &'a [u8],
}

/// Opens the envelope of a request body. Unknown fields are skipped.
///
/// # Errors
/// `Broken` for a body that is no envelope: no map, a field twice, no request, bytes after the end.
pub fn open(body: &[u8]) -> Result<Opened<'_>> {
    let mut reader = Reader { rest: body };
    let mut deadline = None;
    let mut trace = None;
    let mut request = None;
    for _ in 0..reader.map()? {
        match reader.text()? {
            b"deadline" => once("deadline", &mut deadline, reader.number()?)?,
            b"trace" => once("trace", &mut trace, reader.bytes()?)?,
            b"request" => once("request", &mut request, reader.value()?)?,
            _ => drop(reader.value()?),
        }
    }
    if !reader.rest.is_empty() {
        return Err(Error::broken("the message has bytes after its end"));
    }
    Ok(Opened {
        deadline: deadline.unwrap_or(0),
        trace: trace_id(trace.unwrap_or(&[]))?,
        request: request.ok_or_else(|| Error::broken("the message has no field `request`"))?,
    })
}

fn once<T>(name: &str, field: &mut Option<T>, value: T) -> Result<()> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::broken(format!("the message has the field `{name}` twice"))),
    }
}

fn trace_id(bytes: &[u8]) -> Result<[u8; 16]> {
    if bytes.is_empty() {
        return Ok([0; 16]);
    }
    bytes
        .try_into()
        .map_err(|_| Error::broken(format!("a trace ID has 16 bytes, not {}", bytes.len())))
}

/// A walk over MessagePack (github.com/msgpack/msgpack, spec.md).
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let (head, rest) = usize::try_from(count)
            .ok()
            .and_then(|count| self.rest.split_at_checked(count))
            .ok_or_else(|| Error::broken("the message ends in the middle of a value"))?;
        self.rest = rest;
        Ok(head)
    }

    fn unsigned(&mut self, width: u64) -> Result<u64> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn marker(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn map(&mut self) -> Result<u64> {
        match self.marker()? {
            marker @ 0x80..=0x8f => Ok(u64::from(marker & 0x0f)),
            0xde => self.unsigned(2),
            0xdf => self.unsigned(4),
            _ => Err(Error::broken("the message is not a map")),
        }
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = match self.marker()? {
            marker @ 0xa0..=0xbf => u64::from(marker & 0x1f),
            0xd9 => self.unsigned(1)?,
            0xda => self.unsigned(2)?,
            0xdb => self.unsigned(4)?,
            _ => return Err(Error::broken("the message has a field whose name is no text")),
        };
        self.take(length)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = match self.marker()? {
            0xc4 => self.unsigned(1)?,
            0xc5 => self.unsigned(2)?,
            0xc6 => self.unsigned(4)?,
            _ => return Err(Error::broken("the message's trace ID is not bytes")),
        };
        self.take(length)
    }

    fn number(&mut self) -> Result<u32> {
        let value = match self.marker()? {
            marker @ 0x00..=0x7f => u64::from(marker),
            0xcc => self.unsigned(1)?,
            0xcd => self.unsigned(2)?,
            0xce => self.unsigned(4)?,
            _ => return Err(Error::broken("the message's deadline is no number of 32 bits")),
        };
        u32::try_from(value).map_err(|_| Error::broken("the message's deadline is no number of 32 bits"))
    }

    /// One whole value, whatever it is, as its bytes.
    fn value(&mut self) -> Result<&'a [u8]> {
        let begin = self.rest;
        // Values still to come; each needs at least a byte, so a hostile count ends at the end.
        let mut open: u64 = 1;
        while open > 0 {
            open = open - 1 + self.head()?;
        }
        Ok(&begin[..begin.len() - self.rest.len()])
    }

    /// Reads one value without its children, and tells how many those are.
    fn head(&mut self) -> Result<u64> {
        let payload = match self.marker()? {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 0,
            marker @ 0x80..=0x8f => return Ok(2 * u64::from(marker & 0x0f)),
            marker @ 0x90..=0x9f => return Ok(u64::from(marker & 0x0f)),
            marker @ 0xa0..=0xbf => u64::from(marker & 0x1f),
            0xc1 => return Err(Error::broken("the message has a byte that begins no value")),
            0xc4 | 0xd9 => self.unsigned(1)?,
            0xc5 | 0xda => self.unsigned(2)?,
            0xc6 | 0xdb => self.unsigned(4)?,
            0xc7 => self.unsigned(1)? + 1,
            0xc8 => self.unsigned(2)? + 1,
            0xc9 => self.unsigned(4)? + 1,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            marker @ 0xd4..=0xd8 => (1 << (marker - 0xd4)) + 1,
            0xdc => return self.unsigned(2),
            0xdd => return self.unsigned(4),
            0xde => return Ok(2 * self.unsigned(2)?),
            0xdf => return Ok(2 * self.unsigned(4)?),
        };
        self.take(payload)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::error::ErrorKind;
    use crate::wire::{Envelope, encode};

    fn body<T: serde::Serialize>(request: T) -> Vec<u8> {
        encode(&Envelope {
            deadline: 4_000,
            trace: vec![7; 16],
            request,
        })
        .unwrap()
    }

    #[test]
    fn the_request_comes_out_as_it_was_encoded() {
        let long = "x".repeat(70_000);
        let values = (1u8, -5i64, 3.5f64, Some(&long), vec![(); 20], [1u16; 300].as_slice());
        let bytes = body(&values);
        let opened = open(&bytes).unwrap();
        assert_eq!(opened.deadline, 4_000);
        assert_eq!(opened.trace, [7; 16]);
        assert_eq!(opened.request, encode(&values).unwrap());
    }

    #[test]
    fn a_deadline_and_a_trace_may_be_absent() {
        let bytes = [0x81, 0xa7, b'r', b'e', b'q', b'u', b'e', b's', b't', 0x80];
        let opened = open(&bytes).unwrap();
        assert_eq!(
            (opened.deadline, opened.trace, opened.request),
            (0, [0; 16], [0x80].as_slice())
        );
    }

    #[test]
    fn a_body_cut_anywhere_is_broken() {
        let bytes = body(vec!["a", "b"]);
        for end in 0..bytes.len() {
            assert_eq!(open(&bytes[..end]).unwrap_err().kind, ErrorKind::Broken, "cut at {end}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(open(&longer).unwrap_err().kind, ErrorKind::Broken);
    }

    #[test]
    fn hostile_nesting_and_counts_end_without_recursion() {
        let mut deep = vec![0x81, 0xa7];
        deep.extend(b"request");
        deep.extend(vec![0x91; 1_000_000]);
        assert_eq!(open(&deep).unwrap_err().kind, ErrorKind::Broken);
        let mut wide = vec![0x81, 0xa7];
        wide.extend(b"request");
        wide.extend([0xdd, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(open(&wide).unwrap_err().kind, ErrorKind::Broken);
    }

    #[test]
    fn a_field_twice_is_broken() {
        let mut bytes = vec![0x82];
        for _ in 0..2 {
            bytes.push(0xa7);
            bytes.extend(b"request");
            bytes.push(0xc0);
        }
        assert!(open(&bytes).unwrap_err().message.contains("twice"));
    }
}
