//! What the guest has written, until the host takes it.

use devices::console::{ConsoleSink, Port};
use devices::serial::SerialSink;
use std::cell::RefCell;
use std::rc::Rc;

/// Number of the serial port in the output's records, after those of the console's ports.
const SERIAL: u8 = 0xff;

/// A queue of records: the port's number (1 byte), the length (4 bytes, little-endian), the bytes.
#[derive(Clone, Default)]
pub struct Output(Rc<RefCell<Vec<u8>>>);

impl Output {
    /// Takes all records.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.borrow_mut())
    }

    fn push(&self, port: u8, bytes: &[u8]) {
        let mut queue = self.0.borrow_mut();
        for piece in bytes.chunks(u32::MAX as usize) {
            queue.push(port);
            queue.extend((piece.len() as u32).to_le_bytes());
            queue.extend(piece);
        }
    }
}

impl ConsoleSink for Output {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        self.push(port as u8, bytes);
    }
}

impl SerialSink for Output {
    fn write(&mut self, byte: u8) {
        self.push(SERIAL, &[byte]);
    }
}
