//! SSE scalar semantics on bit patterns; packed instructions apply them per element and join the flags.
//!
//! Results follow SDM Vol. 1, 4.8 and 11.5: the operand order decides which NaN comes out, never the host's arithmetic.
//!
//! The hot ones come as two functions. The one named `fast` is small, to be inlined, and gives the result in the ordinary case, when nothing is
//! raised; the other one gives the result and the exceptions in every case.

mod approx;
mod arith;
mod compare;
mod convert;

pub use approx::{reciprocal, reciprocal_sqrt};
pub use arith::{add, add_fast, div, div_fast, mul, mul_fast, sqrt, sqrt_fast, sub, sub_fast};
pub use compare::{Predicate, compare, compare_fast, max, max_fast, min, min_fast, order, order_fast};
pub use convert::{from_int, from_int_fast, resize, resize_fast, round_to_integral, to_int, to_int_fast};
