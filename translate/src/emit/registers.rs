//! Reading and writing guest registers.

use iced_x86::{Instruction, InstructionInfoFactory, OpAccess, Register};

use super::{Emit, local};

/// A general register as an operand.
#[derive(Clone, Copy)]
pub struct Gpr {
    /// Its number.
    pub number: u32,
    /// Its width in bits.
    pub bits: u32,
    /// AH to BH.
    pub high: bool,
}

impl Gpr {
    /// A general register, if it is one.
    pub fn new(register: Register) -> Option<Self> {
        if !register.is_gpr() {
            return None;
        }
        let high = matches!(register, Register::AH | Register::CH | Register::DH | Register::BH);
        Some(Self { number: register.full_register().number() as u32, bits: register.size() as u32 * 8, high })
    }

    /// The low bits of a register.
    pub fn low(number: u32, bits: u32) -> Self {
        Self { number, bits, high: false }
    }
}

/// All bits of a width.
pub fn mask(bits: u32) -> i64 {
    if bits == 64 { -1 } else { (1 << bits) - 1 }
}

/// The general registers that an instruction may change, other than by its flow.
pub fn changed_by(instruction: &Instruction) -> u16 {
    let mut factory = InstructionInfoFactory::new();
    let writes = |access| matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite);
    let used = factory.info(instruction).used_registers();
    used.iter()
        .filter(|used| writes(used.access()) && used.register().is_gpr())
        .fold(0, |mask, used| mask | 1 << used.register().full_register().number())
}

impl Emit<'_> {
    /// Notes that a register is read, or may keep what it holds.
    pub fn reads(&mut self, number: u32) {
        self.wanted |= 1 << number & !self.written;
    }

    /// Pushes all 64 bits of a register.
    pub fn get_whole(&mut self, number: u32) {
        self.reads(number);
        self.code().local_get(local::REGISTERS + number);
    }

    /// Sets all 64 bits of a register to what is on the stack.
    pub fn set_whole(&mut self, number: u32) {
        self.written |= 1 << number;
        self.dirty |= 1 << number;
        self.reached.moved(number);
        self.code().local_set(local::REGISTERS + number);
    }

    /// Pushes a register, zero-extended.
    pub fn get(&mut self, gpr: Gpr) {
        self.get_whole(gpr.number);
        if gpr.high {
            self.code().i64_const(8).i64_shr_u();
        }
        self.truncate(gpr.bits);
    }

    /// Clears what is above a width.
    pub fn truncate(&mut self, bits: u32) {
        if bits < 64 {
            self.code().i64_const(mask(bits)).i64_and();
        }
    }

    /// Sign-extends what is on the stack.
    pub fn sign_extend(&mut self, bits: u32) {
        match bits {
            8 => self.code().i64_extend8_s(),
            16 => self.code().i64_extend16_s(),
            32 => self.code().i64_extend32_s(),
            _ => return,
        };
    }

    /// Sets a register to what is on the stack, which is zero-extended. Uses [`local::D`] for narrow registers.
    pub fn set(&mut self, gpr: Gpr) {
        if gpr.bits < 32 {
            let shift = if gpr.high { 8 } else { 0 };
            self.code().local_set(local::D);
            self.get_whole(gpr.number);
            self.code().i64_const(!(mask(gpr.bits) << shift)).i64_and().local_get(local::D);
            if gpr.high {
                self.code().i64_const(8).i64_shl();
            }
            self.code().i64_or();
        }
        self.set_whole(gpr.number);
    }
}
