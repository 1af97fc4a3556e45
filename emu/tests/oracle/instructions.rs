//! `emu/INSTRUCTIONS.md`: every instruction form that is implemented, where it stands, and how many cases of it `make oracle` compares.
//!
//! `make instructions` writes the file (`ORACLE_WRITE`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use emu::exec;
use iced_x86::Code;

use super::suite::{self, Amount};
use super::{elsewhere, generate};

const HEAD: &str = "\
# Instructions

All implemented instruction forms, grouped by the file in `src/exec/` with their row. `make instructions` writes this page, and a test checks that it is current.

The figures count the cases that `make oracle` compares with the host's CPU, for the form with registers only and for the form with a memory operand
(`–`: no such form). For an instruction that user code may not execute, the oracle compares the exception. The last column names the test of its effect, and
the test of each form without cases (`tests/oracle/generate.rs` gives the reasons).
";

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file() -> PathBuf {
    package().join("INSTRUCTIONS.md")
}

/// Path of a row's file, below `src/exec/`.
fn short(path: &str) -> &str {
    path.rsplit_once("src/exec/").map_or(path, |(_, short)| short)
}

fn render() -> String {
    let mut files: BTreeMap<&str, Vec<(Code, [bool; 2])>> = BTreeMap::new();
    for (code, forms, path) in exec::catalogue() {
        files.entry(short(path)).or_default().push((code, forms));
    }
    let (mut instructions, mut all) = (0, 0);
    let mut body = String::new();
    for (file, rows) in &mut files {
        rows.sort();
        let _ = write!(body, "\n## {file}\n\n| `Code` | instruction | registers | memory | elsewhere |\n|---|---|---|---|---|\n");
        for (code, forms) in rows {
            let counts = suite::count(*code, Amount::LONG, 0);
            let cell = |form: usize| if forms[form] { counts[form].to_string() } else { "–".to_string() };
            let elsewhere = match (elsewhere::is_needed(*code), elsewhere::test(*code)) {
                (false, _) => String::new(),
                (true, Some((file, test))) => format!("`src/{file}` {test}"),
                (true, None) => elsewhere::answer(*code).map(|file| format!("`{file}`")).unwrap_or_default(),
            };
            let name = code.op_code().instruction_string().replace('|', "\\|");
            let _ = writeln!(body, "| `{code:?}` | {name} | {} | {} | {elsewhere} |", cell(0), cell(1));
            instructions += 1;
            all += counts.iter().sum::<u64>();
        }
    }
    let forms = exec::implemented().count();
    format!("{HEAD}\n{instructions} `Code`s, {forms} forms, {all} cases.\n{body}")
}

#[test]
fn instructions_md_is_current() {
    let wanted = render();
    if suite::setting("ORACLE_WRITE", 0) != 0 {
        std::fs::write(file(), &wanted).expect("emu/INSTRUCTIONS.md can be written");
    }
    let found = std::fs::read_to_string(file()).unwrap_or_default();
    let difference = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    assert!(wanted == found, "emu/INSTRUCTIONS.md is not current; run `make instructions`. First difference: {difference:?}");
}

#[test]
fn long_form_compares_a_thousand_cases_of_each_form() {
    const OF_EACH: u64 = 1_000;
    const IN_ALL: u64 = 5_000_000;
    let mut all = 0;
    let mut few = Vec::new();
    for (code, forms, _) in exec::catalogue() {
        let counts = suite::count(code, Amount::LONG, 0);
        all += counts.iter().sum::<u64>();
        for ((exists, count), form) in forms.into_iter().zip(counts).zip(["registers", "memory"]) {
            if exists && count < OF_EACH && generate::excluded(code).is_none() {
                few.push(format!("{code:?}, {form}: {count}"));
            }
        }
    }
    assert!(few.is_empty(), "{} forms have few cases:\n{}", few.len(), few.join("\n"));
    assert!(all >= IN_ALL, "{all} cases in all");
}

/// What user code cannot do, or the oracle does not ask, has a test, and that exists.
#[test]
fn every_instruction_is_tested_somewhere() {
    let mut missing = BTreeSet::new();
    for (code, ..) in exec::catalogue() {
        match elsewhere::test(code) {
            _ if !elsewhere::is_needed(code) => {}
            None if elsewhere::answer(code).is_none() => {
                missing.insert(format!("{code:?}: no test is named, and no case has an answer"));
            }
            None => {}
            Some((file, test)) => {
                let source = std::fs::read_to_string(package().join("src").join(file)).unwrap_or_default();
                if !source.contains(&format!("fn {test}()")) {
                    missing.insert(format!("{code:?}: {file} has no {test}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.into_iter().collect::<Vec<_>>().join("\n"));
}
