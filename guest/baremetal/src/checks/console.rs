//! The console, as a driver uses it that knows one port only.

use super::{Mmio, Report};
use crate::bare::{Identity, halt_until_interrupt};
use alloc::vec::Vec;
use core::fmt::Write;
use virtio_drivers::device::console::VirtIOConsole;

/// Writes to it, and reads a line from it if there is to be one.
pub fn check(transport: Mmio, irq: u8, wait_for_input: bool, report: &mut Report) {
    let Some(mut console) = report.worked("it starts", VirtIOConsole::<Identity, _>::new(transport)) else { return };
    report.check("its size can be asked for", console.size().is_ok());
    report.check("a line is written", console.send_bytes(b"a line from the guest\n").is_ok());
    report.check("bytes are written one by one", b"byte by byte\n".iter().all(|&byte| console.send(byte).is_ok()));
    let long: Vec<u8> = (0..20_000_u32).map(|at| if at % 50 == 49 { b'\n' } else { b'a' + (at % 26) as u8 }).collect();
    report.check("more than a page is written", console.send_bytes(&long).is_ok());
    if !wait_for_input {
        return;
    }
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < 200 {
        match console.recv(true) {
            Ok(Some(byte)) => line.push(byte),
            Ok(None) => {
                halt_until_interrupt(irq);
                let _ = console.ack_interrupt();
            }
            Err(_) => break,
        }
    }
    report.check("a line is read", line == b"a line from the host\n");
    report.check("and answered", writeln!(console, "it has {} bytes", line.len()).is_ok());
}
