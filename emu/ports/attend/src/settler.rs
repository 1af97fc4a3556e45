//! A guest that nobody attends: it boots under the virtual clock until it has settled where a snapshot is wanted.

use crate::output::Output;
use crate::{Action, Budget, Failure, Status};
use devices::console::Port;
use emu::machine::{Disturbance, Halt, Settle, Stop, Thresholds, Verdict};
use protocol::{ANSWER, AfterExit, GuestMessage, HostMessage, Mode};
use std::collections::VecDeque;

/// Where a snapshot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// At the barrier: the program is still to be started.
    Barrier,
    /// Idle, with whatever runs on the terminal.
    Idle,
}

/// The machine's figures at a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Instructions retired.
    pub retired: u64,
    /// Requests that devices have served.
    pub device_work: u64,
}

/// What a guest has settled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Why it counts as settled.
    pub verdict: Verdict,
    /// Its init listens on the control port.
    pub control: bool,
}

/// Lets a guest boot and settle.
#[derive(Debug)]
pub struct Settler {
    point: Point,
    /// Guest time that it has for that.
    within: u64,
    settle: Settle,
    budget: Budget,
    status: Status,
    work_at_halt: Work,
    stop: Option<(Stop, Work)>,
    actions: VecDeque<Action<Settled>>,
    end: Option<Result<Settled, Failure>>,
}

impl Settler {
    /// For a machine that stands like this: it is to settle by `thresholds`, `within` a guest time, running for `limit` counts at most.
    pub fn new(
        (point, thresholds, within): (Point, Thresholds, u64),
        (slice, limit): (u64, Option<u64>),
        (status, work): (Status, Work),
    ) -> Self {
        Self {
            point,
            within,
            settle: Settle::new(thresholds),
            budget: Budget::new(slice, limit, status.count),
            status,
            work_at_halt: work,
            stop: None,
            actions: VecDeque::new(),
            end: None,
        }
    }

    /// The machine stopped after [`Action::Run`].
    pub fn stopped(&mut self, stop: Stop, status: Status, work: Work) {
        self.stop = Some((stop, work));
        self.status = status;
    }

    /// The last time that the guest did real work before it halted.
    pub const fn last_disturbance(&self) -> Option<Disturbance> {
        self.settle.last_disturbance()
    }

    /// What the host is to do next.
    pub fn next(&mut self, output: &mut Output) -> Action<Settled> {
        if self.actions.is_empty() && self.end.is_none() {
            self.decide(output);
        }
        match (self.actions.pop_front(), &self.end) {
            (Some(action), _) => action,
            (None, Some(end)) => Action::End(end.clone()),
            (None, None) => match self.budget.until(self.status.count) {
                Ok(until) => Action::Run { until },
                Err(failure) => Action::End(Err(failure)),
            },
        }
    }

    fn decide(&mut self, output: &mut Output) {
        while let Some(message) = output.take_message() {
            if let GuestMessage::Failed(reason) = message {
                return self.end = Some(Err(Failure::GuestFailed { reason }));
            }
        }
        let Some((stop, work)) = self.stop.take() else { return };
        let ended = |how| Some(Err(Failure::GuestEnded { how, output: output.unseen() }));
        match stop {
            Stop::Due if self.status.now <= self.within => {}
            Stop::Due => self.never_settled(work, output),
            Stop::Halted { deadline } => self.on_halt(deadline, work, output),
            Stop::PowerOff { .. } | Stop::HaltedForGood => self.end = ended("the guest has ended"),
            Stop::Reset => self.end = ended("the guest has reset the machine"),
        }
    }

    fn on_halt(&mut self, deadline: Option<u64>, work: Work, output: &mut Output) {
        let before = std::mem::replace(&mut self.work_at_halt, work);
        let verdict = self.settle.halted(Halt {
            now: self.status.now,
            timer: deadline.is_some(),
            instructions: work.retired.saturating_sub(before.retired),
            device_work: work.device_work.saturating_sub(before.device_work),
        });
        let at_barrier = output.at_barrier();
        if at_barrier && self.point == Point::Idle {
            return self.start_on_terminal(output);
        }
        // Nobody else is there to answer, and a line editor that gets no answer waits for it at every prompt.
        if let Some(answer) = output.terminal().answer_cursor_query() {
            return self.push(Port::Tty, answer.into_bytes());
        }
        match (verdict, deadline) {
            (Some(verdict), _) if self.point == Point::Barrier && !at_barrier => {
                self.end = Some(Err(Failure::NoBarrier { evidence: verdict.to_string(), output: output.unseen() }));
            }
            (Some(verdict), _) => self.end = Some(Ok(Settled { verdict, control: self.status.control.ready })),
            (None, Some(tick)) if self.status.now <= self.within => self.actions.push_back(Action::SkipTo(tick)),
            (None, _) => self.never_settled(work, output),
        }
    }

    fn start_on_terminal(&mut self, output: &mut Output) {
        let start = HostMessage::Start { mode: Mode::Tty, term: None, time: None, after_exit: AfterExit::Halt };
        self.push(Port::Control, start.to_string().into_bytes());
        self.push(Port::Tty, ANSWER.to_vec());
        output.pass_barrier();
    }

    fn push(&mut self, port: Port, bytes: Vec<u8>) {
        self.actions.push_back(Action::Push { port, bytes });
    }

    fn never_settled(&mut self, work: Work, output: &Output) {
        let now = Disturbance { at: self.status.now, instructions: work.retired, device_work: 0 };
        let last = self.settle.last_disturbance().unwrap_or(now);
        self.end = Some(Err(Failure::NeverSettled { within: self.within, last, output: output.unseen() }));
    }
}
