//! A machine that someone sits at, or a script: the loop behind `boot` and `run`.
//!
//! One thread does everything. While the guest works, input is looked at between slices; while it is halted, the process waits for input, a
//! signal or the guest's next timer.
//!
//! Input is either streamed, as it comes, or paced: line by line, each when the guest is halted with room for it. Under the virtual clock
//! it is always paced, and nothing is waited for but input: then what the guest does depends on the bytes of the input alone, not on when
//! they came. Under the host's clock pacing is a courtesy, and a guest that never halts is not kept waiting for long.

use super::console::{Command, Control, Terminal};
use super::drive::{Drive, Pause};
use super::input::Input;
use super::outlet::Outlet;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::clock::since_1970;
use crate::machine::ClockSource;
use crate::observer::Notice;
use crate::session::{Keeper, Kept};
use crate::terminal::RawMode;
use crate::terminal::escape::Wish;
use devices::console::{Port, WindowSize};
use protocol::{ANSWER, Mode, Request, Said};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// What a terminal's line discipline takes for the end of a file.
const END_OF_FILE: &[u8] = &[0x04];
/// Guest time between two of them.
const END_OF_FILE_INTERVAL: u64 = 1_000_000_000;
/// This much of a stream is paced. A shell reads its script ahead, and would take what is meant for the program that the script's last line
/// starts.
const PACED_START: usize = 4096;
/// A guest that halts for less than this, in nanoseconds, does not wait for a person at its terminal …
const BRIEF_HALT: u64 = 30_000_000;
/// … unless it has halted for no longer in all this time.
const BRIEF_HALTS: u64 = 1_000_000_000;
/// Instructions that a guest under the host's clock may be busy for before it is given the next line all the same: a tenth of a second or so,
/// and enough for a shell to start a program, however busy the host is.
const PATIENCE: u64 = 20_000_000;
/// Guest time that a restored guest has for rekeying its random generator.
const RESUME_TIME: u64 = 5_000_000_000;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The guest's program, or the guest as a whole, with this status.
    Exited(u8),
    /// The user has left.
    Left,
    /// A signal to prebake.
    Signalled(i32),
    /// Nobody reads the guest's output any more.
    BrokenPipe,
}

/// How far the guest has come towards taking input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It starts, and will come to the barrier if its init is ours.
    Booting,
    /// It was told to start its program.
    Starting,
    /// It was told to rekey its random generator, at this tick.
    Resuming(u64),
    /// Input is the program's.
    Attached,
}

/// The machine and whoever attends it.
pub struct Attended<F> {
    context: Context,
    drive: Drive,
    outlet: Outlet,
    input: Input<F>,
    control: Box<dyn Control>,
    manner: Manner,
    stage: Stage,
    /// Who keeps what the guest does, if anyone.
    keeper: Option<Keeper>,
    /// What was kept when the user left.
    kept: Option<Kept>,
    /// The user was told that leaving would lose what the guest has done.
    warned: bool,
    /// Bytes of input that the guest was given, and when it was last given some.
    fed: usize,
    last_fed_count: u64,
    last_fed_tick: u64,
    end: EndOfInput,
    /// The program was sent a signal; the next one is for prebake.
    signalled: bool,
}

/// How a guest is attended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// Where its time comes from.
    pub clock: ClockSource,
    /// What its program is connected to.
    pub mode: Mode,
    /// The terminal that it is to be told of.
    pub terminal: Terminal,
}

/// What the guest was told of the end of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndOfInput {
    NotYet,
    /// The port was closed.
    Closed,
    /// On a terminal every read comes to it anew: the next one is typed at this tick.
    Typed {
        next: u64,
    },
}

impl<F: AsFd> Attended<F> {
    /// A guest that boots.
    pub fn new(context: Context, mut drive: Drive, outlet: Outlet, input: Input<F>, control: Box<dyn Control>, manner: Manner) -> Self {
        Self {
            last_fed_count: drive.machine().count(),
            last_fed_tick: drive.machine().now(),
            drive,
            context,
            outlet,
            input,
            control,
            manner,
            stage: Stage::Booting,
            keeper: None,
            kept: None,
            warned: false,
            fed: 0,
            end: EndOfInput::NotYet,
            signalled: false,
        }
    }

    /// Has what the guest does kept by `keeper`, whenever that is asked for and when its user leaves.
    pub fn keep_by(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// What was kept when the user left.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// The guest's program runs already. Its last line is shown again; with a control port it rekeys its random generator before it gets
    /// any input.
    pub fn resume(&mut self, control: bool) {
        self.stage = Stage::Attached;
        if control {
            self.request(&Request::Resume { time: self.host_time() });
            self.stage = Stage::Resuming(self.drive.machine().now());
        }
    }

    /// The machine and the figures of it.
    pub fn drive(&mut self) -> &mut Drive {
        &mut self.drive
    }

    /// Runs the guest to its end.
    pub fn run(&mut self) -> Result<Ending> {
        let raw = (self.manner.mode == Mode::Tty && self.input.is_terminal()).then(RawMode::enter).transpose();
        let _raw = match raw {
            Err(source) if is_hang_up(&source) => return Ok(Ending::Signalled(SIGHUP)),
            raw => raw.map_err(|source| Error::Host { what: "change the settings of the terminal", source })?,
        };
        if matches!(self.stage, Stage::Resuming(_) | Stage::Attached) {
            // In raw mode, since the line may hold a question to the terminal, whose answer is the guest's.
            self.outlet.look().show_line();
        }
        if let Some(window) = self.manner.terminal.window {
            self.resize(window);
        }
        loop {
            let ending = self.run_to_an_end()?;
            if self.part(ending)? {
                return Ok(ending);
            }
        }
    }

    fn run_to_an_end(&mut self) -> Result<Ending> {
        loop {
            if let Some(ending) = self.attend()? {
                return Ok(ending);
            }
            let pause = self.drive.advance()?;
            if let Some(ending) = self.hear()? {
                return Ok(ending);
            }
            match pause {
                Pause::Slice => {}
                Pause::Halted { deadline } => {
                    self.drive.halt(deadline);
                    self.halted(deadline)?;
                }
                end => return self.ended(end),
            }
        }
    }

    /// Keeps what the guest has done, now that its user leaves it. `false`: that failed, and the user is still there to choose.
    fn part(&mut self, ending: Ending) -> Result<bool> {
        match (ending, &mut self.keeper) {
            (_, None) => {}
            (Ending::Exited(_), Some(keeper)) => keeper.end()?,
            // Before its program has had any input, or after a restore that is not complete, there is nothing new.
            _ if self.stage != Stage::Attached => {}
            (_, Some(keeper)) => match keeper.keep(&mut self.drive, &self.outlet) {
                Ok(kept) => self.kept = Some(kept),
                Err(error) if ending == Ending::Left && !self.warned => {
                    self.warned = true;
                    self.context.notice(Notice::SessionNotSaved(&error));
                    self.context.notice(Notice::LeavingLoses);
                    return Ok(false);
                }
                Err(_) if ending == Ending::Left => {}
                Err(error) => return Err(error),
            },
        }
        Ok(true)
    }

    /// Keeps what the guest has done so far, because that was asked for.
    fn keep(&mut self) -> Result<Kept> {
        match &mut self.keeper {
            None => Err(Error::KeepsNothing),
            Some(_) if self.stage != Stage::Attached => Err(Error::NothingToKeep),
            Some(keeper) => keeper.keep(&mut self.drive, &self.outlet),
        }
    }

    fn tell_of(&self, kept: Result<Kept>) {
        match kept {
            Ok(kept) => self.context.notice(Notice::SessionSaved(&kept)),
            Err(error) => self.context.notice(Notice::SessionNotSaved(&error)),
        }
    }

    /// Looks at what has come from outside.
    fn attend(&mut self) -> Result<Option<Ending>> {
        while let Some(command) = self.control.take() {
            match command {
                Command::Leave => return Ok(Some(Ending::Left)),
                Command::Keep => {
                    let kept = self.keep();
                    self.control.answer(kept).into_iter().for_each(|kept| self.tell_of(kept));
                }
                Command::Resize(window) => self.resize(window),
                Command::Signal(signal) => {
                    if self.ends_by(signal) {
                        return Ok(Some(Ending::Signalled(signal)));
                    }
                }
            }
        }
        if self.manner.clock == ClockSource::Host {
            self.wait(Some(Duration::ZERO))?;
            let busy_for = self.drive.machine().count().saturating_sub(self.last_fed_count);
            if self.stage == Stage::Attached && (!self.is_paced() || busy_for > PATIENCE) {
                self.feed()?;
            }
        }
        match self.input.take_wish() {
            Wish::Leave => return Ok(Some(Ending::Left)),
            Wish::Save => {
                let kept = self.keep();
                self.tell_of(kept);
            }
            Wish::Type => {}
        }
        let hung_up = self.input.is_typed() && self.input.is_over();
        Ok(hung_up.then_some(Ending::Signalled(SIGHUP)))
    }

    /// Whether a signal ends the run. If not, the guest's program has got it.
    fn ends_by(&mut self, signal: i32) -> bool {
        let user_has_gone = self.keeper.is_some() && matches!(signal, SIGHUP | SIGTERM);
        let can_tell = self.stage == Stage::Attached && self.drive.machine().wants_input(Port::Control);
        if user_has_gone || self.signalled || !can_tell {
            return true;
        }
        self.signalled = true;
        self.request(&if signal == SIGTERM { Request::Stop } else { Request::Signal(signal) });
        false
    }

    /// Looks at what the guest has said and written.
    fn hear(&mut self) -> Result<Option<Ending>> {
        let mut output = self.outlet.look();
        if let Some((stream, source)) = output.take_failure() {
            return match source.kind() {
                io::ErrorKind::BrokenPipe => Ok(Some(Ending::BrokenPipe)),
                _ if self.input.is_typed() && is_hang_up(&source) => Ok(Some(Ending::Signalled(SIGHUP))),
                _ => Err(Error::Output { stream, source }),
            };
        }
        while let Some(said) = output.take_said() {
            match said {
                Said::Exit(status) => return Ok(Some(Ending::Exited(status))),
                Said::Failed(reason) => return Err(Error::GuestFailed { reason }),
                Said::Resumed => {
                    if matches!(self.stage, Stage::Resuming(_)) {
                        self.stage = Stage::Attached;
                    }
                }
            }
        }
        Ok(None)
    }

    fn ended(&mut self, pause: Pause) -> Result<Ending> {
        let had_init = self.stage != Stage::Booting && self.drive.machine().wants_input(Port::Control);
        let how = match pause {
            Pause::PowerOff(status) => return Ok(Ending::Exited((status & 0xff) as u8)),
            Pause::HaltedForGood if !had_init => return Ok(Ending::Exited(0)),
            Pause::HaltedForGood => "the guest halted with interrupts off",
            _ => "the guest reset the machine",
        };
        Err(Error::GuestEnded { how, output: self.outlet.look().unseen() })
    }

    /// The guest waits: gives it what it waits for, or lets time pass.
    fn halted(&mut self, deadline: Option<u64>) -> Result<()> {
        let now = self.drive.machine().now();
        let told = match self.stage {
            Stage::Attached => false,
            _ => self.advance_stage(now)?,
        };
        if told || self.stage == Stage::Attached && self.waits_for_input(deadline, now) && self.feed()? {
            return Ok(());
        }
        let next = match self.end {
            EndOfInput::Typed { next } => Some(deadline.map_or(next, |deadline| deadline.min(next))),
            EndOfInput::NotYet | EndOfInput::Closed => deadline,
        };
        match (self.manner.clock, next) {
            (ClockSource::Virtual, Some(tick)) => self.drive.machine().skip_to(tick),
            (ClockSource::Virtual, None) => return Err(Error::Stuck),
            (ClockSource::Host, None) if self.input.is_over() => return Err(Error::Stuck),
            (ClockSource::Host, next) => self.wait(next.map(|tick| Duration::from_nanos(tick.saturating_sub(now))))?,
        }
        Ok(())
    }

    /// Whether the guest, halted until `deadline`, seems to wait for input. One that is typed at may halt between two steps of its own work,
    /// for its terminal to take its output for example.
    fn waits_for_input(&self, deadline: Option<u64>, now: u64) -> bool {
        let brief = deadline.is_some_and(|deadline| deadline.saturating_sub(now) < BRIEF_HALT);
        !brief || self.manner.mode == Mode::Streams || self.fed == 0 || now.saturating_sub(self.last_fed_tick) > BRIEF_HALTS
    }

    /// How far the guest has come, now that it waits. Returns whether it has something new to do.
    fn advance_stage(&mut self, now: u64) -> Result<bool> {
        let machine = self.drive.machine();
        match self.stage {
            Stage::Booting if self.outlet.look().at_barrier() => {
                self.start();
                return Ok(true);
            }
            // A guest that listens on its terminal and has no control port is not prebake's: there is nothing to wait for.
            Stage::Booting if machine.wants_input(Port::Tty) && !machine.wants_input(Port::Control) => {}
            // What was sent is taken, and the guest waits again: for the user.
            Stage::Starting if machine.input_pending(Port::Tty) + machine.input_pending(Port::Control) == 0 => {}
            Stage::Resuming(since) if now.saturating_sub(since) > RESUME_TIME => return Err(Error::NotReseeded),
            _ => return Ok(false),
        }
        self.stage = Stage::Attached;
        Ok(false)
    }

    /// Tells the guest, which stands at the barrier, to start its program, and lets it go on.
    pub fn start(&mut self) {
        let term = self.manner.terminal.name.clone();
        self.request(&Request::Start { mode: self.manner.mode, term, time: self.host_time() });
        self.drive.machine().push_input(Port::Tty, ANSWER);
        self.outlet.look().pass_barrier();
        self.stage = Stage::Starting;
    }

    /// What the guest is to set its clock to. Under the virtual clock the host's time is none of its business.
    fn host_time(&self) -> Option<u64> {
        (self.manner.clock == ClockSource::Host).then(since_1970)
    }

    fn request(&mut self, request: &Request) {
        self.drive.machine().push_input(Port::Control, request.to_string().as_bytes());
    }

    fn resize(&mut self, window: WindowSize) {
        if self.manner.mode == Mode::Tty {
            self.drive.machine().resize(window);
        }
    }

    fn port(&self) -> Port {
        match self.manner.mode {
            Mode::Tty => Port::Tty,
            Mode::Streams => Port::Stdin,
        }
    }

    /// Whether input is given line by line. A script that takes the place of a person at the terminal is, since a program may throw away what
    /// was typed before it asked.
    fn is_paced(&self) -> bool {
        let is_script = !self.input.is_typed();
        self.manner.clock == ClockSource::Virtual || is_script && (self.manner.mode == Mode::Tty || self.fed < PACED_START)
    }

    /// Gives the guest what comes next: input, or the end of it. Returns whether there was any.
    fn feed(&mut self) -> Result<bool> {
        let paced = self.is_paced();
        let port = self.port();
        let machine = self.drive.machine();
        if paced && (!machine.wants_input(port) || machine.input_pending(port) != 0) {
            return Ok(false);
        }
        let whole = self.manner.clock == ClockSource::Virtual;
        if whole && self.input.next_piece(whole).is_empty() && !self.input.is_over() {
            self.wait(None)?;
            // More, the end, or a signal: to be looked at first. The guest's time stands still meanwhile.
            return Ok(true);
        }
        let bytes = if paced { self.input.next_piece(whole) } else { self.input.available() };
        let taken = if bytes.is_empty() { 0 } else { self.drive.machine().push_input(port, bytes) };
        self.input.consume(taken);
        if taken == 0 {
            return Ok(self.end_input());
        }
        self.fed = self.fed.saturating_add(taken);
        self.last_fed_count = self.drive.machine().count();
        self.last_fed_tick = self.drive.machine().now();
        Ok(true)
    }

    /// Tells the guest that there is no more input, if it does not know. Returns whether it was told something new.
    fn end_input(&mut self) -> bool {
        let now = self.drive.machine().now();
        if !self.input.is_over() || self.input.is_typed() {
            return false;
        }
        match (self.manner.mode, self.end) {
            (Mode::Streams, EndOfInput::NotYet) => {
                self.drive.machine().close_input(Port::Stdin);
                self.end = EndOfInput::Closed;
                true
            }
            (Mode::Tty, EndOfInput::NotYet) => self.type_end_of_file(now),
            (Mode::Tty, EndOfInput::Typed { next }) if now >= next => self.type_end_of_file(now),
            _ => false,
        }
    }

    fn type_end_of_file(&mut self, now: u64) -> bool {
        self.end = EndOfInput::Typed { next: now.saturating_add(END_OF_FILE_INTERVAL) };
        self.drive.machine().push_input(Port::Tty, END_OF_FILE) != 0
    }

    /// Waits for input or a signal.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let debugger = self.drive.machine().waits_on();
        let wake: Vec<_> = [self.control.as_fd()].into_iter().chain(debugger).collect();
        let wait = self.input.wait(&wake, timeout);
        wait.map_err(|source| Error::Host { what: "read standard input", source })
    }
}

/// What the kernel says of a terminal that is no longer there.
fn is_hang_up(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::IO)
}
