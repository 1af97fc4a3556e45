//! How long a restored machine takes to answer: from the start of the process to the first byte of the guest's answer to a command.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use benches::session::{Answer, Start, on_streams, on_terminal};
use benches::{mebibytes, median, millis};
use clap::Parser;

/// Measures how soon a restored machine answers.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// A snapshot at the barrier: its shell starts after the restore, on streams.
    #[arg(long)]
    barrier: PathBuf,
    /// A snapshot of a shell at its prompt, on a terminal; left out if there is none.
    #[arg(long)]
    prompt: Option<PathBuf>,
    /// The machine of the snapshots, compiled for WAMR.
    #[arg(long)]
    machine: PathBuf,
    /// An older program, with a machine of its own for the same snapshots, to compare with.
    #[arg(long, requires = "old_machine")]
    old: Option<PathBuf>,
    /// The older program's machine.
    #[arg(long, requires = "old")]
    old_machine: Option<PathBuf>,
    /// How often each is started, in turns; medians are printed.
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "--runs must be at least 1");
    let mut rows: Vec<(String, Start<'_>, Session)> = Vec::new();
    let mut versions = vec![("", &options.prebake, &options.machine)];
    if let (Some(prebake), Some(machine)) = (&options.old, &options.old_machine) {
        versions.push(("older ", prebake, machine));
    }
    for (version, prebake, machine) in versions {
        let start = |engine, restore, snapshot| Start { prebake, machine, engine, restore, snapshot };
        for (name, engine, restore) in [("native", "native", "map"), ("WAMR", "wamr", "map"), ("WAMR, reading", "wamr", "read")] {
            rows.push((format!("{version}{name}, at the barrier"), start(engine, restore, options.barrier.as_path()), on_streams));
            if let Some(prompt) = &options.prompt {
                rows.push((format!("{version}{name}, at the prompt"), start(engine, restore, prompt), on_terminal));
            }
        }
    }
    let mut answers: Vec<_> = rows.iter().map(|(name, ..)| (name.as_str(), Vec::new())).collect();
    // The first round is for the page cache, and for the digests that prebake remembers.
    for round in 0..=options.runs {
        for ((_, start, session), (_, answers)) in rows.iter().zip(&mut answers) {
            let answer = session(start)?;
            if round > 0 {
                answers.push(answer);
            }
        }
    }
    print!("{}", table(&answers)?);
    Ok(())
}

/// One of the ways to have a session.
type Session = fn(&Start<'_>) -> Result<Answer>;

/// The figures, as a table in Markdown.
fn table(rows: &[(&str, Vec<Answer>)]) -> Result<String> {
    let mut text =
        "| engine and snapshot | answer, ms: least, median, most | restore, ms | guest instructions | mappings | MiB | MiB loaded |\n"
            .to_owned();
    text += "|---|---|---|---|---|---|---|\n";
    for (name, answers) in rows {
        let mut times: Vec<_> = answers.iter().map(|answer| millis(answer.time)).collect();
        times.sort_by(f64::total_cmp);
        let last = answers.last().context("nothing was measured")?;
        let middle = |figure: fn(&Answer) -> f64| median(answers.iter().map(figure));
        text += &format!(
            "| {name} | {:.1}, {:.1}, {:.1} | {:.2} | {:.0} | {} | {:.1} | {:.1} |\n",
            times[0],
            times[times.len() / 2],
            times[times.len() - 1],
            middle(|answer| answer.restore_ms),
            middle(|answer| answer.instructions as f64),
            last.mappings,
            mebibytes(last.snapshot_bytes),
            mebibytes(last.pages_loaded * 4096),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_table_has_medians() {
        let answer = |milliseconds| Answer {
            time: Duration::from_millis(milliseconds),
            restore_ms: milliseconds as f64 / 10.0,
            instructions: milliseconds * 1000,
            mappings: 3,
            snapshot_bytes: 1 << 20,
            pages_loaded: 128,
        };
        let text = table(&[("x", [50, 10, 20].map(answer).to_vec())]).unwrap();
        assert!(text.ends_with("| x | 10.0, 20.0, 50.0 | 2.00 | 20000 | 3 | 1.0 | 0.5 |\n"), "{text}");
        assert!(table(&[("x", Vec::new())]).is_err());
    }
}
