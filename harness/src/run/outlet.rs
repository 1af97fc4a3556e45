//! Where the guest's output goes.

use super::tail::Tail;
use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use protocol::{BarrierFilter, ControlLines, Said};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// A stream of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// None: the bytes are dropped.
    Nowhere,
}

/// Which stream of the host each kind of output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes {
    /// The terminal.
    pub tty: HostStream,
    /// The program's standard output.
    pub stdout: HostStream,
    /// The program's standard error.
    pub stderr: HostStream,
    /// The serial port.
    pub serial: HostStream,
}

impl Routes {
    /// Nobody is listening.
    const NOWHERE: Self =
        Self { tty: HostStream::Nowhere, stdout: HostStream::Nowhere, stderr: HostStream::Nowhere, serial: HostStream::Nowhere };
}

/// The streams of the host.
#[derive(Debug)]
struct Streams {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// The guest's output, seen from both sides: the machine writes to one handle, whoever drives it looks at another.
#[derive(Debug, Clone)]
pub struct Outlet(Rc<RefCell<Output>>);

/// What has become of the guest's output.
#[derive(Debug)]
pub struct Output {
    routes: Routes,
    streams: Option<Streams>,
    /// While the barrier is ahead.
    barrier: Option<BarrierFilter>,
    control: ControlLines,
    said: VecDeque<Said>,
    tail: Tail,
    /// Where the kernel's messages end up that are not on the terminal.
    serial: Tail,
    first_output: Option<Instant>,
    failure: Option<(&'static str, io::Error)>,
}

/// Lines from the guest that nobody has taken. The protocol has two at most.
const MAX_SAID: usize = 16;

impl Outlet {
    /// Output, to standard output and standard error, of a guest that is still to come to the barrier, or has passed it.
    pub fn new(routes: Routes, (stdout, stderr): (OwnedFd, OwnedFd), barrier_ahead: bool, tail: Tail) -> Self {
        Self::to(routes, Some(Streams { stdout, stderr }), barrier_ahead, tail)
    }

    /// Output that nobody listens to.
    pub fn silent(barrier_ahead: bool, tail: Tail) -> Self {
        Self::to(Routes::NOWHERE, None, barrier_ahead, tail)
    }

    fn to(routes: Routes, streams: Option<Streams>, barrier_ahead: bool, tail: Tail) -> Self {
        Self(Rc::new(RefCell::new(Output {
            routes,
            streams,
            barrier: barrier_ahead.then(BarrierFilter::default),
            control: ControlLines::default(),
            said: VecDeque::new(),
            tail,
            serial: Tail::default(),
            first_output: None,
            failure: None,
        })))
    }

    /// What has become of the output. Not while the machine runs.
    pub fn look(&self) -> RefMut<'_, Output> {
        self.0.borrow_mut()
    }
}

impl Output {
    /// The guest has announced the barrier and not been answered.
    pub fn at_barrier(&self) -> bool {
        self.barrier.as_ref().is_some_and(BarrierFilter::at_barrier)
    }

    /// The barrier is answered: what the terminal says from now on is the program's.
    pub fn pass_barrier(&mut self) {
        self.barrier = None;
    }

    /// The next line that the guest has sent.
    pub fn take_said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// The end of the terminal's output.
    pub fn tail(&mut self) -> &mut Tail {
        &mut self.tail
    }

    /// The last that the guest wrote, on terminal and serial port, as far as nobody has seen it yet.
    pub fn unseen(&self) -> String {
        let unseen = |route, tail: &Tail| if route == HostStream::Nowhere { tail.recent() } else { String::new() };
        let parts = [unseen(self.routes.serial, &self.serial), unseen(self.routes.tty, &self.tail)];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// When the guest first wrote something for the user.
    pub fn first_output(&self) -> Option<Instant> {
        self.first_output
    }

    /// Why output could not be passed on, and to which stream.
    pub fn take_failure(&mut self) -> Option<(&'static str, io::Error)> {
        self.failure.take()
    }

    /// Shows the user the terminal's unfinished last line, which the guest wrote earlier.
    pub fn show_line(&mut self) {
        let line = self.tail.line().to_vec();
        self.pass_on(self.routes.tty, &line);
    }

    fn write(&mut self, port: Port, bytes: &[u8]) {
        match port {
            Port::Tty => match &mut self.barrier {
                None => self.write_tty(bytes),
                Some(filter) => {
                    let mut text = Vec::with_capacity(bytes.len());
                    filter.pass(bytes, &mut text);
                    self.write_tty(&text);
                }
            },
            Port::Stdout => self.write_first(self.routes.stdout, bytes),
            Port::Stderr => self.write_first(self.routes.stderr, bytes),
            Port::Control => {
                let said = &mut self.said;
                self.control.take(bytes, |line| {
                    if said.len() < MAX_SAID {
                        said.push_back(line);
                    }
                });
            }
            // The guest has no business writing there.
            Port::Stdin => {}
        }
    }

    fn write_tty(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
        self.write_first(self.routes.tty, bytes);
    }

    fn write_first(&mut self, route: HostStream, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.first_output.get_or_insert_with(Instant::now);
        }
        self.pass_on(route, bytes);
    }

    fn pass_on(&mut self, route: HostStream, bytes: &[u8]) {
        let (name, result) = match (route, &self.streams) {
            (HostStream::Nowhere, _) | (_, None) => return,
            (HostStream::Stdout, Some(streams)) => ("standard output", write_all(streams.stdout.as_fd(), bytes)),
            (HostStream::Stderr, Some(streams)) => ("standard error", write_all(streams.stderr.as_fd(), bytes)),
        };
        if let Err(error) = result {
            self.failure.get_or_insert((name, error.into()));
        }
    }
}

/// Writes everything, without a buffer: the guest's output is seen as soon as it is there.
fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Whoever shares the stream has made it non-blocking.
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl ConsoleSink for Outlet {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        self.look().write(port, bytes);
    }
}

impl SerialSink for Outlet {
    fn write(&mut self, byte: u8) {
        let mut output = self.look();
        output.serial.push(&[byte]);
        let route = output.routes.serial;
        output.pass_on(route, &[byte]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_barrier_is_not_shown_and_not_kept() {
        let outlet = Outlet::silent(true, Tail::default());
        let mut sink = outlet.clone();
        ConsoleSink::write(&mut sink, Port::Tty, b"hello\nready: ==========");
        assert!(outlet.look().at_barrier());
        assert_eq!(outlet.look().tail().line(), b"ready: ");
        outlet.look().pass_barrier();
        ConsoleSink::write(&mut sink, Port::Tty, b"==========");
        assert!(!outlet.look().at_barrier());
        assert_eq!(outlet.look().tail().line(), b"ready: ==========");
    }

    #[test]
    fn a_chatty_guest_is_not_remembered_for_ever() {
        let outlet = Outlet::silent(false, Tail::default());
        let mut sink = outlet.clone();
        ConsoleSink::write(&mut sink, Port::Control, b"exit 1\n".repeat(1000).as_slice());
        let mut output = outlet.look();
        assert_eq!(std::iter::from_fn(|| output.take_said()).count(), MAX_SAID);
    }

    #[test]
    fn what_was_not_shown_can_be_told_later() {
        let stream = || io::stderr().as_fd().try_clone_to_owned().unwrap();
        let routes = Routes { tty: HostStream::Stderr, ..Routes::NOWHERE };
        let outlet = Outlet::new(routes, (stream(), stream()), false, Tail::default());
        let mut sink = outlet.clone();
        b"panic\n".iter().for_each(|&byte| SerialSink::write(&mut sink, byte));
        assert_eq!(outlet.look().unseen(), "panic");
    }
}
