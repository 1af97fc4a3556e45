//! Where Intel's processors and AMD's differ and a program can see it, in one table. Ours does what an Intel does, since its CPUID says GenuineIntel; a host's
//! answers are taken for what its vendor's are.
//!
//! `vendor.ins` holds for each row what an Intel (family 6, model 167, stepping 1) answered and what an AMD (family 26, model 2, stepping 1) answers to the same.
//! On every host, ours must give Intel's answers; and the comparison with the host must take either for its vendor's, and AMD's for no Intel's.
//!
//! Not here is PE, and UE with it, after the transcendental instructions: FYL2X sets it on one processor and not on another where a result is exact. Of an Intel
//! there is only a digest of all that the torture's FYL2X gave, no single answer; and the manual promises an error below one unit in the last place, so that
//! both flags are open for every vendor (`undefined.rs`).
//!
//! `exec/float/oracle/x87.rs` compares FSCALE, FPREM and FPREM1 with the host's as their row here says.

use iced_x86::{Code, Instruction, Mnemonic as M, OpKind, Register};

use super::undefined::{Before, Instead, UE, Undefined};
use super::world::*;

/// Whose processor the host's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// And every other that is not AMD: what differs from Intel there is to be shown.
    Intel,
    /// AMD, or Hygon, whose processors are AMD's.
    Amd,
}

impl Vendor {
    /// The host's, unless `ORACLE_VENDOR` says as whose its answers are to be taken.
    pub fn of_host() -> Vendor {
        let [ebx, ecx, edx] = {
            #[allow(unused_unsafe, reason = "it is safe for newer compilers")]
            // SAFETY: every x86-64 processor has the instruction.
            let leaf = unsafe { std::arch::x86_64::__cpuid(0) };
            [leaf.ebx, leaf.ecx, leaf.edx]
        };
        let name: Vec<u8> = [ebx, edx, ecx].iter().flat_map(|word| word.to_le_bytes()).collect();
        let said = std::env::var("ORACLE_VENDOR");
        match said.as_deref().unwrap_or("") {
            "intel" => Vendor::Intel,
            "amd" => Vendor::Amd,
            _ if matches!(name.as_slice(), b"AuthenticAMD" | b"HygonGenuine") => Vendor::Amd,
            _ => Vendor::Intel,
        }
    }
}

/// A difference.
pub struct Row {
    /// As `vendor.ins` calls it.
    pub name: &'static str,
    pub intel: &'static str,
    pub amd: &'static str,
    /// What a manual says: Intel's SDM, or AMD's APM.
    pub manual: &'static str,
    /// Whether an instruction is concerned.
    applies: fn(&Instruction) -> bool,
    /// What is not compared with an AMD. The last argument says whether the instruction is done.
    open: fn(&mut Undefined, &Instruction, Before, bool),
}

/// Opens what `vendor` may answer other than Intel.
pub fn open(undefined: &mut Undefined, instruction: &Instruction, known: Before, done: bool, vendor: Vendor) {
    if vendor == Vendor::Amd {
        for row in ROWS.iter().filter(|row| (row.applies)(instruction)) {
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
        amd: "all elements have one sum, which begins with the lowest term",
        manual: "SDM vol. 2, DPPS: one sum for all elements, Temp1[31:0] + Temp1[63:32] plus Temp1[95:64] + Temp1[127:96]; of two NaNs vol. 1, table 4-7, takes the first operand",
        applies: |instruction| matches!(instruction.mnemonic(), M::Dpps | M::Dppd),
        open: |undefined, _, _, _| undefined.nans = true,
    },
    Row {
        name: "string-flags",
        intel: "a repeated comparison that is stopped midway leaves the status flags as they were before its first iteration",
        amd: "they are those of the last iteration",
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
        amd: "they are zero-extended by the first iteration",
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
        amd: "it writes 32 bits, the upper 16 of them zero",
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
        amd: "it reads 32 bits, which must be there, and aligned where alignment is checked",
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
        amd: "they raise #AC",
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
        amd: "it writes nothing",
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
        amd: "it writes nothing",
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
        intel: "FSCALE, FPREM and FPREM1 deliver a tiny result that is exact as it is, also where #U is unmasked",
        amd: "it is an underflow, delivered with its exponent moved up by 24576",
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
        amd: "it has changed nothing",
        manual: "SDM vol. 3, 13.2: every MMX instruction but EMMS sets TOS to 0 and all tags to valid; faults are not mentioned",
        applies: |instruction| instruction.op0_kind() == OpKind::Memory && instruction.op1_register().is_mm(),
        open: |undefined, _, _, done| undefined.mmx |= !done,
    },
    Row {
        name: "bound-order",
        intel: "BOUND compares with the lower bound before it reads the upper one",
        amd: "it reads both first",
        manual: "SDM vol. 2, BOUND: \"If the index is not within bounds, a BOUND range exceeded exception (#BR) is signaled\"; the order of reads is not said",
        applies: |instruction| instruction.mnemonic() == M::Bound,
        open: |undefined, _, _, done| {
            if !done {
                undefined.instead = Some((&[STACK_FAULT, PROTECTION, PAGE_FAULT, ALIGNMENT], Instead::Raises(OUT_OF_RANGE)));
            }
        },
    },
];

fn is_repeated(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

fn is_wide_segment(instruction: &Instruction) -> bool {
    instruction.op0_register().is_segment_register()
        && instruction.op0_register() != Register::None
        && instruction.stack_pointer_increment().abs() == 4
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::case;
    use crate::compare::differences;
    use crate::ins::{self, Expected, Given, Line};
    use crate::ours::{Drive, Ours};
    use crate::suite::{self, DRIVES};

    /// A line of `vendor.ins`: what both vendors answer to the same.
    struct Recorded {
        row: &'static Row,
        line: Line,
        before: Box<World>,
        intel: Expected,
        amd: Expected,
    }

    /// Reads `vendor.ins`: under `# ROW`, lines as in case files with Intel's answer, each before one with AMD's, `amd => ...`. What is not given is as in
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
                row = ROWS.iter().find(|row| row.name == name);
            } else if let Some(size) = line.strip_prefix("mode ") {
                bits = size.parse().expect("a mode is a number");
            } else if !line.is_empty() {
                let (_, amd) = lines.next().expect("AMD's answer follows");
                let parse = |line: &str| {
                    let text = format!("mode {bits}\n{line}");
                    ins::parse("vendor.ins", &text).unwrap_or_else(|error| panic!("line {}: {error}", number + 1)).remove(0)
                };
                let line = parse(line);
                let amd = amd.trim().strip_prefix("amd").expect("it is AMD's");
                let amd = parse(&format!("90 \"nop\" {amd}")).expected.expect("an answer");
                let before = world(&line);
                let intel = line.expected.clone().expect("an answer");
                all.push(Recorded { row: row.expect("a row is named"), line, before, intel, amd });
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
                    reports.push(format!("{} {drive:?} {}: {unmet:?}", recorded.row.name, recorded.line.text));
                }
            }
        }
        suite::assert_none(&reports);
    }

    /// The comparison with a host of either vendor, without one of that vendor.
    #[test]
    fn each_vendors_answer_is_taken_from_that_vendor() {
        let mut ours = Ours::new();
        let mut reports = Vec::new();
        for recorded in recorded() {
            let code = code(&recorded);
            let got = run(&mut ours, &recorded.before, Drive::Cold);
            let mut expect = |answer: &Expected, vendor: Vendor, taken: bool| {
                let host = answered(&got, answer);
                let found = differences(&host, &got, &Undefined::of(&code, &recorded.before.state, host.state.rip, vendor));
                if found.is_empty() != taken {
                    reports.push(format!("{} {}: as {vendor:?}'s, {found:?}", recorded.row.name, recorded.line.text));
                }
            };
            expect(&recorded.intel, Vendor::Intel, true);
            expect(&recorded.amd, Vendor::Amd, true);
            expect(&recorded.amd, Vendor::Intel, false);
        }
        suite::assert_none(&reports);
    }

    #[test]
    fn every_row_is_recorded() {
        let recorded: BTreeSet<_> = recorded().iter().map(|recorded| recorded.row.name).collect();
        for row in ROWS {
            assert!(recorded.contains(row.name), "{}: no answers", row.name);
            for text in [row.intel, row.amd, row.manual] {
                assert!(!text.is_empty(), "{}", row.name);
            }
        }
    }
}
