//! PAX records: `LENGTH KEY=VALUE\n`, and what they override.

use std::collections::BTreeMap;

use super::Time;

type Checked<T> = Result<T, &'static str>;

/// Prefix of the records that hold extended attributes.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records before one entry, later ones in the place of earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    pub(super) fn parse(mut rest: &[u8]) -> Checked<Self> {
        let mut records = BTreeMap::new();
        // Sparse format 0.0 repeats two keys, whose order is the map.
        let mut sparse: Vec<&[u8]> = Vec::new();
        while !rest.is_empty() {
            let (key, value, after) = record(rest)?;
            rest = after;
            match key {
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let is_offset = key == b"GNU.sparse.offset";
                    if is_offset != sparse.len().is_multiple_of(2) || value.contains(&b',') {
                        return Err("the PAX sparse map is malformed");
                    }
                    sparse.push(value);
                    records.insert(b"GNU.sparse.map".to_vec(), Vec::new());
                }
                _ => {
                    records.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        if !sparse.is_empty() {
            records.insert(b"GNU.sparse.map".to_vec(), sparse.join(&b','));
        }
        Ok(Self(records))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A record's value; an empty one leaves the header's field as it is.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.0
            .get(key.as_bytes())
            .map(Vec::as_slice)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, key: &str) -> Checked<Option<i64>> {
        self.get(key).map(decimal).transpose()
    }

    pub(super) fn size(&self, key: &str) -> Checked<Option<u64>> {
        match self.number(key)? {
            Some(size) => u64::try_from(size).map(Some).map_err(|_| "a PAX size is negative"),
            None => Ok(None),
        }
    }

    pub(super) fn time(&self, key: &str) -> Checked<Option<Time>> {
        self.get(key).map(time).transpose()
    }

    /// Extended attributes by full name.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0
            .iter()
            .filter_map(|(key, value)| key.strip_prefix(XATTR).map(|name| (name, value.as_slice())))
    }

    /// Whether a global header says more than a remark: it would change what entries are, and readers
    /// differ over whether it does.
    pub(super) fn changes_entries(&self) -> bool {
        self.0
            .keys()
            .any(|key| matches!(key.as_slice(), b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse."))
    }
}

/// Splits off one record.
fn record(rest: &[u8]) -> Checked<(&[u8], &[u8], &[u8])> {
    const MALFORMED: &str = "a PAX record is malformed";
    let space = rest.iter().take(20).position(|&b| b == b' ').ok_or(MALFORMED)?;
    let length = decimal(&rest[..space])?;
    let length = usize::try_from(length)
        .ok()
        .filter(|&n| n <= rest.len())
        .ok_or("a PAX record's length is wrong")?;
    // At least the space, one byte of key, `=`, and the end of line.
    if length < space + 4 || rest[length - 1] != b'\n' {
        return Err("a PAX record's length is wrong");
    }
    let body = &rest[space + 1..length - 1];
    let equals = body.iter().position(|&b| b == b'=').ok_or(MALFORMED)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    let is_name = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    if key.is_empty() || key.contains(&0) || (is_name && value.contains(&0)) {
        return Err(MALFORMED);
    }
    Ok((key, value, &rest[length..]))
}

/// A whole number: digits, with a minus sign before them or not.
pub(super) fn decimal(text: &[u8]) -> Checked<i64> {
    const MALFORMED: &str = "a PAX number is malformed";
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 20 {
        return Err(MALFORMED);
    }
    let value = digits.iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'9' => value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or("a PAX number is too large"),
        _ => Err(MALFORMED),
    })?;
    Ok(if negative { -value } else { value })
}

/// Seconds with a fraction of any length, rounded down to nanoseconds.
fn time(text: &[u8]) -> Checked<Time> {
    let mut parts = text.splitn(2, |&b| b == b'.');
    let whole = parts.next().unwrap_or_default();
    let seconds = decimal(whole)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a PAX time is malformed");
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    if whole.starts_with(b"-") && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or("a PAX time is out of range")?;
        return Ok(Time {
            seconds,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Ok(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn well_formed_records_are_read_and_later_ones_win() {
        let records = Records::parse(b"12 path=a/b\n30 mtime=1350244992.023960108\n12 path=c=d\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"c=d"[..]));
        let expected = Time {
            seconds: 1_350_244_992,
            nanoseconds: 23_960_108,
        };
        assert_eq!(records.time("mtime").unwrap(), Some(expected));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"12 path=a/b"[..],
            b"12 path=a/bX",
            b"11 path=a/b\n",
            b"13 path=a/b\n",
            b"99999999999999999999 path=a\n",
            b"-12 path=a/b\n",
            b" path=a/b\n",
            b"path=a/b\n",
            b"5 =a\n",
            b"6 path\n",
            b"12 path=a\0b\n",
            b"12 pa\0h=a/b\n",
            b"0 \n",
            b"4 a\n",
            b"\n",
            b"\0",
        ] {
            assert!(Records::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn times_are_rounded_down_and_never_leave_their_range() {
        type Expected = Option<(i64, u32)>;
        let table: &[(&[u8], Expected)] = &[
            (b"0", Some((0, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.", Some((1, 0))),
            (b"1.0000000009999", Some((1, 0))),
            (b"-1.5", Some((-2, 500_000_000))),
            (b"-0.5", Some((-1, 500_000_000))),
            (b"NaN", None),
            (b"1e9", None),
            (b"1.5.5", None),
            (b".5", None),
            (b"", None),
            (b"-", None),
            (b"9223372036854775808", None),
        ];
        for (text, expected) in table {
            let got = time(text).ok().map(|t| (t.seconds, t.nanoseconds));
            assert_eq!(&got, expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_repeated_keys_of_sparse_format_0_0_become_a_map() {
        let text = b"23 GNU.sparse.offset=1\n25 GNU.sparse.numbytes=2\n";
        let records = Records::parse(text).unwrap();
        assert_eq!(records.get("GNU.sparse.map"), Some(&b"1,2"[..]));
        assert!(Records::parse(b"25 GNU.sparse.numbytes=2\n").is_err());
    }
}
