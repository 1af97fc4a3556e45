//! A machine that runs the workloads, and the stamps of its MARK lines.

use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A machine that says nothing for this long hangs.
const SILENCE: Duration = Duration::from_secs(300);

/// What one run of all workloads gave.
#[derive(Debug, Default)]
pub struct Run {
    /// From the start of the process to the first workload.
    pub boot: Duration,
    /// In the order of the workloads.
    pub laps: Vec<Lap>,
}

/// One workload.
#[derive(Debug)]
pub struct Lap {
    /// Its name.
    pub name: String,
    /// What it printed; the same on every machine.
    pub result: String,
    /// How long it took.
    pub time: Duration,
    /// Guest instructions, where they were counted.
    pub instructions: u64,
}

/// Starts `machine` and follows it to the end of its workloads. `counter` gives the instructions run so far.
pub fn run(mut machine: Command, counter: impl Fn() -> Result<u64>) -> Result<Run> {
    let name = format!("{machine:?}");
    let (output, input) = pipe()?;
    machine.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let start = Instant::now();
    let mut child = machine.spawn().with_context(|| format!("cannot start {name}"))?;
    // With it goes the last writer but the child.
    drop(machine);
    let outcome = follow(output, start, counter);
    // QEMU's machine has no power to switch off, and halts for ever.
    child.kill()?;
    child.wait()?;
    outcome.with_context(|| format!("while running {name}"))
}

fn follow(output: PipeReader, start: Instant, counter: impl Fn() -> Result<u64>) -> Result<Run> {
    let lines = stamped_lines(output);
    let mut run = Run::default();
    let mut begun = None;
    loop {
        let (now, line) = match lines.recv_timeout(SILENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("no output for {} s after {} workloads", SILENCE.as_secs(), run.laps.len()),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the machine ended after {} workloads", run.laps.len()),
        };
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "MARK").skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some("READY"), ..) => run.boot = now - start,
            (Some("BEGIN"), Some(_), _) => begun = Some((now, counter()?)),
            (Some("END"), Some(name), result) => {
                let (then, count) = begun.take().context("END without BEGIN")?;
                let result = result.unwrap_or_default().to_owned();
                run.laps.push(Lap { name: name.to_owned(), result, time: now - then, instructions: counter()? - count });
            }
            (Some("DONE"), ..) => return Ok(run),
            _ => {}
        }
    }
}

/// Lines of the machine's output with the time at which each was complete.
fn stamped_lines(output: PipeReader) -> mpsc::Receiver<(Instant, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut line) {
            if sender.send((Instant::now(), String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// A wrong instruction must not pass as speed: every run has to give the same results.
pub fn check_equal(reference: &Run, other: &Run) -> Result<()> {
    ensure!(reference.laps.len() == other.laps.len(), "{} workloads and {}", reference.laps.len(), other.laps.len());
    for (expected, found) in reference.laps.iter().zip(&other.laps) {
        ensure!(
            (&expected.name, &expected.result) == (&found.name, &found.result),
            "results differ: {} gave {:?}, and {} gave {:?}",
            expected.name,
            expected.result,
            found.name,
            found.result
        );
    }
    Ok(())
}

/// What both machines boot.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// An uncompressed vmlinux.
    pub kernel: &'a Path,
    /// Contains the workloads.
    pub initramfs: &'a Path,
}

/// Guest memory, in MiB.
const MEMORY: &str = "128";

/// QEMU's smallest PC, on one thread, with its just-in-time compiler.
pub fn qemu(guest: Guest<'_>) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "microvm,x-option-roms=off,isa-serial=on,acpi=off,rtc=on,pit=on,pic=on", "-accel", "tcg,thread=single"])
        .args(["-cpu", "Nehalem", "-m", MEMORY, "-nodefaults", "-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(guest.kernel)
        .arg("-initrd")
        .arg(guest.initramfs)
        .args(["-append", "console=ttyS0 quiet noapic panic=-1 tsc_early_khz=2600000 tsc=reliable"]);
    command
}

/// Our machine as a part of the program, on the host's clock.
pub fn prebake(program: &Path, guest: Guest<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(["boot", "--memory", MEMORY, "--append", "console=ttyS0", "--kernel"]).arg(guest.kernel);
    command.arg("--initrd").arg(guest.initramfs);
    command
}

/// Our machine in WAMR: the `.aot` at `machine`, which carries the same guest.
pub fn wamr(program: &Path, machine: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg(machine);
    command
}
