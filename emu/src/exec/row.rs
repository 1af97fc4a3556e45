//! The rows of the table: what they hold, and the macros that make handlers of what an instruction's row says.

use super::dispatch::Handler;
use iced_x86::Code;

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

/// Builds the rows of a file; the kinds of handlers are described at the top of this module's parent.
macro_rules! rows {
    ($( $code:ident => $($kind:ident $name:ident $([$($type:ty),*])?),+ ; )*) => {
        pub const ROWS: &[$crate::exec::row::Row] = &[$({
            #[allow(unused_mut)]
            let mut row = $crate::exec::row::Row { code: iced_x86::Code::$code, register: None, memory: None, file: file!() };
            $( $crate::exec::row::form!(row, $kind $name $([$($type),*])?); )+
            row
        }),*];
    };
}

// Handlers are inlined wherever they are called directly: that is in the loop's arms alone.
macro_rules! form {
    ($row:ident, register $name:ident $([$($type:ty),*])?) => {{
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                let outcome = $name $(::<$($type),*>)? (cx, &(*slot).op);
                match $crate::exec::retire::Outcome::exception(outcome) {
                    None => $crate::exec::dispatch::next(cx, slot),
                    Some(exception) => $crate::exec::retire::fault(cx, &(*slot).op, exception),
                }
            }
        }
        $row.register = Some($crate::exec::row::Entry { general: run, based: run, indexed: run, terminal: false, fused: None });
    }};
    ($row:ident, compare $name:ident $([$($type:ty),*])?) => {{
        $crate::exec::row::form!($row, register $name $([$($type),*])?);
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run<C: $crate::exec::flow::Cond>(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot, and the builder has put this handler before a conditional jump.
            unsafe {
                $name $(::<$($type),*>)? (cx, &(*slot).op);
                $crate::exec::flow::jump_if::<C>(cx, slot.add(1))
            }
        }
        const FUSED: &$crate::exec::row::Fused = &$crate::exec::row::Fused {
            general: $crate::exec::flow::by_condition!(run),
            indexed: $crate::exec::flow::by_condition!(run),
        };
        if let Some(entry) = &mut $row.register {
            entry.fused = Some(FUSED);
        }
    }};
    ($row:ident, compare_memory $name:ident $([$($type:ty),*])?) => {{
        const ALONE: $crate::exec::row::Entry = $crate::exec::row::memory_entry!($name [$($($type,)*)?]);
        $row.memory = Some(ALONE);
        /// The first op alone; the jump follows in its own slot.
        #[cold]
        unsafe fn run_alone(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot.
            unsafe { (ALONE.general)(cx, slot) }
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run<E: $crate::exec::path::EffectiveAddress, C: $crate::exec::flow::Cond>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot, and the builder has put this handler before a conditional jump.
            unsafe {
                match $name::<$($($type,)*)? $crate::exec::path::Fast, E>(cx, &(*slot).op) {
                    Ok(()) => $crate::exec::flow::jump_if::<C>(cx, slot.add(1)),
                    Err($crate::exec::path::Miss) => run_alone(cx, slot),
                }
            }
        }
        const FUSED: &$crate::exec::row::Fused = &$crate::exec::row::Fused {
            general: $crate::exec::flow::by_condition!(run, $crate::exec::path::General),
            indexed: $crate::exec::flow::by_condition!(run, $crate::exec::path::Indexed),
        };
        if let Some(entry) = &mut $row.memory {
            entry.fused = Some(FUSED);
        }
    }};
    ($row:ident, stack $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::row::memory_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::row::memory_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, call $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::row::call_entry!(|cx, op| $name $(::<$($type),*>)? (cx, op)));
    };
    ($row:ident, call_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::row::call_entry!(
            |cx, op| $name::<$($($type,)*)? $crate::exec::path::Either, $crate::exec::path::General>(cx, op)
        ));
    };
    ($row:ident, branch $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::row::branch_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, branch_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::row::branch_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, system $name:ident $([$($type:ty),*])?) => {
        $row.register = Some($crate::exec::row::system_entry!($name [$($($type,)*)?]));
    };
    ($row:ident, system_memory $name:ident $([$($type:ty),*])?) => {
        $row.memory = Some($crate::exec::row::system_entry!($name [$($($type,)*)?]));
    };
}

macro_rules! memory_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cold]
        #[inline(never)]
        fn slow_body(cx: &mut $crate::vcpu::Vcpu, op: &$crate::decode::Op) -> Option<$crate::exec::dispatch::Done> {
            cx.time.enter_op(op.retired);
            let result = $name::<$($type,)* $crate::exec::path::Slow, $crate::exec::path::General>(cx, op);
            $crate::exec::retire::finish(cx, op, result)
        }
        #[cold]
        unsafe fn slow(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match slow_body(cx, &(*slot).op) {
                    None => $crate::exec::dispatch::next(cx, slot),
                    Some(done) => done,
                }
            }
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn fast<E: $crate::exec::path::EffectiveAddress>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match $name::<$($type,)* $crate::exec::path::Fast, E>(cx, &(*slot).op) {
                    Ok(()) => $crate::exec::dispatch::next(cx, slot),
                    Err($crate::exec::path::Miss) => slow(cx, slot),
                }
            }
        }
        $crate::exec::row::Entry {
            general: fast::<$crate::exec::path::General>,
            based: fast::<$crate::exec::path::Based>,
            indexed: fast::<$crate::exec::path::Indexed>,
            terminal: false,
            fused: None,
        }
    }};
}

macro_rules! call_entry {
    (|$cx:ident, $op:ident| $body:expr) => {{
        #[inline(never)]
        fn body($cx: &mut $crate::vcpu::Vcpu, $op: &$crate::decode::Op) -> Option<$crate::exec::dispatch::Done> {
            $cx.time.enter_op($op.retired);
            let result = $body;
            $crate::exec::retire::finish($cx, $op, result)
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot that is not the last.
            unsafe {
                match body(cx, &(*slot).op) {
                    None => $crate::exec::dispatch::next(cx, slot),
                    Some(done) => done,
                }
            }
        }
        $crate::exec::row::Entry { general: run, based: run, indexed: run, terminal: false, fused: None }
    }};
}

macro_rules! branch_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cold]
        #[inline(never)]
        fn slow_body(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::retire::Flow {
            // SAFETY: the dispatcher hands over a valid slot.
            let op = unsafe { &(*slot).op };
            cx.time.enter_op(op.retired);
            let result = $name::<$($type,)* $crate::exec::path::Slow, $crate::exec::path::General>(cx, slot);
            $crate::exec::flow::finish(cx, op, result)
        }
        #[cold]
        unsafe fn slow(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            match slow_body(cx, slot) {
                // SAFETY: `Goto` carries a valid slot.
                $crate::exec::retire::Flow::Goto(target) => unsafe { $crate::exec::dispatch::go(cx, target) },
                $crate::exec::retire::Flow::Leave(done) => done,
            }
        }
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn fast<E: $crate::exec::path::EffectiveAddress>(
            cx: &mut $crate::vcpu::Vcpu,
            slot: *const $crate::cache::Slot,
        ) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot; `Goto` carries a valid slot too.
            unsafe {
                match $name::<$($type,)* $crate::exec::path::Fast, E>(cx, slot) {
                    Ok($crate::exec::retire::Flow::Goto(target)) => $crate::exec::dispatch::go(cx, target),
                    Ok($crate::exec::retire::Flow::Leave(done)) => done,
                    Err($crate::exec::path::Miss) => slow(cx, slot),
                }
            }
        }
        $crate::exec::row::Entry {
            general: fast::<$crate::exec::path::General>,
            based: fast::<$crate::exec::path::Based>,
            indexed: fast::<$crate::exec::path::Indexed>,
            terminal: true,
            fused: None,
        }
    }};
}

macro_rules! system_entry {
    ($name:ident [$($type:ty,)*]) => {{
        #[cfg_attr(any(target_family = "wasm", feature = "loop-dispatch"), inline(always))]
        unsafe fn run(cx: &mut $crate::vcpu::Vcpu, slot: *const $crate::cache::Slot) -> $crate::exec::dispatch::Done {
            // SAFETY: the dispatcher hands over a valid slot.
            $crate::exec::retire::run_system(cx, unsafe { &(*slot).op }, $name::<$($type,)*>)
        }
        $crate::exec::row::Entry { general: run, based: run, indexed: run, terminal: true, fused: None }
    }};
}

pub(super) use {branch_entry, call_entry, form, memory_entry, rows, system_entry};
