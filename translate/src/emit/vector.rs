//! Vector registers: moves, bitwise logic, comparisons and shuffles, which the C library's string functions are made of. The registers stay in the CPU; in here, each is
//! two halves of 64 bits.

use iced_x86::{Code, OpKind, Register};
use wasm_encoder::BlockType;

use super::memory::Base;
use super::registers::Gpr;
use super::{Emit, at, local};
use crate::code::Ins;

/// The low and the high half.
const HALVES: [u32; 2] = [0, 1];
/// What holds the halves of a second operand.
const OPERAND: [u32; 2] = [local::A, local::B];

impl Emit<'_> {
    /// Writes an instruction on vector registers; `false`, and nothing, if this is left to its handler.
    pub fn vector(&mut self, ins: &Ins) -> bool {
        use Code::*;
        match ins.decoded.code() {
            Movaps_xmm_xmmm128 | Movapd_xmm_xmmm128 | Movdqa_xmm_xmmm128 => self.whole(ins, true),
            Movups_xmm_xmmm128 | Movupd_xmm_xmmm128 | Movdqu_xmm_xmmm128 => self.whole(ins, false),
            Movaps_xmmm128_xmm | Movapd_xmmm128_xmm | Movdqa_xmmm128_xmm => self.store_whole(ins, true),
            Movups_xmmm128_xmm | Movupd_xmmm128_xmm | Movdqu_xmmm128_xmm => self.store_whole(ins, false),
            Movq_xmm_xmmm64 | Movq_xmm_rm64 => self.load_low(ins, 64),
            Movd_xmm_rm32 => self.load_low(ins, 32),
            Movsd_xmm_xmmm64 if is_memory(ins, 1) => self.load_low(ins, 64),
            Movss_xmm_xmmm32 if is_memory(ins, 1) => self.load_low(ins, 32),
            Movq_xmmm64_xmm | Movsd_xmmm64_xmm if is_memory(ins, 0) => self.store_low(ins, 64),
            Movss_xmmm32_xmm if is_memory(ins, 0) => self.store_low(ins, 32),
            Movd_rm32_xmm => self.store_low(ins, 32),
            Movq_rm64_xmm => self.store_low(ins, 64),
            Pxor_xmm_xmmm128 | Xorps_xmm_xmmm128 | Xorpd_xmm_xmmm128 => self.lanes(ins, |emit| {
                emit.code().i64_xor();
            }),
            Por_xmm_xmmm128 | Orps_xmm_xmmm128 | Orpd_xmm_xmmm128 => self.lanes(ins, |emit| {
                emit.code().i64_or();
            }),
            Pand_xmm_xmmm128 | Andps_xmm_xmmm128 | Andpd_xmm_xmmm128 => self.lanes(ins, |emit| {
                emit.code().i64_and();
            }),
            Pandn_xmm_xmmm128 | Andnps_xmm_xmmm128 | Andnpd_xmm_xmmm128 => self.lanes(ins, |emit| {
                emit.code().local_set(local::C).i64_const(-1).i64_xor().local_get(local::C).i64_and();
            }),
            Pcmpeqb_xmm_xmmm128 => self.lanes(ins, |emit| emit.equal(0x7f7f_7f7f_7f7f_7f7f, 8)),
            Pcmpeqw_xmm_xmmm128 => self.lanes(ins, |emit| emit.equal(0x7fff_7fff_7fff_7fff, 16)),
            Pcmpeqd_xmm_xmmm128 => self.lanes(ins, |emit| emit.equal(0x7fff_ffff_7fff_ffff, 32)),
            Pmovmskb_r32_xmm | Pmovmskb_r64_xmm => self.top_bits(ins),
            Punpcklbw_xmm_xmmm128 => self.interleave(ins, &[(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff)]),
            Punpcklwd_xmm_xmmm128 => self.interleave(ins, &[(16, 0x0000_ffff_0000_ffff)]),
            Punpckldq_xmm_xmmm128 | Unpcklps_xmm_xmmm128 => self.interleave(ins, &[]),
            Punpcklqdq_xmm_xmmm128 | Unpcklpd_xmm_xmmm128 => {
                self.second(ins, true);
                self.code().local_get(local::CPU).local_get(local::A);
                self.put_half(ins.decoded.op0_register(), 1);
                true
            }
            Pshufd_xmm_xmmm128_imm8 => self.shuffle(ins),
            _ => false,
        }
    }

    fn half(&self, register: Register, half: u32) -> u32 {
        self.region.layout.xmm + 16 * register.number() as u32 + 8 * half
    }

    /// Pushes a half of a register.
    fn get_half(&mut self, register: Register, half: u32) {
        let offset = self.half(register, half);
        self.code().local_get(local::CPU).i64_load(at(offset, 3));
    }

    /// Sets a half of a register to what is on the stack, above the CPU.
    fn put_half(&mut self, register: Register, half: u32) {
        let offset = self.half(register, half);
        self.code().i64_store(at(offset, 3));
    }

    /// Sets both halves to [`local::A`] and [`local::B`].
    fn put_both(&mut self, register: Register) {
        for half in HALVES {
            self.code().local_get(local::CPU).local_get(OPERAND[half as usize]);
            self.put_half(register, half);
        }
    }

    /// Sets [`local::POINTER`] to 16 bytes of memory, aligned if they have to be: otherwise the interpreter raises the exception.
    fn reach_whole(&mut self, ins: &Ins, aligned: bool, write: bool) {
        self.linear(&ins.op);
        if aligned {
            self.code().local_get(local::ADDRESS).i64_const(15).i64_and().i64_const(0).i64_ne();
            self.interpret_if();
        }
        self.reach(128, write, Base::of(&ins.op));
    }

    /// Sets [`local::A`] and [`local::B`] to the second operand.
    fn second(&mut self, ins: &Ins, aligned: bool) {
        if is_memory(ins, 1) {
            self.reach_whole(ins, aligned, false);
            for half in HALVES {
                self.code().local_get(local::POINTER).i64_load(at(8 * half, 0)).local_set(OPERAND[half as usize]);
            }
        } else {
            for half in HALVES {
                self.get_half(ins.decoded.op1_register(), half);
                self.code().local_set(OPERAND[half as usize]);
            }
        }
    }

    fn whole(&mut self, ins: &Ins, aligned: bool) -> bool {
        self.second(ins, aligned);
        self.put_both(ins.decoded.op0_register());
        true
    }

    fn store_whole(&mut self, ins: &Ins, aligned: bool) -> bool {
        if !is_memory(ins, 0) {
            return self.whole(ins, false);
        }
        self.reach_whole(ins, aligned, true);
        for half in HALVES {
            self.code().local_get(local::POINTER);
            self.get_half(ins.decoded.op1_register(), half);
            self.code().i64_store(at(8 * half, 0));
        }
        true
    }

    /// Into the low lane; all else becomes 0.
    fn load_low(&mut self, ins: &Ins, bits: u32) -> bool {
        let from = ins.decoded.op1_register();
        if is_memory(ins, 1) {
            self.load_operand(&ins.op, bits);
        } else if let Some(gpr) = Gpr::new(from) {
            self.get(gpr);
        } else {
            self.get_half(from, 0);
        }
        self.code().local_set(local::A).i64_const(0).local_set(local::B);
        self.put_both(ins.decoded.op0_register());
        true
    }

    /// From the low lane, to memory or to a general register.
    fn store_low(&mut self, ins: &Ins, bits: u32) -> bool {
        let from = ins.decoded.op1_register();
        if is_memory(ins, 0) {
            self.get_half(from, 0);
            self.code().local_set(local::A);
            self.linear(&ins.op);
            self.reach(bits, true, Base::of(&ins.op));
            self.store(bits, local::A);
        } else if let Some(gpr) = Gpr::new(ins.decoded.op0_register()) {
            self.get_half(from, 0);
            self.truncate(bits);
            self.set(gpr);
        }
        true
    }

    /// Each half of the first operand becomes what `operation` makes of it and of that of the second, which are on the stack.
    fn lanes(&mut self, ins: &Ins, operation: impl Fn(&mut Self)) -> bool {
        let first = ins.decoded.op0_register();
        self.second(ins, true);
        for half in HALVES {
            self.code().local_get(local::CPU);
            self.get_half(first, half);
            self.code().local_get(OPERAND[half as usize]);
            operation(self);
            self.put_half(first, half);
        }
        true
    }

    /// All bits of each lane in which two halves agree: `low` has all bits of each but the topmost.
    fn equal(&mut self, low: i64, bits: i64) {
        // What differs; then the top bit of each lane that is 0.
        self.code().i64_xor().local_tee(local::C).i64_const(low).i64_and().i64_const(low).i64_add();
        self.code().local_get(local::C).i64_or().i64_const(low).i64_or().i64_const(-1).i64_xor();
        self.code().i64_const(bits - 1).i64_shr_u().i64_const(super::registers::mask(bits as u32)).i64_mul();
    }

    /// PMOVMSKB.
    fn top_bits(&mut self, ins: &Ins) -> bool {
        for half in HALVES {
            self.get_half(ins.decoded.op1_register(), half);
            // The bits come together, in order, in the topmost byte.
            self.code().i64_const(7).i64_shr_u().i64_const(0x0101_0101_0101_0101).i64_and();
            self.code().i64_const(0x0102_0408_1020_4080).i64_mul().i64_const(56).i64_shr_u();
            if half == 1 {
                self.code().i64_const(8).i64_shl().i64_or();
            }
        }
        self.set_whole(ins.decoded.op0_register().full_register().number() as u32);
        true
    }

    /// The lanes of both low halves by turns. `steps` move the lanes of 32 bits apart: how far, and what stays.
    fn interleave(&mut self, ins: &Ins, steps: &[(i64, i64)]) -> bool {
        let first = ins.decoded.op0_register();
        let lane = 32 >> steps.len();
        self.second(ins, true);
        self.get_half(first, 0);
        self.code().local_set(local::B);
        for half in HALVES {
            for (operand, result) in [(local::B, local::C), (local::A, local::D)] {
                self.code()
                    .local_get(operand)
                    .i64_const(32 * i64::from(half))
                    .i64_shr_u()
                    .i64_const(0xffff_ffff)
                    .i64_and()
                    .local_set(result);
                for &(distance, stays) in steps {
                    self.code().local_get(result).local_get(result).i64_const(distance).i64_shl().i64_or();
                    self.code().i64_const(stays).i64_and().local_set(result);
                }
            }
            self.code().local_get(local::CPU).local_get(local::C).local_get(local::D).i64_const(lane).i64_shl().i64_or();
            self.put_half(first, half);
        }
        true
    }

    /// PSHUFD.
    fn shuffle(&mut self, ins: &Ins) -> bool {
        let order = ins.op.immediate as u32;
        self.second(ins, true);
        for half in HALVES {
            self.code().local_get(local::CPU);
            for lane in HALVES {
                let from = order >> (4 * half + 2 * lane) & 3;
                self.code().local_get(OPERAND[from as usize / 2]).i64_const(32 * i64::from(from & 1)).i64_shr_u();
                self.code().i64_const(0xffff_ffff).i64_and();
            }
            self.code().i64_const(32).i64_shl().i64_or();
            self.put_half(ins.decoded.op0_register(), half);
        }
        true
    }

    /// BSF and BSR.
    pub fn scan(&mut self, ins: &Ins, forward: bool) -> bool {
        let Some(to) = Gpr::new(ins.decoded.op0_register()).filter(|to| to.bits >= 32) else { return false };
        match Gpr::new(ins.decoded.op1_register()) {
            Some(gpr) if !is_memory(ins, 1) => self.get(gpr),
            _ => self.load_operand(&ins.op, to.bits),
        }
        // Of zero, the register stays as it is.
        self.reads(to.number);
        self.code().local_tee(local::RESULT).i64_eqz().i32_eqz().if_(BlockType::Empty);
        self.code().local_get(local::RESULT);
        if forward {
            self.code().i64_ctz();
        } else {
            self.code().i64_clz().local_set(local::A).i64_const(63).local_get(local::A).i64_sub();
        }
        self.set(to);
        self.code().end().i64_const(0).local_set(local::SOURCE);
        self.flags_are(emu::cpu::FlagOp::Carries, to.bits);
        true
    }
}

fn is_memory(ins: &Ins, operand: u32) -> bool {
    ins.decoded.op_kind(operand) == OpKind::Memory
}
