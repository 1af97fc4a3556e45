//! The point at which a snapshot is taken: the guest says that it is ready and waits for an answer that only a restored machine gets.

use std::io::{Read, Write};

use crate::error::{Error, Result};

const READY: [u8; 10] = *b"==========";
const ANSWER: [u8; 2] = *b"=\n";

/// Announces the barrier on `terminal` and returns once the host has answered. Nothing beyond the answer is consumed.
pub fn pass<T: Read + Write>(terminal: &mut T) -> Result<()> {
    terminal.write_all(&READY).map_err(Error::Barrier)?;
    let mut pair = [0; 2];
    while pair != ANSWER {
        terminal.read_exact(&mut pair).map_err(Error::Barrier)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Terminal {
        input: io::Cursor<Vec<u8>>,
        output: Vec<u8>,
    }

    impl Read for Terminal {
        /// One byte a time, as a slow line delivers them.
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.read(&mut buffer[..1])
        }
    }

    impl Write for Terminal {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.output.write(buffer)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pass_with(input: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
        let mut terminal = Terminal { input: io::Cursor::new(input.to_vec()), output: Vec::new() };
        let passed = pass(&mut terminal).is_ok();
        let consumed = usize::try_from(terminal.input.position()).unwrap();
        (passed, terminal.output, input[consumed..].to_vec())
    }

    #[test]
    fn the_answer_passes_and_what_follows_is_left() {
        let (passed, output, rest) = pass_with(b"=\nls\n");
        assert!(passed);
        assert_eq!(output, b"==========");
        assert_eq!(rest, b"ls\n");
    }

    #[test]
    fn pairs_that_are_not_the_answer_are_skipped() {
        let (passed, _, rest) = pass_with(b"\n===x=\n!");
        // Two bytes at a time: `\n=`, `==`, `x=`, `\n!`. An answer that straddles two pairs is none.
        assert!(!passed);
        assert_eq!(rest, b"");
        let (passed, _, rest) = pass_with(b"==ab=\n!");
        assert!(passed);
        assert_eq!(rest, b"!");
    }

    #[test]
    fn a_terminal_that_ends_is_an_error() {
        assert!(!pass_with(b"=").0);
        assert!(!pass_with(b"").0);
    }
}
