//! The x87: its register stack, its status word and what its exceptions do. What the instructions compute is in
//! [`float::x87`](super::float::x87).
//!
//! An instruction with an unmasked exception sets ES, and the next one that waits raises #MF. Every instruction that is not about the x87 itself leaves
//! its address in FIP, and that of its memory operand in FDP; its opcode goes to FOP only if it has an unmasked exception (SDM Vol. 1, 8.1.8 and 8.1.9.1,
//! for processors without CPUID.7.EBX[6]). FCS and FDS always read as 0 (CPUID.7.EBX[13]).

pub mod arith;
pub mod compare;
pub mod control;
pub mod transcendental;
pub mod transfer;

use super::float::{ControlWord, F80, Flags, Operand, Response};
use super::path::EffectiveAddress;
use super::retire::rip_of;
use crate::cpu::{Cr0, Datum, Exception};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// Bits of the status word (SDM Vol. 1, 8.1.3).
mod status {
    pub const INVALID: u16 = 1;
    pub const STACK_FAULT: u16 = 1 << 6;
    pub const ERROR_SUMMARY: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const C3: u16 = 1 << 14;
    pub const BUSY: u16 = 1 << 15;
    pub const EXCEPTIONS: u16 = 0x3F;
}

impl Datum for F80 {
    const BYTES: u64 = 10;
    const ALIGNMENT: u64 = 8;

    fn from_u128(value: u128) -> Self {
        Self { significand: value as u64, sign_exponent: (value >> 64) as u16 }
    }

    fn to_u128(self) -> u128 {
        u128::from(self.sign_exponent) << 64 | u128::from(self.significand)
    }

    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller vouches for the pointer, and any ten bytes are a value.
        Self::from_le_bytes(unsafe { pointer.cast::<[u8; 10]>().read_unaligned() })
    }

    unsafe fn store(self, pointer: *mut u8) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { pointer.cast::<[u8; 10]>().write_unaligned(self.to_le_bytes()) }
    }
}

/// Comes first in every instruction that waits: #NM while the x87 is switched off, #MF for an exception that another one left.
fn begin(cx: &mut Vcpu) -> Result<(), Exception> {
    cx.check_x87()?;
    pending(cx)
}

/// [`begin`], and what an instruction without a memory operand leaves in FIP.
fn begin_on_registers(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    begin(cx)?;
    cx.fpu.instruction = rip_of(cx, op);
    Ok(())
}

/// What an instruction leaves in FIP and FDP when its memory operand has been accessed.
fn record_data<E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) {
    cx.fpu.instruction = rip_of(cx, op);
    cx.fpu.data = E::offset(cx, op);
}

/// Raises the exception that another instruction has left, if there is one.
#[inline(always)]
pub fn pending(cx: &mut Vcpu) -> Result<(), Exception> {
    if cx.fpu.status & status::ERROR_SUMMARY == 0 {
        return Ok(());
    }
    match float_error(cx) {
        Some(exception) => Err(*exception),
        None => Ok(()),
    }
}

/// With CR0.NE clear no exception tells of it but an interrupt, for which the CPU waits before the instruction (SDM Vol. 1, 8.7.2). What it
/// returns fits a register: handlers leave nothing on the stack.
#[cold]
#[inline(never)]
fn float_error(cx: &mut Vcpu) -> Option<&'static Exception> {
    if cx.control.cr0 & Cr0::NE != 0 {
        return Some(&Exception::FLOATING_POINT);
    }
    cx.attention = true;
    if cx.board_mut().float_error() { None } else { Some(&Exception::FROZEN) }
}

fn control(cx: &Vcpu) -> ControlWord {
    ControlWord::from_bits(cx.fpu.control)
}

/// The physical register of ST(`index`).
fn physical(cx: &Vcpu, index: u8) -> usize {
    usize::from(cx.fpu.top.wrapping_add(index) & 7)
}

fn is_empty(cx: &Vcpu, index: u8) -> bool {
    cx.fpu.valid >> physical(cx, index) & 1 == 0
}

/// The content of ST(`index`), empty or not.
fn content(cx: &Vcpu, index: u8) -> F80 {
    let register = physical(cx, index);
    F80 { significand: cx.fpu.mantissa[register], sign_exponent: cx.fpu.exponent[register] }
}

/// ST(`index`), unless it is empty.
fn read(cx: &Vcpu, index: u8) -> Option<F80> {
    if is_empty(cx, index) { None } else { Some(content(cx, index)) }
}

/// ST(`index`) as an operand, unless it is empty.
fn operand(cx: &Vcpu, index: u8) -> Option<Operand> {
    read(cx, index).map(Operand::extended)
}

/// Fills ST(`index`).
fn write(cx: &mut Vcpu, index: u8, value: F80) {
    let register = physical(cx, index);
    cx.fpu.mantissa[register] = value.significand;
    cx.fpu.exponent[register] = value.sign_exponent;
    cx.fpu.valid |= 1 << register;
}

/// Pushes a value; whether there is room is the caller's to check.
fn push(cx: &mut Vcpu, value: F80) {
    cx.fpu.top = cx.fpu.top.wrapping_sub(1) & 7;
    write(cx, 0, value);
}

fn free(cx: &mut Vcpu, index: u8) {
    let register = physical(cx, index);
    cx.fpu.valid &= !(1 << register);
}

fn pop(cx: &mut Vcpu) {
    free(cx, 0);
    cx.fpu.top = cx.fpu.top.wrapping_add(1) & 7;
}

/// Records what an operation raised, and says whether its result is delivered. C1 says whether the result was rounded up.
fn settle(cx: &mut Vcpu, op: &Op, response: Response) -> bool {
    cx.fpu.status = cx.fpu.status & !status::C1 | response.flags.bits();
    if response.error {
        report(cx, op);
    }
    response.commit
}

/// Leaves an exception for the next instruction that waits.
#[cold]
fn report(cx: &mut Vcpu, op: &Op) {
    cx.fpu.status |= status::ERROR_SUMMARY | status::BUSY;
    cx.fpu.opcode = opcode(cx, op);
}

/// The opcode of an instruction as FOP has it: the low three bits of its first byte behind the prefixes, and its second byte.
fn opcode(cx: &mut Vcpu, op: &Op) -> u16 {
    const ESCAPES: std::ops::RangeInclusive<u8> = 0xd8..=0xdf;
    let start = cx.linear_rip().wrapping_sub(cx.rip).wrapping_add(rip_of(cx, op));
    let mut bytes = (0..op.length)
        .filter_map(|distance| cx.fetched_byte(start.wrapping_add(distance.into())))
        .skip_while(|byte| !ESCAPES.contains(byte));
    match (bytes.next(), bytes.next()) {
        (Some(first), Some(second)) => u16::from(first & 7) << 8 | u16::from(second),
        _ => 0,
    }
}

/// How the register stack was misused: what C1 says of a stack fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// An operand is empty.
    Underflow,
    /// There is no room to push.
    Overflow,
}

/// Records a stack fault, and says whether it is masked: then the result is the default NaN.
fn stack_fault(cx: &mut Vcpu, op: &Op, fault: Fault) -> bool {
    let overflow = if fault == Fault::Overflow { status::C1 } else { 0 };
    cx.fpu.status = cx.fpu.status & !status::C1 | status::INVALID | status::STACK_FAULT | overflow;
    let masked = control(cx).respond(Flags::INVALID).commit;
    if !masked {
        report(cx, op);
    }
    masked
}

/// Brings ES and B up to date after the control or the status word was replaced.
fn update_summary(cx: &mut Vcpu) {
    let pending = cx.fpu.status & !cx.fpu.control & status::EXCEPTIONS != 0;
    let summary = status::ERROR_SUMMARY | status::BUSY;
    cx.fpu.status = cx.fpu.status & !summary | if pending { summary } else { 0 };
}

#[cfg(test)]
mod tests {
    use crate::cpu::{Cr0, Rflags, slot};
    use crate::engine::VcpuExit;
    use crate::testing::*;
    use crate::vcpu::Vcpu;

    /// fld1; fldz; fdivp; fwait; hlt, with #Z unmasked.
    const DIVIDE: [u8; 8] = [0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0xf4];
    const FWAIT: u64 = CODE + 6;

    fn with_zero_divide(native_errors: bool) -> Vcpu {
        let mut cx = long_mode();
        cx.fpu.control = 0x37b;
        if !native_errors {
            cx.control.cr0 &= !Cr0::NE;
        }
        cx
    }

    #[test]
    fn unmasked_exception_is_raised_by_the_next_instruction_that_waits() {
        let mut cx = with_zero_divide(true);
        expect_vector(&mut cx, &DIVIDE, 16);
        assert_eq!(frame::<1>(&cx), [FWAIT]);
        assert_eq!([cx.fpu.instruction, u64::from(board(&mut cx).float_errors)], [CODE + 4, 0]);
    }

    #[test]
    fn without_native_errors_the_cpu_waits_for_the_interrupt_of_the_float_error() {
        let mut cx = with_zero_divide(false);
        cx.set_rflags(Rflags::IF);
        assert_eq!(run(&mut cx, &DIVIDE), VcpuExit::Halted);
        assert_eq!([cx.rip, u64::from(board(&mut cx).float_errors), cx.time.halts()], [FWAIT, 1, 0]);
        board(&mut cx).pending.push(0x75);
        // The handler: FNCLEX; IRETQ. Then the instruction is tried again, and HLT reached.
        store(&mut cx, handler(0x75), &[0xdb, 0xe2, 0x48, 0xcf]);
        let until = cx.count() + 100;
        assert_eq!(cx.run(until), VcpuExit::Halted);
        assert_eq!([cx.rip, u64::from(board(&mut cx).float_errors), cx.time.halts()], [FWAIT + 2, 1, 1]);
    }

    #[test]
    fn ignored_float_error_lets_instructions_pass() {
        let mut cx = with_zero_divide(false);
        board(&mut cx).ignores_float_errors = true;
        expect_halt(&mut cx, &DIVIDE);
        assert_eq!(cx.fpu.status & 0x80, 0x80);
        // MMX instructions wait as well: paddb mm0,mm1.
        let mut cx = with_zero_divide(false);
        cx.fpu.status |= 0x8084;
        assert_eq!(run(&mut cx, &[0x0f, 0xfc, 0xc1]), VcpuExit::Halted);
        assert_eq!([cx.rip, cx.regs[slot::RAX]], [CODE, 0]);
    }

    #[test]
    fn instruction_and_data_pointers_are_of_the_last_instruction_that_is_not_about_the_x87() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = DATA;
        // fld1; fadd dword [rbx+8]
        expect_halt(&mut cx, &[0xd9, 0xe8, 0xd8, 0x43, 0x08, 0xf4]);
        assert_eq!([cx.fpu.instruction, cx.fpu.data, cx.fpu.opcode.into()], [CODE + 2, DATA + 8, 0]);
        // fxch; fnstcw [rbx]; fldcw [rbx]; fnstsw ax; fwait
        cx.halted = false;
        let here = cx.rip;
        expect_halt(&mut cx, &[0xd9, 0xc9, 0xd9, 0x3b, 0xd9, 0x2b, 0xdf, 0xe0, 0x9b, 0xf4]);
        assert_eq!([cx.fpu.instruction, cx.fpu.data], [here, DATA + 8]);
        // fstp qword [rbx+0x10], which pops
        cx.halted = false;
        let here = cx.rip;
        expect_halt(&mut cx, &[0xdd, 0x5b, 0x10, 0xf4]);
        assert_eq!([cx.fpu.instruction, cx.fpu.data, cx.fpu.opcode.into()], [here, DATA + 0x10, 0]);
        // One that faults leaves them alone: fld qword at an address that is none.
        let mut cx = long_mode();
        cx.regs[slot::RBX] = 1 << 47;
        expect_vector(&mut cx, &[0xd9, 0xe8, 0xdd, 0x03], 13);
        assert_eq!([cx.fpu.instruction, cx.fpu.data], [CODE, 0]);
    }

    #[test]
    fn opcode_is_that_of_the_last_instruction_with_an_unmasked_exception() {
        let mut cx = with_zero_divide(true);
        expect_vector(&mut cx, &DIVIDE, 16);
        assert_eq!(cx.fpu.opcode, 0x6f9);
        // fdiv dword [rbx+r12*1], of a zero, behind prefixes.
        let mut cx = with_zero_divide(true);
        cx.regs[slot::RBX] = DATA;
        expect_vector(&mut cx, &[0xd9, 0xe8, 0x66, 0x42, 0xd8, 0x34, 0x23, 0x9b], 16);
        assert_eq!([cx.fpu.opcode.into(), cx.fpu.instruction, cx.fpu.data], [0x034, CODE + 2, DATA]);
    }
}
