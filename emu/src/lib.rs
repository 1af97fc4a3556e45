//! The prebake machine: an x86-64 CPU in software and the bus that bolts devices to it.
//!
//! | module | what it is |
//! |---|---|
//! | [`bus`] | guest RAM, and the [`Board`](bus::Board) that answers everything that is not RAM |
//! | [`cpu`] | architectural state: registers, flags, segments, control registers, MSRs, CPUID |
//! | [`mmu`] | RAM behind its translations: the page walk, and the TLB in front of it |
//! | [`decode`] | bytes to blocks of [`Op`](decode::Op)s |
//! | [`cache`] | decoded blocks by physical address, and the ways from linear addresses to them |
//! | [`vcpu`] | the CPU that all of these make up, its memory accesses with every check, time, breakpoints |
//! | [`delivery`] | exceptions and interrupts through the IDT |
//! | [`exec`] | what instructions do, and the dispatcher that runs them |
//! | [`engine`] | the loop around the dispatcher: finds, builds and links blocks, delivers what is due |
//! | [`intc`] | the pair of 8259s and the local APIC |
//! | [`machine`] | the machine `pc1-v2/1`: its board, booting Linux, saving, restoring, settling |
//!
//! A module uses only those to its left, and no files use one another in a circle (`tests/modules.rs`):
//! `bus → cpu → mmu → decode → cache → vcpu → delivery → exec → engine → intc → machine`.
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
