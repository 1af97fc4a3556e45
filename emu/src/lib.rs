//! The prebake machine: an x86-64 CPU in software and the bus that bolts devices to it.
//!
//! A module uses only those to its left:
//! `addr → bus → cpu → mmu → decode → cache → vcpu → delivery → exec → engine → intc → machine`.
//!
//! Nothing here names a file, a socket, a clock or the environment: what the machine needs from outside are backends, given to it.

pub mod bus;
pub mod cache;
pub mod cpu;
pub mod decode;
pub mod delivery;
pub mod engine;
pub mod exec;
pub mod intc;
pub mod machine;
pub mod mmu;
#[cfg(test)]
mod testing;
pub mod vcpu;
