//! Container images, from their OCI layouts to their first answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use benches::report::{reported, timed};
use benches::session::{Start, on_streams};
use benches::{mebibytes, median, millis};
use clap::Parser;

/// Measures what it takes to make machines and snapshots of container images, and to hear from them.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// Where the machines and snapshots go.
    #[arg(long)]
    output: PathBuf,
    /// How often each image is started on each engine, in turns; medians are printed.
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// OCI layouts with one image each, which has a shell.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "--runs must be at least 1");
    println!(
        "| image | convert, s | .wasm, MiB | aot, s | bake, s | boot, M instructions | .snap, MiB | native, ms | WAMR, ms | guest, M instructions |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for image in &options.images {
        println!("{}", row(&options, image)?);
    }
    Ok(())
}

fn row(options: &Options, image: &Path) -> Result<String> {
    let name = image.file_name().with_context(|| format!("{} has no name", image.display()))?.to_string_lossy();
    let file = |extension: &str| options.output.join(format!("{name}.{extension}"));
    let (wasm, aot, snap) = (file("wasm"), file("aot"), file("snap"));
    let prebake = || Command::new(&options.prebake);
    let convert = timed(prebake().arg("convert").arg(format!("oci:{}", image.display())).arg("-o").arg(&wasm))?;
    let compile = timed(prebake().arg("aot").arg(&wasm).arg("-o").arg(&aot))?;
    let (bake, baked) = reported(prebake().arg("bake").arg(&aot).arg("-o").arg(&snap))?;

    let start = |engine| Start { prebake: &options.prebake, machine: &aot, engine, restore: "map", snapshot: &snap };
    let (mut native, mut wamr, mut instructions) = (Vec::new(), Vec::new(), 0);
    // The first round is for the page cache, and for the digests that prebake remembers.
    for round in 0..=options.runs {
        let answers = [on_streams(&start("native"))?, on_streams(&start("wamr"))?];
        if round > 0 {
            native.push(millis(answers[0].time));
            wamr.push(millis(answers[1].time));
            instructions = answers[0].instructions;
        }
    }
    Ok(format!(
        "| {name} | {:.2} | {:.1} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} |",
        convert.as_secs_f64(),
        mebibytes(wasm.metadata()?.len()),
        compile.as_secs_f64(),
        bake.as_secs_f64(),
        baked.number("/boot/guest_instructions")? / 1e6,
        mebibytes(baked.count("/snapshot_bytes")?),
        median(native),
        median(wamr),
        instructions as f64 / 1e6,
    ))
}
