//! Where branches go: by their link or by the jump table; and conditional jumps that run with the op before them.
//!
//! The block builder tells direct branches where they lead: whether the target and the next instruction lie on another page than the block. What
//! stays on the page can be linked for good, since it moves with the page; the rest asks the jump table.

use iced_x86::Code;

use super::dispatch::{Done, go, leave};
use super::path::Path;
use super::retire::{Flow, fault};
use crate::cache::{Link, MAX_BLOCK, Slot};
use crate::cpu::{Condition, Exception, SegmentName, Word, slot};
use crate::decode::{Op, Opcode};
use crate::vcpu::{ExitReason, Vcpu};

/// A condition code as a type, for rows.
pub struct Cc<const CODE: u8>;
/// See [`Cc`].
pub trait Cond {
    /// The condition's encoding.
    const CODE: u8;
}
impl<const CODE: u8> Cond for Cc<CODE> {
    const CODE: u8 = CODE;
}

/// Takes the ops up to and with `op` off the budget.
#[inline(always)]
pub fn retire(cx: &mut Vcpu, op: &Op) {
    cx.time.retire(i64::from(op.retired) + 1);
}

/// Goes to `target` in the same page, by the link if there is one.
#[inline(always)]
pub fn linked(cx: &mut Vcpu, target: u64, index: u32, link: Link) -> Flow {
    cx.regs[slot::BLOCK] = target;
    if cx.time.budget() >= MAX_BLOCK as i64 && index != 0 {
        // SAFETY: the link stands in an op that runs, so the cache has not been cleared since it was made.
        return Flow::Goto(unsafe { cx.cache.slot(index) });
    }
    cx.rip = target;
    Flow::Leave(leave(cx, ExitReason::Block(link)))
}

/// Goes to `target` anywhere, by the jump table if it knows the way.
#[inline(always)]
pub fn looked_up(cx: &mut Vcpu, target: u64) -> Flow {
    cx.regs[slot::BLOCK] = target;
    if cx.time.budget() >= MAX_BLOCK as i64
        && let Some(slot) = cx.cache.find(target)
    {
        return Flow::Goto(slot);
    }
    cx.rip = target;
    Flow::Leave(leave(cx, ExitReason::Block(Link::None)))
}

/// Raises #GP(0) if `target` lies beyond the end of the code segment.
#[inline(always)]
pub fn check_limit<W: Word, P: Path>(cx: &Vcpu, target: u64) -> Result<(), P::Error> {
    let inside = W::BITS == 64 || target <= u64::from(cx.segment(SegmentName::Cs).limit);
    if inside { Ok(()) } else { Err(P::raise(Exception::GP0)) }
}

/// [`check_limit`] of a direct branch's target, before the branch has done anything.
#[inline(always)]
pub fn check_direct<W: Word, P: Path>(cx: &Vcpu, slot: *const Slot) -> Result<(), P::Error> {
    if W::BITS == 64 {
        return Ok(());
    }
    // SAFETY: the dispatcher hands over a valid slot.
    let branch = unsafe { (*slot).op.branch() };
    check_limit::<W, P>(cx, cx.regs[slot::BLOCK].wrapping_add(branch.target()) & W::MASK)
}

#[inline(always)]
pub fn direct<W: Word>(cx: &mut Vcpu, slot: *const Slot) -> Flow {
    // SAFETY: the dispatcher hands over a valid slot; what is read from it is copied before anything else happens.
    let branch = unsafe { (*slot).op.branch() };
    let target = cx.regs[slot::BLOCK].wrapping_add(branch.target()) & W::MASK;
    if branch.target_leaves_page() { looked_up(cx, target) } else { linked(cx, target, branch.link_taken(), Link::Taken(slot)) }
}

#[inline(always)]
pub fn fall_through<W: Word>(cx: &mut Vcpu, slot: *const Slot) -> Flow {
    // SAFETY: as in `direct`.
    let op = unsafe { (*slot).op };
    // Only a branch that is taken cuts EIP to a 16-bit operand size.
    let mask = if W::BITS == 64 { u64::MAX } else { 0xffff_ffff };
    let target = cx.regs[slot::BLOCK].wrapping_add(op.end()) & mask;
    let branch = op.branch();
    if branch.next_leaves_page() { looked_up(cx, target) } else { linked(cx, target, branch.link_next(), Link::Next(slot)) }
}

/// Ends a `branch` op that was run out of line.
#[inline(always)]
pub fn finish(cx: &mut Vcpu, op: &Op, result: Result<Flow, Exception>) -> Flow {
    cx.time.leave_op();
    match result {
        Ok(Flow::Goto(_)) if cx.attention => {
            cx.rip = cx.regs[slot::BLOCK];
            Flow::Leave(leave(cx, ExitReason::Sync))
        }
        Ok(flow) => flow,
        Err(exception) => Flow::Leave(fault(cx, op, exception)),
    }
}

/// Goes on behind a block that ended for no reason of its own: no instruction, so nothing retires but what went before.
///
/// # Safety
/// As for `Handler`.
pub unsafe fn run_fall_through(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { (*slot).op };
    cx.time.retire(op.retired.into());
    let end = op.block_end();
    let target = cx.regs[slot::BLOCK].wrapping_add(op.end()) & end.linear_mask();
    let flow = if end.next_leaves_page() { looked_up(cx, target) } else { linked(cx, target, end.link_next(), Link::Next(slot)) };
    match flow {
        // SAFETY: `Goto` carries a valid slot.
        Flow::Goto(target) => unsafe { go(cx, target) },
        Flow::Leave(done) => done,
    }
}

#[inline(always)]
pub fn conditional<W: Word>(cx: &mut Vcpu, slot: *const Slot, taken: bool) -> Flow {
    // SAFETY: the dispatcher hands over a valid slot.
    retire(cx, unsafe { &(*slot).op });
    if taken { direct::<W>(cx, slot) } else { fall_through::<W>(cx, slot) }
}

/// The conditional jump in `slot`, the second of a fused pair, after the first has set the flags.
///
/// # Safety
/// As for `Handler`; the slot holds a conditional jump of 64-bit code.
#[inline(always)]
pub unsafe fn jump_if<C: Cond>(cx: &mut Vcpu, slot: *const Slot) -> Done {
    let taken = Condition::holds(C::CODE, &cx.flags);
    match conditional::<u64>(cx, slot, taken) {
        // SAFETY: `Goto` carries a valid slot.
        Flow::Goto(target) => unsafe { go(cx, target) },
        Flow::Leave(done) => done,
    }
}

/// The condition code of a conditional jump of 64-bit code.
pub fn condition(code: Opcode) -> Option<u8> {
    const SHORT: u16 = Opcode::of(Code::Jo_rel8_64, false).0;
    const NEAR: u16 = Opcode::of(Code::Jo_rel32_64, false).0;
    // The sixteen conditions follow one another, each in three operand sizes.
    [SHORT, NEAR].into_iter().find_map(|first| {
        let distance = code.0.checked_sub(first)?;
        (distance % 6 == 0 && distance < 16 * 6).then_some((distance / 6) as u8)
    })
}

/// Handlers of a fused pair for the conditions that compilers use; overflow and parity are left to the jump alone.
macro_rules! by_condition {
    ($run:ident $(, $ea:ty)?) => {{
        use $crate::exec::flow::Cc;
        [
            None,
            None,
            Some($run::<$($ea,)? Cc<2>>),
            Some($run::<$($ea,)? Cc<3>>),
            Some($run::<$($ea,)? Cc<4>>),
            Some($run::<$($ea,)? Cc<5>>),
            Some($run::<$($ea,)? Cc<6>>),
            Some($run::<$($ea,)? Cc<7>>),
            Some($run::<$($ea,)? Cc<8>>),
            Some($run::<$($ea,)? Cc<9>>),
            None,
            None,
            Some($run::<$($ea,)? Cc<12>>),
            Some($run::<$($ea,)? Cc<13>>),
            Some($run::<$($ea,)? Cc<14>>),
            Some($run::<$($ea,)? Cc<15>>),
        ]
    }};
}
pub(super) use by_condition;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_off_the_numbers_of_their_codes() {
        let cases = [
            (Code::Jo_rel8_64, Some(Condition::O)),
            (Code::Jne_rel8_64, Some(Condition::NE)),
            (Code::Jg_rel8_64, Some(Condition::G)),
            (Code::Jb_rel32_64, Some(Condition::B)),
            (Code::Jle_rel32_64, Some(Condition::LE)),
            (Code::Jne_rel8_32, None),
            (Code::Jg_rel32_32, None),
            (Code::Jmp_rel8_64, None),
        ];
        for (code, wanted) in cases {
            assert_eq!(condition(Opcode::of(code, false)), wanted, "{code:?}");
        }
    }
}
