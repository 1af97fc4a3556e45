//! The cases, and what holds without a host to ask.

use std::collections::BTreeSet;
use std::path::Path;

use emu::exec;
use iced_x86::Code;

use super::case::{self, Case};
use super::generate;
use super::ins::{self, Line};
use super::ours::{Drive, Ours};
use super::rng::Rng;
use super::world::World;

/// Variants of a line of a case file, which differ in what the line leaves open.
pub const VARIANTS: u64 = 4;
/// In every way.
pub const DRIVES: [Drive; 3] = [Drive::Cold, Drive::Warm, Drive::Stepped];

/// All lines of all case files.
pub fn lines() -> Vec<Line> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ops");
    ins::read_dir(&dir).expect("the case files can be read")
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("ORACLE_ settings are numbers"),
        Err(_) => default,
    }
}

/// The generated cases of one instruction.
pub fn generated(code: Code) -> Vec<Case> {
    if generate::excluded(code).is_some() {
        return Vec::new();
    }
    let (encodings, inputs) = (setting("ORACLE_ENCODINGS", 6), setting("ORACLE_INPUTS", 8));
    let mut rng = Rng::new(setting("ORACLE_SEED", 0) << 16 | code as u64);
    let encodings = generate::encodings(code, encodings, &mut rng);
    let implemented = encodings.iter().filter(|encoding| exec::implements(code, encoding.has_memory_operand()));
    let cases = |encoding: &generate::Encoding, rng: &mut Rng| -> Vec<Case> {
        (0..inputs).map(|_| Case::new(format!("{code:?}"), encoding.bits, &encoding.bytes, &[], true, rng)).collect()
    };
    implemented.flat_map(|encoding| cases(encoding, &mut rng)).collect()
}

/// Every instruction of which a form is implemented.
pub fn implemented() -> BTreeSet<Code> {
    exec::implemented().map(|(code, _)| code).collect()
}

/// Runs a case on our CPU in one way.
pub fn run(ours: &mut Ours, case: &Case, drive: Drive) -> Box<World> {
    let mut world = case.before.clone();
    ours.run(&mut world, drive);
    world
}

/// Fails with some of the reports if there are any.
pub fn assert_none(reports: &[String]) {
    const SHOWN: usize = 20;
    let shown = reports.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(reports.is_empty(), "{} mismatches (expected / ours):\n\n{shown}\n", reports.len());
}

#[test]
fn case_files_encode_what_they_say() {
    for line in lines() {
        let code = case::decode(line.bits, &line.bytes, super::world::ENTRY);
        assert_eq!(case::text(&code), line.text, "{}", line.place);
        assert_eq!(code.iter().map(|instruction| instruction.len()).sum::<usize>(), line.bytes.len(), "{}", line.place);
    }
}

#[test]
fn cases_with_answers_agree() {
    let mut ours = Ours::new();
    let mut reports = Vec::new();
    for line in lines() {
        let Some(expected) = &line.expected else { continue };
        for case in Case::of_line(&line, VARIANTS) {
            for drive in DRIVES {
                let unmet = case::unmet(expected, &case.before, line.bytes.len(), &run(&mut ours, &case, drive));
                if !unmet.is_empty() {
                    reports.push(format!("{drive:?} {}", case.report(&unmet)));
                }
            }
        }
    }
    assert_none(&reports);
}

#[test]
fn a_wrong_answer_is_noticed() {
    let right = "48 01 d8 \"add rax,rbx\" rax=1 rbx=2 => rax=3 zf=0 cf=0";
    let wrong = [
        right.replace("rax=3", "rax=4"),
        right.replace("zf=0", "zf=1"),
        right.replace("=>", "=> #UD"),
        right.replace("=>", "=> [data]=00"),
        right.replace("=>", "=> rip=entry"),
    ];
    let unmet = |text: &str| {
        let line = &ins::parse("x.ins", text).expect("a case")[0];
        let case = &Case::of_line(line, 1)[0];
        let expected = line.expected.as_ref().expect("the line has an answer");
        case::unmet(expected, &case.before, line.bytes.len(), &run(&mut Ours::new(), case, Drive::Cold)).len()
    };
    assert_eq!(unmet(right), 0);
    for text in wrong {
        assert_ne!(unmet(&text), 0, "{text}");
    }
}

/// An instruction that nobody tried does not count as implemented.
#[test]
fn every_implemented_form_has_cases() {
    let mut tried: BTreeSet<(Code, bool)> = BTreeSet::new();
    for line in lines() {
        tried.extend(
            case::decode(line.bits, &line.bytes, 0)
                .iter()
                .map(|instruction| (instruction.code(), generate::has_memory_operand(instruction))),
        );
    }
    for code in implemented() {
        tried.extend(
            generated(code)
                .iter()
                .flat_map(|case| &case.code)
                .map(|instruction| (instruction.code(), generate::has_memory_operand(instruction))),
        );
    }
    let missing: Vec<_> = exec::implemented().filter(|form| !tried.contains(form)).collect();
    assert!(missing.is_empty(), "implemented forms (instruction, whether with a memory operand) without cases: {missing:?}");
}
