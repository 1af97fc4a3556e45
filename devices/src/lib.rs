//! The devices of a prebake machine.
//!
//! A device sees what [`platform`] lends it for the length of one call: guest memory, an interrupt line and the time. What it
//! needs from the host is a backend trait beside the device. It works on the vCPU's thread at the moment it is notified, so
//! between two instructions a request is either still in the available ring or completed, and nothing in flight is ever saved.
//!
//! Each device has a plain public record in its `state` module. Records are untrusted: `restore` checks them.
//! Where a machine has several devices of a type, the instance of a section tells them apart.

#![cfg_attr(not(test), deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap))]

pub mod blk;
pub mod cmos;
pub mod console;
mod error;
pub mod net;
pub mod p9;
pub mod platform;
pub mod rng;
pub mod serial;
pub mod virtio;

pub use error::RestoreError;
