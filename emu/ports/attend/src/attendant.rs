//! The state machine.

use crate::execs::Execs;
use crate::feed::{BRIEF_HALTS, Fed, Feeder, is_brief};
use crate::output::Output;
use crate::{Action, Begin, Budget, Clock, Decline, Ending, Event, Failure, Notice, SavePoint, Settings, Status};
use devices::console::{Port, WindowSize};
use emu::machine::Stop;
use protocol::{ANSWER, AfterExit, Exec, ExecOrder, ExecReport, GuestMessage, HostMessage, Mode};
use std::collections::VecDeque;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGUSR1: i32 = 10;
const SIGTERM: i32 = 15;

/// Guest time in which a restored guest must acknowledge that it has rekeyed its random generator …
const RESUME_TIME: u64 = 5_000_000_000;
/// … and the counts that it has for it if it does not halt, however slow the host is.
const RESUME_WORK: u64 = 50_000_000;
/// Counts after which a guest that was told to start, and does not acknowledge it, is taken to have started though it never halts: ten times
/// what prebake's init takes.
const START_PATIENCE: u64 = 200_000_000;
/// Counts after which a guest that has its terminal open, but no control port, is taken to have booted though it never halts: ten times what
/// Linux takes.
const BOOT_PATIENCE: u64 = 1_000_000_000;
/// Guest time, and counts, in which init must say that it waits after its program has ended.
const EXIT_TIME: u64 = 5_000_000_000;
const EXIT_WORK: u64 = 500_000_000;
/// Counts in which a guest comes to a safe point: a system call hardly ever needs a thousandth of it.
const SAFE_POINT_WITHIN: u64 = 50_000_000;
/// Bytes of the control port's queue that are for lines about the machine's own program.
const CONTROL_RESERVE: usize = 4096;

/// How far the guest has come towards taking input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It boots, and comes to the barrier if its init is prebake's or container2wasm's. At the last stop it stood at the barrier, having
    /// written so much to its terminal.
    Booting { at_barrier: Option<u64> },
    /// It was told to start its program.
    Starting { since: Moment },
    /// It was told to rekey its random generator.
    Resuming { since: Moment },
    /// Input is the program's.
    Attached,
    /// Its program has ended with this status, and init is about to wait for the next start.
    Exiting { status: u8, since: Moment },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    count: u64,
    tick: u64,
}

impl Moment {
    /// Whether more than so much time and so many counts have passed by `status`.
    fn is_past(self, status: &Status, time: u64, counts: u64) -> bool {
        status.now.saturating_sub(self.tick) > time && status.count.saturating_sub(self.count) > counts
    }
}

/// What the host asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostCommand {
    Signal(i32),
    Resize(WindowSize),
    Save,
    End(Ending),
}

/// What happens when the machine has been saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterSave {
    RunOn,
    End(Ending),
}

/// Attends a guest: see the crate's documentation.
#[derive(Debug)]
pub struct Attendant {
    settings: Settings,
    budget: Budget,
    /// How the machine stood when attending began, until the first action.
    begin: Option<Begin>,
    began: u64,
    stage: Stage,
    /// The guest's init listens on the control port.
    control: bool,
    status: Status,
    /// Why the machine stopped, until that is dealt with.
    stop: Option<Stop>,
    feeder: Feeder,
    commands: VecDeque<HostCommand>,
    /// The programs beside the machine's own.
    execs: Execs,
    /// When input became the program's.
    attached: Moment,
    /// What runs is not the machine's own program, which had ended.
    stands_in: bool,
    /// Signals for a program that is still to be started or resumed.
    held_signals: Vec<i32>,
    /// The program was sent a signal that asks it to end. The next one is for prebake.
    asked_to_end: bool,
    /// The machine is to be saved, and what follows.
    saving: Option<(SavePoint, AfterSave)>,
    /// The user knows that leaving would lose work.
    warned: bool,
    /// Something other than input and timers may wake the guest.
    can_be_woken: bool,
    actions: VecDeque<Action>,
    end: Option<Result<Ending, Failure>>,
}

impl Attendant {
    /// Attends a machine that stands like this.
    pub fn new(settings: Settings, begin: Begin, status: Status) -> Self {
        Self {
            budget: Budget::new(settings.slice, settings.limit, status.count),
            began: status.count,
            begin: Some(begin),
            stage: Stage::Booting { at_barrier: None },
            control: status.control.ready,
            status,
            stop: None,
            feeder: Feeder::new(&settings, &status),
            stands_in: settings.visit && begin == Begin::Exited,
            settings,
            commands: VecDeque::new(),
            execs: Execs::default(),
            attached: Moment { count: status.count, tick: status.now },
            held_signals: Vec::new(),
            asked_to_end: false,
            saving: None,
            warned: false,
            can_be_woken: false,
            actions: VecDeque::new(),
            end: None,
        }
    }

    /// Whether something other than input and timers may wake the guest: a network. Without, a guest that halts with no timer, after the end of its input,
    /// is stuck.
    pub fn set_can_be_woken(&mut self, can_be_woken: bool) {
        self.can_be_woken = can_be_woken;
    }

    /// Whether there is room for more input.
    pub fn wants_input(&self) -> bool {
        self.feeder.wants_more()
    }

    /// Whether there is room for more [orders](Self::order).
    pub fn wants_orders(&self) -> bool {
        self.execs.want_more()
    }

    /// Takes an order about a program beside the machine's own. What becomes of it is told by [`Action::Exec`].
    pub fn order(&mut self, order: Exec<ExecOrder>) {
        let report = self.execs.order(order);
        self.tell(report);
    }

    fn tell(&mut self, reports: impl IntoIterator<Item = Exec<ExecReport>>) {
        self.actions.extend(reports.into_iter().map(Action::Exec));
    }

    /// Takes note of something that happened.
    pub fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Stopped { stop, status } => {
                self.stop = Some(stop);
                self.status = status;
                self.control |= status.control.ready;
            }
            Event::Input(bytes) => {
                if let Some(command) = self.feeder.take_in(bytes) {
                    self.handle(command.into());
                }
            }
            Event::EndOfInput if self.feeder.ends_by_hang_up() => self.handle(Event::HangUp),
            Event::EndOfInput => self.feeder.end(),
            Event::HangUp => {
                self.feeder.end();
                self.commands.push_back(HostCommand::End(Ending::Signalled(SIGHUP)));
            }
            Event::BrokenPipe => self.commands.push_back(HostCommand::End(Ending::BrokenPipe)),
            Event::Signal(number) => self.commands.push_back(HostCommand::Signal(number)),
            Event::Resize(window) => self.commands.push_back(HostCommand::Resize(window)),
            Event::Save => self.commands.push_back(HostCommand::Save),
            Event::Leave => self.commands.push_back(HostCommand::End(Ending::Left)),
            Event::Saved => {
                if let Some((_, AfterSave::End(ending))) = self.saving.take() {
                    self.end = Some(Ok(ending));
                }
            }
            Event::NotSaved => self.not_saved(),
        }
    }

    /// What the host is to do next. After [`Action::End`] it is that again.
    pub fn next(&mut self, output: &mut Output) -> Action {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return action;
            }
            if let Some(end) = &self.end {
                return Action::End(end.clone());
            }
            if let Some((at, then)) = self.saving {
                return Action::Save { at, within: SAFE_POINT_WITHIN, requested: then == AfterSave::RunOn };
            }
            self.decide(output);
        }
    }

    /// Whether something is to be done before the machine runs.
    fn is_decided(&self) -> bool {
        !self.actions.is_empty() || self.end.is_some() || self.saving.is_some()
    }

    fn decide(&mut self, output: &mut Output) {
        if let Some(begin) = self.begin.take() {
            self.begin(begin, output);
        }
        while !self.is_decided()
            && let Some(message) = output.take_message()
        {
            self.hear(message);
        }
        if !self.is_decided()
            && let Some(stop @ (Stop::PowerOff { .. } | Stop::HaltedForGood | Stop::Reset)) = self.stop
        {
            self.machine_ended(stop, output);
        }
        while !self.is_decided()
            && let Some(command) = self.commands.pop_front()
        {
            self.obey(command);
        }
        if !self.is_decided()
            && self.stage == Stage::Attached
            && let Some(order) = self.execs.next(self.status.control.room().saturating_sub(CONTROL_RESERVE))
        {
            self.push(Port::Control, order);
        }
        if !self.is_decided()
            && let Some(stop) = self.stop.take()
        {
            match stop {
                Stop::Halted { deadline } => self.on_halt(deadline, output),
                _ => self.on_slice(output),
            }
        }
        if !self.is_decided() {
            self.run();
        }
    }

    fn run(&mut self) {
        if self.stage == Stage::Attached
            && let Some(fed) = self.feeder.before_run(&mut self.status)
        {
            return self.feed(fed);
        }
        match self.budget.until(self.status.count) {
            Ok(until) => self.actions.push_back(Action::Run { until }),
            Err(failure) => self.end = Some(Err(failure)),
        }
    }

    fn begin(&mut self, begin: Begin, output: &Output) {
        match begin {
            Begin::PowerOn => {}
            Begin::Barrier => self.start(true),
            Begin::Exited => self.start(false),
            Begin::Running if self.control => {
                self.send(&HostMessage::Resume { time: self.wall(), after_exit: self.after_exit() });
                self.stage = Stage::Resuming { since: self.moment() };
            }
            Begin::Running => self.attach(),
        }
        if begin == Begin::Running
            && let Some((stream, bytes)) = output.last_line()
        {
            self.actions.push_back(Action::Show { stream, bytes });
        }
        if let Some(window) = self.settings.window {
            self.resize(window);
        }
    }

    /// Tells init to start its program. `at_barrier`: and lets it pass.
    fn start(&mut self, at_barrier: bool) {
        if self.control {
            let message = HostMessage::Start {
                mode: self.settings.mode,
                term: self.settings.term.clone(),
                time: self.wall(),
                after_exit: self.after_exit(),
            };
            self.send(&message);
        }
        if at_barrier {
            self.push(Port::Tty, ANSWER.to_vec());
        }
        self.stage = Stage::Starting { since: self.moment() };
    }

    fn attach(&mut self) {
        self.stage = Stage::Attached;
        self.attached = self.moment();
        if !self.control {
            self.refuse_execs();
        }
        for number in std::mem::take(&mut self.held_signals) {
            self.pass_on(number);
        }
    }

    /// Refuses programs beside the machine's own, unless init starts them.
    fn refuse_execs(&mut self) {
        let refused = self.execs.no_offer_will_come();
        self.tell(refused);
    }

    fn hear(&mut self, message: GuestMessage) {
        self.control = true;
        match (message, self.stage) {
            (GuestMessage::Started, Stage::Starting { .. } | Stage::Attached) | (GuestMessage::Resumed, Stage::Resuming { .. }) => {
                if self.stage != Stage::Attached {
                    self.attach();
                }
                // It would have offered them before.
                self.refuse_execs();
            }
            (GuestMessage::Exit(status), _) => {
                let ended = self.execs.end("the machine's program has ended");
                self.tell(ended);
                if self.settings.can_save {
                    self.stage = Stage::Exiting { status, since: self.moment() };
                } else {
                    self.end = Some(Ok(Ending::Exited(status)));
                }
            }
            (GuestMessage::Waiting, Stage::Exiting { status, .. }) => {
                self.saving = Some((SavePoint::Exited, AfterSave::End(Ending::Exited(status))));
            }
            (GuestMessage::Failed(reason), _) => self.end = Some(Err(Failure::GuestFailed { reason })),
            (GuestMessage::OffersExec, _) => self.execs.offer(),
            (GuestMessage::Exec(report), _) => {
                let report = self.execs.report(report);
                self.tell(report);
            }
            (GuestMessage::Started | GuestMessage::Resumed | GuestMessage::Waiting, _) => {}
        }
    }

    fn machine_ended(&mut self, stop: Stop, output: &Output) {
        if let Stage::Exiting { status, .. } = self.stage {
            return self.exit_unsaved(status);
        }
        let had_init = self.control && !matches!(self.stage, Stage::Booting { .. });
        let how = match stop {
            Stop::PowerOff { status } => return self.exit_unsaved((status & 0xff) as u8),
            Stop::HaltedForGood if !had_init => return self.exit_unsaved(0),
            Stop::HaltedForGood => "the guest has halted for good",
            _ => "the guest has reset the machine",
        };
        self.end = Some(Err(Failure::GuestEnded { how, output: output.unseen() }));
    }

    /// The guest has ended in a way that cannot be saved.
    fn exit_unsaved(&mut self, status: u8) {
        if self.settings.can_save {
            self.actions.push_back(Action::Notify(Notice::ExitNotSaved));
        }
        self.end = Some(Ok(Ending::Exited(status)));
    }

    fn obey(&mut self, command: HostCommand) {
        match command {
            HostCommand::Resize(window) => self.resize(window),
            HostCommand::Signal(number) => self.signal(number),
            HostCommand::End(ending) => self.leave(ending),
            HostCommand::Save if !self.settings.can_save => self.actions.push_back(Action::Decline(Decline::CannotSave)),
            HostCommand::Save if self.stage != Stage::Attached => self.actions.push_back(Action::Decline(Decline::NothingNew)),
            HostCommand::Save => self.saving = Some((SavePoint::Running, AfterSave::RunOn)),
        }
    }

    /// The user, or a signal, ends the run.
    fn leave(&mut self, ending: Ending) {
        match self.stage {
            Stage::Attached if self.stands_in && self.settings.can_save => self.send(&HostMessage::Signal(SIGKILL)),
            Stage::Attached if self.settings.can_save => self.saving = Some((SavePoint::Running, AfterSave::End(ending))),
            // It is about to be saved, and ends then.
            Stage::Exiting { .. } => {}
            // Before its program has had any input, or after a restore that is not complete, there is nothing new.
            _ => self.end = Some(Ok(ending)),
        }
    }

    fn not_saved(&mut self) {
        match self.saving.take() {
            Some((_, AfterSave::End(Ending::Left))) if !self.warned => {
                self.warned = true;
                self.actions.push_back(Action::Notify(Notice::LeavingLosesWork));
            }
            Some((_, AfterSave::End(Ending::Left))) => self.end = Some(Ok(Ending::Left)),
            Some((_, AfterSave::End(_))) => self.end = Some(Err(Failure::NotSaved)),
            Some((_, AfterSave::RunOn)) | None => {}
        }
    }

    /// The host's process got a signal: it is the program's. Where the machine can be saved, SIGUSR1 asks for that, and a signal that says that
    /// the user has gone ends the run.
    fn signal(&mut self, number: i32) {
        if self.settings.can_save && number == SIGUSR1 {
            return self.obey(HostCommand::Save);
        }
        let asks_to_end = matches!(number, SIGHUP | SIGINT | SIGQUIT | SIGTERM);
        let user_has_gone = self.settings.can_save && matches!(number, SIGHUP | SIGTERM);
        if user_has_gone || asks_to_end && self.asked_to_end || !self.control {
            return self.leave(Ending::Signalled(number));
        }
        match self.stage {
            Stage::Booting { .. } => return self.leave(Ending::Signalled(number)),
            Stage::Starting { .. } | Stage::Resuming { .. } => {
                if !self.held_signals.contains(&number) {
                    self.held_signals.push(number);
                }
            }
            Stage::Attached => self.pass_on(number),
            Stage::Exiting { .. } => {}
        }
        self.asked_to_end |= asks_to_end;
    }

    fn pass_on(&mut self, number: i32) {
        self.send(&if number == SIGTERM { HostMessage::Stop } else { HostMessage::Signal(number) });
    }

    fn resize(&mut self, window: WindowSize) {
        if self.settings.mode == Mode::Tty {
            self.stop = None;
            self.actions.push_back(Action::Resize(window));
        }
    }

    /// The guest works. Where it does not halt, it is judged by what it has taken and said.
    fn on_slice(&mut self, output: &mut Output) {
        let status = self.status;
        match self.stage {
            Stage::Booting { at_barrier } if output.at_barrier() => {
                let written = output.written();
                if at_barrier == Some(written) {
                    return self.pass_barrier(output);
                }
                self.stage = Stage::Booting { at_barrier: Some(written) };
            }
            Stage::Booting { .. } => {
                self.stage = Stage::Booting { at_barrier: None };
                let is_foreign = status.tty.ready && !self.control;
                if is_foreign && status.count.saturating_sub(self.began) > BOOT_PATIENCE {
                    self.attach();
                }
            }
            Stage::Starting { since } if since.is_past(&status, 0, START_PATIENCE) && self.has_taken_all() => self.attach(),
            Stage::Resuming { since } if since.is_past(&status, RESUME_TIME, RESUME_WORK) => self.end = Some(Err(Failure::NotReseeded)),
            Stage::Exiting { status: code, since } if since.is_past(&status, 0, EXIT_WORK) => self.exit_unsaved(code),
            Stage::Attached if self.execs.wait_for_offer() && self.attached.is_past(&status, 0, START_PATIENCE) => self.refuse_execs(),
            Stage::Starting { .. } | Stage::Resuming { .. } | Stage::Attached | Stage::Exiting { .. } => {}
        }
    }

    /// The guest waits: gives it what it waits for, or lets time pass.
    fn on_halt(&mut self, deadline: Option<u64>, output: &mut Output) {
        let status = self.status;
        match self.stage {
            Stage::Booting { .. } if output.at_barrier() => return self.pass_barrier(output),
            // A guest that listens on its terminal and has no control port is not prebake's: there is nothing to wait for.
            Stage::Booting { .. } if status.tty.ready && !self.control => self.attach(),
            // An init that does not acknowledge has started its program when it has taken what it was sent, and waits.
            // One without a control port is container2wasm's: its container is still to come while it waits for no more than its own processes.
            Stage::Starting { since }
                if self.has_taken_all() && (self.control || !is_brief(deadline, status.now) || since.is_past(&status, BRIEF_HALTS, 0)) =>
            {
                self.attach();
            }
            Stage::Resuming { since } if since.is_past(&status, RESUME_TIME, 0) => return self.end = Some(Err(Failure::NotReseeded)),
            Stage::Exiting { status: code, since } if deadline.is_none() || since.is_past(&status, EXIT_TIME, 0) => {
                return self.exit_unsaved(code);
            }
            // An init that was slow to start its program may still offer to start others.
            Stage::Attached if self.execs.wait_for_offer() && (deadline.is_none() || self.attached.is_past(&status, EXIT_TIME, 0)) => {
                self.refuse_execs();
            }
            _ => {}
        }
        if self.stage == Stage::Attached
            && !self.is_decided()
            && let Some(fed) = self.feeder.on_halt(deadline, &mut self.status)
        {
            return self.feed(fed);
        }
        if !self.is_decided() {
            self.pass_time(deadline);
        }
    }

    fn pass_time(&mut self, deadline: Option<u64>) {
        let next = deadline.into_iter().chain(self.feeder.next_end_of_file()).min();
        match (self.settings.clock, next) {
            (Clock::Virtual, Some(tick)) => {
                self.status.now = self.status.now.max(tick);
                self.actions.push_back(Action::SkipTo(tick));
            }
            (Clock::Virtual, None) => self.end = Some(Err(Failure::Stuck)),
            (Clock::Host, None) if self.feeder.is_over() && !self.can_be_woken && !self.execs.are_any() => {
                self.end = Some(Err(Failure::Stuck))
            }
            (Clock::Host, until) => self.actions.push_back(Action::Wait { until }),
        }
    }

    fn pass_barrier(&mut self, output: &mut Output) {
        output.pass_barrier();
        self.start(true);
    }

    fn feed(&mut self, fed: Fed) {
        match fed {
            Fed::Push(port, bytes) => self.push(port, bytes),
            Fed::Close(port) => {
                self.stop = None;
                self.actions.push_back(Action::Close(port));
            }
            Fed::Await => self.actions.push_back(Action::Wait { until: None }),
        }
    }

    fn send(&mut self, message: &HostMessage) {
        self.push(Port::Control, message.to_string().into_bytes());
    }

    /// Pushes input, which the guest has not taken before it runs again: why it stopped does not count any more.
    fn push(&mut self, port: Port, bytes: Vec<u8>) {
        self.stop = None;
        let input = self.status.port(port);
        if bytes.len() <= input.room() {
            input.pending += bytes.len();
            self.actions.push_back(Action::Push { port, bytes });
        }
    }

    /// The guest has taken everything that was sent to start it.
    fn has_taken_all(&self) -> bool {
        self.status.tty.pending + self.status.control.pending == 0
    }

    const fn moment(&self) -> Moment {
        Moment { count: self.status.count, tick: self.status.now }
    }

    /// What the guest is to set its clock to. Under the virtual clock the host's time is none of its business.
    fn wall(&self) -> Option<u64> {
        (self.settings.clock == Clock::Host).then_some(self.status.wall)
    }

    const fn after_exit(&self) -> AfterExit {
        if self.settings.can_save { AfterExit::Wait } else { AfterExit::Halt }
    }
}
