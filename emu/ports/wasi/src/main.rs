//! The machine as a WebAssembly module: [Machine ABI](../ABI.md) version 1 for hosts of our own, `_start` for all others.
//!
//! Its linear memory, from address 0 up: the stack, statics, the heap, and from a fixed address on guest RAM, to the end. The memory never
//! grows, so guest RAM is as large as the memory was made.
#![cfg_attr(not(target_os = "wasi"), allow(dead_code, reason = "checked on every target, used on one"))]

mod abi;
mod clock;
mod config;
mod entropy;
mod error;
mod exchange;
mod folder;
mod heap;
mod make;
mod payload;
mod ram;
mod save;
mod sink;
mod stock;
mod translated;

/// Status where the machine could not do what it is for, as opposed to the guest's own.
const FAILED: i32 = 125;

#[cfg(target_os = "wasi")]
fn main() {
    let status = stock::run().unwrap_or_else(|error| {
        eprintln!("prebake machine: {error}");
        FAILED
    });
    std::process::exit(status);
}

#[cfg(not(target_os = "wasi"))]
fn main() {
    eprintln!("prebake machine: this program is for WebAssembly; emu/ports/wasi/build makes that of it");
    std::process::exit(FAILED);
}
