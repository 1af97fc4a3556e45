//! One start of a snapshot, one command, one answer.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What one start gave.
#[derive(Debug, Clone)]
pub struct Answer {
    /// From the start of the process to the first byte of the answer.
    pub time: Duration,
    /// Of it, until the machine was restored.
    pub restore_ms: f64,
    /// Instructions that the guest ran, up to its end just after the answer.
    pub instructions: u64,
    /// Calls that mapped the snapshot.
    pub mappings: u64,
    /// Size of the snapshot.
    pub snapshot_bytes: u64,
    /// Pages of guest memory that were brought into the process's.
    pub pages_loaded: u64,
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The program.
    pub prebake: &'a Path,
    /// The machine.
    pub machine: &'a Path,
    /// What runs it, as `--engine` has it.
    pub engine: &'a str,
    /// The snapshot.
    pub snapshot: &'a Path,
    /// How memory comes out of it, as `--restore` has it.
    pub restore: &'a str,
}

/// A question whose answer is no part of it.
const QUESTION: &str = "echo $((6*7))";
const ANSWER: &str = "42";
/// The shell's prompt.
const PROMPT: &str = "/ # ";

/// The question is the shell's script.
pub fn on_streams(start: &Start<'_>) -> Result<Answer> {
    let report = tempfile::NamedTempFile::new()?;
    let mut command = start.command(report.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(format!("{QUESTION}\nexit\n").as_bytes())?;
    drop(stdin);
    let mut first = [0];
    child.stdout.take().context("no standard output")?.read_exact(&mut first)?;
    let time = begun.elapsed();
    ensure!(first == ANSWER.as_bytes()[..1], "the answer begins with {first:?}");
    finish(child, time, report.path())
}

/// The question is typed at a terminal.
pub fn on_terminal(start: &Start<'_>) -> Result<Answer> {
    let report = tempfile::NamedTempFile::new()?;
    let (mut user, terminal) = pseudo_terminal()?;
    let mut command = start.command(report.path());
    command.stdin(terminal.try_clone()?).stdout(terminal);
    let begun = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut seen = Vec::new();
    user.write_all(format!("{QUESTION}\r").as_bytes())?;
    wait_for(&mut user, &mut seen, PROMPT)?;
    wait_for(&mut user, &mut seen, &format!("\r\n{ANSWER}"))?;
    let time = begun.elapsed();
    wait_for(&mut user, &mut seen, PROMPT)?;
    user.write_all(b"exit\r")?;
    finish(child, time, report.path())
}

impl Start<'_> {
    fn command(&self, report: &Path) -> Command {
        let mut command = Command::new(self.prebake);
        command
            .arg("run")
            .arg("--json")
            .arg(report)
            .arg(self.machine)
            .args(["--engine", self.engine])
            .arg("--snapshot")
            .arg(self.snapshot)
            .args(["--restore", self.restore]);
        command
    }
}

fn pseudo_terminal() -> Result<(File, OwnedFd)> {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&user)?;
    unlockpt(&user)?;
    let terminal = open(ptsname(&user, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((File::from(user), terminal))
}

/// Reads until `text` has come, and drops it and what was before it.
fn wait_for(user: &mut File, seen: &mut Vec<u8>, text: &str) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        if let Some(start) = seen.windows(text.len()).position(|window| window == text.as_bytes()) {
            seen.drain(..start + text.len());
            return Ok(());
        }
        match user.read(&mut bytes)? {
            0 => bail!("the terminal was closed before {text:?} came: {:?}", String::from_utf8_lossy(seen)),
            count => seen.extend_from_slice(&bytes[..count]),
        }
    }
}

fn finish(mut child: Child, time: Duration, report: &Path) -> Result<Answer> {
    let status = child.wait()?;
    ensure!(status.success(), "prebake ended with {status}");
    let report = Report::parse(&std::fs::read(report)?)?;
    Ok(Answer {
        time,
        restore_ms: report.number("/restore_ms")?,
        instructions: report.count("/guest_instructions")?,
        mappings: report.count("/snapshot_mappings")?,
        snapshot_bytes: report.count("/snapshot_bytes")?,
        pages_loaded: report.count("/pages_loaded")?,
    })
}
