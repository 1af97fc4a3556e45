//! Multiplications and divisions.

use emu::cpu::FlagOp;
use iced_x86::Mnemonic;

use super::ops::{CF_AND_OF, Place, RAX, RDX, is_plain_source};
use super::registers::Gpr;
use super::{Emit, local};
use crate::code::Ins;

impl Emit<'_> {
    /// IMUL of two or three operands.
    pub fn imul(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let Some(to) = Gpr::new(decoded.op0_register()) else { return false };
        let (first, second) = if decoded.op_count() == 3 { (1, 2) } else { (0, 1) };
        if !is_plain_source(decoded, first) || !is_plain_source(decoded, second) {
            return false;
        }
        self.source(ins, first, to.bits);
        self.code().local_set(local::A);
        self.source(ins, second, to.bits);
        self.code().local_set(local::B);
        self.signed_product(to.bits);
        self.code().local_get(local::RESULT);
        self.set(to);
        true
    }

    /// The low half of [`local::A`] times [`local::B`] as signed numbers in [`local::RESULT`], with flags; the high half in [`local::C`].
    fn signed_product(&mut self, bits: u32) {
        if bits == 64 {
            self.high_half();
            // Signed: less the other operand for each that is negative.
            for (one, other) in [(local::A, local::B), (local::B, local::A)] {
                self.code().local_get(local::C);
                self.code().local_get(one).i64_const(63).i64_shr_s().local_get(other).i64_and().i64_sub().local_set(local::C);
            }
            self.code().local_get(local::A).local_get(local::B).i64_mul().local_tee(local::RESULT);
            self.code().i64_const(63).i64_shr_s().local_get(local::C).i64_ne();
        } else {
            for operand in [local::A, local::B] {
                self.code().local_get(operand);
                self.sign_extend(bits);
                self.code().local_set(operand);
            }
            self.code().local_get(local::A).local_get(local::B).i64_mul().local_tee(local::C);
            self.truncate(bits);
            self.code().local_set(local::RESULT).local_get(local::RESULT);
            self.sign_extend(bits);
            self.code().local_get(local::C).i64_ne();
            self.code().local_get(local::C).i64_const(bits.into()).i64_shr_u();
            self.truncate(bits);
            self.code().local_set(local::C);
        }
        self.product_flags(bits);
    }

    /// CF and OF as the number on the stack says.
    fn product_flags(&mut self, bits: u32) {
        self.code().i64_extend_i32_u().i64_const(CF_AND_OF).i64_mul().local_set(local::SOURCE);
        self.flags_are(FlagOp::Carries, bits);
    }

    /// Sets [`local::C`] to the high half of the product of [`local::A`] and [`local::B`] as unsigned 64-bit numbers. Uses [`local::D`] and
    /// [`local::ADDRESS`].
    fn high_half(&mut self) {
        const LOW: i64 = 0xffff_ffff;
        let low = |emit: &mut Self, value: u32| {
            emit.code().local_get(value).i64_const(LOW).i64_and();
        };
        let high = |emit: &mut Self, value: u32| {
            emit.code().local_get(value).i64_const(32).i64_shr_u();
        };
        // middle = high(a) * low(b) + high(low(a) * low(b))
        high(self, local::A);
        low(self, local::B);
        self.code().i64_mul();
        low(self, local::A);
        low(self, local::B);
        self.code().i64_mul().i64_const(32).i64_shr_u().i64_add().local_set(local::D);
        // other = low(a) * high(b) + low(middle)
        low(self, local::A);
        high(self, local::B);
        self.code().i64_mul();
        low(self, local::D);
        self.code().i64_add().local_set(local::ADDRESS);
        high(self, local::A);
        high(self, local::B);
        self.code().i64_mul();
        high(self, local::D);
        self.code().i64_add();
        high(self, local::ADDRESS);
        self.code().i64_add().local_set(local::C);
    }

    /// MUL and IMUL of one operand, by the accumulator into RDX and RAX.
    pub fn multiply(&mut self, ins: &Ins) -> bool {
        let Some(place) = Place::new(&ins.decoded, 0) else { return false };
        let bits = place.bits();
        if bits < 32 {
            return false;
        }
        self.source(ins, 0, bits);
        self.code().local_set(local::B);
        self.get(Gpr::low(RAX, bits));
        self.code().local_set(local::A);
        if ins.decoded.mnemonic() == Mnemonic::Imul {
            self.signed_product(bits);
        } else if bits == 64 {
            self.high_half();
            self.code().local_get(local::A).local_get(local::B).i64_mul().local_set(local::RESULT);
            self.code().local_get(local::C).i64_const(0).i64_ne();
            self.product_flags(bits);
        } else {
            self.code().local_get(local::A).local_get(local::B).i64_mul().local_tee(local::C);
            self.truncate(bits);
            self.code().local_set(local::RESULT).local_get(local::C).i64_const(bits.into()).i64_shr_u().local_tee(local::C);
            self.code().i64_const(0).i64_ne();
            self.product_flags(bits);
        }
        self.code().local_get(local::RESULT);
        self.set_whole(RAX);
        self.code().local_get(local::C);
        self.set_whole(RDX);
        true
    }

    /// DIV of 32 and 64 bits. What does not fit, or would need 128 bits, is the interpreter's.
    pub fn div(&mut self, ins: &Ins) -> bool {
        let Some(place) = Place::new(&ins.decoded, 0) else { return false };
        let bits = place.bits();
        if bits < 32 {
            return false;
        }
        self.source(ins, 0, bits);
        self.code().local_set(local::B);
        if bits == 64 {
            self.code().local_get(local::B).i64_eqz();
            self.get_whole(RDX);
            self.code().i64_const(0).i64_ne().i32_or();
            self.interpret_if();
            self.get_whole(RAX);
        } else {
            self.get(Gpr::low(RDX, 32));
            self.code().local_tee(local::A).local_get(local::B).i64_ge_u();
            self.interpret_if();
            self.code().local_get(local::A).i64_const(32).i64_shl();
            self.get(Gpr::low(RAX, 32));
            self.code().i64_or();
        }
        self.code().local_tee(local::A).local_get(local::B).i64_div_u();
        self.set_whole(RAX);
        self.code().local_get(local::A).local_get(local::B).i64_rem_u();
        self.set_whole(RDX);
        true
    }
}
