//! Signals, as something to poll for.

use super::window;
use crate::error::{Error, Result};
use crate::run::console::{Command, Control};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGWINCH, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that ask a program to end.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Signals that have arrived. From its making on, none of them ends the process by itself, unless nobody has looked at the one before.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    ending: [(i32, Arc<AtomicBool>); ENDING.len()],
    window: Arc<AtomicBool>,
    keep: Arc<AtomicBool>,
}

impl Signals {
    /// Catches the signals that ask to end, those that tell of another window size, and SIGUSR1, which asks to keep what was done. And a file that grows too large is an error
    /// from here on, not a signal.
    pub fn catch() -> Result<Self> {
        let catch = || -> io::Result<Self> {
            let (wake, waker) = UnixStream::pair()?;
            wake.set_nonblocking(true)?;
            let watch = |signal, arrived: &Arc<AtomicBool>| {
                // The flag is set before the pipe is written to.
                flag::register(signal, arrived.clone())?;
                pipe::register(signal, waker.try_clone()?)
            };
            let watch_ending = |signal| {
                let arrived = Arc::default();
                // A process that hangs, say in writing to a pipe that nobody reads, is to be ended by the second signal. This comes before
                // the flag is set.
                flag::register_conditional_default(signal, Arc::clone(&arrived))?;
                watch(signal, &arrived)?;
                Ok::<_, io::Error>((signal, arrived))
            };
            let [hangup, interrupt, quit, terminate] = ENDING.map(watch_ending);
            flag::register(SIGXFSZ, Arc::default())?;
            let (window, keep) = (Arc::default(), Arc::default());
            watch(SIGWINCH, &window)?;
            watch(SIGUSR1, &keep)?;
            Ok(Self { ending: [hangup?, interrupt?, quit?, terminate?], window, keep, wake })
        };
        catch().map_err(|source| Error::Host { what: "catch signals", source })
    }

    /// A signal that asks to end and has arrived since the last call.
    pub fn take_ending(&mut self) -> Option<i32> {
        self.drain();
        self.ending.iter().find(|(_, arrived)| arrived.swap(false, Ordering::Relaxed)).map(|&(signal, _)| signal)
    }

    /// From here on a signal ends the process by itself: nobody looks any more.
    pub fn release(self) {
        self.ending.iter().for_each(|(_, arrived)| arrived.store(true, Ordering::Relaxed));
    }

    /// Empties the pipe. The flags are looked at after that, so that no signal is missed.
    fn drain(&mut self) {
        let mut bytes = [0; 64];
        loop {
            match self.wake.read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

impl Control for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn take(&mut self) -> Option<Command> {
        if let Some(signal) = self.take_ending() {
            return Some(Command::Signal(signal));
        }
        if self.keep.swap(false, Ordering::Relaxed) {
            return Some(Command::Keep);
        }
        if self.window.swap(false, Ordering::Relaxed) {
            return window().map(Command::Resize);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn signals_wait_to_be_looked_at() {
        let mut signals = Signals::catch().unwrap();
        assert_eq!(signals.take(), None);
        kill_process(getpid(), Signal::HUP).unwrap();
        kill_process(getpid(), Signal::USR1).unwrap();
        kill_process(getpid(), Signal::WINCH).unwrap();
        kill_process(getpid(), Signal::XFSZ).unwrap();
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(signals.as_fd(), rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
        assert_eq!(signals.take(), Some(Command::Signal(SIGHUP)));
        assert_eq!(signals.take(), Some(Command::Keep));
        // There may be no window.
        assert!(signals.window.load(Ordering::Relaxed));
        assert!(!matches!(signals.take(), Some(Command::Keep | Command::Signal(_))));
        assert_eq!(signals.take(), None);
    }
}
