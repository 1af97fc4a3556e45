//! Architectural state of the CPU: registers, flags, segments, control registers, MSRs.

mod address;
pub mod breakpoint;
mod control;
pub mod cpuid;
mod exception;
mod flags;
mod fpu;
mod regs;
mod segment;
mod word;

pub use address::{CodeSize, is_canonical};
pub use breakpoint::Breakpoints;
pub use control::{Control, Cr0, Cr4, Efer, Msrs};
pub use exception::{Exception, Vector};
pub use flags::{Condition, FlagOp, LazyFlags, Rflags};
pub use fpu::Fpu;
pub use regs::{Regs, slot};
pub use segment::{DescriptorTable, Segment, SegmentName};
pub use word::{Datum, Word};
