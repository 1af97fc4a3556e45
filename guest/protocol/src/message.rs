//! The lines on the control port.

use crate::exec::{Exec, ExecReport};
use crate::frame::{FrameReader, Framed};
use std::fmt;

/// What the guest's program is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The machine's terminal.
    Tty,
    /// Three byte-exact streams.
    Streams,
}

/// What becomes of the machine when its program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterExit {
    /// Init halts it.
    #[default]
    Halt,
    /// Init waits for another [`HostMessage::Start`], which starts the program anew on the same disk.
    Wait,
}

/// A line from the host to the guest's init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMessage {
    /// Start the program.
    Start {
        /// What it is connected to.
        mode: Mode,
        /// `TERM`: printable, without spaces.
        term: Option<String>,
        /// The host's clock, in nanoseconds since 1970.
        time: Option<u64>,
        /// What to do when it has ended.
        after_exit: AfterExit,
    },
    /// Send the program a signal, by its Linux number.
    Signal(i32),
    /// Ask the program to end, by the signal that its image names.
    Stop,
    /// The machine was restored while the program runs: rekey the random generator, set the clock, and acknowledge.
    Resume {
        /// The host's clock, in nanoseconds since 1970.
        time: Option<u64>,
        /// What to do when the program has ended.
        after_exit: AfterExit,
    },
}

impl fmt::Display for HostMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { mode, term, time, after_exit } => {
                f.write_str(match mode {
                    Mode::Tty => "start tty",
                    Mode::Streams => "start streams",
                })?;
                term.iter().try_for_each(|term| write!(f, " term={term}"))?;
                write_options(f, *time, *after_exit)?;
            }
            Self::Signal(number) => write!(f, "signal {number}")?,
            Self::Stop => f.write_str("stop")?,
            Self::Resume { time, after_exit } => {
                f.write_str("resume")?;
                write_options(f, *time, *after_exit)?;
            }
        }
        f.write_str("\n")
    }
}

fn write_options(f: &mut fmt::Formatter<'_>, time: Option<u64>, after_exit: AfterExit) -> fmt::Result {
    time.iter().try_for_each(|time| write!(f, " time={time}"))?;
    match after_exit {
        AfterExit::Halt => Ok(()),
        AfterExit::Wait => f.write_str(" exit=wait"),
    }
}

/// A line from the guest's init to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestMessage {
    /// The program was started, and reads its input from now on.
    Started,
    /// The random generator has its new key.
    Resumed,
    /// The program has ended with this status, and all its output is out.
    Exit(u8),
    /// Init waits for another [`HostMessage::Start`].
    Waiting,
    /// The program was not started or must not go on, for this reason.
    Failed(String),
    /// Init can start other programs beside its own.
    OffersExec,
    /// Of such a program.
    Exec(Exec<ExecReport>),
}

impl Framed for GuestMessage {
    fn parse(line: &str) -> Option<(Self, usize)> {
        let message = match line {
            "started" => Self::Started,
            "resumed" => Self::Resumed,
            "waiting" => Self::Waiting,
            "offers exec" => Self::OffersExec,
            _ => match line.split_once(' ')? {
                ("exit", status) => Self::Exit(status.parse().ok()?),
                // It is shown to the user, whose terminal is not the guest's to program.
                ("failed", reason) => Self::Failed(reason.chars().map(|c| if c.is_control() { '?' } else { c }).collect()),
                ("exec", _) => return Exec::parse(line).map(|(report, length)| (Self::Exec(report), length)),
                _ => return None,
            },
        };
        Some((message, 0))
    }

    fn bytes(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Exec(report) => report.bytes(),
            _ => None,
        }
    }
}

/// Cuts what the guest writes to the control port into messages.
pub type MessageReader = FrameReader<GuestMessage>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::MAX_LINE;

    #[test]
    fn host_messages_are_lines() {
        let start = |mode, term: Option<&str>, time, after_exit| {
            HostMessage::Start { mode, term: term.map(str::to_owned), time, after_exit }.to_string()
        };
        assert_eq!(start(Mode::Tty, Some("xterm"), Some(17), AfterExit::Halt), "start tty term=xterm time=17\n");
        assert_eq!(start(Mode::Tty, None, None, AfterExit::Wait), "start tty exit=wait\n");
        assert_eq!(start(Mode::Streams, None, Some(1), AfterExit::Wait), "start streams time=1 exit=wait\n");
        assert_eq!(HostMessage::Signal(15).to_string(), "signal 15\n");
        assert_eq!(HostMessage::Stop.to_string(), "stop\n");
        assert_eq!(HostMessage::Resume { time: None, after_exit: AfterExit::Halt }.to_string(), "resume\n");
        assert_eq!(HostMessage::Resume { time: Some(5), after_exit: AfterExit::Wait }.to_string(), "resume time=5 exit=wait\n");
    }

    #[test]
    fn lines_of_the_guest_are_understood_or_dropped() {
        let mut reader = MessageReader::default();
        let mut messages = Vec::new();
        let long = [b'x'; MAX_LINE + 1];
        for piece in [
            &b"star"[..],
            b"ted\nexit 3\nexit 256\nexit\nexit x\nhello\n",
            &long,
            b"\nresumed\n\xff\nwaiting\n",
            b"waiting 3\nfailed no \x1b[2Jshell\nexec 3 stdout 7\nexit 4\noffers exec\nexec 3 stdout x\nexit 4",
        ] {
            reader.read(piece, |message| messages.push(message));
        }
        let failed = GuestMessage::Failed("no ?[2Jshell".into());
        let output = GuestMessage::Exec(Exec { id: 3, what: ExecReport::Output { is_error: false, bytes: b"exit 4\n".to_vec() } });
        let known = [GuestMessage::Started, GuestMessage::Exit(3), GuestMessage::Resumed, GuestMessage::Waiting];
        assert_eq!(messages[..4], known);
        assert_eq!(messages[4..], [failed, output, GuestMessage::OffersExec]);
    }
}
