//! What comes from outside while a machine runs: input, and commands to it.

use super::console::{Control, ControlCommand, InputSource};
use super::stdin::{Arrival, Stdin};
use crate::error::{Error, Result};
use attend::Ending;
use rustix::process::Signal;
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Ctrl-A, and Ctrl-C.
const ESCAPE: u8 = 1;
const INTERRUPT: u8 = 3;
/// Most pieces of input that are kept for a machine that does not return.
const MAX_EARLY: usize = 64;
/// How long a machine does not return, since it waits for what has not come of it, before its user is told and can end it meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// The signals that ask a program to end.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Input and commands. A machine that does not return is looked after here as well: what its user types then comes later, in order, if it does
/// return.
pub struct Outside {
    stdin: Stdin<OwnedFd>,
    control: Box<dyn Control>,
    /// Its user types on a terminal that is raw, where Ctrl-C is no signal.
    has_keys: bool,
    /// When a machine has last returned.
    looked: Instant,
    early: VecDeque<Arrival>,
    early_commands: VecDeque<ControlCommand>,
    /// The last key of those was Ctrl-A.
    escaped: bool,
    /// How the machine was to end, which did not return.
    ending: Option<Ending>,
}

impl Outside {
    /// Input from `stdin`, and commands from `control`.
    pub fn new(stdin: OwnedFd, source: InputSource, has_keys: bool, control: Box<dyn Control>) -> Self {
        Self {
            stdin: Stdin::new(stdin, source),
            control,
            has_keys,
            looked: Instant::now(),
            early: VecDeque::new(),
            early_commands: VecDeque::new(),
            escaped: false,
            ending: None,
        }
    }

    /// The input comes from a terminal.
    pub fn is_terminal(&self) -> bool {
        self.stdin.is_terminal()
    }

    /// See [`Control::raw_mode`], if keys are to be passed on.
    pub fn raw_mode(&mut self) -> io::Result<Option<Box<dyn Any>>> {
        if self.has_keys { self.control.raw_mode() } else { Ok(None) }
    }

    /// What its user types from now on is for others.
    pub fn leave_keys(&mut self) {
        self.has_keys = false;
    }

    /// Waits as [`Stdin::wait`] does, and for commands.
    pub fn wait(&mut self, wanted: bool, wake: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Arrival> {
        let arrival = self.arrival(wanted, wake, timeout);
        self.looked = Instant::now();
        arrival
    }

    fn arrival(&mut self, wanted: bool, wake: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<Arrival> {
        if wanted && let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        let timeout = if self.early_commands.is_empty() { timeout } else { Some(Duration::ZERO) };
        let wake: Vec<_> = [self.control.as_fd()].into_iter().chain(wake.iter().copied()).collect();
        let wanted = wanted && self.early.is_empty();
        self.stdin.wait(wanted, &wake, timeout).map_err(|source| Error::Host { what: "read standard input", source })
    }

    /// The next command.
    pub fn command(&mut self) -> Option<ControlCommand> {
        self.early_commands.pop_front().or_else(|| self.control.take())
    }

    /// What answers commands.
    pub fn control(&mut self) -> &mut dyn Control {
        &mut *self.control
    }

    /// Whether the user wants a machine to end that does not return: by a signal, by Ctrl-C, or by leaving it.
    pub fn wants_end(&mut self) -> bool {
        while let Some(command) = self.control.take() {
            match command {
                ControlCommand::Leave => self.ending = Some(Ending::Left),
                ControlCommand::HangUp => self.ending = Some(Ending::Signalled(Signal::HUP.as_raw())),
                ControlCommand::Signal(number) if ENDING.iter().any(|signal| signal.as_raw() == number) => {
                    self.ending = Some(Ending::Signalled(number));
                }
                other => self.early_commands.push_back(other),
            }
        }
        if self.has_keys {
            match self.stdin.wait(true, &[], Some(Duration::ZERO)) {
                Ok(Arrival::Bytes(keys)) => {
                    keys.iter().for_each(|key| self.look_at(*key));
                    if self.early.len() < MAX_EARLY {
                        self.early.push_back(Arrival::Bytes(keys));
                    }
                }
                Ok(Arrival::HangUp) => self.ending = Some(Ending::Signalled(Signal::HUP.as_raw())),
                Ok(Arrival::Nothing) | Err(_) => {}
                Ok(end @ Arrival::End) => self.early.push_back(end),
            }
        }
        self.ending.is_some()
    }

    /// The same for a machine that waits for what has not come of it, once or again and again, before it returns. Its user is told first, by `tell`.
    pub fn wants_end_of_waits(&mut self, tell: impl FnOnce()) -> bool {
        if self.looked.elapsed() < PATIENCE {
            return false;
        }
        tell();
        self.wants_end()
    }

    fn look_at(&mut self, key: u8) {
        match key {
            INTERRUPT => self.ending = Some(Ending::Signalled(Signal::INT.as_raw())),
            b'x' if self.escaped => self.ending = Some(Ending::Left),
            _ => {}
        }
        self.escaped = key == ESCAPE && !self.escaped;
    }

    /// How the machine was to end, if it was.
    pub fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// A user who wants to leave.
    struct Leaving(UnixStream);

    impl Control for Leaving {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
        fn take(&mut self) -> Option<ControlCommand> {
            Some(ControlCommand::Leave).filter(|_| std::io::Read::read(&mut self.0, &mut [0]).is_ok_and(|count| count > 0))
        }
    }

    #[test]
    fn many_short_waits_of_a_machine_are_one_long_one_to_its_user() {
        let (user, control) = UnixStream::pair().unwrap();
        control.set_nonblocking(true).unwrap();
        let (stdin, _typed) = io::pipe().unwrap();
        let mut outside = Outside::new(stdin.into(), InputSource::Pipe, false, Box::new(Leaving(control)));
        let mut told = 0;
        let mut short_wait = |outside: &mut Outside| outside.wants_end_of_waits(|| told += 1);
        std::io::Write::write_all(&mut &user, &[1]).unwrap();
        // One that has just returned is not interrupted.
        assert!(!short_wait(&mut outside));
        outside.looked -= PATIENCE;
        assert!(short_wait(&mut outside));
        assert_eq!(outside.take_ending(), Some(Ending::Left));
        outside.wait(false, &[], Some(Duration::ZERO)).unwrap();
        assert!(!short_wait(&mut outside));
        assert_eq!(told, 1);
    }
}
