//! The state machine with a scripted guest.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod execs;
mod guest;
mod hostile;
mod input;
mod orders;
mod saving;
mod settling;
mod signals;
mod stages;

use crate::*;
use guest::Guest;

pub const SLICE: u64 = 1_000_000;
/// What the host's clock shows.
pub const WALL: u64 = 1_800_000_000_000_000_000;
/// Steps after which a guest that has not come to its end never will.
const STEPS: usize = 20_000;

pub fn settings(clock: Clock, mode: Mode, source: Source) -> Settings {
    Settings { clock, mode, source, escape_keys: false, term: None, window: None, can_save: false, visit: false, slice: SLICE, limit: None }
}

/// A script on three streams.
pub fn piped() -> Settings {
    settings(Clock::Host, Mode::Streams, Source::Pipe)
}

/// A person at a terminal.
pub fn typed() -> Settings {
    Settings { escape_keys: true, ..settings(Clock::Host, Mode::Tty, Source::Terminal) }
}

/// The loop that a host has, around a scripted guest.
pub struct Host {
    pub attendant: Attendant,
    pub output: Output,
    pub guest: Guest,
    /// Every action but runs, in order.
    pub done: Vec<Action>,
    /// What the user saw.
    pub shown: Vec<u8>,
    /// Whether saving works.
    pub disk_is_full: bool,
}

impl Host {
    pub fn new(settings: Settings, begin: Begin, mut guest: Guest) -> Self {
        let routes = Routes::all(settings.mode);
        let status = guest.status();
        Self {
            attendant: Attendant::new(settings, begin, status),
            output: Output::new(routes, begin == Begin::PowerOn, Transcript::default()),
            guest,
            done: Vec::new(),
            shown: Vec::new(),
            disk_is_full: false,
        }
    }

    /// Does one action. `Some` is the end.
    pub fn step(&mut self) -> Option<Result<Ending, Failure>> {
        let action = self.attendant.next(&mut self.output);
        match &action {
            Action::Run { until } => {
                assert!(*until > self.guest.count, "no progress");
                let (stop, written) = self.guest.run(*until);
                for (port, bytes) in written {
                    let shown = self.output.console(port, &bytes);
                    self.shown.extend(shown.into_iter().flat_map(|(_, bytes)| bytes.into_owned()));
                }
                let status = self.guest.status();
                self.attendant.handle(Event::Stopped { stop, status });
                return None;
            }
            Action::Push { port, bytes } => self.guest.push(*port, bytes),
            Action::Close(port) => self.guest.close(*port),
            Action::SkipTo(tick) => self.guest.now = *tick,
            Action::Wait { until } => self.guest.now = until.unwrap_or(self.guest.now),
            Action::Show { bytes, .. } => self.shown.extend(bytes),
            Action::Save { .. } => self.attendant.handle(if self.disk_is_full { Event::NotSaved } else { Event::Saved }),
            Action::Resize(_) | Action::Decline(_) | Action::Notify(_) | Action::Exec(_) => {}
            Action::End(end) => return Some(end.clone()),
        }
        self.done.push(action);
        None
    }

    /// Goes on to the end.
    pub fn finish(&mut self) -> Result<Ending, Failure> {
        (0..STEPS).find_map(|_| self.step()).unwrap_or_else(|| panic!("no end: {:?}", self.guest))
    }

    /// Goes on until the guest is as wanted.
    pub fn until(&mut self, wanted: impl Fn(&Guest) -> bool) {
        for _ in 0..STEPS {
            if wanted(&self.guest) {
                return;
            }
            assert_eq!(self.step(), None, "{:?}", self.guest);
        }
        panic!("never: {:?}", self.guest)
    }

    /// Goes on until the host has to wait for something from outside.
    pub fn until_waiting(&mut self) {
        for _ in 0..STEPS {
            assert_eq!(self.step(), None, "{:?}", self.guest);
            if matches!(self.done.last(), Some(Action::Wait { until: None })) {
                return;
            }
        }
        panic!("it never waits: {:?}", self.guest)
    }

    pub fn saves(&self) -> Vec<SavePoint> {
        let save = |action: &Action| if let Action::Save { at, .. } = action { Some(*at) } else { None };
        self.done.iter().filter_map(save).collect()
    }
}
