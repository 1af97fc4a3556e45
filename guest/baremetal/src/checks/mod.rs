//! What is checked, device by device. `harness/cli/tests/baremetal.rs` knows what the devices must hold.

mod blk;
mod console;
mod p9;
mod rng;

use crate::bare::{Serial, watch};
use core::fmt::Write;
use core::ptr::NonNull;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceType, Transport};

/// The transport of every device here.
pub type Mmio = MmioTransport<'static>;

/// What was checked so far.
pub struct Report {
    device: &'static str,
    checks: u32,
    failed: u32,
}

impl Report {
    /// Notes whether something is as it must be.
    pub fn check(&mut self, what: &str, holds: bool) {
        self.checks += 1;
        self.failed += u32::from(!holds);
        let _ = writeln!(Serial, "{}: {} {what}", self.device, if holds { "ok    " } else { "FAILED" });
    }

    /// The value of something that must work; else notes that it did not.
    pub fn worked<T, E: core::fmt::Debug>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        if let Err(error) = &result {
            let _ = writeln!(Serial, "{}: {what}: {error:?}", self.device);
        }
        self.check(what, result.is_ok());
        result.ok()
    }
}

/// A device of the command line: `virtio_mmio.device=SIZE@ADDRESS:IRQ`, as Linux takes it.
struct Place {
    size: usize,
    address: usize,
    irq: u8,
}

fn number(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).ok(),
        // Sizes may have a unit.
        None => match text.strip_suffix('K') {
            Some(digits) => Some(digits.parse::<usize>().ok()? << 10),
            None => text.parse().ok(),
        },
    }
}

fn place(word: &str) -> Option<Place> {
    let (size, rest) = word.strip_prefix("virtio_mmio.device=")?.split_once('@')?;
    let (address, irq) = rest.split_once(':')?;
    Some(Place { size: number(size)?, address: number(address)?, irq: number(irq)? as u8 })
}

/// Checks all devices. Returns the status to end with: 0 if all is well, 1 if something is not, 2 if there was nothing to check.
pub fn run(command_line: &str) -> u32 {
    watch();
    let mut report = Report { device: "baremetal", checks: 0, failed: 0 };
    for Place { size, address, irq } in command_line.split_ascii_whitespace().filter_map(place) {
        let Some(header) = NonNull::new(address as *mut _) else { continue };
        // SAFETY: the command line says that a device's registers are there.
        let transport = match unsafe { Mmio::new(header, size) } {
            Ok(transport) => transport,
            // A place without a device in it.
            Err(_) => continue,
        };
        match transport.device_type() {
            DeviceType::Block => {
                report.device = "blk";
                blk::check(transport, &mut report);
            }
            DeviceType::EntropySource => {
                report.device = "rng";
                rng::check(transport, &mut report);
            }
            DeviceType::Console => {
                report.device = "console";
                console::check(transport, irq, command_line.contains("wait-for-input"), &mut report);
            }
            DeviceType::_9P => {
                report.device = "9p";
                p9::check(transport, &mut report);
            }
            other => panic!("a device of type {other:?}"),
        }
    }
    let Report { checks, failed, .. } = report;
    let _ = writeln!(Serial, "baremetal: {checks} checks, {failed} failed");
    match (checks, failed) {
        (0, _) => 2,
        (_, 0) => 0,
        _ => 1,
    }
}
