//! The oracle: single instructions and short sequences run on the host's own x86-64 CPU and on ours, and whatever a program could see must be the same: registers, flags, memory, x87 and
//! SSE state, exceptions. Cases come from a generator that knows every instruction that is implemented, and from `tests/ops/*.ins`. `undefined.rs` says what may differ.
//!
//! `make oracle` runs the long form (`ORACLE_LONG`), which `emu/INSTRUCTIONS.md` counts. `ORACLE_ENCODINGS` and `ORACLE_INPUTS` set how many encodings of each form and how many inputs of each encoding are generated, `ORACLE_SEQUENCES` how many sequences, `ORACLE_BYTES` how many instructions of random bytes in each mode, `ORACLE_SEED` which.
//! Without an x86-64 Linux host only the cases run that carry their answers.
#![allow(clippy::disallowed_methods, reason = "a test of the host's processor has settings, threads and a limit of time")]

mod case;
#[path = "../common/mod.rs"]
mod common;
mod corners;
mod elsewhere;
mod field;
mod generate;
mod ins;
mod instructions;
mod ours;
mod rng;
mod suite;
mod world;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod child;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod compare;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host_test;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod match_host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod sequence;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod soup;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod undefined;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod vendor;
