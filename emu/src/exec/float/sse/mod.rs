//! SSE scalar semantics on bit patterns; packed instructions apply them per element and join the flags.
//!
//! Results follow SDM Vol. 1, 4.8 and 11.5: the operand order decides which NaN comes out, never the host's arithmetic.

mod approx;
mod arith;
mod compare;
mod convert;

pub use approx::{reciprocal, reciprocal_sqrt};
pub use arith::{add, div, mul, sqrt, sub};
pub use compare::{Predicate, compare, max, min, order};
pub use convert::{from_int, resize, round_to_integral, to_int};
