//! What the user types or pipes in, on its way to the guest.

use super::console::Typist;
use crate::terminal::escape::{EscapeFilter, Wish};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::time::Timespec;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Bytes that are read ahead of the guest.
const CAPACITY: usize = 64 << 10;
/// Longest piece of a script that is injected at once. With lines, it makes what the guest gets depend on the bytes alone and not on how
/// they were written into the pipe.
const MAX_PIECE: usize = 4096;

/// Standard input.
#[derive(Debug)]
pub struct Input<F> {
    source: F,
    typist: Typist,
    escape: EscapeFilter,
    buffer: VecDeque<u8>,
    ended: bool,
    wish: Wish,
}

impl<F: AsFd> Input<F> {
    /// Input from `source`, which is a terminal in raw mode if someone types it here.
    pub fn new(source: F, typist: Typist) -> Self {
        Self { source, typist, escape: EscapeFilter::default(), buffer: VecDeque::new(), ended: false, wish: Wish::Type }
    }

    /// Someone types it at this process's terminal.
    pub fn is_terminal(&self) -> bool {
        self.typist == Typist::PersonHere
    }

    /// Someone types it.
    pub fn is_typed(&self) -> bool {
        self.typist != Typist::Script
    }

    /// What the user has typed that is for prebake, since the last call.
    pub fn take_wish(&mut self) -> Wish {
        std::mem::replace(&mut self.wish, Wish::Type)
    }

    /// All of it has been taken, and there will be no more.
    pub fn is_over(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }

    /// More can be read.
    fn wants_more(&self) -> bool {
        !self.ended && self.buffer.len() < CAPACITY
    }

    /// Waits until there is more input, or one of `wake` is readable, or the time is over; and reads the input.
    pub fn wait(&mut self, wake: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        let source = self.wants_more().then(|| PollFd::new(&self.source, PollFlags::IN));
        let mut watched: Vec<_> = wake.iter().map(|wake| PollFd::from_borrowed_fd(*wake, PollFlags::IN)).chain(source).collect();
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let readable = watched.get(wake.len()).is_some_and(|source| !source.revents().is_empty());
        if readable { self.read() } else { Ok(()) }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 << 10];
        match read(&self.source, &mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) if self.is_terminal() => match self.escape.pass(&bytes[..count], &mut self.buffer) {
                Wish::Type => {}
                wish => self.wish = wish,
            },
            Ok(count) => self.buffer.extend(&bytes[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // What a terminal says that has been hung up.
            Err(Errno::IO) if self.is_typed() => self.ended = true,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whatever is there.
    pub fn available(&mut self) -> &[u8] {
        self.buffer.make_contiguous()
    }

    /// What is to be injected next: a line, or as much of a longer one. If `whole`, nothing until it is complete, unless a person types it.
    pub fn next_piece(&mut self, whole: bool) -> &[u8] {
        let complete = self.ended || self.is_typed() || !whole;
        let buffer = &*self.buffer.make_contiguous();
        let piece = &buffer[..buffer.len().min(MAX_PIECE)];
        match piece.iter().position(|&byte| byte == b'\n') {
            Some(end) => &piece[..=end],
            None if complete || piece.len() == MAX_PIECE => piece,
            None => &[],
        }
    }

    /// The guest has taken this many bytes.
    pub fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, Write};
    use std::os::unix::net::UnixStream;

    /// The pieces of `bytes` as a script, read in chunks that whoever writes it chooses.
    fn pieces(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let (_keep, wake) = UnixStream::pair().unwrap();
        let mut input = Input::new(reader, Typist::Script);
        let mut pieces = Vec::new();
        let mut chunks = chunks.iter();
        loop {
            let piece = input.next_piece(true).to_vec();
            if !piece.is_empty() {
                input.consume(piece.len());
                pieces.push(piece);
                continue;
            }
            if input.is_over() {
                return pieces;
            }
            match chunks.next() {
                Some(chunk) => writer.write_all(chunk).unwrap(),
                None => writer.shutdown(std::net::Shutdown::Write).unwrap(),
            }
            input.wait(&[wake.as_fd()], None).unwrap();
        }
    }

    #[test]
    fn pieces_depend_on_the_bytes_alone() {
        let script = b"echo hello\nuname\n\nexit 3";
        let expected: [&[u8]; 4] = [b"echo hello\n", b"uname\n", b"\n", b"exit 3"];
        assert_eq!(pieces(&[script]), expected);
        assert_eq!(pieces(&script.chunks(1).collect::<Vec<_>>()), expected);
        assert_eq!(pieces(&script.chunks(7).collect::<Vec<_>>()), expected);

        let long = vec![b'x'; MAX_PIECE + 10];
        let lengths = |chunks: &[&[u8]]| pieces(chunks).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[&long, b"\n", &long]), [MAX_PIECE, 11, MAX_PIECE, 10]);
        assert_eq!(lengths(&long.chunks(999).collect::<Vec<_>>()), [MAX_PIECE, 10]);
    }

    #[test]
    fn an_unfinished_line_is_given_to_whoever_wants_it() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let (_keep, wake) = UnixStream::pair().unwrap();
        let mut input = Input::new(reader, Typist::Script);
        writer.write_all(b"one\ntw").unwrap();
        input.wait(&[wake.as_fd()], None).unwrap();
        assert_eq!(input.next_piece(false), b"one\n");
        input.consume(4);
        assert_eq!(input.next_piece(true), b"");
        assert_eq!(input.next_piece(false), b"tw");
    }

    #[test]
    fn no_more_is_read_than_there_is_room_for() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 3 * CAPACITY]).unwrap();
        file.rewind().unwrap();
        let (_keep, wake) = UnixStream::pair().unwrap();
        let mut input = Input::new(file, Typist::Script);
        for _ in 0..100 {
            input.wait(&[wake.as_fd()], Some(Duration::ZERO)).unwrap();
        }
        assert!((CAPACITY..2 * CAPACITY).contains(&input.available().len()));
    }

    #[test]
    fn a_signal_ends_the_waiting() {
        let (mut signal, wake) = UnixStream::pair().unwrap();
        let (_writer, reader) = UnixStream::pair().unwrap();
        signal.write_all(b"!").unwrap();
        Input::new(reader, Typist::Script).wait(&[wake.as_fd()], None).unwrap();
    }

    #[test]
    fn the_end_is_noticed() {
        let (_keep, wake) = UnixStream::pair().unwrap();
        let mut input = Input::new(File::open("/dev/null").unwrap(), Typist::Script);
        assert!(!input.is_over());
        input.wait(&[wake.as_fd()], None).unwrap();
        assert!(input.is_over());
    }
}
