//! A container image becomes a machine, the machine is compiled, and a snapshot of it is baked.

pub mod bake;
pub mod compile;
pub mod convert;
pub mod hot;
pub mod image;
mod rehearse;
pub mod resize;
pub mod settle;
pub(crate) mod shipped;
pub mod translated;
