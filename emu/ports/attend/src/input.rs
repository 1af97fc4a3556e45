//! Input on its way to the guest.

use std::collections::VecDeque;

/// Bytes that the host may read ahead of the guest.
const CAPACITY: usize = 64 << 10;
/// Longest piece of a script that is given at once. Cutting a script into lines makes what the guest gets depend on the script alone, and not
/// on how it was written into a pipe.
const MAX_PIECE: usize = 4096;

/// Bytes that the guest has not taken yet, and whether more will come.
#[derive(Debug, Default)]
pub struct InputBuffer {
    bytes: VecDeque<u8>,
    ended: bool,
}

impl Extend<u8> for InputBuffer {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.bytes.extend(bytes);
    }
}

impl InputBuffer {
    /// Notes that there will be no more.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// There will be no more.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// All of it has been taken, and there will be no more.
    pub fn is_over(&self) -> bool {
        self.ended && self.bytes.is_empty()
    }

    /// More can be read.
    pub fn wants_more(&self) -> bool {
        !self.ended && self.bytes.len() < CAPACITY
    }

    /// Takes at most `room` bytes.
    pub fn take(&mut self, room: usize) -> Vec<u8> {
        self.bytes.drain(..self.bytes.len().min(room)).collect()
    }

    /// Takes the next line, or as much as is given at once of a longer one. With `whole`, nothing until the line is complete.
    pub fn take_piece(&mut self, whole: bool) -> Vec<u8> {
        let complete = self.ended || !whole;
        let end = self.bytes.iter().take(MAX_PIECE).position(|&byte| byte == b'\n');
        let length = match end {
            Some(end) => end + 1,
            None if complete || self.bytes.len() >= MAX_PIECE => self.bytes.len().min(MAX_PIECE),
            None => 0,
        };
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pieces of a script that arrives in these chunks.
    fn pieces<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let mut input = InputBuffer::default();
        let mut pieces = Vec::new();
        let mut take_all = |input: &mut InputBuffer| {
            pieces.extend(std::iter::from_fn(|| Some(input.take_piece(true)).filter(|piece| !piece.is_empty())));
        };
        for chunk in chunks {
            input.extend(chunk.iter().copied());
            take_all(&mut input);
        }
        input.end();
        take_all(&mut input);
        assert!(input.is_over());
        pieces
    }

    #[test]
    fn a_script_is_cut_into_lines() {
        let script = b"echo hello\nuname\n\nexit 3";
        let expected: [&[u8]; 4] = [b"echo hello\n", b"uname\n", b"\n", b"exit 3"];
        assert_eq!(pieces([script.as_slice()].into_iter()), expected);
        let long = [vec![b'x'; MAX_PIECE + 10], vec![b'\n'], vec![b'x'; MAX_PIECE + 10]].concat();
        assert_eq!(pieces([long.as_slice()].into_iter()).iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PIECE, 11, MAX_PIECE, 10]);
    }

    proptest! {
        #[test]
        fn pieces_depend_on_the_bytes_alone(
            lengths in prop::collection::vec(prop_oneof![0..20_usize, MAX_PIECE - 2..MAX_PIECE + 3], 0..5),
            chunk in 1..5000_usize,
        ) {
            let script = lengths.iter().map(|&length| "x".repeat(length)).collect::<Vec<_>>().join("\n").into_bytes();
            prop_assert_eq!(pieces(script.chunks(chunk)), pieces([script.as_slice()].into_iter()));
        }
    }

    #[test]
    fn an_unfinished_line_waits_only_if_it_must_be_whole() {
        let mut input = InputBuffer::default();
        input.extend(*b"one\ntw");
        assert_eq!(input.take_piece(false), b"one\n");
        assert_eq!(input.take_piece(true), b"");
        assert_eq!(input.take_piece(false), b"tw");
    }

    #[test]
    fn no_more_is_wanted_than_there_is_room_for() {
        let mut input = InputBuffer::default();
        assert!(input.wants_more() && !input.is_over());
        input.extend(std::iter::repeat_n(b'x', CAPACITY));
        assert!(!input.wants_more());
        assert_eq!(input.take(usize::MAX).len(), CAPACITY);
        assert!(input.wants_more());
        input.end();
        assert!(!input.wants_more() && input.is_over());
    }
}
