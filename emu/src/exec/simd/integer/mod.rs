//! Arithmetic on integer lanes.

pub mod arith;
pub mod compare;
pub mod multiply;
pub mod pack;
pub mod shift;
