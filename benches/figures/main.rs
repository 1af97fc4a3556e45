//! Runs a command that measures, and puts what it prints into its section of the page of figures.

mod page;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Runs COMMAND and writes the tables that it prints into a section of a page.
#[derive(Debug, Parser)]
struct Options {
    /// The page.
    #[arg(long)]
    page: PathBuf,
    /// The section: its markers must be in the page.
    #[arg(long)]
    section: String,
    /// What the page tells its readers to run.
    #[arg(long)]
    by: String,
    /// The command that measures; its standard output is Markdown.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let read = || std::fs::read_to_string(&options.page).with_context(|| format!("cannot read {}", options.page.display()));
    // Known before anything has been measured for minutes.
    page::with_section(&read()?, &options.section, "")?;
    let (program, arguments) = options.command.split_first().context("no command")?;
    let output =
        Command::new(program).args(arguments).stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8(output.stdout).context("what was printed is not UTF-8")?;
    print!("{text}");
    ensure!(output.status.success(), "{program} ended with {}; {} is unchanged", output.status, options.page.display());
    let section = format!("`{}`, on {}:\n\n{}", options.by, host()?, text.trim_end());
    // Others may have written to it meanwhile.
    let page = page::with_section(&read()?, &options.section, &section)?;
    std::fs::write(&options.page, page).with_context(|| format!("cannot write {}", options.page.display()))
}

/// The processor and how much of it there is.
fn host() -> Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{} with {cores} cores", page::processor(&text).unwrap_or(std::env::consts::ARCH)))
}
