//! Exact floating point: pure functions on bit patterns, the same on every host.
//!
//! One rounding function ([`round`]) and one set of exact operations ([`arith`]) serve SSE's two formats and the x87's 80-bit one at its
//! three precisions. The host's arithmetic appears in [`sse`] alone, under conditions that are proved there. A general-purpose soft-float
//! would not do: x86 detects tininess after rounding, reports denormal operands, rounds 80-bit results to 24 or 53 bits, and has encodings
//! that are no numbers.
//!
//! # Where processors or manuals leave room
//!
//! | what | our answer |
//! |---|---|
//! | RCPxS, RSQRTxS | the middle of the operand's interval, 15 bits (`sse/approx.rs`) |
//! | transcendental functions | correctly rounded, arguments reduced by the 66-bit π (`x87/transcendental.rs`) |
//! | F2XM1 beyond ±1 | the operand, with #P |
//! | FYL2XP1 beyond ±(1 − √½) | the same function, with FYL2X's exceptions |
//! | FPREM, FPREM1 with exponents 64 or more apart | a step takes off 32 + (difference mod 32) bits |
//! | FBLD with digits above 9 | each digit counts with its value |
//! | reserved precision control 01 | 64 bits |
//! | FCOM and its like, invalid operation unmasked | the condition codes stay (the manual; AMD sets them) |
//! | FCOM and its like, denormal operand unmasked | the condition codes are set, nothing is popped |
//! | FSCALE, FPREM, FPREM1 with a tiny result that is exact, underflow unmasked | no underflow, the denormal is delivered |
//! | FLD ST(i) of an empty register with no room to push | a stack underflow |
//! | FSTPNCE | an empty ST(0) is popped without a stack fault |
//! | FIP, FDP | of every instruction that is not about the x87 itself; FOP at unmasked exceptions alone; FCS, FDS are 0 |

mod arith;
mod env;
mod f80;
mod flags;
mod format;
mod integer;
mod operand;
mod round;
pub mod sse;
pub mod x87;

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod oracle;
#[cfg(test)]
mod tests;

pub use arith::Relation;
pub use env::{ControlWord, Mxcsr, Response, Unmasked};
pub use f80::{Class, F80};
pub use flags::Flags;
pub use format::{Double, Format, Single};
pub use integer::Width;
pub use operand::{Kind, Operand};
pub use round::Rounding;
