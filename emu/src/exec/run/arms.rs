//! Which ops have an arm of their own in the loop, and which number it has: both follow from the list in `hot.rs`.

use iced_x86::Code;

use super::hot::hot_ops;
use crate::decode::{Op, Opcode};
use crate::exec::dispatch::{self, Handler};
use crate::exec::lookup;
use crate::exec::path::AddressForm;

/// A handler, by what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    code: Opcode,
    /// Register forms have one handler; they go by [`AddressForm::General`].
    address: AddressForm,
    /// Condition code of the jump behind the op, for the two together.
    jump: Option<u8>,
}

impl Key {
    /// For a register form.
    pub const fn register(code: Code, jump: Option<u8>) -> Self {
        Self { code: Opcode::of(code, false), address: AddressForm::General, jump }
    }

    /// For a memory form.
    pub const fn memory(code: Code, address: AddressForm, jump: Option<u8>) -> Self {
        Self { code: Opcode::of(code, true), address, jump }
    }

    const fn is(&self, other: &Self) -> bool {
        let same_jump = match (self.jump, other.jump) {
            (None, None) => true,
            (Some(jump), Some(other)) => jump == other,
            _ => false,
        };
        self.code.0 == other.code.0 && self.address as u8 == other.address as u8 && same_jump
    }

    /// Its handler. Where there is none, this does not compile.
    #[expect(clippy::panic, reason = "only the compiler runs this")]
    pub const fn handler(&self) -> Handler {
        match lookup::find(self.code, self.address, self.jump) {
            Some(handler) => handler,
            None => panic!("a hot op has no handler"),
        }
    }

    /// Number of its arm.
    #[expect(clippy::panic, reason = "only the compiler runs this")]
    pub const fn arm(&self) -> u16 {
        let mut arm = 0;
        while arm < HOT.len() {
            if HOT[arm].is(self) {
                return arm as u16;
            }
            arm += 1;
        }
        panic!("the op is not in the list")
    }
}

/// An entry of the list as a [`Key`].
macro_rules! key {
    ($code:ident register $($jump:ident)?) => {
        $crate::exec::run::arms::Key::register(iced_x86::Code::$code, $crate::exec::run::arms::jump!($($jump)?))
    };
    ($code:ident based $($jump:ident)?) => { $crate::exec::run::arms::key!(@ $code Based $($jump)?) };
    ($code:ident indexed $($jump:ident)?) => { $crate::exec::run::arms::key!(@ $code Indexed $($jump)?) };
    ($code:ident general $($jump:ident)?) => { $crate::exec::run::arms::key!(@ $code General $($jump)?) };
    (@ $code:ident $way:ident $($jump:ident)?) => {
        $crate::exec::run::arms::Key::memory(
            iced_x86::Code::$code,
            $crate::exec::path::AddressForm::$way,
            $crate::exec::run::arms::jump!($($jump)?),
        )
    };
}

macro_rules! jump {
    () => {
        None
    };
    ($jump:ident) => {
        Some($crate::cpu::Condition::$jump)
    };
}

pub(super) use {jump, key};

macro_rules! keys {
    ($($code:ident $way:ident $($jump:ident)?;)*) => { &[$(key!($code $way $($jump)?)),*] };
}

const HOT: &[Key] = hot_ops!(keys);

/// The arm of the op that goes on behind a block.
pub const FALL_THROUGH: u16 = HOT.len() as u16;
/// The arm for all other ops; what numbers are left up to [`EXIT`] lead there, too.
pub const OTHER: u16 = FALL_THROUGH + 1;
/// Mask of the arms' numbers.
pub const MASK: u16 = (OTHER + 2).next_power_of_two() - 1;
/// The arm that leaves the loop: the last number that the mask leaves, so that the table of arms has an entry for each, and the jump needs no
/// compare.
pub const EXIT: u16 = dispatch::EXIT_ARM & MASK;

const _: () = assert!(EXIT == MASK && EXIT > OTHER);

const CODES: usize = Opcode::SYNTHETIC as usize;

/// The list sorted by opcode number: those of one number are in `arms[starts[number]..starts[number + 1]]`.
struct Index {
    starts: [u16; CODES + 1],
    arms: [u16; HOT.len()],
}

static INDEX: Index = index();

const fn index() -> Index {
    let mut index = Index { starts: [0; CODES + 1], arms: [0; HOT.len()] };
    let mut arm = 0;
    while arm < HOT.len() {
        assert!(HOT[arm].arm() as usize == arm, "an op is twice in the list");
        index.starts[HOT[arm].code.0 as usize + 1] += 1;
        arm += 1;
    }
    let mut code = 0;
    while code < CODES {
        index.starts[code + 1] += index.starts[code];
        code += 1;
    }
    let mut next = index.starts;
    arm = 0;
    while arm < HOT.len() {
        let code = HOT[arm].code.0 as usize;
        index.arms[next[code] as usize] = arm as u16;
        next[code] += 1;
        arm += 1;
    }
    index
}

/// The arm of an op, alone or with a conditional jump of a condition.
pub fn arm_of(op: &Op, jump: Option<u8>) -> u16 {
    if op.code == Opcode::FALL_THROUGH {
        return FALL_THROUGH;
    }
    let number = usize::from(op.code.0);
    let (Some(&start), Some(&end)) = (INDEX.starts.get(number), INDEX.starts.get(number + 1)) else { return OTHER };
    let address = match jump {
        _ if number & 1 == 0 => AddressForm::General,
        None => AddressForm::of(op),
        Some(_) => AddressForm::of_fused(op),
    };
    let key = Key { code: op.code, address, jump };
    let arms = &INDEX.arms[usize::from(start)..usize::from(end)];
    arms.iter().find(|&&arm| HOT[usize::from(arm)].is(&key)).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Condition, slot};
    use crate::decode::AddressMode;

    fn op_of(key: &Key) -> Op {
        let mut op = Op::bare(key.code);
        match key.address {
            AddressForm::Based => {}
            AddressForm::Indexed => op.index = slot::RCX,
            AddressForm::General => op.segment = slot::FS,
        }
        op
    }

    #[test]
    fn every_op_of_the_list_has_its_arm() {
        for (arm, key) in HOT.iter().enumerate() {
            assert_eq!(usize::from(arm_of(&op_of(key), key.jump)), arm, "{key:?}");
        }
        assert_eq!(arm_of(&Op::bare(Opcode::FALL_THROUGH), None), FALL_THROUGH);
    }

    #[test]
    fn register_forms_have_one_arm_whatever_stands_in_their_address() {
        let mut op = Op::bare(Opcode::of(Code::Jmp_rel8_64, false));
        let arm = arm_of(&op, None);
        assert_ne!(arm, OTHER);
        for (index, segment, scale) in [(slot::ZERO, slot::FS, 0), (slot::RAX, slot::RAX, 0), (slot::ZERO, slot::ZERO, AddressMode::BITS32)]
        {
            (op.index, op.segment, op.scale) = (index, segment, scale);
            assert_eq!(arm_of(&op, None), arm);
        }
    }

    #[test]
    fn what_is_not_in_the_list_has_no_arm_of_its_own() {
        let alone = Key::register(Code::Cpuid, None);
        let fused = Key::register(Code::Mov_r64_rm64, Some(Condition::E));
        for key in [alone, fused] {
            assert_eq!(arm_of(&op_of(&key), key.jump), OTHER, "{key:?}");
        }
        for synthetic in [Opcode::INVALID, Opcode::STALE, Opcode(u16::MAX)] {
            assert_eq!(arm_of(&Op::bare(synthetic), None), OTHER);
        }
    }
}
