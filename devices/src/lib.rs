//! The devices of a prebake machine.

pub mod platform;
