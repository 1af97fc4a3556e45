//! The machine as a WebAssembly module: [Machine ABI](../ABI.md) version 1.
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
mod heap;
mod payload;
mod ram;
mod save;
mod sink;

fn main() {
    eprintln!("prebake machine: this module is run by its exports, see Machine ABI version {}", abi::VERSION);
    std::process::exit(125);
}
