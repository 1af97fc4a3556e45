//! Figures of a run, for people (`--stats`) and for scripts (`--json`).

use crate::error::Error;
use crate::machine::drive::Drive;
use emu::machine::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What runs a machine, if it is not WAMR.
pub const NATIVE: &str = "native";

/// Everything that is known of a run. What does not apply is null.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The verb.
    pub command: &'static str,
    /// Exit code of the process.
    pub exit_code: u8,
    /// What ran the machine: `native`, `wamr-aot` or `wamr-interpreter`.
    pub engine: &'static str,
    /// Instructions that the guest executed in this process.
    pub guest_instructions: u64,
    /// Seconds from the machine's start to its end.
    pub wall_seconds: f64,
    /// Millions of instructions per second spent in the guest.
    pub mips: f64,
    /// The guest's idling.
    pub hlt: Hlt,
    /// A bake: the cold boot alone, up to the last real work before the guest settled.
    pub boot: Option<Boot>,
    /// A bake: why the guest was judged to have settled.
    pub settled: Option<Settled>,
    /// Bytes of the snapshot.
    pub snapshot_bytes: Option<u64>,
    /// Mappings that a restore of the snapshot takes.
    pub snapshot_mappings: Option<usize>,
    /// Milliseconds from the process's start until the guest of a snapshot could go on.
    pub restore_ms: Option<f64>,
    /// Pages of guest memory that were brought into the process's memory.
    pub pages_loaded: Option<u64>,
    /// Milliseconds from the process's start to the first byte that the guest wrote.
    pub first_output_ms: Option<f64>,
    /// The session that was run.
    pub session: Option<String>,
    /// What was kept of it when its user left.
    pub kept: Option<SavedFigures>,
    /// Instructions that the guest met and the machine lacks, with how often.
    pub unimplemented_instructions: BTreeMap<String, u64>,
    /// What went wrong.
    pub error: Option<Failure>,
}

/// See [`Report::kept`].
#[derive(Debug, Serialize)]
pub struct SavedFigures {
    /// Pages that differ from the snapshot that the session began with.
    pub pages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds that it took until they were on the disk.
    pub milliseconds: f64,
}

/// See [`Report::hlt`].
#[derive(Debug, Default, Serialize)]
pub struct Hlt {
    /// HLT instructions.
    pub count: u64,
    /// Instructions of the longest stretch between two of them.
    pub longest_stretch: u64,
    /// Seconds of guest time spent halted.
    pub asleep_seconds: f64,
}

/// See [`Report::boot`].
#[derive(Debug, Serialize)]
pub struct Boot {
    /// Instructions.
    pub guest_instructions: u64,
    /// Wall time.
    pub wall_seconds: f64,
    /// Speed.
    pub mips: f64,
    /// Seconds of guest time.
    pub guest_seconds: f64,
}

/// See [`Report::settled`].
#[derive(Debug, Serialize)]
pub struct Settled {
    /// Seconds of guest time from which on it was quiet.
    pub since_seconds: f64,
    /// Seconds of guest time at the verdict.
    pub at_seconds: f64,
    /// Wake-ups in between.
    pub wake_ups: u64,
    /// Instructions in between.
    pub instructions: u64,
    /// Instructions of the longest wake-up.
    pub longest_wake_up: u64,
    /// Instructions that a wake-up was allowed.
    pub allowed: u64,
    /// Whether a timer was set.
    pub timer: bool,
}

/// See [`Report::error`].
#[derive(Debug, Serialize)]
pub struct Failure {
    /// A stable name.
    pub kind: String,
    /// The same for people.
    pub message: String,
}

const NANOS_PER_SECOND: f64 = 1e9;

impl From<Verdict> for Settled {
    fn from(verdict: Verdict) -> Self {
        Self {
            since_seconds: verdict.since as f64 / NANOS_PER_SECOND,
            at_seconds: verdict.at as f64 / NANOS_PER_SECOND,
            wake_ups: verdict.wake_ups,
            instructions: verdict.instructions,
            longest_wake_up: verdict.longest,
            allowed: verdict.thresholds.work,
            timer: verdict.timer,
        }
    }
}

impl Boot {
    /// A cold boot of so much work.
    pub fn new(guest_instructions: u64, wall: Duration, guest_nanos: u64) -> Self {
        Self {
            guest_instructions,
            wall_seconds: wall.as_secs_f64(),
            mips: mips(guest_instructions, wall),
            guest_seconds: guest_nanos as f64 / NANOS_PER_SECOND,
        }
    }
}

impl Report {
    /// Of a verb, which has not done anything yet.
    pub fn of(command: &'static str) -> Self {
        Self { command, engine: NATIVE, ..Self::default() }
    }

    /// Takes the figures of a machine that has run.
    pub fn take(&mut self, drive: &mut Drive) {
        let (instructions, idling) = (drive.instructions(), drive.idling());
        self.guest_instructions = instructions;
        self.wall_seconds = drive.elapsed().as_secs_f64();
        self.mips = mips(instructions, drive.running());
        let asleep_seconds = idling.asleep as f64 / NANOS_PER_SECOND;
        self.hlt = Hlt { count: idling.halts, longest_stretch: idling.longest, asleep_seconds };
        self.unimplemented_instructions = drive.machine().stats().gaps.into_iter().collect();
    }

    /// Notes what went wrong, and in which words that is told.
    pub fn fail(&mut self, error: &Error, message: String) {
        self.exit_code = error.exit_code();
        self.error = Some(Failure { kind: error.kind().to_owned(), message });
    }

    /// The report as JSON, with a newline at the end.
    pub fn json(&self) -> std::io::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

/// Milliseconds from `start` to `end`.
pub fn millis_between(start: Instant, end: Instant) -> f64 {
    end.duration_since(start).as_secs_f64() * 1e3
}

/// Millions of instructions per second.
pub fn mips(instructions: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { instructions as f64 / time.as_secs_f64() / 1e6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_needs_time() {
        assert_eq!(mips(5_000_000, Duration::from_millis(500)), 10.0);
        assert_eq!(mips(5, Duration::ZERO), 0.0);
    }
}
