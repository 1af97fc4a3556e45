//! A machine that runs the workloads, and the stamps of its MARK lines.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::param::clock_ticks_per_second;

/// A machine that says nothing for this long hangs.
const SILENCE: Duration = Duration::from_secs(300);

/// What one run of all workloads gave.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// From the start of the process to the first workload.
    pub boot: Duration,
    /// In the order of the workloads.
    pub laps: Vec<Lap>,
}

/// One workload.
#[derive(Debug, Clone)]
pub struct Lap {
    /// Its name.
    pub name: String,
    /// What it printed; the same on every machine.
    pub result: String,
    /// How long it took.
    pub time: Duration,
    /// Processor time of the machine's process meanwhile, in steps of 10 ms on most hosts.
    pub processor: Duration,
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
    let outcome = follow(output, child.id(), start, counter);
    // QEMU's machine has no power to switch off, and halts for ever.
    child.kill()?;
    child.wait()?;
    outcome.with_context(|| format!("while running {name}"))
}

fn follow(output: PipeReader, process: u32, start: Instant, counter: impl Fn() -> Result<u64>) -> Result<Run> {
    let lines = stamped_lines(output, process);
    let mut run = Run::default();
    let mut begun = None;
    loop {
        let ((now, spent), line) = match lines.recv_timeout(SILENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("no output for {} s after {} workloads", SILENCE.as_secs(), run.laps.len()),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the machine ended after {} workloads", run.laps.len()),
        };
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "MARK").skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some("READY"), ..) => run.boot = now - start,
            (Some("BEGIN"), Some(_), _) => begun = Some((now, spent?, counter()?)),
            (Some("END"), Some(name), result) => {
                let (then, before, count) = begun.take().context("END without BEGIN")?;
                let (result, processor) = (result.unwrap_or_default().to_owned(), spent?.saturating_sub(before));
                run.laps.push(Lap { name: name.to_owned(), result, time: now - then, processor, instructions: counter()? - count });
            }
            (Some("DONE"), ..) => return Ok(run),
            _ => {}
        }
    }
}

/// The time at which a line was complete, and the processor time that the machine had taken by then.
type Stamp = (Instant, Result<Duration>);

/// Processor time that a process has taken.
fn processor_time(process: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may contain anything, the 12th and 13th words are the time in its own code and in the kernel.
    let words = text.rsplit_once(')').context("no name in the status of a process")?.1.split_ascii_whitespace();
    let ticks: Vec<u64> = words.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / clock_ticks_per_second() as f64))
}

/// Lines of the machine's output.
fn stamped_lines(output: PipeReader, process: u32) -> mpsc::Receiver<(Stamp, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut line) {
            if sender.send(((Instant::now(), processor_time(process)), String::from_utf8_lossy(&line).into_owned())).is_err() {
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
    /// An image of a disk, to be read alone.
    pub disk: Option<&'a Path>,
    /// Memory in MiB.
    pub memory: u32,
}

/// QEMU's smallest PC, on one thread, with its just-in-time compiler.
pub fn qemu(guest: Guest<'_>) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "microvm,x-option-roms=off,isa-serial=on,acpi=off,rtc=on,pit=on,pic=on", "-accel", "tcg,thread=single"])
        .args(["-cpu", "Nehalem", "-m", &guest.memory.to_string(), "-nodefaults", "-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(guest.kernel)
        .arg("-initrd")
        .arg(guest.initramfs)
        .args(["-append", "console=ttyS0 quiet noapic panic=-1 tsc_early_khz=2600000 tsc=reliable"]);
    if let Some(disk) = guest.disk {
        command.arg("-drive").arg(format!("id=disk,if=none,format=raw,readonly=on,file={}", disk.display()));
        command.args(["-device", "virtio-blk-device,drive=disk"]);
    }
    command
}

/// Our machine as a part of the program, on the host's clock.
pub fn prebake(program: &Path, guest: Guest<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(["boot", "--memory", &guest.memory.to_string(), "--append", "console=ttyS0", "--kernel"]).arg(guest.kernel);
    command.arg("--initrd").arg(guest.initramfs);
    if let Some(disk) = guest.disk {
        command.arg("--disk").arg(format!("{}:ro", disk.display()));
    }
    command
}

/// Our machine in WAMR: the `.aot` at `machine`, which carries the same guest.
pub fn wamr(program: &Path, machine: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg(machine);
    command
}
