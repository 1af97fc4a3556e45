//! Hot guest code as WebAssembly functions, linked into the machine's module, so that hosts without a JIT run it several times as fast as the
//! interpreter does.
//!
//! A *region* is the hot code of a guest's function, as far as it lies on one page: basic blocks that lead to one another. It becomes one function, in
//! which guest registers are locals and branches are WebAssembly's own structured ones ([`translate`]). [`Linker`] appends such functions to the
//! machine's module, with a list of where they can be entered and of the bytes that they were made of.
//!
//! The machine does the rest (`emu::cache::Translated`): when it builds a block at such a place, and the page holds those bytes, the function stands in front of the
//! block's ops, as a handler like any other. Pages that are written, remapped or replaced lose their blocks, and the function with them.
//!
//! What keeps it exact:
//! - Each block takes its instructions off the budget before it runs, and is not begun if that is not enough.
//! - An access to memory that the TLB does not vouch for leaves the region in front of its instruction; so does a fault. The interpreter runs that
//!   instruction, and so does everything that has to be noticed: devices, page faults, pages with code, breakpoints.
//! - Instructions that are not translated are run by the interpreter's own handlers, called from the region.
//!
//! `tests/exact` compares random programs with the interpreter: registers, flags, memory and counts.

mod choice;
mod code;
mod emit;
mod graph;
mod layout;
mod link;
mod module;
mod profile;
mod regions;

pub use choice::{Chosen, Weight};
pub use code::{CodeBlock, End, Ins, PAGE, Target, blocks};
pub use emit::{CALL_PARAMETERS, Region, Translated, call, translate};
pub use layout::{Globals, Helpers, Layout};
pub use link::{Error, Linked, Linker, translated_in};
pub use profile::{Profile, ProfileError};
pub use regions::{PageCode, regions};
