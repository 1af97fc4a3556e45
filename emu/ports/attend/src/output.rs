//! What the guest writes, sorted by what it is for.

use crate::transcript::Transcript;
use devices::console::Port;
use protocol::{BarrierFilter, EXEC_WINDOW, Exec, ExecReport, GuestMessage, MAX_EXECS, MessageReader, Mode};
use std::borrow::Cow;
use std::collections::VecDeque;

/// A stream of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which stream of the host shows each kind of output. `None` hides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routes {
    /// The terminal.
    pub tty: Option<Stream>,
    /// The program's standard output, where it is not on the terminal.
    pub stdout: Option<Stream>,
    /// The program's standard error, where it is not on the terminal.
    pub stderr: Option<Stream>,
    /// The serial port, which has the kernel's messages.
    pub serial: Option<Stream>,
}

impl Routes {
    /// Everything is shown. What the program does not write itself goes to standard error.
    pub const fn all(mode: Mode) -> Self {
        let tty = match mode {
            Mode::Tty => Stream::Stdout,
            Mode::Streams => Stream::Stderr,
        };
        Self { tty: Some(tty), stdout: Some(Stream::Stdout), stderr: Some(Stream::Stderr), serial: Some(Stream::Stderr) }
    }

    /// Only the output of a program on three streams is shown.
    pub const fn program() -> Self {
        Self { tty: None, stdout: Some(Stream::Stdout), stderr: Some(Stream::Stderr), serial: None }
    }

    /// Nothing is shown.
    pub const fn nothing() -> Self {
        Self { tty: None, stdout: None, stderr: None, serial: None }
    }
}

/// Output for the user.
pub type Shown<'a> = (Stream, Cow<'a, [u8]>);

/// Messages from init that have not been read, and bytes of output of other programs in them. The host reads them whenever the machine stops, and
/// init sends no more until then than programs may.
const MAX_MESSAGES: usize = 32 << 10;
const MAX_BYTES: usize = MAX_EXECS * EXEC_WINDOW;

/// The guest's output: separates what the user sees from the barrier and the messages of init, and remembers the end of it.
///
/// The host passes in all that the guest writes, as soon as it is written, and shows the user what it gets back.
#[derive(Debug)]
pub struct Output {
    routes: Routes,
    /// While the barrier is ahead.
    barrier: Option<BarrierFilter>,
    reader: MessageReader,
    messages: VecDeque<GuestMessage>,
    /// Bytes of output in them.
    queued: usize,
    terminal: Transcript,
    serial: Transcript,
    /// Bytes that the terminal has had.
    written: u64,
}

impl Output {
    /// The output of a guest whose terminal has shown `terminal` so far, and that may still come to the barrier.
    pub fn new(routes: Routes, barrier_ahead: bool, terminal: Transcript) -> Self {
        Self {
            routes,
            barrier: barrier_ahead.then(BarrierFilter::default),
            reader: MessageReader::default(),
            messages: VecDeque::new(),
            queued: 0,
            terminal,
            serial: Transcript::default(),
            written: 0,
        }
    }

    /// The guest wrote `bytes` to a port of its console. Returns what the user is to see of them.
    pub fn console<'a>(&mut self, port: Port, bytes: &'a [u8]) -> Option<Shown<'a>> {
        let (route, bytes) = match port {
            Port::Tty => {
                self.written = self.written.saturating_add(bytes.len() as u64);
                let text = match &mut self.barrier {
                    None => Cow::Borrowed(bytes),
                    Some(filter) => {
                        let mut text = Vec::with_capacity(bytes.len());
                        filter.pass(bytes, &mut text);
                        text.into()
                    }
                };
                self.terminal.push(&text);
                (self.routes.tty, text)
            }
            Port::Stdout => (self.routes.stdout, bytes.into()),
            Port::Stderr => (self.routes.stderr, bytes.into()),
            Port::Control => {
                let (messages, queued) = (&mut self.messages, &mut self.queued);
                self.reader.read(bytes, |message| {
                    let length = output_of(&message);
                    if messages.len() < MAX_MESSAGES && *queued + length <= MAX_BYTES {
                        *queued += length;
                        messages.push_back(message);
                    }
                });
                return None;
            }
            // The guest has no business writing there.
            Port::Stdin => return None,
        };
        route.filter(|_| !bytes.is_empty()).map(|route| (route, bytes))
    }

    /// The guest wrote `bytes` to its serial port. Returns what the user is to see of them.
    pub fn serial<'a>(&mut self, bytes: &'a [u8]) -> Option<Shown<'a>> {
        self.serial.push(bytes);
        self.routes.serial.map(|route| (route, bytes.into()))
    }

    /// The terminal's output.
    pub fn terminal(&mut self) -> &mut Transcript {
        &mut self.terminal
    }

    /// The terminal's unfinished last line, as the user is to see it.
    pub(crate) fn last_line(&self) -> Option<(Stream, Vec<u8>)> {
        let line = self.terminal.line();
        self.routes.tty.filter(|_| !line.is_empty()).map(|route| (route, line.to_vec()))
    }

    /// The end of what the guest wrote to terminal and serial port, as far as the user has not seen it.
    pub fn unseen(&self) -> String {
        let unseen = |route: Option<Stream>, transcript: &Transcript| if route.is_none() { transcript.recent() } else { String::new() };
        let parts = [unseen(self.routes.serial, &self.serial), unseen(self.routes.tty, &self.terminal)];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// The guest has announced the barrier, and has written nothing to its terminal since.
    pub fn at_barrier(&self) -> bool {
        self.barrier.as_ref().is_some_and(BarrierFilter::at_barrier)
    }

    /// The barrier is answered: what the terminal shows from now on is the program's.
    pub fn pass_barrier(&mut self) {
        self.barrier = None;
    }

    /// Bytes that the guest has written to its terminal.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// The next message of init. [`Attendant::next`](crate::Attendant::next) takes them all.
    pub fn take_message(&mut self) -> Option<GuestMessage> {
        let message = self.messages.pop_front()?;
        self.queued -= output_of(&message);
        Some(message)
    }
}

/// Bytes of output in a message.
fn output_of(message: &GuestMessage) -> usize {
    match message {
        GuestMessage::Exec(Exec { what: ExecReport::Output { bytes, .. }, .. }) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_barrier_is_neither_shown_nor_remembered() {
        let mut output = Output::new(Routes::all(Mode::Tty), true, Transcript::default());
        let shown = output.console(Port::Tty, b"hello\nready: ==========");
        assert_eq!(shown, Some((Stream::Stdout, b"hello\nready: ".as_slice().into())));
        assert!(output.at_barrier());
        assert_eq!(output.terminal().line(), b"ready: ");
        output.pass_barrier();
        assert_eq!(output.console(Port::Tty, b"==========").map(|(_, bytes)| bytes.len()), Some(10));
        assert!(!output.at_barrier());
        assert_eq!(output.terminal().line(), b"ready: ==========");
    }

    #[test]
    fn each_port_has_its_stream() {
        let shown = |routes, port| Output::new(routes, false, Transcript::default()).console(port, b"x").map(|(stream, _)| stream);
        use Stream::{Stderr, Stdout};
        for (routes, streams) in [
            (Routes::all(Mode::Tty), [Some(Stdout), None, Some(Stdout), Some(Stderr), None]),
            (Routes::all(Mode::Streams), [Some(Stderr), None, Some(Stdout), Some(Stderr), None]),
            (Routes::program(), [None, None, Some(Stdout), Some(Stderr), None]),
            (Routes::nothing(), [None; 5]),
        ] {
            assert_eq!(Port::ALL.map(|port| shown(routes, port)), streams, "{routes:?}");
        }
    }

    #[test]
    fn messages_of_a_chatty_guest_are_bounded() {
        let mut output = Output::new(Routes::nothing(), false, Transcript::default());
        assert_eq!(output.console(Port::Control, b"exit 1\n".repeat(2 * MAX_MESSAGES).as_slice()), None);
        assert_eq!(std::iter::from_fn(|| output.take_message()).count(), MAX_MESSAGES);
        let report = [b"exec 1 stdout 16000\n".as_slice(), &[b'x'; 16000]].concat();
        assert_eq!(output.console(Port::Control, &report.repeat(500)), None);
        assert_eq!(std::iter::from_fn(|| output.take_message()).count(), MAX_BYTES / 16000);
    }

    #[test]
    fn only_what_was_not_shown_is_unseen() {
        let write = |routes| {
            let mut output = Output::new(routes, false, Transcript::default());
            output.serial(b"panic\n");
            output.console(Port::Tty, b"oops");
            output.unseen()
        };
        assert_eq!(write(Routes::nothing()), "panic\noops");
        assert_eq!(write(Routes { tty: Some(Stream::Stderr), ..Routes::nothing() }), "panic");
        assert_eq!(write(Routes::all(Mode::Tty)), "");
    }
}
