//! `prebake profile`: what is hot in a profile.

use crate::args::ProfileArgs;
use crate::shell::Shell;
use crate::wording::{coverage, grouped};
use prebake::error::{Error, Result};
use prebake::make::hot::{Hot, Names, hot};
use prebake::make::translated::{covered, read_profiles};
use prebake::text::printable;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ProfileArgs) -> ExitCode {
    super::end(shell, show(args))
}

fn show(args: &ProfileArgs) -> Result<()> {
    let mut names = Names::default();
    args.symbols.iter().try_for_each(|path| names.add_kernel(path))?;
    args.elf.iter().try_for_each(|path| names.add_file(path))?;
    let profile = read_profiles(&args.files)?;
    let hot = hot(&profile, &names);
    let mut text = if args.folded { folded(&hot) } else { table(&hot, args.top) };
    if let Some(machine) = &args.machine {
        text += &format!("{} {}\n", printable(&machine.to_string_lossy()), coverage(&covered(machine, &profile)?));
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(|source| Error::Host { what: "write to standard output", source })
}

/// A line for each function as flame graphs want it: the place, the function, how many instructions.
fn folded(hot: &[Hot]) -> String {
    hot.iter().map(|hot| format!("{};{} {}\n", printable(&hot.place), printable(&hot.function), hot.instructions)).collect()
}

fn table(hot: &[Hot], top: usize) -> String {
    let all = hot.iter().map(|hot| hot.instructions).fold(0, u64::saturating_add).max(1);
    let percent = |part: u64| 100.0 * part as f64 / all as f64;
    let mut sum = 0_u64;
    let mut text = format!("{:>7} {:>7} {:>18}  function\n", "%", "sum, %", "instructions");
    for hot in &hot[..top.min(hot.len())] {
        sum = sum.saturating_add(hot.instructions);
        let (own, so_far, count) = (percent(hot.instructions), percent(sum), grouped(hot.instructions));
        text += &format!("{own:7.2} {so_far:7.2} {count:>18}  {}: {}\n", printable(&hot.place), printable(&hot.function));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_shown_as_a_table_and_as_folded_stacks() {
        let one = |place: &str, function: &str, instructions| Hot { place: place.into(), function: function.into(), instructions };
        let hot = [one("kernel", "memcpy", 3000), one("sh", "main", 900), one("user", "0x7000", 100)];
        assert_eq!(folded(&hot), "kernel;memcpy 3000\nsh;main 900\nuser;0x7000 100\n");
        let table = table(&hot, 2);
        assert!(table.lines().nth(2).unwrap().ends_with("  22.50   97.50                900  sh: main"), "{table}");
        assert_eq!(table.lines().count(), 3);
        // Names are anyone's words, and counts too.
        let anyones = [one("a\n", "\x1b[2Jb", u64::MAX), one("user", "0", u64::MAX)];
        assert!(folded(&anyones).starts_with("a\\n;\\u{1b}[2Jb ") && folded(&anyones).lines().count() == 2);
        assert!(super::table(&anyones, 2).contains("  a\\n: \\u{1b}[2Jb\n"));
    }
}
