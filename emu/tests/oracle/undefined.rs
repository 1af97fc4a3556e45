//! What the manuals leave undefined, in one table: the only differences between the host and us that are no mistakes.
//!
//! Flags follow the instruction reference of the SDM (vol. 2) and of the APM (vol. 3): what either leaves open is open.

use iced_x86::{CodeSize, Instruction, Mnemonic as M, OpKind};

use super::corners::{effective, number};
use super::vendor::Answers;
use super::world::flag::{AF, CF, OF, PF, RF, SF, STATUS, TF, ZF};
use super::world::*;

/// The top of the x87 stack in FSW.
pub const TOP: u16 = 7 << 11;
/// x87 condition codes in FSW.
const C0: u16 = 1 << 8;
const C1: u16 = 1 << 9;
const C2: u16 = 1 << 10;
const C3: u16 = 1 << 14;
/// Underflow.
pub const UE: u16 = 1 << 4;
/// Precision: the result is rounded.
const PE: u16 = 1 << 5;

/// Parts of the result that are not compared, or not exactly.
#[derive(Clone, Default)]
pub struct Undefined {
    /// Bits of RFLAGS.
    pub rflags: u64,
    /// Bits of each general register.
    pub gpr: [u64; 16],
    /// Bits of FSW.
    pub fsw: u16,
    /// Start and length of memory.
    pub memory: Vec<(u64, u64)>,
    /// The byte of the missing page that #PF names.
    pub fault_offset: bool,
    /// Which of the two strings raises its exception, if neither can be read.
    pub faulting_string: bool,
    /// Whether #AC or #GP is raised where both are due.
    pub misaligned: bool,
    /// Whether the MMX state has been entered: the x87 tags and top, and with it the order of the registers.
    pub mmx: bool,
    /// 32-bit lanes of XMM registers may differ by this much, relatively.
    pub xmm_relative: Option<f32>,
    /// ST(0) to ST(7) may differ by so many units in the last place.
    pub st_ulps: u64,
    /// Whether a tiny result in ST(0) is an underflow, and has its exponent moved up.
    pub tiny: bool,
    /// Which of several NaNs lanes of XMM registers and of memory hold.
    pub nans: bool,
    /// Where instructions are at which ours raises the exception of an access to memory, while to the host an x87 exception came first, and it has gone on.
    pub passed: Vec<u64>,
    /// With which exceptions the host ends the instruction it stopped at, and what is right instead.
    pub instead: Option<(&'static [u32], Instead)>,
}

/// What ours does where the host's processor raises an exception.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Instead {
    /// Raises this one.
    Raises(u32),
    /// Does not raise it.
    Passes,
}

/// What is known about the registers that an instruction finds.
#[derive(Clone, Copy)]
pub enum Before<'a> {
    /// All.
    This(&'a State),
    /// What they were at the start of the sequence: addresses are taken to be the same still.
    Start(&'a State),
    /// Nothing.
    Unknown,
}

impl<'a> Before<'a> {
    pub fn exact(self) -> Option<&'a State> {
        if let Before::This(state) = self { Some(state) } else { None }
    }

    /// Linear address of the memory operand.
    pub fn address(self, instruction: &Instruction) -> Option<u64> {
        match self {
            Before::This(state) | Before::Start(state) => effective(instruction, state),
            Before::Unknown => None,
        }
    }
}

impl Undefined {
    /// Of a sequence that starts in `before` and was left at `rip`, on a processor that answers so: within the sequence by an exception, outside of it
    /// when all has run.
    pub fn of(code: &[Instruction], before: &State, rip: u64, host: &Answers) -> Undefined {
        let left_within = code.iter().any(|instruction| instruction.ip() == rip);
        let mut all = Undefined::default();
        for (at, instruction) in code.iter().enumerate() {
            if left_within && instruction.ip() > rip {
                break;
            }
            let known = if at == 0 { Before::This(before) } else { Before::Start(before) };
            all.add(instruction, known, instruction.ip() != rip);
            host.open(&mut all, instruction, known, instruction.ip() != rip);
        }
        all
    }

    /// Whether nothing but flags is undefined.
    pub fn is_flags_alone(&self) -> bool {
        self.gpr == [0; 16] && self.fsw == 0 && self.memory.is_empty() && self.xmm_relative.is_none() && self.st_ulps == 0
    }

    /// One more instruction. One that is not `done` has defined nothing.
    pub fn add(&mut self, instruction: &Instruction, known: Before, done: bool) {
        let before = known.exact();
        if done && !may_keep_flags(instruction) {
            self.rflags &= !flags_of(instruction.rflags_modified());
        }
        self.rflags |= undefined_flags(instruction, before);
        self.fsw |= undefined_conditions(instruction.mnemonic()) | before.map_or(0, |before| particular_conditions(instruction, before));
        let destination = instruction.op0_kind() == OpKind::Register;
        // Of an operand that is longer than any register, processors touch the bytes in an order of their own.
        self.fault_offset |= !matches!(instruction.memory_size().size(), 0..=10 | 16);
        // Processors read the two strings in an order of their own.
        self.faulting_string |=
            matches!(instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq) && instruction.is_string_instruction();
        match instruction.mnemonic() {
            // BSWAP of 16 bits.
            M::Bswap if instruction.op0_register().size() == 2 => self.whole_destination(instruction, 0xffff),
            // Four bits of the segment's limit.
            M::Lar if instruction.op0_register().size() > 2 => self.whole_destination(instruction, 0xf_0000),
            // A count beyond the operand's size.
            M::Shld | M::Shrd if width(instruction) == 16 && shift_count(instruction, before).is_none_or(|count| count > 16) => {
                if destination {
                    self.whole_destination(instruction, 0xffff);
                } else {
                    self.parts(instruction, known, &[(0, 2)]);
                }
            }
            // AMD saves the last instruction's and operand's address and opcode only when an exception is pending, and older processors fill the selectors. The mask of
            // MXCSR tells which features the processor has. What is reserved is nobody's.
            M::Fxsave | M::Fxsave64 => {
                self.misaligned = true;
                self.parts(instruction, known, &[(5, 1), (6, 18), (28, 4), (416, 96)]);
            }
            M::Fnstenv | M::Fnsave if width_of_environment(instruction) == 14 => self.parts(instruction, known, &[(6, 8)]),
            M::Fnstenv | M::Fnsave => self.parts(instruction, known, &[(2, 2), (6, 2), (10, 2), (12, 16)]),
            // "Signaling of #AC is not guaranteed and may vary with implementation."
            M::Fxrstor | M::Fxrstor64 => self.misaligned = true,
            // With what it takes off the stack, too: AMD looks at the outer stack before it looks at the selector.
            M::Retf if instruction.op_count() == 1 => self.misaligned = true,
            // SDM: the target is held against the limit of the code segment before anything is pushed. AMD looks at the stack first, and a far CALL has written
            // to it by then.
            M::Call if !done && instruction.code_size() != CodeSize::Code64 => {
                const STACK_FAULTS: &[u32] = &[12, 14, 17];
                self.instead = Some((STACK_FAULTS, Instead::Raises(13)));
                if let (true, Before::This(state) | Before::Start(state)) =
                    (instruction.is_call_far() || instruction.is_call_far_indirect(), known)
                {
                    self.memory.push((state.gpr[gpr::RSP].wrapping_sub(8) & 0xffff_ffff, 8));
                }
            }
            // Whether it comes to the MMX state before its fault or not at all.
            M::Maskmovq => self.mmx |= !done,
            // Relative error of at most 1.5 * 2^-12, on either side.
            M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss => self.xmm_relative = Some(3.0 / 4096.0),
            // "Less than 1 ulp" (SDM vol. 1, 8.3.10), on either side. AMD calls inexact, and an underflow if it is tiny, also what is exact.
            M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos => {
                self.st_ulps = 2;
                self.fsw |= PE | UE;
            }
            _ => {}
        }
    }

    fn whole_destination(&mut self, instruction: &Instruction, mask: u64) {
        if let Some(number) = number(instruction.op0_register()) {
            self.gpr[number] |= mask;
        }
    }

    /// Parts of the memory operand; all of memory if nobody knows where it is.
    fn parts(&mut self, instruction: &Instruction, known: Before, parts: &[(u64, u64)]) {
        match known.address(instruction) {
            Some(at) => self.memory.extend(parts.iter().map(|(offset, len)| (at.wrapping_add(*offset), *len))),
            None => self.memory.push((0, u64::MAX)),
        }
    }
}

/// Flags that `instruction` leaves undefined.
fn undefined_flags(instruction: &Instruction, before: Option<&State>) -> u64 {
    let width = width(instruction);
    match instruction.mnemonic() {
        // What the trap between two iterations pushes: Intel sets RF (SDM vol. 3, 17.3.1.1), AMD does not.
        _ if instruction.is_string_instruction() && is_repeated(instruction) && before.is_some_and(|before| before.rflags & TF != 0) => RF,
        M::Aaa | M::Aas => OF | SF | ZF | PF,
        M::Aad | M::Aam => OF | AF | CF,
        M::Daa | M::Das => OF,
        // Intel sets no flags where an unmasked exception keeps a comparison from its result, AMD does.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip if before.is_some_and(|before| before.fx.fcw & 3 != 3) => STATUS,
        M::And | M::Or | M::Xor | M::Test => AF,
        M::Bsf | M::Bsr => OF | SF | AF | PF | CF,
        M::Bt | M::Bts | M::Btr | M::Btc => OF | SF | AF | PF,
        M::Div | M::Idiv => OF | SF | ZF | AF | PF | CF,
        M::Mul | M::Imul => SF | ZF | AF | PF,
        M::Rol | M::Ror | M::Rcl | M::Rcr => match shift_count(instruction, before) {
            Some(0 | 1) => 0,
            _ => OF,
        },
        // Intel leaves CF open too where SHL and SHR shift more than everything out; every processor gives the last bit of an endless row of zeros.
        M::Shl | M::Sal | M::Shr | M::Sar => match shift_count(instruction, before) {
            Some(0) => 0,
            Some(1) => AF,
            _ => AF | OF,
        },
        M::Shld | M::Shrd => match shift_count(instruction, before) {
            Some(0) => 0,
            Some(1) => AF,
            Some(count) if count > width => OF | SF | ZF | AF | PF | CF,
            None if width == 16 => OF | SF | ZF | AF | PF | CF,
            _ => AF | OF,
        },
        _ => 0,
    }
}

fn is_repeated(instruction: &Instruction) -> bool {
    instruction.has_rep_prefix() || instruction.has_repne_prefix()
}

/// Width of the first operand in bits.
fn width(instruction: &Instruction) -> u32 {
    let bytes = match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    };
    8 * bytes as u32
}

/// The count of a shift as the CPU takes it, if it is known.
fn shift_count(instruction: &Instruction, before: Option<&State>) -> Option<u32> {
    let last = instruction.op_count() - 1;
    let count = match instruction.op_kind(last) {
        OpKind::Register => before?.gpr[gpr::RCX] as u8,
        _ => instruction.immediate8(),
    };
    Some(u32::from(count) & if width(instruction) == 64 { 63 } else { 31 })
}

fn width_of_environment(instruction: &Instruction) -> usize {
    match instruction.memory_size().size() {
        14 | 94 => 14,
        _ => 28,
    }
}

/// Condition codes that an x87 instruction leaves undefined (SDM vol. 2; C1 is that of stack faults and of rounding).
fn undefined_conditions(mnemonic: M) -> u16 {
    match mnemonic {
        M::Fcom | M::Fcomp | M::Fcompp | M::Fucom | M::Fucomp | M::Fucompp | M::Ftst | M::Fxam | M::Fprem | M::Fprem1 => 0,
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => 0,
        M::Fsin | M::Fcos | M::Fsincos | M::Fptan => C0 | C1 | C3,
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fpatan => C0 | C1 | C2 | C3,
        M::Fldcw | M::Fnstcw | M::Fnclex | M::Fnop | M::Ffree | M::Ffreep | M::Wait | M::Fnstenv | M::Fnstsw => C0 | C1 | C2 | C3,
        M::Fninit | M::Fldenv | M::Frstor | M::Fxrstor | M::Fxrstor64 | M::Fxsave | M::Fxsave64 | M::Fnsave => 0,
        mnemonic if is_x87(mnemonic) => C0 | C2 | C3,
        _ => 0,
    }
}

/// Condition codes that depend on the operands.
fn particular_conditions(instruction: &Instruction, before: &State) -> u16 {
    let fx = &before.fx;
    // #I and #D keep an instruction from its result if they are not masked.
    let masked = fx.fcw & 3 == 3;
    match instruction.mnemonic() {
        // Intel sets no condition codes where an unmasked exception keeps a comparison from its result, AMD does.
        M::Fcom | M::Fcomp | M::Fcompp | M::Fucom | M::Fucomp | M::Fucompp | M::Ficom | M::Ficomp | M::Ftst if !masked => C0 | C2 | C3,
        // Without a quotient.
        M::Fprem | M::Fprem1 if !(masked && is_number(fx, 0) && is_number(fx, 1)) => C0 | C2 | C3,
        // Without a result.
        M::Fsin | M::Fcos if !(masked && is_number(fx, 0)) => C2,
        M::Fsincos | M::Fptan if !(masked && is_number(fx, 0) && is_empty(fx, 7)) => C2,
        // Intel clears C1, AMD leaves it alone.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => C1,
        // Both an empty source and no room.
        M::Fld if instruction.op0_kind() == OpKind::Register && !is_empty(fx, 7) => C1,
        _ => 0,
    }
}

fn is_empty(fx: &Fx, number: u16) -> bool {
    fx.ftw >> (((fx.fsw >> 11) + number) & 7) & 1 == 0
}

/// Neither empty nor infinite nor zero nor a NaN nor of an encoding that is refused.
fn is_number(fx: &Fx, number: u16) -> bool {
    let value = fx.st[usize::from(number)];
    let exponent = u16::from_le_bytes([value[8], value[9]]) & 0x7fff;
    !is_empty(fx, number) && exponent != 0x7fff && value[..8] != [0; 8] && (exponent == 0) == (value[7] & 0x80 == 0)
}

/// x87 instructions that calculate or move data.
fn is_x87(mnemonic: M) -> bool {
    format!("{mnemonic:?}").starts_with('F') && !matches!(mnemonic, M::Femms)
}

/// Whether an instruction may leave flags alone that it otherwise changes: a shift by zero, a repetition of nothing.
fn may_keep_flags(instruction: &Instruction) -> bool {
    let shift = matches!(instruction.mnemonic(), M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd);
    instruction.has_rep_prefix()
        || instruction.has_repne_prefix()
        || shift && instruction.op_kind(instruction.op_count() - 1) == OpKind::Register
}

/// The flags that a table of iced's names, as bits of RFLAGS.
pub fn flags_of(bits: u32) -> u64 {
    use iced_x86::RflagsBits as Bits;
    [(Bits::OF, OF), (Bits::SF, SF), (Bits::ZF, ZF), (Bits::AF, AF), (Bits::PF, PF), (Bits::CF, CF)]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .fold(0, |sum, (_, flag)| sum | flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;
    use crate::rng::Rng;
    use iced_x86::Code;

    /// The table must not hide what is defined: iced's own table, drawn from the SDM, is the second opinion.
    #[test]
    fn no_flag_is_masked_that_is_defined() {
        let mut rng = Rng::new(1);
        for code in Code::values().filter(|code| generate::is_legacy(*code)) {
            for encoding in generate::encodings(code, 4, &mut rng) {
                // Of RCL and RCR iced takes the count modulo the width first; the manuals define OF by the count itself. For SHLD and SHRD of 16 bits it does not know of
                // counts that are too large.
                let narrow = matches!(code.mnemonic(), M::Shld | M::Shrd) && width(&encoding.instruction) == 16;
                if narrow || matches!(code.mnemonic(), M::Rcl | M::Rcr) {
                    continue;
                }
                let masked = undefined_flags(&encoding.instruction, None);
                let open = flags_of(encoding.instruction.rflags_undefined());
                assert_eq!(masked & !open, 0, "{} masks {:x} beyond {open:x}", crate::case::text(&[encoding.instruction]), masked & !open);
            }
        }
    }
}
