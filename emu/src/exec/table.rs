//! The table of handlers, built at compile time from the rows of the instruction files.

use iced_x86::Code;

use super::path::is_plain;
use super::{
    Done, Handler, arith, bits, branch, control, data, decimal, far, flag, hint, msr, port, segment, shift, sse, sse42, stack, string,
    synthetic_handler, syscall, vector, x87,
};
use crate::cache::Slot;
use crate::cpu::slot;
use crate::decode::{Op, Opcode};
use crate::vcpu::Vcpu;

/// Handlers of one opcode number.
#[derive(Clone, Copy)]
pub struct Entry {
    /// For any operand.
    pub general: Handler,
    /// For a memory operand with base and displacement alone.
    pub based: Handler,
    /// For a memory operand without a segment base.
    pub indexed: Handler,
    /// The op ends its block.
    pub terminal: bool,
    /// The op together with a conditional jump behind it.
    pub fused: Option<&'static Fused>,
}

/// Handlers of an op and the conditional jump behind it, by condition code; both ops stay in their slots, and the handler stands in the first.
pub struct Fused {
    /// For any operand.
    pub general: [Option<Handler>; 16],
    /// For a memory operand without a segment base.
    pub indexed: [Option<Handler>; 16],
}

/// One row: an instruction and what its forms do.
pub struct Row {
    /// The instruction.
    pub code: Code,
    /// The form without a memory operand.
    pub register: Option<Entry>,
    /// The form with a memory operand.
    pub memory: Option<Entry>,
    /// Where the row stands.
    pub file: &'static str,
}

const COUNT: usize = Opcode::SYNTHETIC as usize;

const FILES: &[&[Row]] = &[
    arith::ROWS,
    bits::ROWS,
    branch::ROWS,
    control::ROWS,
    data::ROWS,
    decimal::ROWS,
    far::ROWS,
    flag::ROWS,
    hint::ROWS,
    msr::ROWS,
    port::ROWS,
    segment::ROWS,
    shift::ROWS,
    sse::arith::ROWS,
    sse::compare::ROWS,
    sse::convert::ROWS,
    sse42::ROWS,
    stack::ROWS,
    string::ROWS,
    syscall::ROWS,
    vector::arith::ROWS,
    vector::compare::ROWS,
    vector::element::ROWS,
    vector::logic::ROWS,
    vector::moves::ROWS,
    vector::multiply::ROWS,
    vector::pack::ROWS,
    vector::shift::ROWS,
    vector::shuffle::ROWS,
    vector::state::ROWS,
    vector::string::ROWS,
    x87::arith::ROWS,
    x87::compare::ROWS,
    x87::control::ROWS,
    x87::transcendental::ROWS,
    x87::transfer::ROWS,
];

static TABLE: [Option<Entry>; COUNT] = build();

const fn build() -> [Option<Entry>; COUNT] {
    let mut table = [None; COUNT];
    let mut file = 0;
    while file < FILES.len() {
        let rows = FILES[file];
        let mut i = 0;
        while i < rows.len() {
            let row = &rows[i];
            let register = Opcode::of(row.code, false).0 as usize;
            let memory = Opcode::of(row.code, true).0 as usize;
            assert!(table[register].is_none() && table[memory].is_none(), "two rows for one Code");
            table[register] = row.register;
            table[memory] = row.memory;
            i += 1;
        }
        file += 1;
    }
    table
}

fn entry(code: Opcode) -> Option<&'static Entry> {
    TABLE.get(code.0 as usize).and_then(Option::as_ref)
}

/// Which of an entry's handlers an op takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// See [`Entry::general`].
    General,
    /// See [`Entry::based`].
    Based,
    /// See [`Entry::indexed`].
    Indexed,
}

impl Way {
    /// That of an op alone.
    pub fn of(op: &Op) -> Self {
        if !is_plain(op) {
            Self::General
        } else if op.index == slot::ZERO {
            Self::Based
        } else {
            Self::Indexed
        }
    }

    /// That of an op together with the conditional jump behind it.
    pub fn of_fused(op: &Op) -> Self {
        if is_plain(op) { Self::Indexed } else { Self::General }
    }
}

/// The handler of an op.
pub fn handler(op: &Op) -> Handler {
    match (entry(op.code), Way::of(op)) {
        (Some(entry), Way::General) => entry.general,
        (Some(entry), Way::Based) => entry.based,
        (Some(entry), Way::Indexed) => entry.indexed,
        (None, _) => synthetic_handler(op.code),
    }
}

/// The handler that an opcode has for a way, with a conditional jump behind it or without; for constants.
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
pub const fn find(code: Opcode, way: Way, jump: Option<u8>) -> Option<Handler> {
    match (&TABLE[code.0 as usize], jump, way) {
        (None, ..) => None,
        (Some(entry), None, Way::General) => Some(entry.general),
        (Some(entry), None, Way::Based) => Some(entry.based),
        (Some(entry), None, Way::Indexed) => Some(entry.indexed),
        (Some(entry), Some(condition), way) => match (entry.fused, way) {
            (None, _) | (_, Way::Based) => None,
            (Some(fused), Way::General) => fused.general[condition as usize],
            (Some(fused), Way::Indexed) => fused.indexed[condition as usize],
        },
    }
}

/// The handler of two ops at once, if the first sets flags and the second is a conditional jump on them, both common.
pub fn fused_handler(first: &Op, second: &Op) -> Option<Handler> {
    let condition = branch::condition(second.code)?;
    let fused = entry(first.code)?.fused?;
    let handlers = match Way::of_fused(first) {
        Way::General => &fused.general,
        Way::Based | Way::Indexed => &fused.indexed,
    };
    handlers[usize::from(condition)]
}

/// Whether an op ends its block.
pub fn is_terminal(op: &Op) -> bool {
    entry(op.code).is_none_or(|entry| entry.terminal)
}

/// Whether an op is a branch with its target as immediate.
pub fn is_direct_branch(code: Opcode) -> bool {
    Code::try_from(usize::from(code.0 / 2)).is_ok_and(|code| {
        code.is_jcc_short_or_near()
            || code.is_jmp_short_or_near()
            || code.is_call_near()
            || code.is_jcx_short()
            || code.is_loop()
            || code.is_loopcc()
    })
}

/// Whether a form of an instruction is implemented.
pub fn implements(code: Code, memory: bool) -> bool {
    entry(Opcode::of(code, memory)).is_some()
}

/// Every implemented form: the instruction, and whether it is the form with a memory operand.
pub fn implemented() -> impl Iterator<Item = (Code, bool)> {
    Code::values().flat_map(|code| [(code, false), (code, true)]).filter(|&(code, memory)| implements(code, memory))
}

/// Every row, file by file: the instruction, whether it has a form without and one with a memory operand, and the file that it stands in.
pub fn catalogue() -> impl Iterator<Item = (Code, [bool; 2], &'static str)> {
    FILES.iter().copied().flatten().map(|row| (row.code, [row.register.is_some(), row.memory.is_some()], row.file))
}

/// Runs the first op of a fused pair alone; the jump follows in its own slot.
///
/// # Safety
/// As for [`Handler`].
#[cold]
pub unsafe fn run_alone(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: the caller vouches for the slot.
    unsafe { handler(&(*slot).op)(cx, slot) }
}

/// Builds the rows of a file; the kinds of handlers are described at the top of this module's parent.
macro_rules! rows {
    ($( $code:ident => $($kind:ident $name:ident $([$($type:ty),*])?),+ ; )*) => {
        pub const ROWS: &[$crate::exec::table::Row] = &[$({
            #[allow(unused_mut)]
            let mut row = $crate::exec::table::Row { code: iced_x86::Code::$code, register: None, memory: None, file: file!() };
            $( $crate::exec::table::form!(row, $kind $name $([$($type),*])?); )+
            row
        }),*];
    };
}

// Handlers are inlined wherever they are called directly: that is in the loop's arms alone.
macro_rules! form {
    ($row:ident, register $name:ident $([$($type:ty),*])?) => {{
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                let outcome = $name $(::<$($type),*>)? (cx, &(*slot).op);
                match $crate::exec::Outcome::exception(outcome) {
                    None => $crate::exec::next(cx, slot),
                    Some(exception) => $crate::exec::fault(cx, &(*slot).op, exception),
                }
            }
        }
        $row.register = Some($crate::exec::table::Entry { general: run, based: run, indexed: run, terminal: false, fused: None });
    }};
    ($row:ident, compare $name:ident $([$($type:ty),*])?) => {{
        $crate::exec::table::form!($row, register $name $([$($type),*])?);
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run<C: $crate::exec::branch::Cond>(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot, and the builder has put this handler before a conditional jump.
            unsafe {
                $name $(::<$($type),*>)? (cx, &(*slot).op);
                $crate::exec::branch::jump_if::<C>(cx, slot.add(1))
            }
        }
        const FUSED: &$crate::exec::table::Fused = &$crate::exec::table::Fused {
            general: $crate::exec::branch::by_condition!(run),
            indexed: $crate::exec::branch::by_condition!(run),
        };
        if let Some(entry) = &mut $row.register {
            entry.fused = Some(FUSED);
        }
    }};
    ($row:ident, compare_memory $name:ident $([$($type:ty),*])?) => {{
        $crate::exec::table::form!($row, memory $name $([$($type),*])?);
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run<E: $crate::exec::EffectiveAddress, C: $crate::exec::branch::Cond>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot, and the builder has put this handler before a conditional jump.
            unsafe {
                match $name::<$($($type,)*)? $crate::exec::Fast, E>(cx, &(*slot).op) {
                    Ok(()) => $crate::exec::branch::jump_if::<C>(cx, slot.add(1)),
                    Err($crate::exec::Miss) => $crate::exec::table::run_alone(cx, slot),
                }
            }
        }
        const FUSED: &$crate::exec::table::Fused = &$crate::exec::table::Fused {
            general: $crate::exec::branch::by_condition!(run, $crate::exec::General),
            indexed: $crate::exec::branch::by_condition!(run, $crate::exec::Indexed),
        };
        if let Some(entry) = &mut $row.memory {
            entry.fused = Some(FUSED);
        }
    }};
    ($row:ident, stack $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::table::memory_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::table::memory_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, call $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::table::call_entry!(|cx, op| $name $(::<$($type),*>)? (cx, op)));
    };
    ($row:ident, call_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::table::call_entry!(
            |cx, op| $name::<$($($type,)*)? $crate::exec::Either, $crate::exec::General>(cx, op)
        ));
    };
    ($row:ident, branch $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::table::branch_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, branch_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::table::branch_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, system $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::table::system_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, system_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::table::system_entry!($name [$($($type,)*)?]));
    };
}

macro_rules! memory_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cold]
        #[inline(never)]
        fn slow_body(cx: &mut $crate::vcpu::Vcpu, op: &$crate::decode::Op) -> Option<$crate::exec::Done> {
            cx.partial = i64::from(op.retired);
            let result = $name::<$($type,)* $crate::exec::Slow, $crate::exec::General>(cx, op);
            $crate::exec::finish(cx, op, result)
        }
        #[cold]
        unsafe fn slow(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match slow_body(cx, &(*slot).op) {
                    None => $crate::exec::next(cx, slot),
                    Some(done) => done,
                }
            }
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn fast<E: $crate::exec::EffectiveAddress>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match $name::<$($type,)* $crate::exec::Fast, E>(cx, &(*slot).op) {
                    Ok(()) => $crate::exec::next(cx, slot),
                    Err($crate::exec::Miss) => slow(cx, slot),
                }
            }
        }
        $crate::exec::table::Entry {
            general: fast::<$crate::exec::General>,
            based: fast::<$crate::exec::Based>,
            indexed: fast::<$crate::exec::Indexed>,
            terminal: false,
            fused: None,
        }
    }};
}

macro_rules! call_entry {
    (|$cx:ident, $op:ident| $body:expr) => {{
        #[inline(never)]
        fn body($cx: &mut $crate::vcpu::Vcpu, $op: &$crate::decode::Op) -> Option<$crate::exec::Done> {
            $cx.partial = i64::from($op.retired);
            let result = $body;
            $crate::exec::finish($cx, $op, result)
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match body(cx, &(*slot).op) {
                    None => $crate::exec::next(cx, slot),
                    Some(done) => done,
                }
            }
        }
        $crate::exec::table::Entry { general: run, based: run, indexed: run, terminal: false, fused: None }
    }};
}

macro_rules! branch_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cold]
        #[inline(never)]
        fn slow_body(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Flow {
            // SAFETY: the dispatcher hands over a valid slot.
            let op = unsafe { &(*slot).op };
            cx.partial = i64::from(op.retired);
            let result = $name::<$($type,)* $crate::exec::Slow, $crate::exec::General>(cx, slot);
            $crate::exec::branch::finish(cx, op, result)
        }
        #[cold]
        unsafe fn slow(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            match slow_body(cx, slot) {
                // SAFETY: `Goto` carries a valid slot.
                $crate::exec::Flow::Goto(target) => unsafe { $crate::exec::go(cx, target) },
                $crate::exec::Flow::Leave(done) => done,
            }
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn fast<E: $crate::exec::EffectiveAddress>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot; `Goto` carries a valid slot too.
            unsafe {
                match $name::<$($type,)* $crate::exec::Fast, E>(cx, slot) {
                    Ok($crate::exec::Flow::Goto(target)) => $crate::exec::go(cx, target),
                    Ok($crate::exec::Flow::Leave(done)) => done,
                    Err($crate::exec::Miss) => slow(cx, slot),
                }
            }
        }
        $crate::exec::table::Entry {
            general: fast::<$crate::exec::General>,
            based: fast::<$crate::exec::Based>,
            indexed: fast::<$crate::exec::Indexed>,
            terminal: true,
            fused: None,
        }
    }};
}

macro_rules! system_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::Done {
            // SAFETY: the dispatcher hands over a valid slot.
            $crate::exec::run_system(cx, unsafe { &(*slot).op }, $name::<$($type,)*>)
        }
        $crate::exec::table::Entry { general: run, based: run, indexed: run, terminal: true, fused: None }
    }};
}

pub(super) use {branch_entry, call_entry, form, memory_entry, rows, system_entry};
