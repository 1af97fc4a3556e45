//! What a cold boot takes, up to the barrier and up to the shell's prompt.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use benches::median;
use benches::report::{Report, reported};
use clap::Parser;

/// Measures the boot of a guest, and leaves its snapshots.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// An uncompressed kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// Its initramfs, with a shell.
    #[arg(long)]
    initrd: PathBuf,
    /// Where the snapshot at the barrier is left.
    #[arg(long)]
    barrier: PathBuf,
    /// Where the snapshot of the shell at its prompt is left.
    #[arg(long)]
    prompt: PathBuf,
    /// How often each is baked; medians are printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "--runs must be at least 1");
    let points = [("the barrier", "barrier", options.barrier.as_path()), ("the shell's prompt", "idle", &options.prompt)];
    let mut reports = points.map(|_| Vec::new());
    for _ in 0..options.runs {
        for ((_, point, output), reports) in points.iter().zip(&mut reports) {
            reports.push(bake(&options, point, output)?);
        }
    }
    let rows: Vec<_> = points.iter().map(|(name, ..)| *name).zip(reports).collect();
    print!("{}", table(&rows)?);
    Ok(())
}

fn bake(options: &Options, point: &str, output: &Path) -> Result<Report> {
    let mut command = Command::new(&options.prebake);
    command.args(["bake", "--at", point, "--kernel"]).arg(&options.kernel).arg("--initrd").arg(&options.initrd).arg("-o").arg(output);
    Ok(reported(&mut command)?.1)
}

/// The figures, as a table in Markdown.
fn table(rows: &[(&str, Vec<Report>)]) -> Result<String> {
    let mut text =
        "| up to | guest instructions | s | MIPS | then quiet for, guest s | instructions of that | snapshot, MiB |\n".to_owned();
    text += "|---|---|---|---|---|---|---|\n";
    for (name, reports) in rows {
        let middle = |path: &str| -> Result<f64> {
            let figures: Vec<_> = reports.iter().map(|report| report.number(path)).collect::<Result<_>>()?;
            ensure!(!figures.is_empty(), "nothing was measured");
            Ok(median(figures))
        };
        text += &format!(
            "| {name} | {} | {:.3} | {:.0} | {:.1} | {} | {:.1} |\n",
            middle("/boot/guest_instructions")?,
            middle("/boot/wall_seconds")?,
            middle("/boot/mips")?,
            middle("/settled/at_seconds")? - middle("/settled/since_seconds")?,
            middle("/settled/instructions")?,
            middle("/snapshot_bytes")? / f64::from(1 << 20),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_medians() {
        let report = |seconds: u32| {
            let text = format!(
                r#"{{"boot": {{"guest_instructions": 1000, "wall_seconds": {seconds}, "mips": {seconds}}},
                    "settled": {{"since_seconds": 1, "at_seconds": 31.5, "instructions": 7}}, "snapshot_bytes": 1048576}}"#
            );
            Report::parse(text.as_bytes()).unwrap()
        };
        let text = table(&[("x", [9, 2, 1].map(report).to_vec())]).unwrap();
        assert!(text.ends_with("| x | 1000 | 2.000 | 2 | 30.5 | 7 | 1.0 |\n"), "{text}");
        assert!(table(&[("x", Vec::new())]).is_err());
    }
}
