//! The guest's network: throughput and latency beside QEMU's user network, in turns, in one run; and what a network costs a first answer.
//!
//! It listens at fixed ports of 127.0.0.1, so it is to run in a network namespace of its own.

mod machine;
mod peer;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use benches::median;
use benches::report::reported;
use clap::Parser;
use machine::{Cost, Engine, Machine};
use peer::Figures;

/// Measures the guest's network.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// An uncompressed kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// The initramfs with the host's partner.
    #[arg(long)]
    initrd: PathBuf,
    /// The same kernel and initramfs as a compiled machine with a network device.
    #[arg(long)]
    machine: PathBuf,
    /// A compiled machine of an image with a shell.
    #[arg(long)]
    image: PathBuf,
    /// Its snapshot.
    #[arg(long)]
    snapshot: PathBuf,
    /// How many MiB go each way.
    #[arg(long, default_value_t = 128)]
    mebibytes: u64,
    /// How often each machine runs; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How often the image answers with a network, and without one, on each engine.
    #[arg(long, default_value_t = 21)]
    answers: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0 && options.answers > 0 && options.mebibytes > 0, "--rounds, --answers and --mebibytes must be at least 1");
    let machines = [
        Machine::Qemu { kernel: &options.kernel, initramfs: &options.initrd },
        Machine::Prebake { program: &options.prebake, machine: &options.machine, engine: Engine::Native },
        Machine::Prebake { program: &options.prebake, machine: &options.machine, engine: Engine::Wamr },
    ];
    let mut runs = machines.map(|machine| (machine, Vec::new()));
    for round in 1..=options.rounds {
        eprintln!("network: round {round} of {}", options.rounds);
        for (machine, figures) in &mut runs {
            figures.push(machine.measure(options.mebibytes << 20)?);
        }
    }
    eprintln!("network: counting instructions");
    let costs = machines.iter().map(|machine| machine.costs(options.mebibytes << 20)).collect::<Result<Vec<_>>>()?;
    print!("{}\n{}\n", throughput(&runs, &costs, options.mebibytes), latency(&runs));
    print!("{}", first_answer(&options)?);
    Ok(())
}

type Runs<'a> = [(Machine<'a>, Vec<Figures>)];

/// A direction, and where the figures have its time.
type Way = (&'static str, fn(&Figures) -> f64);

const WAYS: [Way; 2] = [("to the host", |figures| figures.out), ("from the host", |figures| figures.into)];

fn throughput(runs: &Runs<'_>, costs: &[Option<[Cost; 2]>], mebibytes: u64) -> String {
    let speed = |figures: &[Figures], time: fn(&Figures) -> f64| mebibytes as f64 / median(figures.iter().map(time));
    let mut text =
        "| stream | machine | MiB/s | / QEMU TCG | thousand instructions per MiB | of the time in the guest |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (way, (name, time)) in WAYS.into_iter().enumerate() {
        let qemu = speed(&runs[0].1, time);
        for ((machine, figures), costs) in runs.iter().zip(costs) {
            let speed = speed(figures, time);
            let cost = costs.as_ref().map_or_else(
                || " | ".to_owned(),
                |costs| {
                    let Cost { instructions, share } = &costs[way];
                    format!("{:.0} | {:.0} %", instructions / 1e3 / mebibytes as f64, share * 100.0)
                },
            );
            text += &format!("| {name} | {} | {speed:.0} | {:.2} | {cost} |\n", machine.name(), speed / qemu);
        }
    }
    text
}

fn latency(runs: &Runs<'_>) -> String {
    let mut text =
        "| an answer of a server in the guest, ms: median, slowest of a hundred | idle | beside a busy program |\n|---|---|---|\n"
            .to_owned();
    for (machine, figures) in runs {
        let cell = |times: fn(&Figures) -> [f64; 2]| {
            let [middle, slow] = [0, 1].map(|at| median(figures.iter().map(|figures| times(figures)[at])));
            format!("{middle:.2}, {slow:.2}")
        };
        text += &format!("| {} | {} | {} |\n", machine.name(), cell(|figures| figures.idle), cell(|figures| figures.busy));
    }
    text
}

/// The same answer of an image's machine without a network and with one, in pairs.
fn first_answer(options: &Options) -> Result<String> {
    let mut text = "| first answer of an image | without a network | with one | difference |\n|---|---|---|---|\n".to_owned();
    for engine in [Engine::Native, Engine::Wamr] {
        let (mut times, mut instructions) = (Vec::new(), Vec::new());
        // The first pair is for the page cache.
        for pair in 0..=options.answers {
            let mut answers = [Answer::default(); 2];
            for at in [pair % 2, 1 - pair % 2] {
                answers[at] = answer(options, engine, ["none", "user"][at])?;
            }
            if pair > 0 {
                times.push(answers.map(|answer| answer.millis));
                instructions.push(answers.map(|answer| answer.instructions));
            }
        }
        text += &row(&format!("{}, ms", engine.name()), &times, 2);
        text += &row(&format!("{}, instructions", engine.name()), &instructions, 0);
    }
    Ok(text)
}

#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    millis: f64,
    instructions: f64,
}

/// One start, to the end of a program that says one word.
fn answer(options: &Options, engine: Engine, network: &str) -> Result<Answer> {
    let mut run = Command::new(&options.prebake);
    run.arg("run").arg(&options.image).arg("--snapshot").arg(&options.snapshot);
    let (_, report) = reported(run.args(["--engine", engine.name(), "--net", network, "--entrypoint", "uname"]))?;
    Ok(Answer { millis: report.number("/first_output_ms")?, instructions: report.number("/guest_instructions")? })
}

/// Medians: of each, and of the differences within pairs.
fn row(name: &str, pairs: &[[f64; 2]], decimals: usize) -> String {
    let [without, with] = [0, 1].map(|at| median(pairs.iter().map(|pair| pair[at])));
    let difference = median(pairs.iter().map(|[without, with]| with - without));
    format!("| {name} | {without:.decimals$} | {with:.decimals$} | {difference:+.decimals$} |\n")
}
