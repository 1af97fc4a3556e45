//! A container image becomes a machine, the machine is compiled, and a snapshot of it is baked.

pub mod artifact;
pub mod bake;
pub mod code;
pub mod compile;
pub mod convert;
pub mod image;
pub mod settle;
