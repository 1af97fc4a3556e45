//! How a guest is attended, from the barrier to its exit status.
//!
//! A guest with prebake's init comes to a *barrier*, where a snapshot is taken, and is then told to *start* its program; one that is restored
//! with its program running is told to *resume*. Only then does it get *input*, until the input *ends*. Meanwhile its *output* is shown, signals
//! are passed on, and its state is *saved* on request. In the end it reports an *exit status*. When and in which order all this may happen is
//! decided here, once, for every front end: the command line, machines in other programs, a stock WASI runtime, a web page.
//!
//! This crate performs nothing itself. It has no machine, no files, no terminal and no clock: [`Event`]s go in, [`Action`]s come out, and all of
//! them are plain data. A host's loop is this:
//!
//! 1. pass on what happened outside: [`Attendant::handle`];
//! 2. do what [`Attendant::next`] asks for: run the machine, push input into it, wait, save, end;
//! 3. pass everything that the guest writes to [`Output`], and show what comes back.
//!
//! Programs can run beside the guest's own. Orders about them go in by [`Attendant::order`], and [`Action::Exec`] says what becomes of them.
//!
//! [`Settler`] does the same for a guest that boots until it has settled, in order to be saved.
//!
//! Times are ticks of the machine's TSC, which are nanoseconds. Counts are the machine's: instructions, REP iterations, exceptions and
//! interrupts. Signals have their Linux numbers.

mod attendant;
mod execs;
mod feed;
mod input;
mod keys;
mod output;
pub mod record;
mod settler;
mod transcript;

#[cfg(test)]
mod tests;

pub use attendant::Attendant;
pub use output::{Output, Routes, Shown, Stream};
pub use settler::{Point, Settled, Settler, Work};
pub use transcript::{Transcript, TranscriptState};

use devices::console::{INPUT_CAPACITY, Port, WindowSize};
use emu::machine::{Disturbance, Stop};
use protocol::{Exec, ExecReport, Mode};

/// How a guest is attended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the guest's time comes from.
    pub clock: Clock,
    /// What its program is connected to.
    pub mode: Mode,
    /// Where its input comes from.
    pub source: Source,
    /// Ctrl-A in the input begins a command to prebake: `x` leaves, `s` saves.
    pub escape_keys: bool,
    /// The terminal's name, for `TERM`: printable, without spaces.
    pub term: Option<String>,
    /// The terminal's size at first.
    pub window: Option<WindowSize>,
    /// The host can save the machine. It is saved when its user leaves and when its program has ended.
    pub can_save: bool,
    /// The machine is restored for programs beside its own. If that had ended, what runs in its place is killed when its user leaves, and the machine is
    /// saved as after its program's end.
    pub visit: bool,
    /// Counts to run for between two looks at the outside: some milliseconds.
    pub slice: u64,
    /// Counts to run for in all.
    pub limit: Option<u64>,
}

/// Where the guest's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// From the count. Nothing waits but for input, and what the guest does depends on the bytes of the input alone, not on when they come;
    /// except that a guest that stays busy for a second of its time is given what has come by then.
    Virtual,
    /// From the host.
    Host,
}

/// Where input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A program or a file. On a terminal it is given line by line, since a program may discard what was typed before it asked.
    Pipe,
    /// A person at a terminal.
    Terminal,
}

/// How the machine stands when it is first attended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It was just powered on.
    PowerOn,
    /// It was restored at the barrier.
    Barrier,
    /// It was restored with its program running.
    Running,
    /// It was restored after its program had ended. Init starts the program anew.
    Exited,
}

/// The machine's state at a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its count.
    pub count: u64,
    /// Its TSC.
    pub now: u64,
    /// The host's clock, in nanoseconds since 1970. The guest is told of it under the host's clock only.
    pub wall: u64,
    /// The terminal.
    pub tty: PortStatus,
    /// The program's standard input.
    pub stdin: PortStatus,
    /// The control port.
    pub control: PortStatus,
}

/// The state of one port's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStatus {
    /// The guest has the port open and a buffer ready.
    pub ready: bool,
    /// Bytes that the guest has not taken.
    pub pending: usize,
}

impl Status {
    /// The status of a machine whose ports are as `port` says.
    pub fn new(count: u64, now: u64, wall: u64, mut port: impl FnMut(Port) -> PortStatus) -> Self {
        Self { count, now, wall, tty: port(Port::Tty), stdin: port(Port::Stdin), control: port(Port::Control) }
    }

    /// A port's input. Only three ports have any.
    fn port(&mut self, port: Port) -> &mut PortStatus {
        match port {
            Port::Tty => &mut self.tty,
            Port::Control => &mut self.control,
            Port::Stdin | Port::Stdout | Port::Stderr => &mut self.stdin,
        }
    }
}

impl PortStatus {
    /// Bytes that can be pushed.
    const fn room(&self) -> usize {
        INPUT_CAPACITY.saturating_sub(self.pending)
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The machine stopped after [`Action::Run`].
    Stopped {
        /// Why.
        stop: Stop,
        /// How it stands.
        status: Status,
    },
    /// Input has come. [`Attendant::wants_input`] says whether there is room for it.
    Input(&'a [u8]),
    /// There will be no more input.
    EndOfInput,
    /// The user's terminal is gone.
    HangUp,
    /// Nobody reads the guest's output any more.
    BrokenPipe,
    /// The host's process got a signal.
    Signal(i32),
    /// The user's terminal has another size.
    Resize(WindowSize),
    /// The machine is to be saved, and to run on.
    Save,
    /// The user leaves.
    Leave,
    /// [`Action::Save`] was done.
    Saved,
    /// [`Action::Save`] failed.
    NotSaved,
}

/// What the host is to do next. `T` is what attending comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<T = Ending> {
    /// Show the user what the guest wrote earlier.
    Show {
        /// Where.
        stream: Stream,
        /// The text.
        bytes: Vec<u8>,
    },
    /// Push input into the machine. It has room for all of it.
    Push {
        /// The port.
        port: Port,
        /// The input.
        bytes: Vec<u8>,
    },
    /// End the input of a port.
    Close(Port),
    /// Tell the machine the size of its terminal.
    Resize(WindowSize),
    /// Run the machine until its count is `until` or something else stops it, and report [`Event::Stopped`].
    Run {
        /// The count.
        until: u64,
    },
    /// Under the virtual clock: let the halted machine's time pass.
    SkipTo(u64),
    /// Wait for an event, or until the machine's time is `until`.
    Wait {
        /// The tick.
        until: Option<u64>,
    },
    /// Run the machine on to a safe point, save it, and report [`Event::Saved`] or [`Event::NotSaved`].
    Save {
        /// How it stands.
        at: SavePoint,
        /// Counts within which it must come to a safe point.
        within: u64,
        /// [`Event::Save`] asked for it; otherwise, the machine ends after it.
        requested: bool,
    },
    /// Answer [`Event::Save`]: it is not possible.
    Decline(Decline),
    /// Tell the user something.
    Notify(Notice),
    /// Tell whoever has given [orders](Attendant::order) about a program beside the machine's own what has become of it.
    Exec(Exec<ExecReport>),
    /// Nothing more: the machine has been attended to its end.
    End(Result<T, Failure>),
}

/// How a machine stands when it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavePoint {
    /// Its program runs: attend it as [`Begin::Running`].
    Running,
    /// Its program has ended: attend it as [`Begin::Exited`].
    Exited,
}

/// Why a machine is not saved on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decline {
    /// The host cannot save it.
    CannotSave,
    /// Its program has not had any input, so nothing is new.
    NothingNew,
}

/// What a user must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Saving failed as the user was leaving, so the machine runs on. To leave again loses what is not saved.
    LeavingLosesWork,
    /// The program has ended, and the guest's init did not stay for the machine to be saved. What was saved before is as it was.
    ExitNotSaved,
}

/// How attending a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The guest's program, or the guest as a whole, ended with this status.
    Exited(u8),
    /// The user left.
    Left,
    /// A signal to the host's process ended it.
    Signalled(i32),
    /// Nobody reads the guest's output any more.
    BrokenPipe,
}

/// Why a guest cannot be attended any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guest's init could not start its program.
    #[error("the guest could not start its program: {reason}")]
    GuestFailed {
        /// In init's words.
        reason: String,
    },
    /// The guest ended, but not because its program did.
    #[error("{how} before its program ended; see its console for the reason{}", quoted(output))]
    GuestEnded {
        /// What it did.
        how: &'static str,
        /// The end of its output, as far as the user has not seen it.
        output: String,
    },
    /// The guest waits for something that never comes.
    #[error("the guest would wait forever: it is halted, no timer is set and there is no more input")]
    Stuck,
    /// The guest did not acknowledge that it has rekeyed its random generator.
    #[error("the restored guest did not rekey its random generator, so prebake stopped before giving it input; bake the snapshot again")]
    NotReseeded,
    /// The limit is reached.
    #[error("the guest reached the limit of {limit} instructions")]
    Limit {
        /// Counts that were allowed.
        limit: u64,
    },
    /// The machine could not be saved when its user left or its program ended. The host knows why.
    #[error("the machine could not be saved")]
    NotSaved,
    /// The guest did not settle in time.
    #[error(
        "the guest did not settle within {} s of guest time; its last activity was {last}; \
        find out what keeps it busy, or raise the limits{}", within / 1_000_000_000, quoted(output)
    )]
    NeverSettled {
        /// Nanoseconds that were allowed.
        within: u64,
        /// What kept it from being settled.
        last: Disturbance,
        /// The end of its output.
        output: String,
    },
    /// The guest settled without coming to the barrier.
    #[error(
        "the guest settled without reaching the barrier (ten `=` on its terminal): {evidence}; \
        use prebake's init, or bake to the prompt{}",
        quoted(output)
    )]
    NoBarrier {
        /// Why it counts as settled.
        evidence: String,
        /// The end of its output.
        output: String,
    },
}

/// The end of a guest's output, for the end of a message.
pub fn quoted(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(". Its last output:\n{output}") }
}

impl Failure {
    /// A stable name, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::GuestFailed { .. } => "guest-failed",
            Self::GuestEnded { .. } => "guest-ended",
            Self::Stuck => "stuck",
            Self::NotReseeded => "not-reseeded",
            Self::Limit { .. } => "limit",
            Self::NotSaved => "not-saved",
            Self::NeverSettled { .. } => "never-settled",
            Self::NoBarrier { .. } => "no-barrier",
        }
    }
}

/// The counts that a machine may still run for.
#[derive(Debug, Clone, Copy)]
struct Budget {
    slice: u64,
    /// The limit that was asked for, and the count at which it is reached.
    limit: Option<(u64, u64)>,
}

impl Budget {
    fn new(slice: u64, limit: Option<u64>, count: u64) -> Self {
        Self { slice, limit: limit.map(|limit| (limit, count.saturating_add(limit))) }
    }

    /// Where to run to from `count`.
    fn until(&self, count: u64) -> Result<u64, Failure> {
        let until = count.saturating_add(self.slice);
        match self.limit {
            Some((limit, end)) if count >= end => Err(Failure::Limit { limit }),
            Some((_, end)) => Ok(until.min(end)),
            None => Ok(until),
        }
    }
}
