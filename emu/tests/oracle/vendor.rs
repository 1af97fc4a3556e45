//! Where processors differ and a program can see it, in one table: AMD's from Intel's, and one of Intel's from another. Ours does what an Intel (family 6, model 167,
//! stepping 1) does, since its CPUID says GenuineIntel.
//!
//! `vendor.ins` holds for each row what that Intel answered, and what one of the others answers to the same: an AMD (family 26, model 2, stepping 1), or an Intel
//! (family 6, model 207, stepping 2). On every host, ours must give the Intel's answers. The host is asked the same, and in the comparison with it the rows are
//! open that it answers otherwise, and no others.
//!
//! Not here is PE, and UE with it, after the transcendental instructions: FYL2X sets it on one processor and not on another where a result is exact. Of an Intel
//! there is only a digest of all that the torture's FYL2X gave, no single answer; and the manual promises an error below one unit in the last place, so that
//! both flags are open everywhere (`undefined.rs`).
//!
//! `exec/float/oracle/x87.rs` compares FSCALE, FPREM and FPREM1 with the host's as their row here says.

use std::path::Path;
use std::sync::OnceLock;

use iced_x86::{Code, CodeSize, Instruction, Mnemonic as M, OpKind, Register};

use super::case;
use super::host::Host;
use super::ins::{self, Expected, Given, Line};
use super::undefined::{Before, Instead, UE, Undefined};
use super::world::*;

/// A difference.
pub struct Row {
    /// As `vendor.ins` calls it.
    pub name: &'static str,
    /// What the Intel does, and ours.
    pub intel: &'static str,
    /// Which others there are, and what they do.
    pub other: &'static str,
    /// What a manual says: Intel's SDM, or AMD's APM.
    pub manual: &'static str,
    /// Whether an instruction is concerned.
    applies: fn(&Instruction) -> bool,
    /// What is not compared with one of the others. The last argument says whether the instruction is done.
    open: fn(&mut Undefined, &Instruction, Before, bool),
}

/// Which rows a processor answers otherwise than the Intel.
pub struct Answers([bool; ROWS.len()]);

impl Answers {
    /// Those of the Intel, and of ours.
    pub const INTEL: Self = Self([false; ROWS.len()]);

    /// The host's: it is asked what `vendor.ins` holds. With `ORACLE_VENDOR=intel` its answers are taken for the Intel's.
    pub fn of_host() -> &'static Self {
        static HOST: OnceLock<Answers> = OnceLock::new();
        HOST.get_or_init(|| {
            let as_intel = std::env::var("ORACLE_VENDOR").is_ok_and(|vendor| vendor == "intel");
            if as_intel { Self::INTEL } else { Self::of(&mut Host::new()) }
        })
    }

    fn of(host: &mut Host) -> Self {
        let mut answers = Self::INTEL;
        for Recorded { row, line, before, intel, .. } in recorded() {
            let mut after = [before.clone()];
            host.run(&mut after);
            answers.0[row] |= !case::unmet(&intel, &before, line.bytes.len(), &after[0]).is_empty();
        }
        answers
    }

    /// Opens what such a processor may answer other than the Intel.
    pub fn open(&self, undefined: &mut Undefined, instruction: &Instruction, known: Before, done: bool) {
        for (row, _) in ROWS.iter().zip(self.0).filter(|&(row, is_other)| is_other && (row.applies)(instruction)) {
            (row.open)(undefined, instruction, known, done);
        }
    }
}

const STACK_FAULT: u32 = 12;
const PROTECTION: u32 = 13;
const PAGE_FAULT: u32 = 14;
const ALIGNMENT: u32 = 17;
const OUT_OF_RANGE: u32 = 5;

pub const ROWS: &[Row] = &[
    Row {
        name: "dot-product-nans",
        intel: "each element has a sum of its own, which begins with its own term; in the first step of DPPS with its neighbour's. The first NaN is the sum",
        other: "AMD: all elements have one sum, which begins with the lowest term",
        manual: "SDM vol. 2, DPPS: one sum for all elements, Temp1[31:0] + Temp1[63:32] plus Temp1[95:64] + Temp1[127:96]; of two NaNs vol. 1, table 4-7, takes the first operand",
        applies: |instruction| matches!(instruction.mnemonic(), M::Dpps | M::Dppd),
        open: |undefined, _, _, _| undefined.nans = true,
    },
    Row {
        name: "string-flags",
        intel: "a repeated comparison that is stopped midway leaves the status flags as they were before its first iteration",
        other: "AMD: they are those of the last iteration",
        manual: "SDM vol. 2, REP: \"When a fault occurs during the execution of a CMPS or SCAS instruction that is prefixed with REPE or REPNE, the EFLAGS value is restored to the state prior to the execution of the instruction.\"",
        applies: |instruction| {
            let compares =
                matches!(instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq);
            compares && is_repeated(instruction)
        },
        open: |undefined, _, _, done| undefined.rflags |= if done { 0 } else { flag::STATUS },
    },
    Row {
        name: "string-registers",
        intel: "with 32-bit addresses in 64-bit code, a repeated string instruction zero-extends the count and the pointers that it uses also if the count is zero; MOVS and STOS also if their first iteration faults",
        other: "AMD: they are zero-extended by the first iteration",
        manual: "SDM vol. 1, 3.4.1.1: \"32-bit operands generate a 32-bit result, zero-extended to a 64-bit result in the destination general-purpose register\"; whether a count of zero writes its register is not said",
        applies: |instruction| {
            let narrow =
                instruction.op_kinds().any(|kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI));
            narrow && is_repeated(instruction)
        },
        open: |undefined, _, _, _| {
            for register in [gpr::RCX, gpr::RSI, gpr::RDI] {
                undefined.gpr[register] |= 0xffff_ffff << 32;
            }
        },
    },
    Row {
        name: "segment-push",
        intel: "a 32-bit PUSH of a segment register writes 16 bits; what stands above them on the stack stays",
        other: "AMD: it writes 32 bits, the upper 16 of them zero",
        manual: "SDM vol. 2, PUSH: \"if the operand size is 32-bits, either a zero-extended value is pushed on the stack or the segment selector is written on the stack using a 16-bit move. For the last case, all recent Intel Core and Intel Atom processors perform a 16-bit move, leaving the upper portion of the stack location unmodified.\"",
        applies: |instruction| instruction.mnemonic() == M::Push && is_wide_segment(instruction),
        open: |undefined, _, known, done| {
            if let Before::This(state) | Before::Start(state) = known {
                // Of a sequence it is not known how far the stack pointer has gone.
                let far = if known.exact().is_some() { 0 } else { 8 };
                let top = state.gpr[gpr::RSP].wrapping_sub(2) & 0xffff_ffff;
                undefined.memory.extend((0..=2 * far).map(|slot: u64| (top.wrapping_add(4 * far).wrapping_sub(4 * slot), 2)));
            }
            if !done {
                undefined.instead = Some((&[PAGE_FAULT, ALIGNMENT], Instead::Passes));
            }
        },
    },
    Row {
        name: "segment-pop",
        intel: "a 32-bit POP of a segment register reads 16 bits",
        other: "AMD: it reads 32 bits, which must be there, and aligned where alignment is checked",
        manual: "SDM vol. 2, PUSH, as above; POP does not say how much it reads",
        applies: |instruction| instruction.mnemonic() == M::Pop && is_wide_segment(instruction),
        open: |undefined, _, _, done| {
            if !done {
                undefined.instead = Some((&[PAGE_FAULT, ALIGNMENT], Instead::Passes));
            }
        },
    },
    Row {
        name: "wide-alignment",
        intel: "accesses of 16 bytes that need not be aligned raise no #AC",
        other: "AMD: they raise #AC",
        manual: "SDM vol. 2, MOVUPS: \"If alignment checking is enabled [...], an alignment-check exception (#AC) may or may not be generated (depending on processor implementation) when the operand is not aligned on an 8-byte boundary.\"",
        applies: |instruction| instruction.memory_size().size() == 16,
        open: |undefined, _, _, done| {
            if !done {
                undefined.instead = Some((&[ALIGNMENT], Instead::Passes));
            }
        },
    },
    Row {
        name: "call-nowhere",
        intel: "a CALL to an address that is not canonical writes the return address before it raises #GP, and leaves RSP alone",
        other: "AMD: it writes nothing",
        manual: "SDM vol. 2, CALL: the check that the target is canonical stands before the push",
        applies: |instruction| instruction.is_call_near_indirect(),
        open: |undefined, _, known, done| {
            if let (false, Before::This(state) | Before::Start(state)) = (done, known) {
                undefined.memory.push((state.gpr[gpr::RSP].wrapping_sub(8), 8));
            }
        },
    },
    Row {
        name: "extended-store",
        intel: "FSTP m80 writes the significand, then sign and exponent: where the page of the latter faults, the former is written",
        other: "AMD: it writes nothing",
        manual: "SDM vol. 3, 9.1.1: accesses to data larger than a quadword may be made in several accesses to memory, of which the first may have been done when another faults",
        applies: |instruction| instruction.code() == Code::Fstp_m80fp,
        open: |undefined, instruction, known, done| {
            if let (false, Some(at)) = (done, known.address(instruction)) {
                undefined.memory.push((at, 8));
            }
        },
    },
    Row {
        name: "exact-underflow",
        intel: "FSCALE by zero, and FPREM and FPREM1 by infinity, leave a denormal number as it is, also where #U is unmasked",
        other: "AMD: it is an underflow, delivered with its exponent moved up by 24576, as what comes to be tiny is everywhere",
        manual: "SDM vol. 1, 4.9.1.5: with the exception unmasked, tininess alone is an underflow; vol. 2, FPREM: the remainder is exact",
        applies: |instruction| matches!(instruction.mnemonic(), M::Fscale | M::Fprem | M::Fprem1),
        open: |undefined, _, known, _| {
            const SUMMARY: u16 = 0x8080;
            if known.exact().is_none_or(|before| before.fx.fcw & UE == 0) {
                undefined.tiny = true;
                undefined.fsw |= UE | SUMMARY;
            }
        },
    },
    Row {
        name: "mmx-store",
        intel: "a store of an MMX register that faults has all the same set TOP to 0; the tags are as they were",
        other: "AMD: it has changed nothing",
        manual: "SDM vol. 3, 13.2: every MMX instruction but EMMS sets TOS to 0 and all tags to valid; faults are not mentioned",
        applies: |instruction| instruction.op0_kind() == OpKind::Memory && instruction.op1_register().is_mm(),
        open: |undefined, _, _, done| undefined.mmx |= !done,
    },
    Row {
        name: "bound-order",
        intel: "BOUND compares with the lower bound before it reads the upper one",
        other: "AMD: it reads both first",
        manual: "SDM vol. 2, BOUND: \"If the index is not within bounds, a BOUND range exceeded exception (#BR) is signaled\"; the order of reads is not said",
        applies: |instruction| instruction.mnemonic() == M::Bound,
        open: |undefined, _, _, done| {
            if !done {
                undefined.instead = Some((&[STACK_FAULT, PROTECTION, PAGE_FAULT, ALIGNMENT], Instead::Raises(OUT_OF_RANGE)));
            }
        },
    },
    Row {
        name: "pause-with-rex",
        intel: "90 with F3 and REX.B exchanges RAX and R8",
        other: "Intel's model 207: it is PAUSE",
        manual: "SDM vol. 2, XCHG: 90 with REX.B exchanges RAX and R8; PAUSE is F3 90; of both prefixes neither page says anything",
        applies: |instruction| instruction.mnemonic() == M::Pause && instruction.code_size() == CodeSize::Code64,
        open: |undefined, _, _, _| {
            const R8: usize = 8;
            for register in [gpr::RAX, R8] {
                undefined.gpr[register] = u64::MAX;
            }
        },
    },
    Row {
        name: "call-beyond",
        intel: "a near CALL beyond the limit of the code segment writes nothing",
        other: "Intel's model 207: it writes the return address before it raises #GP, and leaves ESP alone",
        manual: "SDM vol. 2, CALL: the check against the limit stands before the push",
        applies: |instruction| instruction.code_size() != CodeSize::Code64 && is_near_call(instruction),
        open: |undefined, _, known, done| {
            if let (false, Before::This(state) | Before::Start(state)) = (done, known) {
                undefined.memory.push((state.gpr[gpr::RSP].wrapping_sub(4) & 0xffff_ffff, 4));
            }
        },
    },
    Row {
        name: "store-or-exception",
        intel: "an x87 store that raises an unmasked exception, to memory that cannot be written, raises the exception of the access",
        other: "Intel's model 207: it comes to no access; the x87 exception is pending behind the instruction",
        manual: "SDM vol. 1, 8.5: an unmasked exception leaves the destination as it was; which of two exceptions comes first is not said",
        applies: stores_x87,
        open: |undefined, instruction, known, done| {
            const MASKS: u16 = 0x3f;
            if done && known.exact().is_none_or(|before| before.fx.fcw & MASKS != MASKS) {
                undefined.passed.push(instruction.ip());
            }
        },
    },
    Row {
        name: "decimal-store",
        intel: "FBSTP writes nothing where the second page that it needs faults",
        other: "Intel's model 207: the lower 8 bytes are written",
        manual: "as of extended-store",
        applies: |instruction| instruction.mnemonic() == M::Fbstp,
        open: |undefined, instruction, known, done| {
            if let (false, Some(at)) = (done, known.address(instruction)) {
                undefined.memory.push((at, 8));
            }
        },
    },
    Row {
        name: "masked-store-order",
        intel: "MASKMOVDQU that can write neither of two quadwords names the lower one",
        other: "Intel's model 207: the upper one",
        manual: "SDM vol. 2, MASKMOVDQU: the order of the bytes is not said",
        applies: |instruction| instruction.mnemonic() == M::Maskmovdqu,
        open: |undefined, _, _, done| {
            if !done {
                undefined.instead = Some((&[PAGE_FAULT], Instead::Raises(PAGE_FAULT)));
            }
        },
    },
];

fn is_near_call(instruction: &Instruction) -> bool {
    instruction.is_call_near() || instruction.is_call_near_indirect()
}

fn stores_x87(instruction: &Instruction) -> bool {
    let stores = matches!(instruction.mnemonic(), M::Fst | M::Fstp | M::Fist | M::Fistp | M::Fisttp | M::Fbstp);
    stores && instruction.op0_kind() == OpKind::Memory
}

fn is_repeated(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

fn is_wide_segment(instruction: &Instruction) -> bool {
    instruction.op0_register().is_segment_register()
        && instruction.op0_register() != Register::None
        && instruction.stack_pointer_increment().abs() == 4
}

/// Who answers in `vendor.ins` besides the Intel.
const OTHERS: [&str; 2] = ["amd", "model-207"];

/// A line of `vendor.ins`: what the Intel and another answer to the same.
struct Recorded {
    /// Its row's place among [`ROWS`].
    row: usize,
    line: Line,
    before: Box<World>,
    intel: Expected,
    other: Expected,
}

/// Reads `vendor.ins`: under `# ROW`, lines as in case files with the Intel's answer, each before one with another's, `WHOSE => ...`. What is not given is as in
/// [`World::new`].
fn recorded() -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/vendor.ins");
    let text = std::fs::read_to_string(path).expect("vendor.ins can be read");
    let (mut all, mut row, mut bits) = (Vec::new(), None, 64);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("## ") {
            continue;
        }
        if let Some(name) = line.strip_prefix("# ") {
            row = ROWS.iter().position(|row| row.name == name);
        } else if let Some(size) = line.strip_prefix("mode ") {
            bits = size.parse().expect("a mode is a number");
        } else if !line.is_empty() {
            let (_, other) = lines.next().expect("another's answer follows");
            let parse = |line: &str| {
                let text = format!("mode {bits}\n{line}");
                let parsed = ins::parse("vendor.ins", &text).map_err(|error| format!("line {}: {error}", number + 1));
                parsed.expect("a line of vendor.ins").remove(0)
            };
            let line = parse(line);
            let (whose, answer) = other.trim().split_once(' ').expect("it says whose it is");
            assert!(OTHERS.contains(&whose), "line {}: {whose}", number + 2);
            let other = parse(&format!("90 \"nop\" {answer}")).expected.expect("an answer");
            let before = world(&line);
            let intel = line.expected.clone().expect("an answer");
            all.push(Recorded { row: row.expect("a row is named"), line, before, intel, other });
        }
    }
    all
}

fn world(line: &Line) -> Box<World> {
    let mut world = World::new(line.bits);
    for item in &line.given {
        match item {
            Given::Field(field, values) => field.set(&mut world.state, values[0]),
            Given::Bytes(at, bytes) => world.memory.patch(*at, bytes),
        }
    }
    world.memory.patch(world.state.rip, &line.bytes);
    world
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::compare::differences;
    use crate::ours::{Drive, Ours};
    use crate::suite::{self, DRIVES};

    /// `world` with an answer in it.
    fn answered(world: &World, answer: &Expected) -> Box<World> {
        let mut world = Box::new(world.clone());
        for (field, value) in &answer.fields {
            field.set(&mut world.state, *value);
        }
        for (at, bytes) in &answer.memory {
            world.memory.patch(*at, bytes);
        }
        world.stop = answer.stop.unwrap_or(world.stop);
        world
    }

    fn run(ours: &mut Ours, before: &World, drive: Drive) -> Box<World> {
        let mut world = Box::new(before.clone());
        ours.run(&mut world, drive);
        world
    }

    fn code(recorded: &Recorded) -> Vec<Instruction> {
        case::decode(recorded.line.bits, &recorded.line.bytes, recorded.before.state.rip)
    }

    #[test]
    fn ours_answers_as_an_intel() {
        let mut ours = Ours::new();
        let mut reports = Vec::new();
        for recorded in recorded() {
            for drive in DRIVES {
                let got = run(&mut ours, &recorded.before, drive);
                let unmet = case::unmet(&recorded.intel, &recorded.before, recorded.line.bytes.len(), &got);
                if !unmet.is_empty() {
                    reports.push(format!("{} {drive:?} {}: {unmet:?}", ROWS[recorded.row].name, recorded.line.text));
                }
            }
        }
        suite::assert_none(&reports);
    }

    /// The comparison with one of the others, without one.
    #[test]
    fn anothers_answer_is_taken_from_such_a_host_alone() {
        let mut ours = Ours::new();
        let mut reports = Vec::new();
        for recorded in recorded() {
            let name = ROWS[recorded.row].name;
            let code = code(&recorded);
            let got = run(&mut ours, &recorded.before, Drive::Cold);
            let mut expect = |answer: &Expected, host: &Answers, taken: bool| {
                let expected = answered(&got, answer);
                let found = differences(&expected, &got, &Undefined::of(&code, &recorded.before.state, expected.state.rip, host));
                if found.is_empty() != taken {
                    reports.push(format!("{name} {}: taken from {:?}, {found:?}", recorded.line.text, host.0));
                }
            };
            let mut other = Answers::INTEL;
            other.0[recorded.row] = true;
            expect(&recorded.intel, &Answers::INTEL, true);
            expect(&recorded.other, &other, true);
            expect(&recorded.other, &Answers::INTEL, false);
        }
        suite::assert_none(&reports);
    }

    #[test]
    fn every_row_is_recorded() {
        let recorded: BTreeSet<_> = recorded().iter().map(|recorded| ROWS[recorded.row].name).collect();
        for row in ROWS {
            assert!(recorded.contains(row.name), "{}: no answers", row.name);
            for text in [row.intel, row.other, row.manual] {
                assert!(!text.is_empty(), "{}", row.name);
            }
        }
    }
}
