//! When the guest is given input, and how much.
//!
//! Input is either *streamed*, as it comes, or *paced*: line by line, each when the guest has taken the one before and seems to wait for the
//! next. Under the virtual clock it is always paced. Under the host's clock pacing is a courtesy to scripts, and a guest that never halts is
//! not kept waiting for long.

use crate::input::InputBuffer;
use crate::keys::{EscapeCommand, EscapeKeys};
use crate::{Clock, Settings, Source, Status};
use devices::console::Port;
use protocol::Mode;

/// What a terminal's line discipline takes for the end of a file.
const END_OF_FILE: &[u8] = &[0x04];
/// Guest time between two of them.
const END_OF_FILE_INTERVAL: u64 = 1_000_000_000;
/// This much of a script is paced. A shell reads its script ahead, and would take what is meant for the program that the script's last line
/// starts.
const PACED_START: usize = 4096;
/// A guest that halts for less than this, in nanoseconds, does not wait for a person at its terminal …
const BRIEF_HALT: u64 = 30_000_000;
/// … unless it has halted for no longer in all this time.
pub const BRIEF_HALTS: u64 = 1_000_000_000;
/// Counts that a guest under the host's clock may be busy for before it is given the next line all the same: a tenth of a second or so, and
/// enough for a shell to start a program, however busy the host is.
const PATIENCE: u64 = 20_000_000;
/// The same under the virtual clock: a second of guest time, which takes the host so long that a script has come by then.
const VIRTUAL_PATIENCE: u64 = 1_000_000_000;

/// Whether a guest that halts until `deadline` may do so between two steps of its own work.
pub fn is_brief(deadline: Option<u64>, now: u64) -> bool {
    deadline.is_some_and(|deadline| deadline.saturating_sub(now) < BRIEF_HALT)
}

/// Input on its way to the guest, and the rules of when it gets there.
#[derive(Debug)]
pub struct Feeder {
    clock: Clock,
    mode: Mode,
    source: Source,
    escape: Option<EscapeKeys>,
    buffer: InputBuffer,
    /// Bytes that the guest was given.
    fed: usize,
    last_fed_count: u64,
    last_fed_tick: u64,
    last_halt_count: u64,
    end: EndOfInput,
}

/// What the guest was told of the end of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndOfInput {
    NotYet,
    /// The port was closed.
    Closed,
    /// Every read on a terminal comes to its end anew, so the character for it is typed again at this tick.
    Typed {
        next: u64,
    },
}

/// What to give the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    /// Input.
    Push(Port, Vec<u8>),
    /// The end of it.
    Close(Port),
    /// Nothing yet: its next input is to be waited for, and its time stands still meanwhile.
    Await,
}

impl Feeder {
    /// Feeds a guest that stands like this.
    pub fn new(settings: &Settings, status: &Status) -> Self {
        Self {
            clock: settings.clock,
            mode: settings.mode,
            source: settings.source,
            escape: settings.escape_keys.then(EscapeKeys::default),
            buffer: InputBuffer::default(),
            fed: 0,
            last_fed_count: status.count,
            last_fed_tick: status.now,
            last_halt_count: status.count,
            end: EndOfInput::NotYet,
        }
    }

    /// Takes input from outside. After its end there is none.
    pub fn take_in(&mut self, bytes: &[u8]) -> Option<EscapeCommand> {
        if self.buffer.has_ended() {
            return None;
        }
        match &mut self.escape {
            Some(keys) => keys.filter(bytes, &mut self.buffer),
            None => {
                self.buffer.extend(bytes.iter().copied());
                None
            }
        }
    }

    /// There will be no more.
    pub const fn end(&mut self) {
        self.buffer.end();
    }

    /// The end of the input means that a person has gone.
    pub fn ends_by_hang_up(&self) -> bool {
        self.source == Source::Terminal && self.mode == Mode::Tty
    }

    /// There is room for more.
    pub fn wants_more(&self) -> bool {
        self.buffer.wants_more()
    }

    /// All of it was given, and there will be no more.
    pub fn is_over(&self) -> bool {
        self.buffer.is_over()
    }

    /// When the end of the input is to be typed again, if that is known.
    pub const fn next_end_of_file(&self) -> Option<u64> {
        match self.end {
            EndOfInput::Typed { next } => Some(next),
            EndOfInput::NotYet | EndOfInput::Closed => None,
        }
    }

    /// What the guest gets that has halted until `deadline`.
    pub fn on_halt(&mut self, deadline: Option<u64>, status: &mut Status) -> Option<Fed> {
        self.last_halt_count = status.count;
        self.waits_for_input(deadline, status.now).then(|| self.feed(status, true)).flatten()
    }

    /// What the guest gets that is about to run.
    pub fn before_run(&mut self, status: &mut Status) -> Option<Fed> {
        let since = |count: u64| status.count.saturating_sub(count);
        let is_due = match self.clock {
            Clock::Host => !self.is_paced() || since(self.last_fed_count) > PATIENCE,
            Clock::Virtual => since(self.last_fed_count.max(self.last_halt_count)) >= VIRTUAL_PATIENCE,
        };
        is_due.then(|| self.feed(status, false)).flatten()
    }

    /// Whether the guest, halted until `deadline`, seems to wait for input. A guest that a person types at may halt between two steps of its
    /// own work, for its terminal to take its output for example.
    fn waits_for_input(&self, deadline: Option<u64>, now: u64) -> bool {
        !is_brief(deadline, now) || self.mode == Mode::Streams || self.fed == 0 || now.saturating_sub(self.last_fed_tick) > BRIEF_HALTS
    }

    fn is_paced(&self) -> bool {
        let is_script = self.source == Source::Pipe;
        self.clock == Clock::Virtual || is_script && (self.mode == Mode::Tty || self.fed < PACED_START)
    }

    const fn port(&self) -> Port {
        match self.mode {
            Mode::Tty => Port::Tty,
            Mode::Streams => Port::Stdin,
        }
    }

    /// The next input, or the end of it.
    fn feed(&mut self, status: &mut Status, may_wait: bool) -> Option<Fed> {
        let (paced, port) = (self.is_paced(), self.port());
        let input = *status.port(port);
        if paced && (!input.ready || input.pending != 0) {
            return None;
        }
        // A person's line is given as it is typed: nobody could tell when it is complete.
        let whole = self.clock == Clock::Virtual && self.source == Source::Pipe;
        let bytes = if paced { self.buffer.take_piece(whole) } else { self.buffer.take(input.room()) };
        if bytes.is_empty() {
            let awaited = self.clock == Clock::Virtual && may_wait && !self.buffer.is_over();
            return if awaited { Some(Fed::Await) } else { self.end_input(status) };
        }
        self.fed = self.fed.saturating_add(bytes.len());
        self.last_fed_count = status.count;
        self.last_fed_tick = status.now;
        Some(Fed::Push(port, bytes))
    }

    /// The end of the input, if the guest does not know of it.
    fn end_input(&mut self, status: &mut Status) -> Option<Fed> {
        if !self.buffer.is_over() {
            return None;
        }
        match (self.mode, self.end) {
            (Mode::Streams, EndOfInput::NotYet) => {
                self.end = EndOfInput::Closed;
                Some(Fed::Close(Port::Stdin))
            }
            (Mode::Tty, EndOfInput::NotYet) => self.type_end_of_file(status),
            (Mode::Tty, EndOfInput::Typed { next }) if status.now >= next => self.type_end_of_file(status),
            _ => None,
        }
    }

    fn type_end_of_file(&mut self, status: &Status) -> Option<Fed> {
        self.end = EndOfInput::Typed { next: status.now.saturating_add(END_OF_FILE_INTERVAL) };
        (status.tty.room() != 0).then(|| Fed::Push(Port::Tty, END_OF_FILE.to_vec()))
    }
}
