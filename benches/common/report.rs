//! A run of the program, and its own figures of it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The report of a run, as `--json` writes it.
#[derive(Debug, Clone)]
pub struct Report(serde_json::Value);

impl Report {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map(Self).context("the report is not JSON")
    }

    /// The number at `path`, such as `/boot/mips`.
    pub fn number(&self, path: &str) -> Result<f64> {
        let Self(report) = self;
        report.pointer(path).and_then(serde_json::Value::as_f64).with_context(|| format!("the report has no number {path}: {report}"))
    }

    /// The count at `path`.
    pub fn count(&self, path: &str) -> Result<u64> {
        let Self(report) = self;
        report.pointer(path).and_then(serde_json::Value::as_u64).with_context(|| format!("the report has no count {path}: {report}"))
    }
}

/// Runs `command` to its end without its messages, which are shown if it fails. Returns how long it took.
pub fn timed(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let time = begun.elapsed();
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(time)
}

/// The same with `--json`.
pub fn reported(command: &mut Command) -> Result<(Duration, Report)> {
    let report = tempfile::NamedTempFile::new()?;
    let time = timed(command.arg("--json").arg(report.path()))?;
    Ok((time, Report::parse(&std::fs::read(report.path())?)?))
}
