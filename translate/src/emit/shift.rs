//! Shifts and rotates.

use emu::cpu::FlagOp;
use iced_x86::{Mnemonic, OpKind};
use wasm_encoder::BlockType;

use super::flags::Pending;
use super::ops::{CF_AND_OF, Place, RCX};
use super::{Emit, local};
use crate::code::Ins;

impl Emit<'_> {
    pub fn shift(&mut self, ins: &Ins) -> bool {
        let decoded = &ins.decoded;
        let Some(to) = Place::new(decoded, 0) else { return false };
        let bits = to.bits();
        let count_mask = if bits == 64 { 63 } else { 31 };
        if decoded.op1_kind() == OpKind::Register {
            // By CL, which may be 0: then the flags stay.
            if matches!(decoded.mnemonic(), Mnemonic::Rol | Mnemonic::Ror) {
                return false;
            }
            self.settle();
            self.first(ins, to, true);
            self.get_whole(RCX);
            self.code().i64_const(count_mask).i64_and().local_tee(local::SECOND).i64_eqz().i32_eqz().if_(BlockType::Empty);
            self.shifted(decoded.mnemonic(), bits);
            self.settle();
            self.code().local_get(local::RESULT).local_set(local::A).end();
            self.flags = super::flags::Flags::Unknown;
            self.write(to, local::A);
            return true;
        }
        let count = ins.op.immediate as i64 & count_mask;
        self.first(ins, to, true);
        if count == 0 {
            self.write(to, local::A);
            return true;
        }
        match decoded.mnemonic() {
            Mnemonic::Rol | Mnemonic::Ror => {
                self.rotated(decoded.mnemonic() == Mnemonic::Rol, count % i64::from(bits), bits);
                self.write(to, local::A);
            }
            mnemonic => {
                self.code().i64_const(count).local_set(local::SECOND);
                self.shifted(mnemonic, bits);
                self.write(to, local::RESULT);
            }
        }
        true
    }

    /// [`local::A`] shifted by [`local::SECOND`], which is not 0, with flags.
    fn shifted(&mut self, mnemonic: Mnemonic, bits: u32) {
        self.code().local_get(local::A).local_tee(local::FIRST);
        match mnemonic {
            Mnemonic::Shr => {
                self.code().local_get(local::SECOND).i64_shr_u();
            }
            Mnemonic::Sar => {
                self.sign_extend(bits);
                self.code().local_get(local::SECOND).i64_shr_s();
            }
            _ => {
                self.code().local_get(local::SECOND).i64_shl();
            }
        }
        self.truncate(bits);
        self.code().local_set(local::RESULT);
        self.flags_are(FlagOp::Carries, bits);
        self.pending = Some(Pending::Shift(mnemonic, bits));
    }

    /// Of a shift: the last bit out, and whether the sign has changed.
    pub fn shift_carries(&mut self, mnemonic: Mnemonic, bits: u32) {
        let top = i64::from(bits) - 1;
        self.code().local_get(local::FIRST);
        match mnemonic {
            Mnemonic::Shr => {
                self.code().local_get(local::SECOND).i64_const(1).i64_sub().i64_shr_u().i64_const(1).i64_and();
                self.code().local_get(local::FIRST).i64_const(top).i64_shr_u().i64_const(11).i64_shl().i64_or();
            }
            Mnemonic::Sar => {
                self.sign_extend(bits);
                self.code().local_get(local::SECOND).i64_const(1).i64_sub().i64_shr_s().i64_const(1).i64_and();
            }
            _ => {
                if bits == 64 {
                    self.code().i64_const(64).local_get(local::SECOND).i64_sub().i64_shr_u();
                } else {
                    self.code().local_get(local::SECOND).i64_shl().i64_const(bits.into()).i64_shr_u();
                }
                self.code().i64_const(1).i64_and().local_tee(local::C);
                self.code()
                    .local_get(local::RESULT)
                    .i64_const(top)
                    .i64_shr_u()
                    .local_get(local::C)
                    .i64_xor()
                    .i64_const(11)
                    .i64_shl()
                    .i64_or();
            }
        }
        self.code().local_set(local::SOURCE);
    }

    /// [`local::A`] rotated, with flags.
    fn rotated(&mut self, left: bool, count: i64, bits: u32) {
        let width = i64::from(bits);
        // CF and OF of a rotation before are overwritten.
        if !matches!(self.pending, Some(Pending::Rotation { .. })) {
            self.settle();
        }
        if count != 0 {
            let (up, down) = if left { (count, width - count) } else { (width - count, count) };
            self.code().local_get(local::A).i64_const(up).i64_shl().local_get(local::A).i64_const(down).i64_shr_u().i64_or();
            self.truncate(bits);
            self.code().local_set(local::A);
        }
        self.code().local_get(local::A).local_set(local::FIRST);
        self.pending = Some(Pending::Rotation { left, bits });
    }

    /// Of a rotation: CF is the bit that went round; OF compares the two at that end, or at the top.
    pub fn rotation_carries(&mut self, left: bool, bits: u32) {
        let width = i64::from(bits);
        let bit = |emit: &mut Self, place: i64| {
            emit.code().local_get(local::FIRST).i64_const(place).i64_shr_u().i64_const(1).i64_and();
        };
        let carry = if left { 0 } else { width - 1 };
        bit(self, carry);
        bit(self, if left { 0 } else { width - 2 });
        bit(self, width - 1);
        self.code().i64_xor().i64_const(11).i64_shl().i64_or().local_set(local::C);
        self.replace_carries(CF_AND_OF);
    }
}
