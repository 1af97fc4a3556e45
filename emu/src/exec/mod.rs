//! What ops do, and the dispatcher that runs them.
//!
//! Every instruction form stands in one row of a table in one of the files here: its `Code`, then the handler of its register form, of its
//! memory form or of both. Row kinds, and the signature of what they name (`W` stands for the types in brackets):
//!
//! | row | handler | for |
//! |---|---|---|
//! | `register f[W]` | `fn<W>(&mut Vcpu, &Op)`, or `-> Result<(), Exception>` | registers and immediates only |
//! | `memory f[W]`, `stack f[W]` | `fn<W, P: Path, E: EffectiveAddress>(&mut Vcpu, &Op) -> Result<(), P::Error>` | reads or writes memory: an operand; the stack or another implied address |
//! | `compare f[W]`, `compare_memory f[W]` | as `register` (without errors) and `memory` | sets flags that a conditional jump often reads: compiled together with that, too |
//! | `call f[W]`, `call_memory f[W]` | as `register` (with errors) and `memory` | work that is worth a call, or keeps something on the host's stack |
//! | `branch f[W]`, `branch_memory f[W]` | `fn<W, P, E>(&mut Vcpu, *const Slot) -> Result<Flow, P::Error>` | ends a block, goes on in another |
//! | `system f[W]`, `system_memory f[W]` | `fn<W>(&mut Vcpu, &Op) -> Result<(), Exception>` | ends a block; the engine looks at everything afterwards |
//!
//! `memory` and `branch` handlers are compiled for two paths: [`Fast`] knows only TLB hits and gives up at the first miss; then the same
//! handler runs again as [`Slow`], which knows everything else (`call_memory` handlers run once, as [`Either`]). So a handler must not change anything before its last access to memory.
//! A `system` handler finds `rip` at the next instruction and may set it; counts are exact. When it fails, `rip` is put back.
//!
//! Files here use one another in one direction: `dispatch`, `path`, `retire`, `flow` and `row` are what the instructions are written with; the
//! instructions do not know [`table`], which lists their rows, nor `run`, which looks ops up in it and runs them.

// Handlers have one signature for each kind of row, whether they need all of it or not.
#![allow(clippy::extra_unused_type_parameters)]

#[cfg(test)]
mod advertised;
pub mod alu;
mod arith;
mod bits;
mod branch;
mod control;
mod crc32;
mod data;
mod decimal;
mod dispatch;
mod far;
mod flag;
pub mod float;
mod flow;
mod hint;
mod lookup;
mod msr;
mod path;
mod port;
mod retire;
mod row;
mod run;
mod segment;
mod shift;
mod simd;
mod stack;
mod string;
mod synthetic;
mod syscall;
mod table;
pub mod translated;
// Of the dispatcher that could leave something on the stack.
#[cfg(all(test, not(any(target_family = "wasm", feature = "loop-dispatch"))))]
mod tests;
mod x87;

pub use lookup::{catalogue, form, implemented, implements};
pub use retire::wrap;
#[cfg(feature = "count-ops")]
pub use run::take_counts;
pub use run::{Slots, enter};
