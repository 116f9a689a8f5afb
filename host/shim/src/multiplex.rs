//! Docker's framing of output without a terminal: 8 bytes before each piece, its stream in the
//! first, its length in the last four.

/// Length of a head.
pub const HEAD: usize = 8;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Standard output, and everything from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Its name, as logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Its number, as heads and file descriptors have it.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// The head of a piece of `length` bytes.
pub fn head(output: Output, length: u32) -> [u8; HEAD] {
    let [a, b, c, d] = length.to_be_bytes();
    [output.number(), 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_names_stream_and_length() {
        assert_eq!(head(Output::Stdout, 1), [1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(head(Output::Stderr, 0x0102_0304), [2, 0, 0, 0, 1, 2, 3, 4]);
    }
}
