//! Where translated code finds the CPU's state in the machine's memory.

use wasm_encoder::{ConstExpr, ValType};

/// Offsets in bytes from the start of the CPU, unless said otherwise. The machine's module says them: see [`crate::link`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Register file: slots of 8 bytes.
    pub registers: u32,
    /// Budget: 8 bytes.
    pub budget: u32,
    /// Result of the lazy flags: 8 bytes.
    pub result: u32,
    /// Source of the lazy flags: 8 bytes.
    pub source: u32,
    /// Operation of the lazy flags, and in the next byte their width.
    pub operation: u32,
    /// Address of the TLB's current table: 4 bytes.
    pub tlb: u32,
    /// Entries of a table of the TLB, a power of two. An entry has 32 bytes.
    pub tlb_entries: u32,
    /// Tag for reads, from the start of an entry: 8 bytes.
    pub tlb_read: u32,
    /// Tag for writes, from the start of an entry: 8 bytes.
    pub tlb_write: u32,
    /// What makes an address of a linear one, from the start of an entry: 4 bytes.
    pub tlb_addend: u32,
    /// XMM0, and the other vector registers behind it: 16 bytes each.
    pub xmm: u32,
    /// Immediate of an op, from the start of its slot: 8 bytes.
    pub immediate: u32,
    /// Number of an op, from the start of its slot: 2 bytes.
    pub code: u32,
    /// Handler of an op, from the start of its slot: 4 bytes, its place in the table of functions.
    pub handler: u32,
}

/// Indices of the functions of the machine that translated code calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Helpers {
    /// `(cpu, linear) -> slot`: goes on at an address, in translated code if there is some.
    pub go: u32,
    /// `(cpu, slot, linear, back) -> slot`: goes on at an address, for the code that the slot led to; 0 to go on behind it, once the guest has come back to
    /// where that can be entered. It is none of the machine's: it is linked with what calls it.
    pub call: u32,
    /// `(cpu, linear) -> slot`: goes on at an address with at least one op of the interpreter's.
    pub interpret: u32,
    /// `(cpu, number) -> slot`: runs the op of this number in the list, of the block that starts at the register file's block slot; 0 to go on behind it.
    pub run: u32,
    /// `(operation, result, source) -> flags`: evaluates lazy flags.
    pub evaluate: u32,
}

/// Numbers of the globals that translated code shares, all of a module the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Globals {
    /// The first of them.
    pub first: u32,
}

impl Globals {
    /// How many there are.
    pub const COUNT: u32 = 3;
    /// Stands for no address: one that is not canonical.
    pub const NOWHERE: i64 = 1 << 62;

    /// How many calls are within one another, of 32 bits.
    pub fn depth(self) -> u32 {
        self.first
    }

    /// The address behind the innermost call, of 64 bits, as long as nothing can have changed what stands there.
    pub fn back(self) -> u32 {
        self.first + 1
    }

    /// How many handlers have run, of 32 bits.
    pub fn handled(self) -> u32 {
        self.first + 2
    }

    /// What they are at first.
    pub fn initial() -> [(ValType, ConstExpr); Self::COUNT as usize] {
        [
            (ValType::I32, ConstExpr::i32_const(0)),
            (ValType::I64, ConstExpr::i64_const(Self::NOWHERE)),
            (ValType::I32, ConstExpr::i32_const(0)),
        ]
    }
}
