//! How long a restored machine takes to answer: from the start of the process to the first byte of the guest's answer to a command.

mod session;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use session::{Answer, Start};

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
    /// How often each is started, in turns; medians are printed.
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "--runs must be at least 1");
    let start = |engine, restore, snapshot| Start { prebake: &options.prebake, machine: &options.machine, engine, restore, snapshot };
    let mut rows: Vec<(String, Start<'_>, Session)> = Vec::new();
    for (name, engine, restore) in [("native", "native", "map"), ("WAMR", "wamr", "map"), ("WAMR, reading", "wamr", "read")] {
        rows.push((format!("{name}, at the barrier"), start(engine, restore, options.barrier.as_path()), session::on_streams));
        if let Some(prompt) = &options.prompt {
            rows.push((format!("{name}, at the prompt"), start(engine, restore, prompt), session::on_terminal));
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
        let middle = |figure: fn(&Answer) -> f64| {
            let mut figures: Vec<_> = answers.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let last = answers.last().context("nothing was measured")?;
        text += &format!(
            "| {name} | {:.1}, {:.1}, {:.1} | {:.2} | {:.0} | {} | {:.1} | {:.1} |\n",
            times[0],
            times[times.len() / 2],
            times[times.len() - 1],
            middle(|answer| answer.restore_ms),
            middle(|answer| answer.instructions as f64),
            last.mappings,
            last.snapshot_bytes as f64 / f64::from(1 << 20),
            last.pages_loaded as f64 / 256.0,
        );
    }
    Ok(text)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

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
