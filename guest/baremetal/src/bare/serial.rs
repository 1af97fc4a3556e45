//! The serial port, for what is to be said before and beside the console.

use super::out8;
use core::fmt;

/// The transmitter holding register of the first 16550.
const PORT: u16 = 0x3f8;

/// The serial port. It takes whatever it is given, at once.
pub struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| out8(PORT, byte));
        Ok(())
    }
}
