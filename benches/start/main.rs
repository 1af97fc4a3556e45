//! How long a restored machine takes to answer: from the start of the process to the first byte of the guest's answer to a command.

mod session;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use session::Answer;

/// Measures how soon a restored machine answers.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    prebake: PathBuf,
    /// A snapshot at the barrier: its shell starts after the restore, on streams.
    #[arg(long)]
    barrier: PathBuf,
    /// A snapshot of a shell at its prompt, on a terminal.
    #[arg(long)]
    prompt: PathBuf,
    /// How often each is started, in turns; medians are printed.
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.runs > 0, "--runs must be at least 1");
    // Once for the page cache, and for the digests that prebake remembers.
    session::on_streams(&options.prebake, &options.barrier)?;
    session::on_terminal(&options.prebake, &options.prompt)?;
    let (mut barrier, mut prompt) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        barrier.push(session::on_streams(&options.prebake, &options.barrier)?);
        prompt.push(session::on_terminal(&options.prebake, &options.prompt)?);
    }
    print!("{}", table(&[("at the barrier", barrier), ("at the prompt", prompt)])?);
    Ok(())
}

/// The figures, as a table in Markdown.
fn table(rows: &[(&str, Vec<Answer>)]) -> Result<String> {
    let mut text = "| snapshot | answer, ms: least, median, most | restore, ms | guest instructions | mappings | MiB |\n".to_owned();
    text += "|---|---|---|---|---|---|\n";
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
            "| {name} | {:.1}, {:.1}, {:.1} | {:.2} | {:.0} | {} | {:.1} |\n",
            times[0],
            times[times.len() / 2],
            times[times.len() - 1],
            middle(|answer| answer.restore_ms),
            middle(|answer| answer.instructions as f64),
            last.mappings,
            last.snapshot_bytes as f64 / f64::from(1 << 20),
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
        };
        let text = table(&[("x", [50, 10, 20].map(answer).to_vec())]).unwrap();
        assert!(text.ends_with("| x | 10.0, 20.0, 50.0 | 2.00 | 20000 | 3 | 1.0 |\n"), "{text}");
        assert!(table(&[("x", Vec::new())]).is_err());
    }
}
