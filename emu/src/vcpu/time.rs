//! Progress and time: how many counts have passed, how many are left until the next event, and what the TSC shows.

/// Where TSC ticks come from.
pub enum Clock {
    /// One tick per count, plus jumps while the CPU is halted.
    Virtual,
    /// A clock of the host, in ticks.
    Host(Box<dyn HostClock>),
}

/// A monotonic clock of the host.
pub trait HostClock {
    /// Ticks of the model's TSC since some fixed point.
    fn ticks(&mut self) -> u64;
}

/// Progress and time. The *count* is the machine's measure of progress: instructions, REP iterations, exceptions and interrupts.
#[repr(C)]
pub struct Time {
    /// Counts left until the next due event. Instructions of the running block are taken off when it is left.
    budget: i64,
    /// Instructions of the running block before the current one: retired, but not yet taken off the budget.
    retired_in_block: i64,
    /// Count at which the budget reaches 0.
    due: u64,
    /// Counts that were not instructions: iterations of REP, exceptions and interrupts delivered.
    not_retired: u64,
    /// Ticks of the TSC minus the count (virtual clock) or minus the host's ticks.
    tsc_offset: u64,
    /// HLT instructions executed.
    halts: u64,
    clock: Clock,
}

/// A clock that the virtual one stands in for; see [`Time::hold_clock`].
pub struct HeldClock {
    clock: Clock,
    tsc_offset: u64,
}

impl Time {
    /// Offset of the budget in bytes, for translated code.
    pub(crate) const BUDGET: usize = std::mem::offset_of!(Self, budget);

    /// Power-on: nothing has passed.
    pub fn new(clock: Clock) -> Self {
        Self { budget: 0, retired_in_block: 0, due: 0, not_retired: 0, tsc_offset: 0, halts: 0, clock }
    }

    /// Counts since power-on, exact to the current instruction.
    #[inline]
    pub fn count(&self) -> u64 {
        self.due.wrapping_sub(self.budget as u64).wrapping_add(self.retired_in_block as u64)
    }

    /// Instructions retired since power-on.
    pub fn retired(&self) -> u64 {
        self.count() - self.not_retired
    }

    /// Counts since power-on that were not instructions.
    pub fn not_retired(&self) -> u64 {
        self.not_retired
    }

    /// HLT instructions since power-on.
    pub fn halts(&self) -> u64 {
        self.halts
    }

    /// The TSC, exact to the current instruction.
    pub fn now(&mut self) -> u64 {
        let base = match &mut self.clock {
            Clock::Virtual => self.count(),
            Clock::Host(clock) => clock.ticks(),
        };
        base.wrapping_add(self.tsc_offset)
    }

    /// Whether one count is one tick.
    pub fn is_virtual(&self) -> bool {
        matches!(self.clock, Clock::Virtual)
    }

    /// Takes over the progress of a saved machine.
    pub fn resume(&mut self, count: u64, not_retired: u64, halts: u64) {
        self.due = count;
        self.budget = 0;
        self.retired_in_block = 0;
        self.not_retired = not_retired.min(count);
        self.halts = halts;
    }

    /// Makes the TSC continue from `tsc`, whatever the clock shows.
    pub fn set_tsc(&mut self, tsc: u64) {
        let now = self.now();
        self.tsc_offset = self.tsc_offset.wrapping_add(tsc.wrapping_sub(now));
    }

    /// Under the virtual clock: lets time pass up to `tick`.
    pub fn skip_to(&mut self, tick: u64) {
        let now = self.now();
        self.tsc_offset = self.tsc_offset.wrapping_add(tick.saturating_sub(now));
    }

    /// Puts the virtual clock in the place of the clock: from here on, one count is one tick.
    pub fn hold_clock(&mut self) -> HeldClock {
        let tsc = self.now();
        let held = HeldClock { clock: std::mem::replace(&mut self.clock, Clock::Virtual), tsc_offset: self.tsc_offset };
        self.set_tsc(tsc);
        held
    }

    /// Puts the clock back. The TSC shows again what it would have shown, but never less than it has.
    pub fn release_clock(&mut self, HeldClock { clock, tsc_offset }: HeldClock) {
        let reached = self.now();
        (self.clock, self.tsc_offset) = (clock, tsc_offset);
        self.skip_to(reached);
    }

    /// Counts left until the next due event. It may be passed by the rest of an instruction.
    #[inline(always)]
    pub fn budget(&self) -> i64 {
        self.budget
    }

    /// Sets the budget up to the count `due`, which is not in the past, or as near to it as a budget can be.
    pub fn set_due(&mut self, due: u64) {
        let count = self.count();
        self.budget = (due - count).min(i64::MAX as u64) as i64;
        self.due = count.wrapping_add(self.budget as u64);
    }

    /// Sets all but one count of the budget aside; see [`Self::give_back`].
    pub fn set_aside_all_but_one(&mut self) -> i64 {
        let rest = self.budget - 1;
        self.due = self.due.wrapping_sub(rest as u64);
        self.budget = 1;
        rest
    }

    /// Adds to the budget what was set aside.
    pub fn give_back(&mut self, rest: i64) {
        self.due = self.due.wrapping_add(rest as u64);
        self.budget += rest;
    }

    /// Takes retired instructions off the budget.
    #[inline(always)]
    pub fn retire(&mut self, instructions: i64) {
        self.budget -= instructions;
    }

    /// Takes counts that are not instructions off the budget.
    #[inline(always)]
    pub fn pass(&mut self, counts: u64) {
        self.budget -= counts as i64;
        self.not_retired += counts;
    }

    /// Makes counts exact for an op that `retired` instructions of its block precede.
    #[inline(always)]
    pub fn enter_op(&mut self, retired: u8) {
        self.retired_in_block = i64::from(retired);
    }

    /// Ends what [`Self::enter_op`] began.
    #[inline(always)]
    pub fn leave_op(&mut self) {
        self.retired_in_block = 0;
    }

    /// Counts a HLT.
    pub fn halt(&mut self) {
        self.halts += 1;
    }
}
