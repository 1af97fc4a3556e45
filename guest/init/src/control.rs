//! The lines on `prebake.control`, as PROTOCOL.md defines them.

use std::io::{self, Read};

use protocol::Framed;

use crate::error::Error;

/// Longest line that is believed, without its `\n`.
const LINE_MAX: usize = 255;

/// A line from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMessage {
    /// Start the program.
    Start(Start),
    /// Send this signal to the program.
    Signal(i32),
    /// Send the program the signal that its image wants to be ended by.
    Stop,
    /// The machine was restored while the program runs: rekey the random generator, and set the clock.
    Resume(Options),
}

/// How to start the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What the program's standard streams are.
    pub on: Streams,
    /// What the host says besides.
    pub options: Options,
}

impl Start {
    /// On the terminal, for a machine whose host says nothing.
    pub fn on_terminal() -> Self {
        Self { on: Streams::Terminal { name: None }, options: Options::default() }
    }
}

/// The `key=value` words of a `start` and of a `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The host's clock, in nanoseconds since 1970.
    pub time: Option<u64>,
    /// When the program has ended, the host may want it started anew.
    pub waits: bool,
}

/// What a program's standard streams are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    /// The machine's terminal, called by this name in `TERM`.
    Terminal {
        /// `TERM`, if the host knows.
        name: Option<String>,
    },
    /// The three byte-exact ports.
    Ports,
}

impl HostMessage {
    /// Understands one line, without its `\n`. `None` is anything else.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        match words.next()? {
            "start" => {
                let kind = words.next()?;
                let (name, options) = parse_options(words)?;
                let on = match kind {
                    "tty" => Streams::Terminal { name },
                    "streams" => Streams::Ports,
                    _ => return None,
                };
                Some(Self::Start(Start { on, options }))
            }
            "resume" => parse_options(words).map(|(_, options)| Self::Resume(options)),
            "signal" => {
                let number = words.next()?.parse().ok().filter(|number| is_for_programs(*number))?;
                words.next().is_none().then_some(Self::Signal(number))
            }
            "stop" => words.next().is_none().then_some(Self::Stop),
            _ => None,
        }
    }
}

/// The terminal's name and the options, of which those that are not known are skipped.
fn parse_options<'a>(words: impl Iterator<Item = &'a str>) -> Option<(Option<String>, Options)> {
    let (mut name, mut options) = (None, Options::default());
    for word in words {
        match word.split_once('=')? {
            ("term", value) => name = Some(value.to_owned()),
            ("time", value) => options.time = Some(value.parse().ok()?),
            ("exit", value) => options.waits = value == "wait",
            _ => {}
        }
    }
    Some((name, options))
}

/// Whether a program can be sent this signal through its container's process 1: that one would be stopped itself, and two are the C library's.
fn is_for_programs(number: i32) -> bool {
    (1..=libc::SIGRTMAX()).contains(&number) && !matches!(number, libc::SIGSTOP | 32 | 33)
}

/// The line that tells the host why the program was not started.
pub fn failed_line(reason: &Error) -> String {
    format!("failed {reason}").chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(LINE_MAX).collect()
}

/// Cuts a port's bytes into lines of bounded length.
#[derive(Debug)]
pub struct Lines<R> {
    port: R,
    line: Vec<u8>,
    chunk: [u8; 512],
    unread: std::ops::Range<usize>,
}

impl<R: Read> Lines<R> {
    /// Reads lines from `port`.
    pub fn new(port: R) -> Self {
        Self { port, line: Vec::with_capacity(LINE_MAX), chunk: [0; 512], unread: 0..0 }
    }

    /// Reads the bytes that follow a message's line.
    pub fn complete<M: Framed>(&mut self, mut message: M, mut missing: usize) -> io::Result<M> {
        while missing > 0 {
            if self.unread.is_empty() {
                self.unread = 0..self.port.read(&mut self.chunk)?;
                if self.unread.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let part = &self.chunk[self.unread.start..self.unread.end.min(self.unread.start + missing)];
            message.bytes().into_iter().for_each(|bytes| bytes.extend_from_slice(part));
            missing -= part.len();
            self.unread.start += part.len();
        }
        Ok(message)
    }

    /// The next line, without its `\n`; `None` at the port's end. A line that is too long or is not ASCII comes back as an empty one,
    /// which no parser understands.
    pub fn next_line(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        let mut too_long = false;
        loop {
            if self.unread.is_empty() {
                self.unread = 0..self.port.read(&mut self.chunk)?;
                if self.unread.is_empty() {
                    return Ok(None);
                }
            }
            let byte = self.chunk[self.unread.start];
            self.unread.start += 1;
            match byte {
                b'\n' => break,
                _ if self.line.len() < LINE_MAX => self.line.push(byte),
                _ => too_long = true,
            }
        }
        if too_long || !self.line.is_ascii() {
            self.line.clear();
        }
        Ok(std::str::from_utf8(&self.line).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn options(time: Option<u64>, waits: bool) -> Options {
        Options { time, waits }
    }

    fn terminal(name: Option<&str>, time: Option<u64>) -> Option<HostMessage> {
        Some(HostMessage::Start(Start { on: Streams::Terminal { name: name.map(str::to_owned) }, options: options(time, false) }))
    }

    #[test]
    fn every_line_of_the_protocol_is_understood() {
        assert_eq!(HostMessage::parse("start tty"), terminal(None, None));
        assert_eq!(HostMessage::parse("start tty term=xterm-256color time=17"), terminal(Some("xterm-256color"), Some(17)));
        assert_eq!(HostMessage::parse("start tty time=17 later=known term=vt100"), terminal(Some("vt100"), Some(17)));
        let streams = |time, waits| Some(HostMessage::Start(Start { on: Streams::Ports, options: options(time, waits) }));
        assert_eq!(HostMessage::parse("start streams"), streams(None, false));
        assert_eq!(HostMessage::parse("start streams exit=wait time=3"), streams(Some(3), true));
        assert_eq!(HostMessage::parse("start streams exit=halt"), streams(None, false));
        assert_eq!(HostMessage::parse("signal 15"), Some(HostMessage::Signal(15)));
        assert_eq!(HostMessage::parse("signal 64"), Some(HostMessage::Signal(64)));
        assert_eq!(HostMessage::parse("stop"), Some(HostMessage::Stop));
        assert_eq!(HostMessage::parse("resume"), Some(HostMessage::Resume(options(None, false))));
        assert_eq!(HostMessage::parse("resume later=known time=17 exit=wait"), Some(HostMessage::Resume(options(Some(17), true))));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in ["", " ", "start", "start ", "start vga", "start tty 24 80", "start tty time=x", "start tty time=-1", "Start tty"] {
            assert_eq!(HostMessage::parse(line), None, "{line:?}");
        }
        for line in [
            "resume now",
            "resume time=x",
            "signal",
            "signal 0",
            "signal 19",
            "signal 32",
            "signal 65",
            "stop now",
            "signal -1",
            "signal 9 9",
            "signal x",
            "exit 3",
        ] {
            assert_eq!(HostMessage::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn lines_are_bounded_and_the_next_one_is_whole() {
        let mut bytes = vec![b'x'; LINE_MAX];
        bytes.push(b'\n');
        bytes.extend([b'y'; LINE_MAX + 1]);
        bytes.extend(b"\nsignal 2\n\xff\nunfinished");
        let mut lines = Lines::new(&bytes[..]);
        assert_eq!(lines.next_line().unwrap().map(str::len), Some(LINE_MAX));
        assert_eq!(lines.next_line().unwrap(), Some(""));
        assert_eq!(lines.next_line().unwrap(), Some("signal 2"));
        assert_eq!(lines.next_line().unwrap(), Some(""));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn bytes_behind_a_line_are_not_lines() {
        use protocol::{Exec, ExecOrder};
        let orders = [ExecOrder::Input(b"stop\n".repeat(300)), ExecOrder::Input(Vec::new())].map(|what| Exec { id: 1, what });
        let bytes = [orders[0].encode(), b"signal 2\n".to_vec(), orders[1].encode(), b"exec 1 input 9\nshort".to_vec()].concat();
        let mut lines = Lines::new(&bytes[..]);
        let parsed = |line: Option<&str>| Exec::<ExecOrder>::parse(line.unwrap()).unwrap();
        let (order, length) = parsed(lines.next_line().unwrap());
        assert_eq!(lines.complete(order, length).unwrap(), orders[0]);
        assert_eq!(lines.next_line().unwrap(), Some("signal 2"));
        let (order, length) = parsed(lines.next_line().unwrap());
        assert_eq!(lines.complete(order, length).unwrap(), orders[1]);
        let (order, length) = parsed(lines.next_line().unwrap());
        assert_eq!(lines.complete(order, length).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_failure_is_one_line() {
        let line = failed_line(&Error::NotAStart("\u{7}\n".repeat(LINE_MAX)));
        assert!(line.starts_with("failed ") && line.len() == LINE_MAX && line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
        assert_eq!(failed_line(&Error::UnknownRoot("\n".into())).matches('?').count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_stay_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let mut lines = Lines::new(&bytes[..]);
            let mut count = 0;
            while let Some(line) = lines.next_line().unwrap() {
                prop_assert!(line.len() <= LINE_MAX);
                let _ = HostMessage::parse(line);
                count += 1;
            }
            prop_assert_eq!(count, newlines);
        }
    }
}
