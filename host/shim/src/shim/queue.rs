//! What waits to be sent to one client.

use std::collections::VecDeque;
use std::io::{self, Write};

use longshore_shim::multiplex::{Output, head};

/// Most that waits for one client.
pub(crate) const LIMIT: usize = 1 << 20;

/// Output on its way to a client. Pieces are taken whole, so that heads stay where they belong.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: VecDeque<u8>,
    framed: bool,
}

impl Queue {
    /// An empty one, with or without heads.
    pub(crate) fn new(framed: bool) -> Self {
        Self {
            bytes: VecDeque::new(),
            framed,
        }
    }

    /// Adds a piece of output.
    pub(crate) fn push(&mut self, output: Output, piece: &[u8]) {
        if self.framed {
            self.bytes
                .extend(head(output, u32::try_from(piece.len()).unwrap_or(u32::MAX)));
        }
        self.bytes.extend(piece);
    }

    /// Whether no more should be added. A piece may go over the limit; the next one may not.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= LIMIT
    }

    /// Whether there is room for a good part again.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() <= LIMIT / 2
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends as much as `to` takes.
    pub(crate) fn send(&mut self, to: &mut impl Write) -> io::Result<()> {
        while !self.bytes.is_empty() {
            match to.write(self.bytes.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.bytes.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // A client that once was slow does not keep its megabyte for the container's whole life.
        self.bytes.shrink_to(64 * 1024);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Takes so many bytes, then would block.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1 -= count;
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_waits_in_order() {
        let mut queue = Queue::new(false);
        queue.push(Output::Stdout, b"hello ");
        queue.push(Output::Stderr, b"world");
        let mut client = Slow(Vec::new(), 4);
        queue.send(&mut client).unwrap();
        assert_eq!((client.0.as_slice(), queue.is_empty()), (&b"hell"[..], false));
        client.1 = 100;
        queue.send(&mut client).unwrap();
        assert_eq!((client.0.as_slice(), queue.is_empty()), (&b"hello world"[..], true));
    }

    #[test]
    fn heads_go_before_each_piece() {
        let mut queue = Queue::new(true);
        queue.push(Output::Stderr, b"ab");
        queue.push(Output::Stdout, b"c");
        let mut sent = Vec::new();
        queue.send(&mut sent).unwrap();
        assert_eq!(sent, b"\x02\0\0\0\0\0\0\x02ab\x01\0\0\0\0\0\0\x01c");
    }

    #[test]
    fn a_full_queue_says_so_and_a_half_empty_one_takes_more() {
        let mut queue = Queue::new(false);
        queue.push(Output::Stdout, &vec![0; LIMIT - 1]);
        assert!(!queue.is_full());
        queue.push(Output::Stdout, &[0]);
        assert!(queue.is_full() && !queue.has_room());
        queue.send(&mut Slow(Vec::new(), LIMIT / 2)).unwrap();
        assert!(!queue.is_full() && queue.has_room());
    }

    #[test]
    fn a_client_that_is_gone_is_an_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut queue = Queue::new(false);
        queue.push(Output::Stdout, b"a");
        assert!(queue.send(&mut Gone).is_err());
    }
}
