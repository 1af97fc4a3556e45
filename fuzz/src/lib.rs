//! Hostile input for every place that takes some. A target takes any bytes, makes of them what a stranger could send, and panics if
//! that does harm. `cargo fuzz` drives the targets with coverage (`fuzz_targets/`), `tests/smoke.rs` shortly without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a finding is a panic")]

mod cpu;
mod input;
mod machine;
pub mod meter;
pub mod net;
mod p9;
mod payloads;
mod ports;
mod snapshots;
mod virtio;
mod walk;

/// A target.
pub struct Target {
    /// Its name: of its seeds' folder, and of its program.
    pub name: &'static str,
    body: fn(&[u8]),
    /// Bytes that it may have allocated at a time.
    memory: usize,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self { name: "walk", body: walk::run, memory: 1 << 20 },
        Self { name: "cpu", body: cpu::run, memory: 8 << 20 },
        Self { name: "devices", body: virtio::run, memory: 64 << 20 },
        Self { name: "p9", body: p9::run, memory: 64 << 20 },
        Self { name: "snapshot", body: snapshots::run, memory: 192 << 20 },
        Self { name: "restore", body: machine::restore, memory: 256 << 20 },
        Self { name: "boot", body: machine::boot, memory: 128 << 20 },
        Self { name: "payload", body: payloads::run, memory: 4 << 20 },
        Self { name: "net", body: net::run, memory: 32 << 20 },
    ];

    /// Feeds it. Panics if that does harm.
    pub fn run(&self, input: &[u8]) {
        let ((), peak) = meter::peak_of(|| (self.body)(input));
        assert!(
            peak <= self.memory,
            "{} bytes of memory for {} bytes of input to {}, at most {}",
            peak,
            input.len(),
            self.name,
            self.memory
        );
    }
}

/// Feeds the target `name`.
pub fn run(name: &str, input: &[u8]) {
    Target::ALL.iter().find(|target| target.name == name).expect("a target").run(input);
}
