//! The saved record of the serial port.

use super::registers::{FCR_KEPT, IER_MASK, MCR_MASK};
use super::{FIFO_SIZE, Serial, SerialSink};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "serial port";

snapshot::saved! {
    /// The serial port. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SerialState {
        /// Bytes received and not yet read by the guest.
        pub received: Vec<u8>,
        /// IER.
        pub interrupt_enable: u8,
        /// FCR: enable bit and trigger level.
        pub fifo_control: u8,
        /// LCR.
        pub line_control: u8,
        /// MCR.
        pub modem_control: u8,
        /// LSR's overrun error.
        pub overrun: bool,
        /// MSR's change bits.
        pub modem_changes: u8,
        /// The transmitter interrupt is pending.
        pub transmitter_became_empty: bool,
        /// SCR.
        pub scratch: u8,
        /// Divisor latch.
        pub divisor: u16,
    }
}

impl Record for SerialState {
    const ID: SectionId = SectionId::new(*b"UART");
    const VERSION: u16 = 1;
}

impl<S: SerialSink> Serial<S> {
    /// The record of this port.
    pub fn save(&self) -> SerialState {
        SerialState {
            received: self.received.iter().copied().collect(),
            interrupt_enable: self.interrupt_enable,
            fifo_control: self.fifo_control,
            line_control: self.line_control,
            modem_control: self.modem_control,
            overrun: self.overrun,
            modem_changes: self.modem_changes,
            transmitter_became_empty: self.transmitter_became_empty,
            scratch: self.scratch,
            divisor: u16::from_le_bytes(self.divisor),
        }
    }

    /// The port of `state`, with its output going to `sink`.
    pub fn restore(sink: S, state: &SerialState) -> Result<Self, RestoreError> {
        let length = state.received.len() as u64;
        RestoreError::check(length <= FIFO_SIZE as u64, DEVICE, "length of received data", length, "16 or less")?;
        for (field, found, known) in [
            ("IER", state.interrupt_enable, IER_MASK),
            ("FCR", state.fifo_control, FCR_KEPT),
            ("MCR", state.modem_control, MCR_MASK),
            ("MSR", state.modem_changes, 0x0f),
        ] {
            RestoreError::check(found & !known == 0, DEVICE, field, found, "bits that the register has")?;
        }
        Ok(Self {
            sink,
            received: state.received.iter().copied().collect(),
            interrupt_enable: state.interrupt_enable,
            fifo_control: state.fifo_control,
            line_control: state.line_control,
            modem_control: state.modem_control,
            overrun: state.overrun,
            modem_changes: state.modem_changes,
            transmitter_became_empty: state.transmitter_became_empty,
            scratch: state.scratch,
            divisor: state.divisor.to_le_bytes(),
        })
    }
}
