//! Our CPU against the host's.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use emu::exec;

use super::case::Case;
use super::compare::differences;
use super::field::Field;
use super::host::{BATCH, Host};
use super::ins::Given;
use super::ours::{Drive, Ours};
use super::rng::Rng;
use super::sequence::Drawer;
use super::soup;
use super::suite::{self, Amount, DRIVES};
use super::undefined::Undefined;
use super::vendor::Answers;
use super::world::{CODE, CaseExit, ENTRY, PAGE, World, flag};

/// The cases of each line that the host is asked about.
fn lines_for_the_host() -> impl Iterator<Item = Vec<Case>> {
    suite::lines().into_iter().filter(|line| line.expected.is_none()).map(|line| Case::of_line(&line, suite::VARIANTS))
}

/// Sequences of implemented instructions, and a quarter as many that begin on one page and end on another.
fn sequences() -> impl Iterator<Item = Case> {
    let (seed, count) = (suite::setting("ORACLE_SEED", 0), Amount::of_run().sequences);
    let drawn = move |seed: u64, across: bool| {
        let mut rng = Rng::new(seed);
        let drawer = Drawer::new(&exec::implemented().collect::<Vec<_>>());
        move |_| {
            let (bits, bytes) = drawer.draw(&mut rng);
            let inside = (bytes.len() as u64).saturating_sub(1).max(1);
            let start = if across { CODE + PAGE as u64 - 1 - rng.below(inside) } else { ENTRY };
            let given = [Given::Field(Field::Rip, vec![start.into()])];
            Case::new("sequence".to_string(), bits, &bytes, &given, false, &mut rng)
        }
    };
    (0..count).map(drawn(!seed, false)).chain((0..count / 4).map(drawn(seed ^ 1 << 32, true)))
}

/// The two CPUs.
struct Pair {
    host: Host,
    ours: Ours,
}

impl Pair {
    fn new() -> Pair {
        Pair { host: Host::new(), ours: Ours::new() }
    }

    /// Reports of the cases in which they differ.
    fn mismatches(&mut self, cases: &[Case]) -> Vec<String> {
        let mut expected: Vec<Box<World>> = cases.iter().map(|case| case.before.clone()).collect();
        self.host.run(&mut expected);
        let mut reports = Vec::new();
        for (case, expected) in cases.iter().zip(&expected) {
            if matches!(expected.stop.vector, CaseExit::DIED | CaseExit::HUNG) {
                reports.push(case.report(&[format!("not a case for the host: {}", expected.stop.describe())]));
                continue;
            }
            let undefined = Undefined::of(&case.code, &case.before.state, expected.state.rip, Answers::of_host());
            for drive in DRIVES {
                let differences = differences(expected, &suite::run(&mut self.ours, case, drive), &undefined);
                if !differences.is_empty() {
                    reports.push(format!("{drive:?} {}", case.report(&differences)));
                    break;
                }
            }
        }
        reports
    }
}

/// One mismatch of a line is enough.
#[test]
fn case_files_agree_with_the_host() {
    let mut pair = Pair::new();
    let reports: Vec<_> = lines_for_the_host().filter_map(|cases| pair.mismatches(&cases).into_iter().next()).collect();
    suite::assert_none(&reports);
}

/// Two at a time; the report names at most a few mismatches of each instruction. What is compared is what INSTRUCTIONS.md counts.
#[test]
fn generated_cases_agree_with_the_host() {
    const OF_ONE: usize = 3;
    let codes: Vec<_> = suite::implemented().into_iter().collect();
    let (amount, seed) = (Amount::of_run(), suite::setting("ORACLE_SEED", 0));
    let (next, all) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut pair = Pair::new();
        let mut reports = Vec::new();
        while let Some(code) = codes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (mut cases, mut found, mut compared) = (suite::generated(*code, amount, seed), Vec::new(), [0; 2]);
            loop {
                let (forms, batch): (Vec<bool>, Vec<Case>) = cases.by_ref().take(BATCH).unzip();
                if batch.is_empty() {
                    break;
                }
                forms.iter().for_each(|memory| compared[usize::from(*memory)] += 1);
                found.extend(pair.mismatches(&batch));
            }
            let promised = suite::count(*code, amount, seed);
            if compared != promised {
                found.insert(0, format!("{code:?}: {compared:?} cases were compared instead of {promised:?}"));
            }
            all.fetch_add(compared.iter().sum(), Ordering::Relaxed);
            reports.extend(found.into_iter().take(OF_ONE).map(|report| (*code, report)));
        }
        reports
    };
    let mut reports = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut reports = work();
        reports.extend(other.join().expect("the other half is done"));
        reports
    });
    reports.sort();
    println!("{} cases of {} instructions were compared with the host", all.into_inner(), codes.len());
    suite::assert_none(&reports.into_iter().map(|(_, report)| report).collect::<Vec<_>>());
}

/// What one instruction leaves to the next: flags that are kept lazily, pairs that run as one op, blocks.
#[test]
fn sequences_agree_with_the_host() {
    let mut pair = Pair::new();
    let mut reports = Vec::new();
    let mut sequences = sequences();
    loop {
        let cases: Vec<_> = sequences.by_ref().take(BATCH).collect();
        if cases.is_empty() {
            break;
        }
        reports.extend(pair.mismatches(&cases));
    }
    suite::assert_none(&reports);
}

/// In both modes, half of the cases each. Draws that are no cases for the host do not count.
#[test]
fn random_bytes_agree_with_the_host() {
    let seed = suite::setting("ORACLE_SEED", 0);
    let run = |bits: u32| {
        let (mut pair, mut rng) = (Pair::new(), Rng::new(seed << 8 | u64::from(bits)));
        let (mut left, mut reports) = (Amount::of_run().bytes, Vec::new());
        while left > 0 {
            let cases: Vec<_> = std::iter::from_fn(|| Some(soup::draw(bits, &mut rng))).flatten().take(BATCH.min(left as usize)).collect();
            left -= cases.len() as u64;
            reports.extend(pair.mismatches(&cases));
        }
        reports
    };
    let reports = std::thread::scope(|scope| {
        let narrow = scope.spawn(|| run(32));
        let mut reports = run(64);
        reports.extend(narrow.join().expect("the other half is done"));
        reports
    });
    suite::assert_none(&reports);
}

#[test]
fn a_wrong_bit_is_noticed() {
    let mut pair = Pair::new();
    let line = "48 f7 e3 \"mul rbx\" rax=3 rbx=5";
    let case = &Case::of_line(&super::ins::parse("x.ins", line).expect("a case")[0], 1)[0];
    let mut expected = [case.before.clone()];
    pair.host.run(&mut expected);
    let [expected] = expected;
    let undefined = Undefined::of(&case.code, &case.before.state, expected.state.rip, Answers::of_host());
    let got = suite::run(&mut pair.ours, case, Drive::Cold);
    assert_eq!(differences(&expected, &got, &undefined), [""; 0]);
    let noticed = |spoil: fn(&mut World)| {
        let mut spoiled = got.clone();
        spoil(&mut spoiled);
        differences(&expected, &spoiled, &undefined).len()
    };
    let wrong: [fn(&mut World); 10] = [
        |world| world.state.rflags ^= flag::CF,
        |world| world.state.rflags ^= flag::OF,
        |world| world.state.gpr[15] ^= 1 << 63,
        |world| world.state.rip += 1,
        |world| world.state.fx.xmm[15] ^= 1,
        |world| world.state.fx.st[7][9] ^= 1,
        |world| world.state.fx.mxcsr ^= 1,
        |world| world.state.segments[3] ^= 1,
        |world| world.memory.data[0x1fff] ^= 1,
        |world| world.stop.error ^= 1,
    ];
    assert_eq!(wrong.map(noticed), [1; 10]);
    // MUL leaves ZF open.
    assert_eq!(noticed(|world| world.state.rflags ^= flag::ZF), 0);
    let closed = Undefined::default();
    let mut spoiled = got.clone();
    spoiled.state.rflags = expected.state.rflags ^ flag::ZF;
    assert_eq!(differences(&expected, &spoiled, &closed).len(), 1);
}
