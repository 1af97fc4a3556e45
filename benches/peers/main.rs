//! Speed beside QEMU's TCG, natively and in WAMR: the same kernel and workloads on all, in turns, in one run, so that a busy host disturbs all
//! alike.

mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use machine::{Guest, Run};

/// Compares the speed of prebake and of QEMU.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// An uncompressed kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// The initramfs with the workloads.
    #[arg(long)]
    initrd: PathBuf,
    /// The same kernel and initramfs as a machine for WAMR.
    #[arg(long)]
    machine: PathBuf,
    /// The source of the plugin that counts QEMU's instructions.
    #[arg(long)]
    counter: PathBuf,
    /// How often each machine runs; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "--rounds must be at least 1");
    let guest = Guest { kernel: &options.kernel, initramfs: &options.initrd };

    eprintln!("peers: counting instructions");
    let counted = count_instructions(guest, &options.counter)?;
    let (mut qemu, mut native, mut wamr) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("peers: round {round} of {}", options.rounds);
        let machines = [
            (&mut qemu, machine::qemu(guest)),
            (&mut native, machine::prebake(&options.prebake, guest)),
            (&mut wamr, machine::wamr(&options.prebake, &options.machine)),
        ];
        for (runs, command) in machines {
            let run = machine::run(command, || Ok(0))?;
            machine::check_equal(&counted, &run)?;
            runs.push(run);
        }
    }
    print!("{}", table(&counted, [&qemu, &native, &wamr]));
    Ok(())
}

/// One run under QEMU with a plugin. Its times mean nothing.
fn count_instructions(guest: Guest<'_>, source: &Path) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let (plugin, count) = (folder.path().join("count.so"), folder.path().join("count"));
    let compiled =
        Command::new("gcc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(source).status().context("cannot run gcc")?;
    ensure!(compiled.success(), "{} does not compile", source.display());
    let mut command = machine::qemu(guest);
    command.arg("-plugin").arg(format!("{},out={}", plugin.display(), count.display()));
    machine::run(command, || {
        let bytes = fs::read(&count)?;
        Ok(u64::from_ne_bytes(bytes.try_into().ok().context("the plugin's counter is not one number")?))
    })
}

/// The figures, as a table in Markdown: QEMU, native, WAMR.
fn table(counted: &Run, machines: [&[Run]; 3]) -> String {
    let mut text =
        "| workload | M instructions | QEMU TCG, MIPS | native, MIPS | WAMR, MIPS | native / QEMU | WAMR / QEMU | WAMR / native |\n"
            .to_owned();
    text += "|---|---|---|---|---|---|---|---|\n";
    let row = |[qemu, native, wamr]: [f64; 3]| {
        format!("{qemu:.0} | {native:.0} | {wamr:.0} | {:.3} | {:.3} | {:.3} |\n", native / qemu, wamr / qemu, wamr / native)
    };
    let mut logs = [0.0; 3];
    for (index, lap) in counted.laps.iter().enumerate() {
        let millions = lap.instructions as f64 / 1e6;
        let mips = machines.map(|runs| millions / median(runs.iter().map(|run| run.laps[index].time)).as_secs_f64());
        logs.iter_mut().zip(mips).for_each(|(sum, mips)| *sum += mips.ln());
        text += &format!("| {} | {millions:.0} | {}", lap.name, row(mips));
    }
    text += &format!("| geometric mean | | {}", row(logs.map(|sum| (sum / counted.laps.len() as f64).exp())));
    let [qemu, native, wamr] = machines.map(|runs| median(runs.iter().map(|run| run.boot)).as_secs_f64());
    text += &format!("| start to first workload, s | | {qemu:.2} | {native:.2} | {wamr:.2} | | | |\n");
    text
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::Lap;

    fn run(result: &str, milliseconds: [u64; 2], millions: u64) -> Run {
        let laps = milliseconds.iter().zip(["a", "b"]).map(|(time, name)| Lap {
            name: name.to_owned(),
            result: result.to_owned(),
            time: Duration::from_millis(*time),
            instructions: millions * 1_000_000,
        });
        Run { boot: Duration::from_millis(500), laps: laps.collect() }
    }

    #[test]
    fn the_table_has_medians_and_geometric_means() {
        let qemu = [run("x", [100, 100], 0), run("x", [9000, 9000], 0), run("x", [10, 10], 0)];
        let native = [run("x", [200, 800], 0)];
        let wamr = [run("x", [400, 1600], 0)];
        let text = table(&run("x", [1, 1], 80), [&qemu, &native, &wamr]);
        assert!(text.contains("| a | 80 | 800 | 400 | 200 | 0.500 | 0.250 | 0.500 |"), "{text}");
        assert!(text.contains("| b | 80 | 800 | 100 | 50 | 0.125 | 0.062 | 0.500 |"), "{text}");
        assert!(text.contains("| geometric mean | | 800 | 200 | 100 | 0.250 | 0.125 | 0.500 |"), "{text}");
    }

    #[test]
    fn different_results_are_an_error() {
        assert!(machine::check_equal(&run("x", [1, 1], 0), &run("x", [2, 2], 0)).is_ok());
        assert!(machine::check_equal(&run("x", [1, 1], 0), &run("y", [1, 1], 0)).is_err());
        assert!(machine::check_equal(&run("x", [1, 1], 0), &Run::default()).is_err());
    }
}
