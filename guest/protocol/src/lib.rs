//! What prebake and the guest's init say to each other: the barrier on the terminal, lines on the control port, and what is to be run, as
//! guest/init/PROTOCOL.md defines them.

mod image;
mod info;
mod message;

pub use image::Image;
pub use info::{Bind, Info};
pub use message::{AfterExit, GuestMessage, HostMessage, MessageReader, Mode};

use std::fmt;

/// Mount tag of the share with the host's files, each at its path in the guest.
pub const FILES_TAG: &str = "wasi0";
/// Mount tag of the share through which prebake itself talks to init.
pub const RESERVED_TAG: &str = "wasi1";
/// The file of the reserved share that tells init what to run: an [`Info`].
pub const INFO_FILE: &str = "info";
/// The file of the reserved share from which init seeds the random generator: [`SEED_LEN`] bytes.
pub const SEED_FILE: &str = "entropy";
/// Bytes of a seed.
pub const SEED_LEN: usize = 64;

/// What init writes to the terminal when it is ready, without a newline.
const BARRIER: [u8; 10] = *b"==========";
/// The answer that lets it go on.
pub const ANSWER: &[u8] = b"=\n";

/// Takes the barrier out of the terminal's output: ten `=` in a row, and nothing after them. Nobody can tell before the guest waits for the
/// answer, so what may be the barrier is held back until then.
#[derive(Debug, Default)]
pub struct BarrierFilter {
    held: usize,
    /// The row is longer than the barrier.
    overrun: bool,
}

impl BarrierFilter {
    /// Appends to `out` what cannot be the barrier any more.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if byte == BARRIER[0] && !self.overrun {
                self.held += 1;
                self.overrun = self.held > BARRIER.len();
                if self.overrun {
                    self.release(out);
                }
            } else {
                self.release(out);
                self.overrun = byte == BARRIER[0];
                out.push(byte);
            }
        }
    }

    /// The barrier has been written, and nothing since.
    pub fn at_barrier(&self) -> bool {
        self.held == BARRIER.len()
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.held, BARRIER[0]);
        self.held = 0;
    }
}

/// A line from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start the program.
    Start {
        /// How it is connected.
        mode: Mode,
        /// What the terminal is called: printable, without spaces.
        term: Option<String>,
        /// The host's clock, in nanoseconds since 1970.
        time: Option<u64>,
    },
    /// Send the program a signal.
    Signal(i32),
    /// Ask the program to end, by the signal that its image names.
    Stop,
    /// The machine was restored while the program runs: rekey the random generator, set the clock, and say so.
    Resume {
        /// The host's clock, in nanoseconds since 1970.
        time: Option<u64>,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { mode, term, time } => {
                f.write_str(match mode {
                    Mode::Tty => "start tty",
                    Mode::Streams => "start streams",
                })?;
                term.iter().try_for_each(|term| write!(f, " term={term}"))?;
                time.iter().try_for_each(|time| write!(f, " time={time}"))?;
            }
            Self::Signal(number) => write!(f, "signal {number}")?,
            Self::Stop => f.write_str("stop")?,
            Self::Resume { time } => {
                f.write_str("resume")?;
                time.iter().try_for_each(|time| write!(f, " time={time}"))?;
            }
        }
        f.write_str("\n")
    }
}

/// A line from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The program has ended with this status, and all its output is out.
    Exit(u8),
    /// The program was not started or must not go on, for this reason.
    Failed(String),
    /// The random generator has its new key.
    Resumed,
}

impl Said {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        match line.split_once(' ') {
            Some(("exit", status)) => status.parse().ok().map(Self::Exit),
            Some(("failed", reason)) => {
                // It is shown to the user, whose terminal is not the guest's to program.
                let printable = reason.chars().map(|c| if c.is_control() { '?' } else { c });
                Some(Self::Failed(printable.collect()))
            }
            None if line == "resumed" => Some(Self::Resumed),
            _ => None,
        }
    }
}

/// Longest line of the protocol, without its end.
const MAX_LINE: usize = 255;

/// Makes lines of what the guest writes to the control port. A line that is too long or means nothing is dropped.
#[derive(Debug, Default)]
pub struct ControlLines {
    line: Vec<u8>,
    too_long: bool,
}

impl ControlLines {
    /// Takes bytes, and calls `said` for each line that they end.
    pub fn take(&mut self, bytes: &[u8], mut said: impl FnMut(Said)) {
        for &byte in bytes {
            if byte == b'\n' {
                if !std::mem::take(&mut self.too_long) {
                    Said::parse(&self.line).into_iter().for_each(&mut said);
                }
                self.line.clear();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            } else {
                self.too_long = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut filter, mut out) = (BarrierFilter::default(), Vec::new());
        pieces.iter().for_each(|piece| filter.pass(piece, &mut out));
        (out, filter.at_barrier())
    }

    #[test]
    fn the_barrier_is_swallowed_however_it_is_cut() {
        assert_eq!(pass(&[b"hello\n=========="]), (b"hello\n".to_vec(), true));
        assert_eq!(pass(&[b"a=", b"===", b"======"]), (b"a".to_vec(), true));
        assert_eq!(pass(&[b"==========", b"\n=========="]), (b"==========\n".to_vec(), true));
    }

    #[test]
    fn other_rows_are_not_the_barrier() {
        assert_eq!(pass(&[b"========="]), (Vec::new(), false));
        assert_eq!(pass(&[b"=========\n"]), (b"=========\n".to_vec(), false));
        assert_eq!(pass(&[b"===========", b"=========="]), (vec![b'='; 21], false));
        assert_eq!(pass(&[b"========== booting"]), (b"========== booting".to_vec(), false));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bytes in prop::collection::vec(prop_oneof![4 => Just(b'='), 1 => Just(b'.')], 0..60), cut in 0..60_usize) {
            let cut = cut.min(bytes.len());
            let (mut out, at_barrier) = pass(&[&bytes[..cut], &bytes[cut..]]);
            let row = bytes.iter().rev().take_while(|&&byte| byte == b'=').count();
            prop_assert_eq!(at_barrier, row == 10);
            out.resize(out.len() + if row <= 10 { row } else { 0 }, b'=');
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn requests_are_lines() {
        let start = |mode, term: Option<&str>, time| Request::Start { mode, term: term.map(str::to_owned), time }.to_string();
        assert_eq!(start(Mode::Tty, Some("xterm"), Some(17)), "start tty term=xterm time=17\n");
        assert_eq!(start(Mode::Tty, None, None), "start tty\n");
        assert_eq!(start(Mode::Streams, None, Some(1)), "start streams time=1\n");
        assert_eq!(Request::Signal(15).to_string(), "signal 15\n");
        assert_eq!(Request::Stop.to_string(), "stop\n");
        assert_eq!(Request::Resume { time: None }.to_string(), "resume\n");
        assert_eq!(Request::Resume { time: Some(5) }.to_string(), "resume time=5\n");
    }

    #[test]
    fn lines_of_the_guest_are_understood_or_dropped() {
        let mut lines = ControlLines::default();
        let mut said = Vec::new();
        let long = [b'x'; MAX_LINE + 1];
        for piece in [&b"ex"[..], b"it 3\nexit 256\nexit\nexit x\nhello\n", &long, b"\nresumed\n\xff\n", b"failed no \x1b[2Jshell\nexit 4"]
        {
            lines.take(piece, |line| said.push(line));
        }
        assert_eq!(said, [Said::Exit(3), Said::Resumed, Said::Failed("no ?[2Jshell".into())]);
    }
}
