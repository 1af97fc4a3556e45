//! The cases, and what holds without a host to ask.

use std::collections::BTreeSet;
use std::path::Path;

use emu::exec;
use iced_x86::Code;

use super::case::{self, Case};
use super::generate::{self, Encoding};
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

/// How much is generated.
#[derive(Clone, Copy)]
pub struct Amount {
    /// Encodings of each form in each mode.
    pub encodings: u64,
    /// Inputs of each encoding.
    pub inputs: u64,
    pub sequences: u64,
    /// Instructions of random bytes in each mode.
    pub bytes: u64,
}

impl Amount {
    const SHORT: Amount = Amount { encodings: 6, inputs: 8, sequences: 20_000, bytes: 30_000 };
    /// What `make oracle` runs, and INSTRUCTIONS.md counts.
    pub const LONG: Amount = Amount { encodings: 48, inputs: 50, sequences: 500_000, bytes: 2_000_000 };

    /// Of this run.
    pub fn of_run() -> Amount {
        let Amount { encodings, inputs, sequences, bytes } = if setting("ORACLE_LONG", 0) == 0 { Amount::SHORT } else { Amount::LONG };
        Amount {
            encodings: setting("ORACLE_ENCODINGS", encodings),
            inputs: setting("ORACLE_INPUTS", inputs),
            sequences: setting("ORACLE_SEQUENCES", sequences),
            bytes: setting("ORACLE_BYTES", bytes),
        }
    }
}

/// The encodings of one instruction, of its implemented forms, and the source of their inputs.
fn encodings(code: Code, amount: Amount, seed: u64) -> (Vec<Encoding>, Rng) {
    let mut rng = Rng::new(seed << 16 | code as u64);
    if generate::excluded(code).is_some() {
        return (Vec::new(), rng);
    }
    let mut encodings = generate::encodings(code, amount.encodings, &mut rng);
    encodings.retain(|encoding| exec::implements(code, encoding.has_memory_operand()));
    (encodings, rng)
}

/// The generated cases of one instruction, and for each whether it is of the form with a memory operand.
pub fn generated(code: Code, amount: Amount, seed: u64) -> impl Iterator<Item = (bool, Case)> {
    let (encodings, mut rng) = encodings(code, amount, seed);
    let each = encodings.into_iter().flat_map(move |encoding| (0..amount.inputs).map(move |_| encoding.clone()));
    each.map(move |encoding| {
        let case = Case::new(format!("{code:?}"), encoding.bits, &encoding.bytes, &[], true, &mut rng);
        (encoding.has_memory_operand(), case)
    })
}

/// How many cases of an instruction's form without and of that with a memory operand are generated.
pub fn count(code: Code, amount: Amount, seed: u64) -> [u64; 2] {
    let (encodings, _) = encodings(code, amount, seed);
    [false, true].map(|memory| {
        let of_form = encodings.iter().filter(|encoding| encoding.has_memory_operand() == memory);
        of_form.count() as u64 * amount.inputs
    })
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
            generated(code, Amount::of_run(), 0)
                .flat_map(|(_, case)| case.code)
                .map(|instruction| (instruction.code(), generate::has_memory_operand(&instruction))),
        );
    }
    let missing: Vec<_> = exec::implemented().filter(|form| !tried.contains(form)).collect();
    assert!(missing.is_empty(), "implemented forms (instruction, whether with a memory operand) without cases: {missing:?}");
}

/// Rounding, DAZ, FTZ, precision, masks: each combination with each instruction, in the long form.
#[test]
fn float_instructions_are_tried_in_every_mode() {
    let of_sse = |case: Case| {
        let mxcsr = case.before.state.fx.mxcsr;
        (mxcsr >> 13 & 3, mxcsr >> 15 & 1, mxcsr >> 6 & 1, u32::from(mxcsr & 0x1f80 != 0x1f80))
    };
    let of_x87 = |case: Case| {
        let fcw = u32::from(case.before.state.fx.fcw);
        (fcw >> 10 & 3, fcw >> 8 & 3, 0, u32::from(fcw & 0x3f != 0x3f))
    };
    for code in [Code::Addps_xmm_xmmm128, Code::Sqrtsd_xmm_xmmm64, Code::Cvtps2dq_xmm_xmmm128] {
        let modes: BTreeSet<_> = generated(code, Amount::LONG, 0).map(|(_, case)| of_sse(case)).collect();
        assert_eq!(modes.len(), 4 * 2 * 2 * 2, "{code:?}: {modes:?}");
    }
    for code in [Code::Fadd_st0_sti, Code::Fsqrt, Code::Fist_m16int] {
        let modes: BTreeSet<_> = generated(code, Amount::LONG, 0).map(|(_, case)| of_x87(case)).collect();
        // There are three precisions.
        assert_eq!(modes.len(), 4 * 3 * 2, "{code:?}: {modes:?}");
    }
}
