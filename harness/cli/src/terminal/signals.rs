//! Signals, as something to poll for.

use super::{RawMode, window};
use prebake::error::{Error, Result};
use prebake::run::console::{Control, ControlCommand};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::any::Any;
use std::collections::BTreeSet;
use std::io;
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
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    /// Those that ask to end, and whether they have arrived and nobody has looked.
    ending: Vec<(i32, Arc<AtomicBool>)>,
    /// Those that nobody has looked at.
    arrived: BTreeSet<i32>,
}

impl Signals {
    /// Catches all signals that can be the guest's, and those that tell of another window size. A file that grows too large is an error from here
    /// on, not a signal.
    pub fn catch() -> Result<Self> {
        let catch = || -> io::Result<Self> {
            let watch = |signal| {
                let arrived = Arc::default();
                // A process that hangs, say in writing to a pipe that nobody reads, is to be ended by the second signal. This comes before the flag
                // is set.
                flag::register_conditional_default(signal, Arc::clone(&arrived))?;
                flag::register(signal, Arc::clone(&arrived))?;
                Ok::<_, io::Error>((signal, arrived))
            };
            let ending = ENDING.into_iter().map(watch).collect::<io::Result<_>>()?;
            flag::register(SIGXFSZ, Arc::default())?;
            let (wake, waker) = UnixStream::pair()?;
            let all = ENDING.into_iter().chain(FREE).chain(OTHERS).chain(REAL_TIME).chain([SIGWINCH]);
            let delivery = SignalDelivery::with_pipe(wake, waker, SignalOnly, all)?;
            Ok(Self { delivery, ending, arrived: BTreeSet::new() })
        };
        catch().map_err(|source| Error::Host { what: "catch signals", source })
    }

    /// A signal that asks to end and has arrived since the last call.
    pub fn take_ending(&mut self) -> Option<i32> {
        self.arrived.extend(self.delivery.pending());
        let (signal, arrived) = self.ending.iter().find(|(signal, _)| self.arrived.remove(signal))?;
        arrived.store(false, Ordering::Relaxed);
        Some(*signal)
    }

    /// From here on a signal that asks to end ends the process by itself: nobody looks any more.
    pub fn release(self) {
        self.ending.iter().for_each(|(_, arrived)| arrived.store(true, Ordering::Relaxed));
    }
}

impl Control for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    fn take(&mut self) -> Option<ControlCommand> {
        if let Some(signal) = self.take_ending() {
            return Some(ControlCommand::Signal(signal));
        }
        let changes_window = self.arrived.remove(&SIGWINCH);
        match self.arrived.pop_first() {
            Some(signal) => {
                self.arrived.extend(changes_window.then_some(SIGWINCH));
                Some(ControlCommand::Signal(signal))
            }
            None if changes_window => window().map(ControlCommand::Resize),
            None => None,
        }
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
        assert!(signals.arrived.contains(&SIGWINCH));
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
