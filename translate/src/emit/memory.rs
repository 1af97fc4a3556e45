//! Accesses to guest memory by the TLB.

use emu::cpu::slot;
use emu::decode::{AddressMode, Op};

use iced_x86::{Instruction, Mnemonic};
use wasm_encoder::BlockType;

use super::{Emit, Frame, at, local};

/// What an access starts from: accesses with the same base mostly go to the same page.
///
/// The page that a base has reached stays in locals, by which the next access finds out with one compare that it goes there too. Nothing changes the TLB but
/// handlers and other code, so what it allowed once it allows until one of those has run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Base(u32);

/// Number of bases: general registers, FS and GS with an offset that is constant.
pub const BASES: u32 = 18;

impl Base {
    /// The stack pointer. Its page is known from block to block.
    pub const STACK: Self = Self(slot::RSP as u32);

    /// A general register.
    pub fn register(number: u32) -> Self {
        Self(number)
    }

    /// That of an op's memory operand, if others may have the same.
    pub fn of(op: &Op) -> Option<Self> {
        match (op.segment, op.base, op.index) {
            (slot::FS, slot::ZERO, slot::ZERO) => Some(Self(16)),
            (slot::GS, slot::ZERO, slot::ZERO) => Some(Self(17)),
            (slot::FS | slot::GS, ..) => None,
            (_, base, slot::ZERO) if base < 16 => Some(Self(base.into())),
            _ => None,
        }
    }

    fn page(self) -> u32 {
        local::REACHED + self.0
    }

    fn addend(self) -> u32 {
        local::ADDEND + self.0
    }
}

/// What a page that was reached allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Reads,
    All,
}

/// The pages that a block has reached, by their bases; of the stack pointer it is not known here.
#[derive(Clone, Copy, Default)]
pub struct Reached([Option<Allowed>; BASES as usize]);

impl Reached {
    /// A register was set: the next access by it mostly goes elsewhere.
    pub fn moved(&mut self, register: u32) {
        self.0[register as usize] = None;
    }

    /// What was reached before an instruction still is, if that has moved a register by a little.
    pub fn keep(&mut self, before: Self, instruction: &Instruction) {
        let is_little = match instruction.mnemonic() {
            Mnemonic::Inc | Mnemonic::Dec => true,
            Mnemonic::Add | Mnemonic::Sub => (-256..=256).contains(&(instruction.try_immediate(1).map_or(i64::MAX, |value| value as i64))),
            _ => false,
        };
        let register = instruction.op0_register();
        if is_little && register.is_gpr64() {
            let number = register.number();
            self.0[number] = before.0[number];
        }
    }
}

/// Stands for no page of the stack: see [`Emit::is_elsewhere`], which never compares this bit.
const NOWHERE: i64 = 0x800;

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
    pub fn reach(&mut self, bits: u32, write: bool, base: Option<Base>) {
        let reached = base.map(|base| (base, if base == Base::STACK { Some(Allowed::All) } else { self.reached.0[base.0 as usize] }));
        match reached {
            None => {
                self.look_up(bits, write);
                self.point();
            }
            Some((base, Some(allowed))) if allowed == Allowed::All || !write => {
                self.is_elsewhere(bits, base);
                self.code().if_(BlockType::Empty);
                self.frames.push(Frame::Other);
                self.look_up(bits, write);
                if base == Base::STACK {
                    self.remember_stack(write);
                }
                self.point();
                self.code().else_();
                self.code().local_get(local::ADDRESS).i32_wrap_i64().local_get(base.addend()).i32_add().local_set(local::POINTER);
                self.code().end();
                self.frames.pop();
            }
            Some((base, _)) => {
                self.look_up(bits, write);
                self.remember(base);
                self.reached.0[base.0 as usize] = Some(if write { Allowed::All } else { Allowed::Reads });
                self.point();
            }
        }
    }

    /// Sets [`local::TLB_ENTRY`] to what allows to read, or to write, `bits` at [`local::ADDRESS`].
    fn look_up(&mut self, bits: u32, write: bool) {
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
    }

    /// Sets [`local::POINTER`] by the entry that was looked up.
    fn point(&mut self) {
        let addend = self.region.layout.tlb_addend;
        self.code().local_get(local::ADDRESS).i32_wrap_i64().local_get(local::TLB_ENTRY).i32_load(at(addend, 2)).i32_add();
        self.code().local_set(local::POINTER);
    }

    /// Pushes whether `bits` at [`local::ADDRESS`] are not all on the page that `base` has reached.
    fn is_elsewhere(&mut self, bits: u32, base: Base) {
        let bytes = i64::from(bits / 8);
        if base == Base::STACK {
            // The page, and what an aligned address does not have: so an access that crosses into the next page is elsewhere, too.
            self.code().local_get(local::ADDRESS).i64_const(!0xfff | (bytes - 1)).i64_and().local_get(base.page()).i64_ne();
        } else {
            self.code().local_get(local::ADDRESS).local_get(base.page()).i64_sub().i64_const(0x1000 - bytes).i64_gt_u();
        }
    }

    /// Keeps the page that was looked up for `base`.
    fn remember(&mut self, base: Base) {
        let addend = self.region.layout.tlb_addend;
        self.code().local_get(local::TLB_ENTRY).i32_load(at(addend, 2)).local_set(base.addend());
        self.code().local_get(local::ADDRESS).i64_const(!0xfff).i64_and().local_set(base.page());
    }

    /// Keeps the page that was looked up for the stack, if it may be written.
    fn remember_stack(&mut self, write: bool) {
        self.remember(Base::STACK);
        if !write {
            let tag = self.region.layout.tlb_write;
            self.code().local_get(Base::STACK.page()).i64_const(NOWHERE);
            self.code().local_get(local::TLB_ENTRY).i64_load(at(tag, 3)).local_get(local::ADDRESS).i64_const(0xfff).i64_or().i64_eq();
            self.code().select().local_set(Base::STACK.page());
        }
    }

    /// Forgets all pages: the TLB may have changed.
    pub fn forget_reached(&mut self) {
        self.reached = Reached::default();
        self.code().i64_const(NOWHERE).local_set(Base::STACK.page());
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
        self.reach(bits, false, Base::of(op));
        self.load(bits);
    }
}
