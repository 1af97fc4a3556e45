//! Notices that the guest has settled: that it has finished starting and only waits.
//!
//! An idle guest is never quite still: its kernel wakes up a few times a second for its own housekeeping. And a guest that has halted need
//! not be idle: a start-up may sleep. So *settled* means that for a long stretch of virtual time every wake-up did little and no device
//! moved. Under the virtual clock waiting costs nothing, so the stretch may be longer than anything that a start-up sleeps.

use std::fmt;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What counts as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Virtual time, in nanoseconds, that the guest has to be quiet.
    pub quiet: u64,
    /// Instructions that a wake-up of a quiet guest may take.
    pub work: u64,
}

impl Default for Thresholds {
    /// 30 s, half as long again as the longest sleep that is usual in a start-up; 60,000 instructions, thrice what a wake-up for Linux's
    /// housekeeping takes and a fraction of starting a program.
    fn default() -> Self {
        Self { quiet: 30_000 * NANOS_PER_MILLI, work: 60_000 }
    }
}

/// The guest halts, and what it did since it last did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halt {
    /// Virtual time in nanoseconds.
    pub now: u64,
    /// Whether a timer will wake the guest.
    pub timer: bool,
    /// Instructions since the last halt.
    pub instructions: u64,
    /// Requests that devices served since the last halt.
    pub device_work: u64,
}

/// Why the guest counts as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Virtual time in nanoseconds from which on the guest was quiet.
    pub since: u64,
    /// Virtual time in nanoseconds of the verdict.
    pub at: u64,
    /// Wake-ups in between.
    pub wake_ups: u64,
    /// Instructions in between.
    pub instructions: u64,
    /// Instructions of the longest of those wake-ups.
    pub longest: u64,
    /// Whether a timer would have woken the guest again. Without one, only input can, and there is nothing to wait for.
    pub timer: bool,
    /// What was asked for.
    pub thresholds: Thresholds,
}

/// The last thing that was not quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbance {
    /// Virtual time in nanoseconds at which the guest halted again.
    pub at: u64,
    /// Instructions that it took.
    pub instructions: u64,
    /// Requests that devices served.
    pub device_work: u64,
}

/// The detector: to be told of every halt, in order.
#[derive(Debug, Clone)]
pub struct Settle {
    thresholds: Thresholds,
    last_disturbance: Option<Disturbance>,
    wake_ups: u64,
    instructions: u64,
    longest: u64,
}

impl Settle {
    /// A guest that has just started.
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, last_disturbance: None, wake_ups: 0, instructions: 0, longest: 0 }
    }

    /// The guest halts. Returns the verdict if it has settled by now.
    pub fn halted(&mut self, halt: Halt) -> Option<Verdict> {
        let Thresholds { quiet, work } = self.thresholds;
        let since = match self.last_disturbance {
            Some(last) if halt.instructions <= work && halt.device_work == 0 => {
                self.wake_ups += 1;
                self.instructions += halt.instructions;
                self.longest = self.longest.max(halt.instructions);
                last.at
            }
            _ => {
                let Halt { now, instructions, device_work, .. } = halt;
                self.last_disturbance = Some(Disturbance { at: now, instructions, device_work });
                (self.wake_ups, self.instructions, self.longest) = (0, 0, 0);
                now
            }
        };
        let settled = !halt.timer || halt.now.saturating_sub(since) >= quiet;
        settled.then_some(Verdict {
            since,
            at: halt.now,
            wake_ups: self.wake_ups,
            instructions: self.instructions,
            longest: self.longest,
            timer: halt.timer,
            thresholds: self.thresholds,
        })
    }

    /// The last thing that was not quiet; `None` before the first halt.
    pub const fn last_disturbance(&self) -> Option<Disturbance> {
        self.last_disturbance
    }
}

/// Nanoseconds as seconds, to the millisecond.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / NANOS_PER_MILLI;
        write!(f, "{}.{:03} s", millis / 1000, millis % 1000)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, at, wake_ups, instructions, longest, timer, thresholds } = *self;
        write!(f, "quiet since {} of virtual time: ", Seconds(since))?;
        if timer {
            write!(f, "{} with ", Seconds(at - since))?;
        } else {
            write!(f, "no timer is set, so only input can wake it; ")?;
        }
        write!(f, "{wake_ups} wake-ups of {instructions} instructions in all and {longest} at most ")?;
        write!(f, "({} allowed), no device work", thresholds.work)
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, instructions, device_work } = *self;
        write!(f, "{instructions} instructions and {device_work} requests to devices before it halted at {}", Seconds(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = NANOS_PER_MILLI;
    const SECOND: u64 = 1000 * MILLI;

    /// A guest as the detector sees it: virtual time, and a wake-up of the kernel's own every 430 ms.
    struct Guest {
        settle: Settle,
        now: u64,
        verdict: Option<Verdict>,
    }

    impl Guest {
        /// Boots for 150 ms without a halt.
        fn boot(thresholds: Thresholds) -> Self {
            let mut guest = Self { settle: Settle::new(thresholds), now: 150 * MILLI, verdict: None };
            guest.halt(40_000_000, 900);
            guest
        }

        fn halt(&mut self, instructions: u64, device_work: u64) {
            let verdict = self.settle.halted(Halt { now: self.now, timer: true, instructions, device_work });
            self.verdict = self.verdict.or(verdict);
        }

        /// Nothing but housekeeping for this long.
        fn sleep(&mut self, time: u64) {
            let end = self.now + time;
            while self.now + 430 * MILLI < end {
                self.now += 430 * MILLI;
                self.halt(8_000 + self.now / MILLI % 12_000, 0);
            }
            self.now = end;
        }

        fn work(&mut self, instructions: u64, device_work: u64) {
            self.now += instructions;
            self.halt(instructions, device_work);
        }
    }

    #[test]
    fn a_start_up_that_sleeps_has_not_settled() {
        for seconds in [1, 5, 20] {
            let mut guest = Guest::boot(Thresholds::default());
            for _ in 0..3 {
                guest.sleep(seconds * SECOND);
                guest.work(300_000, 0);
                assert_eq!(guest.verdict, None, "a sleep of {seconds} s was taken for the end");
            }
            let ready = guest.now;
            guest.sleep(40 * SECOND);
            let verdict = guest.verdict.unwrap();
            assert_eq!(verdict.since, ready);
            assert!((ready + 30 * SECOND..ready + 31 * SECOND).contains(&verdict.at), "{verdict:?}");
        }
    }

    #[test]
    fn a_ticker_has_not_settled_while_it_ticks() {
        // A shell that prints a dot each second, and one that only forks.
        for (instructions, device_work) in [(20_000, 1), (250_000, 0)] {
            let mut guest = Guest::boot(Thresholds::default());
            for _ in 0..120 {
                guest.sleep(SECOND);
                guest.work(instructions, device_work);
            }
            assert_eq!(guest.verdict, None);
            let last = guest.settle.last_disturbance().unwrap();
            assert_eq!(last, Disturbance { at: guest.now, instructions, device_work });
            guest.sleep(31 * SECOND);
            assert_eq!(guest.verdict.unwrap().since, last.at);
        }
    }

    #[test]
    fn housekeeping_is_quiet_and_counted() {
        let mut guest = Guest::boot(Thresholds::default());
        guest.sleep(31 * SECOND);
        let verdict = guest.verdict.unwrap();
        // 70 wake-ups 430 ms apart are 30.1 s.
        assert_eq!((verdict.since, verdict.wake_ups), (150 * MILLI, 70));
        assert_eq!(verdict.at, verdict.since + 70 * 430 * MILLI);
        assert!((8_000..20_000).contains(&verdict.longest));
        assert!((70 * 8_000..70 * 20_000).contains(&verdict.instructions));
        assert!(verdict.timer);
    }

    #[test]
    fn a_guest_without_a_timer_waits_for_ever() {
        let mut settle = Settle::new(Thresholds::default());
        let halt = |now, timer, instructions| Halt { now, timer, instructions, device_work: 0 };
        assert_eq!(settle.halted(halt(5, true, 1_000_000)), None);
        assert_eq!(settle.halted(halt(6, true, 10)), None);
        let verdict = settle.halted(halt(7, false, 20)).unwrap();
        assert_eq!((verdict.since, verdict.at, verdict.wake_ups, verdict.instructions), (5, 7, 2, 30));
        // Even if it is the first halt of all.
        let verdict = Settle::new(Thresholds::default()).halted(halt(9, false, 1_000_000)).unwrap();
        assert_eq!((verdict.since, verdict.at, verdict.wake_ups), (9, 9, 0));
    }

    #[test]
    fn thresholds_are_inclusive() {
        let thresholds = Thresholds { quiet: 100, work: 50 };
        let run = |instructions, device_work, now| {
            let mut settle = Settle::new(thresholds);
            settle.halted(Halt { now: 1_000, timer: true, instructions: 7, device_work: 0 });
            settle.halted(Halt { now, timer: true, instructions, device_work }).is_some()
        };
        assert!(run(50, 0, 1_100));
        assert!(!run(50, 0, 1_099));
        assert!(!run(51, 0, 1_100));
        assert!(!run(50, 1, 1_100));
    }

    #[test]
    fn a_busy_guest_that_never_halts_long_is_disturbed_by_itself() {
        let mut guest = Guest::boot(Thresholds::default());
        for _ in 0..10_000 {
            guest.now += 10 * MILLI;
            guest.halt(60_001, 0);
        }
        assert_eq!(guest.verdict, None);
    }

    #[test]
    fn the_evidence_reads_as_a_sentence() {
        let thresholds = Thresholds { quiet: 30 * SECOND, work: 60_000 };
        let verdict = Verdict {
            since: 1_234 * MILLI,
            at: 31_300 * MILLI,
            wake_ups: 69,
            instructions: 700_000,
            longest: 19_000,
            timer: true,
            thresholds,
        };
        assert_eq!(
            verdict.to_string(),
            "quiet since 1.234 s of virtual time: 30.066 s with 69 wake-ups of 700000 instructions in all and 19000 at most \
             (60000 allowed), no device work"
        );
        let verdict = Verdict { timer: false, wake_ups: 0, instructions: 0, longest: 0, ..verdict };
        assert_eq!(
            verdict.to_string(),
            "quiet since 1.234 s of virtual time: no timer is set, so only input can wake it; 0 wake-ups of 0 instructions in all and 0 \
             at most (60000 allowed), no device work"
        );
        let disturbance = Disturbance { at: 599_200 * MILLI, instructions: 123_456, device_work: 2 };
        assert_eq!(disturbance.to_string(), "123456 instructions and 2 requests to devices before it halted at 599.200 s");
    }
}
