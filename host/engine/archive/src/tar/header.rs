//! One header block: its format, its checksum, its numbers.

use super::BLOCK;

/// The dialects whose fields differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum holds.
#[derive(Clone)]
pub(super) struct Header {
    block: [u8; BLOCK],
    pub(super) format: Format,
}

type Checked<T> = Result<T, &'static str>;

/// The sum of all bytes, those of the sum itself counted as spaces.
pub(crate) fn checksum(block: &[u8; BLOCK]) -> u32 {
    let spaces = 8 * u32::from(b' ');
    let sum = |part: &[u8]| part.iter().map(|&b| u32::from(b)).sum::<u32>();
    sum(&block[..148]) + spaces + sum(&block[156..])
}

/// Old tars summed signed bytes.
fn signed_checksum(block: &[u8; BLOCK]) -> i64 {
    let sum = |part: &[u8]| part.iter().map(|&b| i64::from(b.cast_signed())).sum::<i64>();
    sum(&block[..148]) + 8 * i64::from(b' ') + sum(&block[156..])
}

impl Header {
    pub(super) fn parse(block: [u8; BLOCK]) -> Checked<Self> {
        let told = octal(&block[148..156])?;
        if told != u64::from(checksum(&block)) && i64::try_from(told) != Ok(signed_checksum(&block)) {
            return Err("the checksum does not hold");
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Ustar,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        let header = Self { block, format };
        if format == Format::Gnu {
            // Writers of old broken archives put a name's prefix here, and readers differ over them.
            for times in [345..357, 357..369] {
                if header.block[times.start] != 0 {
                    number(&header.block[times])?;
                }
            }
        }
        Ok(header)
    }

    /// The type flag, with the old way to say "directory" resolved.
    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.format {
            Format::Ustar => text(&self.block[345..500]),
            Format::Star => text(&self.block[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> &[u8] {
        text(&self.block[157..257])
    }

    pub(super) fn mode(&self) -> Checked<u32> {
        let mode = number(&self.block[100..108])?;
        // Some writers put the file's type into the upper bits.
        u32::try_from(mode)
            .map(|mode| mode & 0o7777)
            .map_err(|_| "the mode is out of range")
    }

    pub(super) fn uid(&self) -> Checked<i64> {
        number(&self.block[108..116])
    }

    pub(super) fn gid(&self) -> Checked<i64> {
        number(&self.block[116..124])
    }

    pub(super) fn size(&self) -> Checked<u64> {
        size(&self.block[124..136])
    }

    pub(super) fn mtime(&self) -> Checked<i64> {
        number(&self.block[136..148])
    }

    pub(super) fn device(&self) -> Checked<(u32, u32)> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        let part = |range: std::ops::Range<usize>| {
            u32::try_from(number(&self.block[range])?).map_err(|_| "the device number is out of range")
        };
        Ok((part(329..337)?, part(337..345)?))
    }

    /// The four sparse entries of a GNU header, whether more blocks follow, and the file's size.
    pub(super) fn gnu_sparse(&self) -> Checked<(&[u8], bool, u64)> {
        Ok((
            &self.block[386..482],
            self.block[482] != 0,
            size(&self.block[483..495])?,
        ))
    }
}

/// A size: a number that is not negative.
pub(super) fn size(field: &[u8]) -> Checked<u64> {
    u64::try_from(number(field)?).map_err(|_| "a size is negative")
}

/// The bytes before the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// A number in octal or in base 256.
pub(super) fn number(field: &[u8]) -> Checked<i64> {
    if field.first().is_some_and(|&b| b & 0x80 != 0) {
        return base_256(field);
    }
    i64::try_from(octal(field)?).map_err(|_| "a number is too large")
}

/// Two's complement in big-endian order, its first bit taken as the mark of the encoding.
fn base_256(field: &[u8]) -> Checked<i64> {
    let negative = field[0] & 0x40 != 0;
    let invert = if negative { 0xff } else { 0 };
    let mut value: u64 = 0;
    for (i, &byte) in field.iter().enumerate() {
        let byte = byte ^ invert;
        let byte = if i == 0 { byte & 0x7f } else { byte };
        if value >> 56 != 0 {
            return Err("a number is too large");
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).map_err(|_| "a number is too large")?;
    Ok(if negative { !value } else { value })
}

/// Octal digits, with spaces and NULs around them as different writers pad.
fn octal(field: &[u8]) -> Checked<u64> {
    let is_pad = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !is_pad(b)).unwrap_or(field.len());
    let digits = text(&field[start..]);
    let end = digits.iter().rposition(|b| !is_pad(b)).map_or(0, |last| last + 1);
    digits[..end].iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'7' if value >> 61 == 0 => Ok(value << 3 | u64::from(digit - b'0')),
        b'0'..=b'7' => Err("a number is too large"),
        _ => Err("a number has a digit that is not octal"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let table: &[(&[u8], Checked<i64>)] = &[
            (b"", Ok(0)),
            (b"\0\0\0\0", Ok(0)),
            (b"0000644\0", Ok(0o644)),
            (b"  644 \0", Ok(0o644)),
            (b"\0 644", Ok(0o644)),
            (b"12\x0034", Ok(0o12)),
            (b"777777777777", Ok(0o777_777_777_777)),
            (b"9", Err("a number has a digit that is not octal")),
            (b"12 34", Err("a number has a digit that is not octal")),
            (b"-1", Err("a number has a digit that is not octal")),
            (b"0x10", Err("a number has a digit that is not octal")),
            (b"\x80", Ok(0)),
            (b"\x80\0\0\0\0\0\0\x01", Ok(1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", Err("a number is too large")),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Ok(i64::MIN)),
            (
                b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
                Err("a number is too large"),
            ),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", Err("a number is too large")),
        ];
        for (field, expected) in table {
            assert_eq!(&number(field), expected, "{}", field.escape_ascii());
        }
        assert_eq!(size(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Err("a size is negative"));
    }
}
