//! Accesses to guest memory by the TLB.

use emu::cpu::slot;
use emu::decode::{AddressMode, Op};

use super::{Emit, at, local};

impl Emit<'_> {
    /// Pushes the offset of an op's memory operand.
    pub fn offset(&mut self, op: &Op) {
        match op.base {
            slot::BLOCK => {
                let block = i64::from(self.block);
                self.code().local_get(local::PAGE).i64_const(block + i64::from(op.displacement)).i64_add();
            }
            slot::ZERO => {
                self.code().i64_const(op.displacement.into());
            }
            base => {
                self.get_whole(base.into());
                if op.displacement != 0 {
                    self.code().i64_const(op.displacement.into()).i64_add();
                }
            }
        }
        match op.index {
            slot::ZERO => {}
            slot::BIAS => {
                self.code().i64_const(slot::BIAS_VALUE as i64).i64_add();
            }
            index => {
                self.get_whole(index.into());
                self.code().i64_const((op.scale & 3).into()).i64_shl().i64_add();
            }
        }
        if AddressMode::offset_mask(op.scale) != u64::MAX {
            self.truncate(32);
        }
    }

    /// Sets [`local::ADDRESS`] to the linear address of an op's memory operand.
    pub fn linear(&mut self, op: &Op) {
        self.offset(op);
        if matches!(op.segment, slot::FS | slot::GS) {
            let base = self.region.layout.registers + 8 * u32::from(op.segment);
            self.code().local_get(local::CPU).i64_load(at(base, 3)).i64_add();
        }
        self.code().local_set(local::ADDRESS);
    }

    /// Sets [`local::POINTER`] to where `bits` at [`local::ADDRESS`] are, if they may be read, or written, without further ado.
    pub fn reach(&mut self, bits: u32, write: bool) {
        let layout = self.region.layout;
        let tag = if write { layout.tlb_write } else { layout.tlb_read };
        // An entry has 32 bytes, a page 4,096.
        self.code()
            .local_get(local::ADDRESS)
            .i32_wrap_i64()
            .i32_const(12 - 5)
            .i32_shr_u()
            .i32_const(((layout.tlb_entries - 1) << 5) as i32)
            .i32_and()
            .local_get(local::TLB)
            .i32_add()
            .local_tee(local::TLB_ENTRY)
            .i64_load(at(tag, 3))
            .local_get(local::ADDRESS);
        if bits > 8 {
            self.code().i64_const(i64::from(bits / 8) - 1).i64_add();
        }
        self.code().i64_const(0xfff).i64_or().i64_ne();
        self.interpret_if();
        self.code()
            .local_get(local::ADDRESS)
            .i32_wrap_i64()
            .local_get(local::TLB_ENTRY)
            .i32_load(at(layout.tlb_addend, 2))
            .i32_add()
            .local_set(local::POINTER);
    }

    /// Pushes `bits` at [`local::POINTER`], zero-extended.
    pub fn load(&mut self, bits: u32) {
        let mut code = self.code();
        code.local_get(local::POINTER);
        match bits {
            8 => code.i64_load8_u(at(0, 0)),
            16 => code.i64_load16_u(at(0, 0)),
            32 => code.i64_load32_u(at(0, 0)),
            _ => code.i64_load(at(0, 0)),
        };
    }

    /// Stores the low `bits` of a local at [`local::POINTER`].
    pub fn store(&mut self, bits: u32, value: u32) {
        let mut code = self.code();
        code.local_get(local::POINTER).local_get(value);
        match bits {
            8 => code.i64_store8(at(0, 0)),
            16 => code.i64_store16(at(0, 0)),
            32 => code.i64_store32(at(0, 0)),
            _ => code.i64_store(at(0, 0)),
        };
    }

    /// Pushes `bits` of an op's memory operand, zero-extended.
    pub fn load_operand(&mut self, op: &Op, bits: u32) {
        self.linear(op);
        self.reach(bits, false);
        self.load(bits);
    }
}
