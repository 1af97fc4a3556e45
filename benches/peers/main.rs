//! Speed beside QEMU's TCG, natively and in WAMR: the same kernel and workloads on all, in turns, in one run, so that a busy host disturbs all
//! alike.

mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use benches::median;
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
    /// An image of a disk with what the workloads need; `--machine` has it as its root.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// The guest's memory in MiB; that of `--machine`.
    #[arg(long, default_value_t = 128)]
    memory: u32,
    /// The same kernel and initramfs as a machine for WAMR.
    #[arg(long)]
    machine: PathBuf,
    /// The same machine with translated code of its programs.
    #[arg(long)]
    trained: Option<PathBuf>,
    /// The same machine without any translated code.
    #[arg(long)]
    plain: Option<PathBuf>,
    /// An older program, with a machine of its own for the same guest, to compare with.
    #[arg(long, requires = "old_machine")]
    old: Option<PathBuf>,
    /// The older program's machine.
    #[arg(long, requires = "old")]
    old_machine: Option<PathBuf>,
    /// The source of the plugin that counts QEMU's instructions. Without it, the table has processor time.
    #[arg(long)]
    counter: Option<PathBuf>,
    /// How often each machine runs; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "--rounds must be at least 1");
    let guest = Guest { kernel: &options.kernel, initramfs: &options.initrd, disk: options.disk.as_deref(), memory: options.memory };

    let counted = options.counter.as_deref().map(|counter| {
        eprintln!("peers: counting instructions");
        count_instructions(guest, counter)
    });
    let counted = counted.transpose()?;
    let (program, machine) = (options.prebake.as_path(), options.machine.as_path());
    let mut machines = vec![machine_of("QEMU TCG", move || machine::qemu(guest))];
    if counted.is_some() {
        machines.push(machine_of("native", move || machine::prebake(program, guest)));
    }
    if let Some(plain) = &options.plain {
        machines.push(machine_of("plain", move || machine::wamr(program, plain)));
    }
    machines.push(machine_of("WAMR", move || machine::wamr(program, machine)));
    if let Some(trained) = &options.trained {
        machines.push(machine_of("trained", move || machine::wamr(program, trained)));
    }
    if let (Some(program), Some(machine)) = (&options.old, &options.old_machine) {
        machines.push(machine_of("older native", move || machine::prebake(program, guest)));
        machines.push(machine_of("older WAMR", move || machine::wamr(program, machine)));
    }
    let mut runs: Vec<_> = machines.iter().map(|(name, _)| (*name, Vec::new())).collect();
    let mut reference = None;
    for round in 1..=options.rounds {
        eprintln!("peers: round {round} of {}", options.rounds);
        for ((_, command), (_, runs)) in machines.iter().zip(&mut runs) {
            let run = machine::run(command(), || Ok(0))?;
            machine::check_equal(counted.as_ref().or(reference.as_ref()).unwrap_or(&run), &run)?;
            reference.get_or_insert_with(|| run.clone());
            runs.push(run);
        }
    }
    print!("{}", counted.map_or_else(|| seconds(&runs), |counted| table(&counted, &runs)));
    Ok(())
}

/// A name, and what runs the workloads.
type Machine<'a> = (&'static str, Box<dyn Fn() -> Command + 'a>);

fn machine_of<'a>(name: &'static str, command: impl Fn() -> Command + 'a) -> Machine<'a> {
    (name, Box::new(command))
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

/// Which machines are compared, where there are both.
const RATIOS: [(&str, &str); 9] = [
    ("native", "QEMU TCG"),
    ("WAMR", "QEMU TCG"),
    ("WAMR", "native"),
    ("trained", "QEMU TCG"),
    ("trained", "WAMR"),
    ("WAMR", "plain"),
    ("trained", "plain"),
    ("native", "older native"),
    ("WAMR", "older WAMR"),
];

/// Indices of [`RATIOS`] among the machines.
fn ratios(machines: &[(&str, Vec<Run>)]) -> Vec<(usize, usize)> {
    let place = |wanted: &str| machines.iter().position(|(name, _)| *name == wanted);
    RATIOS.iter().filter_map(|(above, below)| Some((place(above)?, place(below)?))).collect()
}

/// The figures, as a table in Markdown: a column of MIPS for each machine, then the ratios.
fn table(counted: &Run, machines: &[(&str, Vec<Run>)]) -> String {
    let ratios = ratios(machines);
    let mut text = "| workload | M instructions |".to_owned();
    machines.iter().for_each(|(name, _)| text += &format!(" {name}, MIPS |"));
    ratios.iter().for_each(|&(above, below)| text += &format!(" {} / {} |", machines[above].0, machines[below].0));
    text += &format!("\n{}|\n", "|---".repeat(2 + machines.len() + ratios.len()));
    let row = |mips: &[f64]| {
        let mut row: String = mips.iter().map(|mips| format!(" {mips:.0} |")).collect();
        ratios.iter().for_each(|&(above, below)| row += &format!(" {:.3} |", mips[above] / mips[below]));
        row + "\n"
    };
    let mut logs = vec![0.0; machines.len()];
    for (index, lap) in counted.laps.iter().enumerate() {
        let millions = lap.instructions as f64 / 1e6;
        let seconds = |runs: &[Run]| median(runs.iter().map(|run| run.laps[index].time.as_secs_f64()));
        let mips: Vec<f64> = machines.iter().map(|(_, runs)| millions / seconds(runs)).collect();
        logs.iter_mut().zip(&mips).for_each(|(sum, mips)| *sum += mips.ln());
        text += &format!("| {} | {millions:.0} |{}", lap.name, row(&mips));
    }
    let means: Vec<f64> = logs.iter().map(|sum| (sum / counted.laps.len() as f64).exp()).collect();
    text += &format!("| geometric mean | |{}", row(&means));
    let boots = machines.iter().map(|(_, runs)| median(runs.iter().map(|run| run.boot.as_secs_f64())));
    text += "| start to first workload, s | |";
    boots.for_each(|seconds| text += &format!(" {seconds:.2} |"));
    text + &" |".repeat(ratios.len()) + "\n"
}

/// The same in seconds of processor time. A ratio is one of speeds here, too.
fn seconds(machines: &[(&str, Vec<Run>)]) -> String {
    let ratios = ratios(machines);
    let mut text = "| program |".to_owned();
    machines.iter().for_each(|(name, _)| text += &format!(" {name}, s |"));
    ratios.iter().for_each(|&(above, below)| text += &format!(" {} / {} |", machines[above].0, machines[below].0));
    text += &format!("\n{}|\n", "|---".repeat(1 + machines.len() + ratios.len()));
    let mut logs = vec![0.0; ratios.len()];
    let laps = machines.first().and_then(|(_, runs)| runs.first()).map_or(&[][..], |run| &run.laps);
    for (index, lap) in laps.iter().enumerate() {
        let times: Vec<f64> =
            machines.iter().map(|(_, runs)| median(runs.iter().map(|run| run.laps[index].processor.as_secs_f64()))).collect();
        text += &format!("| {} |", lap.name);
        times.iter().for_each(|time| text += &format!(" {time:.2} |"));
        for (log, &(above, below)) in logs.iter_mut().zip(&ratios) {
            let ratio = times[below] / times[above];
            *log += ratio.ln();
            text += &format!(" {ratio:.2} |");
        }
        text += "\n";
    }
    text += &format!("| geometric mean |{}", " |".repeat(machines.len()));
    logs.iter().for_each(|log| text += &format!(" {:.2} |", (log / laps.len() as f64).exp()));
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::Lap;
    use std::time::Duration;

    fn run(result: &str, milliseconds: [u64; 2], millions: u64) -> Run {
        let laps = milliseconds.iter().zip(["a", "b"]).map(|(time, name)| Lap {
            name: name.to_owned(),
            result: result.to_owned(),
            time: Duration::from_millis(*time),
            processor: Duration::from_millis(*time * 2),
            instructions: millions * 1_000_000,
        });
        Run { boot: Duration::from_millis(500), laps: laps.collect() }
    }

    #[test]
    fn the_table_has_medians_and_geometric_means() {
        let qemu = [run("x", [100, 100], 0), run("x", [9000, 9000], 0), run("x", [10, 10], 0)];
        let native = [run("x", [200, 800], 0)];
        let wamr = [run("x", [400, 1600], 0)];
        let mut machines = vec![("QEMU TCG", qemu.into()), ("native", native.into()), ("WAMR", wamr.into())];
        let text = table(&run("x", [1, 1], 80), &machines);
        assert!(text.contains("| native / QEMU TCG | WAMR / QEMU TCG | WAMR / native |\n|---|---|---|---|---|---|---|---|\n"), "{text}");
        assert!(text.contains("| a | 80 | 800 | 400 | 200 | 0.500 | 0.250 | 0.500 |\n"), "{text}");
        assert!(text.contains("| b | 80 | 800 | 100 | 50 | 0.125 | 0.062 | 0.500 |\n"), "{text}");
        assert!(text.contains("| geometric mean | | 800 | 200 | 100 | 0.250 | 0.125 | 0.500 |\n"), "{text}");
        machines.extend([("older native", vec![run("x", [400, 400], 0)]), ("older WAMR", vec![run("x", [400, 400], 0)])]);
        let text = table(&run("x", [1, 1], 80), &machines);
        assert!(text.contains("| a | 80 | 800 | 400 | 200 | 200 | 200 | 0.500 | 0.250 | 0.500 | 2.000 | 1.000 |\n"), "{text}");
    }

    #[test]
    fn the_table_of_seconds_compares_speeds() {
        let machines =
            [("QEMU TCG", [100, 400]), ("WAMR", [400, 200]), ("trained", [100, 100])].map(|(name, times)| (name, vec![run("x", times, 0)]));
        let text = seconds(&machines);
        assert!(text.contains("| WAMR / QEMU TCG | trained / QEMU TCG | trained / WAMR |\n|---|---|---|---|---|---|---|\n"), "{text}");
        assert!(text.contains("| a | 0.20 | 0.80 | 0.20 | 0.25 | 1.00 | 4.00 |\n"), "{text}");
        assert!(text.contains("| geometric mean | | | | 0.71 | 2.00 | 2.83 |\n"), "{text}");
    }

    #[test]
    fn different_results_are_an_error() {
        assert!(machine::check_equal(&run("x", [1, 1], 0), &run("x", [2, 2], 0)).is_ok());
        assert!(machine::check_equal(&run("x", [1, 1], 0), &run("y", [1, 1], 0)).is_err());
        assert!(machine::check_equal(&run("x", [1, 1], 0), &Run::default()).is_err());
    }
}
