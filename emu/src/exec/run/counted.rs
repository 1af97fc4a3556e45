//! The loop of a machine that counts its ops, which `examples/hot_ops.rs` makes `hot.rs` of.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::cache::Slot;
use crate::decode::{Op, Opcode};
use crate::exec::dispatch::{EXIT_ARM, restore};
use crate::exec::path::AddressForm;
use crate::vcpu::Vcpu;

/// Names of the condition codes, as [`Condition`](crate::cpu::Condition) has them.
const CONDITIONS: [&str; 16] = ["O", "NO", "B", "AE", "E", "NE", "BE", "A", "S", "NS", "P", "NP", "L", "GE", "LE", "G"];

/// What an arm is for: an opcode, the form of its address, and the condition of the jump behind it.
type Key = (u16, AddressForm, Option<u8>);

#[derive(Default)]
struct Counts {
    arms: FxHashMap<Key, u16>,
    /// By the number of the arm.
    ops: Vec<(Key, u64)>,
}

thread_local! {
    static COUNTS: RefCell<Counts> = RefCell::default();
}

/// The number that an op is counted by, alone or with a conditional jump of a condition.
pub fn arm_of(op: &Op, jump: Option<u8>) -> u16 {
    let address = match jump {
        _ if op.code.0 & 1 == 0 => AddressForm::General,
        None => AddressForm::of(op),
        Some(_) => AddressForm::of_fused(op),
    };
    let key = (op.code.0, address, jump);
    COUNTS.with_borrow_mut(|counts| {
        let Counts { arms, ops } = counts;
        *arms.entry(key).or_insert_with(|| {
            ops.push((key, 0));
            (ops.len() - 1) as u16
        })
    })
}

/// How often each op has run since this was last asked, as `hot.rs` names it. What is no instruction is left out.
pub fn take_counts() -> Vec<(String, u64)> {
    COUNTS.with_borrow_mut(|counts| {
        let taken = counts.ops.iter_mut().map(|(key, count)| (*key, std::mem::take(count)));
        taken.filter_map(|(key, count)| Some((name(key)?, count))).collect()
    })
}

fn name((code, address, jump): Key) -> Option<String> {
    let instruction = Opcode(code).code()?;
    let form = match address {
        _ if code & 1 == 0 => "register",
        AddressForm::Based => "based",
        AddressForm::Indexed => "indexed",
        AddressForm::General => "general",
    };
    let jump = jump.map(|condition| format!(" {}", CONDITIONS[usize::from(condition)])).unwrap_or_default();
    Some(format!("{instruction:?} {form}{jump}"))
}

/// Runs ops from `slot` on until one leaves.
///
/// # Safety
/// As for [`Handler`](crate::exec::dispatch::Handler).
pub unsafe fn enter(cx: &mut Vcpu, mut slot: *const Slot) {
    loop {
        // SAFETY: the caller vouches for the first slot, and handlers hand over valid ones.
        let run = unsafe { (*slot).run };
        if run.arm() == EXIT_ARM {
            return;
        }
        COUNTS.with_borrow_mut(|counts| counts.ops[usize::from(run.arm())].1 += 1);
        // SAFETY: as above.
        slot = unsafe { restore(run.handler())(cx, slot) }.next();
    }
}
