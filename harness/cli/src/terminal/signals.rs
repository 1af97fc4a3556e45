//! Signals, as something to poll for.

use super::{RawMode, window};
use prebake::error::{Error, Result};
use prebake::run::console::{Control, ControlCommand};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};
use std::any::Any;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that ask a program to end.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Linux's SIGPWR and SIGSTKFLT, which have no other use.
const OTHERS: [i32; 2] = [30, 16];
/// Signals that mean what a program wants them to mean.
const FREE: [i32; 6] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO];
/// So do the real-time signals, of which the C library has taken the first two.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Signals that have arrived. While this exists they are the guest's, and none ends the process by itself; except that one that asks to end
/// does if nobody has looked at the one before.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    /// Those that ask to end come first.
    arrived: Vec<(i32, Arc<AtomicBool>)>,
    window: Arc<AtomicBool>,
}

impl Signals {
    /// Catches all signals that can be the guest's, and those that tell of another window size. A file that grows too large is an error from here
    /// on, not a signal.
    pub fn catch() -> Result<Self> {
        let catch = || -> io::Result<Self> {
            let (wake, waker) = UnixStream::pair()?;
            wake.set_nonblocking(true)?;
            let watch = |signal| {
                let arrived = Arc::default();
                if ENDING.contains(&signal) {
                    // A process that hangs, say in writing to a pipe that nobody reads, is to be ended by the second signal. This comes before
                    // the flag is set.
                    flag::register_conditional_default(signal, Arc::clone(&arrived))?;
                }
                // The flag is set before the pipe is written to.
                flag::register(signal, arrived.clone())?;
                pipe::register(signal, waker.try_clone()?)?;
                Ok::<_, io::Error>((signal, arrived))
            };
            let arrived = ENDING.into_iter().chain(FREE).chain(OTHERS).chain(REAL_TIME).map(watch).collect::<io::Result<_>>()?;
            let (_, window) = watch(SIGWINCH)?;
            flag::register(SIGXFSZ, Arc::default())?;
            Ok(Self { wake, arrived, window })
        };
        catch().map_err(|source| Error::Host { what: "catch signals", source })
    }

    /// A signal that asks to end and has arrived since the last call.
    pub fn take_ending(&mut self) -> Option<i32> {
        self.drain();
        take_first(&self.arrived[..ENDING.len()])
    }

    /// From here on a signal that asks to end ends the process by itself: nobody looks any more.
    pub fn release(self) {
        self.arrived[..ENDING.len()].iter().for_each(|(_, arrived)| arrived.store(true, Ordering::Relaxed));
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

fn take_first(arrived: &[(i32, Arc<AtomicBool>)]) -> Option<i32> {
    arrived.iter().find(|(_, arrived)| arrived.swap(false, Ordering::Relaxed)).map(|&(signal, _)| signal)
}

impl Control for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn take(&mut self) -> Option<ControlCommand> {
        self.drain();
        if let Some(signal) = take_first(&self.arrived) {
            return Some(ControlCommand::Signal(signal));
        }
        if self.window.swap(false, Ordering::Relaxed) {
            return window().map(ControlCommand::Resize);
        }
        None
    }
    fn raw_mode(&mut self) -> io::Result<Option<Box<dyn Any>>> {
        Ok(Some(Box::new(RawMode::enter()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    // Sends a signal to the calling thread, which has handled it when this returns: a process has more threads, each of which may get what is
    // sent to the process, at any time.
    use signal_hook::low_level::raise;

    fn is_readable(signals: &Signals) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)], Some(&now)) == Ok(1)
    }

    #[test]
    fn signals_wait_to_be_looked_at() {
        let mut signals = Signals::catch().unwrap();
        assert_eq!(signals.take(), None);
        assert!(!is_readable(&signals));
        for signal in [SIGXFSZ, SIGWINCH, 64, SIGUSR1, SIGHUP] {
            raise(signal).unwrap();
        }
        assert!(is_readable(&signals));
        assert_eq!([(); 3].map(|()| signals.take()), [SIGHUP, SIGUSR1, 64].map(|signal| Some(ControlCommand::Signal(signal))));
        // There may be no window.
        assert!(signals.window.load(Ordering::Relaxed));
        assert!(!matches!(signals.take(), Some(ControlCommand::Signal(_))));
        assert_eq!(signals.take(), None);
        assert!(!is_readable(&signals));

        raise(SIGUSR2).unwrap();
        raise(SIGTERM).unwrap();
        assert_eq!(signals.take_ending(), Some(SIGTERM));
        assert_eq!(signals.take_ending(), None);
        assert_eq!(signals.take(), Some(ControlCommand::Signal(SIGUSR2)));
    }
}
