//! Attending a machine on this host: the loop that does what the state machine in `attend` asks for.
//!
//! One thread does everything. While the guest works, the outside is looked at between slices; while it is halted, the process waits for input, a
//! signal or the guest's next timer.

pub use attend::Ending;

use super::clients::Clients;
use super::console::{Control, ControlCommand, Input, InputSource};
use super::outside::Outside;
use super::stdin::Arrival;
use crate::context::Context;
use crate::distribution::oci::Coming;
use crate::error::{Error, Result};
use crate::host::backend::clock::since_1970;
use crate::host::net::Network;
use crate::machine::drive::{Drive, SLICE};
use crate::machine::output::{HostOutput, OutputFailure};
use crate::machine::{ClockSource, Engine};
use crate::observer::Notice;
use crate::session::{Checkpoint, Door, Saver};
use attend::{Action, Attendant, Begin, Clock, Decline, Event, Failure, SavePoint, Settings, Source};
use protocol::Mode;
use rustix::io::Errno;
use rustix::process::Signal;
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// Counts between two looks at the network while something goes on there: some hundred microseconds.
const NETWORK_SLICE: u64 = 100_000;

/// A guest that halts for longer, in nanoseconds, does not do so on the way to its prompt.
const BRIEF: u64 = 100_000_000;

/// How a machine is attended.
pub struct AttendOptions {
    /// How it stands at first.
    pub begin: Begin,
    /// Where its time comes from.
    pub clock: ClockSource,
    /// What its program is connected to.
    pub mode: Mode,
    /// Counts that it may run for.
    pub limit: Option<u64>,
    /// What saves it, if anything does.
    pub saver: Option<Saver>,
    /// The way in for those who start other programs.
    pub door: Option<Door>,
    /// It is restored for others than its own program: if that has ended, it stays so.
    pub visit: bool,
    /// Its network, if it has one.
    pub network: Option<Network>,
}

/// A machine, and all that attending it takes.
pub struct Attended {
    context: Context,
    drive: Drive,
    output: HostOutput,
    attendant: Attendant,
    /// Shared with a machine that asks, while it does not return, whether it is to end.
    outside: Rc<RefCell<Outside>>,
    /// Those who start other programs. Their door closes before the session is given back.
    clients: Clients,
    saver: Option<Saver>,
    network: Option<Network>,
    coming: Option<Rc<Coming>>,
    /// What was saved last, if that was for the end.
    checkpoint: Option<Checkpoint>,
    /// Why saving failed last.
    unsaved: Option<Error>,
}

impl Attended {
    /// A machine with its input and output, and the commands to it.
    pub fn new(
        context: Context,
        mut machine: Box<dyn Engine>,
        (Input { stdin, source, terminal }, output): (Input, HostOutput),
        control: Box<dyn Control>,
        options: AttendOptions,
    ) -> Result<Self> {
        let AttendOptions { begin, clock, mode, limit, saver, door, visit, network } = options;
        let has_keys = mode == Mode::Tty && source == InputSource::LocalTerminal;
        let outside = Rc::new(RefCell::new(Outside::new(stdin, source, has_keys, control)));
        machine.end_when(Box::new({
            let outside = outside.clone();
            move || outside.borrow_mut().wants_end()
        }));
        let mut drive = Drive::new(machine);
        let settings = Settings {
            clock: match clock {
                ClockSource::Virtual => Clock::Virtual,
                ClockSource::Host => Clock::Host,
            },
            mode,
            source: match source {
                InputSource::Pipe => Source::Pipe,
                InputSource::LocalTerminal | InputSource::RemoteTerminal => Source::Terminal,
            },
            escape_keys: source == InputSource::LocalTerminal,
            term: terminal.name,
            window: terminal.window,
            can_save: saver.is_some(),
            visit,
            slice: SLICE,
            limit,
        };
        Ok(Self {
            context,
            attendant: Attendant::new(settings, begin, drive.status()),
            drive,
            output,
            outside,
            // What a program of an earlier run still says is not taken for another.
            clients: Clients::new(door, (since_1970() & u64::from(u32::MAX)) as u32)?,
            saver,
            network,
            coming: None,
            checkpoint: None,
            unsaved: None,
        })
    }

    /// The machine is still on its way: `coming` has it come. Its user is told if it waits for a part of itself, and can end it meanwhile.
    pub(crate) fn waits_for(&mut self, coming: Rc<Coming>) {
        let (context, outside, output) = (self.context.clone(), self.outside.clone(), self.output.clone());
        coming.begin(Box::new(move || {
            output.flush();
            outside.borrow_mut().wants_end_of_waits(|| context.notice_once("waits for a machine", Notice::WaitingForMachine))
        }));
        self.coming = Some(coming);
    }

    /// The machine has ended: what has not come of it does now, unless its user does not wait for that.
    pub(crate) fn fetch_rest(&mut self) {
        let Some(coming) = self.coming.take() else { return };
        let outside = self.outside.clone();
        outside.borrow_mut().leave_keys();
        match coming.finish(Box::new(move || outside.borrow_mut().wants_end())) {
            Ok(()) | Err(Error::Cancelled) => {}
            Err(error) => self.context.notice(Notice::NotAllFetched { error: &error }),
        }
    }

    /// What was saved when the user left or the program ended.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The machine and its figures.
    pub fn drive(&mut self) -> &mut Drive {
        &mut self.drive
    }

    /// Runs the guest to its end.
    pub fn run(&mut self) -> Result<Ending> {
        let raw = self.outside.borrow_mut().raw_mode();
        let _raw = match raw {
            Err(source) if is_hang_up(&source) => return Ok(Ending::Signalled(Signal::HUP.as_raw())),
            raw => raw.map_err(|source| Error::Host { what: "change the settings of the terminal", source })?,
        };
        self.look_outside(Some(Duration::ZERO))?;
        loop {
            let action = self.attendant.next(&mut self.output.look());
            match action {
                Action::Run { until } => {
                    self.work_network()?;
                    let until = self.reach(until);
                    let stop = self.drive.run(until);
                    self.output.flush();
                    if let Some(ending) = self.outside.borrow_mut().take_ending() {
                        return Ok(ending);
                    }
                    if let Some(failure) = self.coming.as_ref().and_then(|coming| coming.failure()) {
                        return Err(failure);
                    }
                    let stop = stop?;
                    self.attendant.set_can_be_woken(self.network.as_ref().is_some_and(Network::may_wake));
                    let status = self.drive.status();
                    self.attendant.handle(Event::Stopped { stop, status });
                    self.look_outside(Some(Duration::ZERO))?;
                }
                Action::Wait { until } => {
                    // The guest may have sent something before it halted, and what it is given now wakes it.
                    let stirred = self.work_network()?;
                    let now = self.drive.machine().now();
                    let until = if stirred { Some(now) } else { until };
                    if let Some(coming) = self.coming.as_ref().filter(|_| until.is_none_or(|tick| tick > now + BRIEF)) {
                        coming.at_prompt();
                    }
                    self.look_outside(until.map(|tick| Duration::from_nanos(tick.saturating_sub(now))))?;
                }
                Action::SkipTo(tick) => self.drive.machine().skip_to(tick),
                Action::Push { port, bytes } => {
                    self.drive.machine().push_input(port, &bytes);
                }
                Action::Close(port) => self.drive.machine().close_input(port),
                Action::Resize(window) => self.drive.machine().resize(window),
                Action::Show { stream, bytes } => self.output.show(stream, &bytes),
                Action::Save { at, within, requested } => self.save(at, within, requested),
                Action::Decline(Decline::CannotSave) => self.answer(Err(Error::NoSessionToSave)),
                Action::Decline(Decline::NothingNew) => self.answer(Err(Error::NothingToSave)),
                Action::Notify(notice) => self.notify(notice),
                Action::Exec(report) => self.clients.tell(report)?,
                Action::End(end) => return self.end(end),
            }
            self.look_at_output()?;
        }
    }

    /// How far to run at once. Where somebody waits for a frame of the guest, they do not wait for the end of a long slice.
    fn reach(&mut self, until: u64) -> u64 {
        match &self.network {
            Some(network) if network.is_busy() => until.min(self.drive.machine().count().saturating_add(NETWORK_SLICE)),
            _ => until,
        }
    }

    /// Moves frames. Whether the guest was given any.
    fn work_network(&mut self) -> Result<bool> {
        match &mut self.network {
            Some(network) => network.work(self.drive.machine()),
            None => Ok(false),
        }
    }

    /// Passes on what has come from outside, or comes within `timeout`.
    fn look_outside(&mut self, timeout: Option<Duration>) -> Result<()> {
        let debugger = self.drive.machine().waits_on();
        let network = self.network.as_ref().map(Network::as_fd);
        let wake: Vec<_> = [self.clients.as_fd()].into_iter().chain(debugger).chain(network).collect();
        let timers = self.network.as_ref().and_then(Network::timeout);
        let timeout = [timeout, timers].into_iter().flatten().min();
        let arrival = self.outside.borrow_mut().wait(self.attendant.wants_input(), &wake, timeout)?;
        match arrival {
            Arrival::Nothing => {}
            Arrival::Bytes(bytes) => self.attendant.handle(Event::Input(&bytes)),
            Arrival::End => self.attendant.handle(Event::EndOfInput),
            Arrival::HangUp => self.attendant.handle(Event::HangUp),
        }
        loop {
            let Some(command) = self.outside.borrow_mut().command() else { break };
            self.attendant.handle(match command {
                ControlCommand::Signal(number) => Event::Signal(number),
                ControlCommand::Resize(window) => Event::Resize(window),
                ControlCommand::Save => Event::Save,
                ControlCommand::Leave => Event::Leave,
                ControlCommand::HangUp => Event::HangUp,
            });
        }
        while let Some(client) = self.outside.borrow_mut().control().take_client() {
            self.clients.admit(client);
        }
        self.clients.work(&mut self.attendant)
    }

    fn save(&mut self, at: SavePoint, within: u64, requested: bool) {
        let checkpoint = match &mut self.saver {
            Some(saver) => saver.save(&mut self.drive, &self.output, self.network.as_ref(), (at, within)),
            None => Err(Error::NoSessionToSave),
        };
        self.attendant.handle(if checkpoint.is_ok() { Event::Saved } else { Event::NotSaved });
        if requested {
            return self.answer(checkpoint);
        }
        match checkpoint {
            Ok(checkpoint) => self.checkpoint = Some(checkpoint),
            Err(error) => self.unsaved = Some(error),
        }
    }

    /// Answers a request to save.
    fn answer(&mut self, checkpoint: Result<Checkpoint>) {
        let answered = self.outside.borrow_mut().control().answer(checkpoint);
        match answered {
            Some(Ok(checkpoint)) => self.context.notice(Notice::SessionSaved(&checkpoint)),
            Some(Err(error)) => self.context.notice(Notice::SessionNotSaved(&error)),
            None => {}
        }
    }

    fn notify(&mut self, notice: attend::Notice) {
        match notice {
            attend::Notice::LeavingLosesWork => {
                if let Some(error) = self.unsaved.take() {
                    self.context.notice(Notice::SessionNotSaved(&error));
                }
                self.context.notice(Notice::LeavingLoses);
            }
            attend::Notice::ExitNotSaved => self.context.notice(Notice::ExitNotSaved),
        }
    }

    /// Passes on that output cannot be written.
    fn look_at_output(&mut self) -> Result<()> {
        let Some(OutputFailure { stream, source }) = self.output.take_failure() else { return Ok(()) };
        self.attendant.handle(match source.kind() {
            io::ErrorKind::BrokenPipe => Event::BrokenPipe,
            _ if self.outside.borrow().is_terminal() && is_hang_up(&source) => Event::HangUp,
            _ => return Err(Error::Output { stream, source }),
        });
        Ok(())
    }

    fn end(&mut self, end: std::result::Result<Ending, Failure>) -> Result<Ending> {
        self.clients.end(match end {
            Ok(Ending::Exited(_)) => "the machine's program has ended",
            Ok(_) if self.checkpoint.is_some() => "the run has ended and its session is saved; the program in it was hung up",
            _ => "the run has ended",
        });
        match (end, self.unsaved.take()) {
            (Err(Failure::NotSaved), Some(error)) => Err(error),
            (Err(failure), _) => Err(failure.into()),
            (Ok(ending), _) => Ok(ending),
        }
    }
}

/// What the kernel says of a terminal that is no longer there.
fn is_hang_up(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::IO)
}
