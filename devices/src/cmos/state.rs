//! The saved record of the CMOS clock.

use super::{Cmos, REGISTERS, STATUS_B, STATUS_B_WRITABLE};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "CMOS clock";

snapshot::saved! {
    /// The CMOS clock. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CmosState {
        /// The selected register.
        pub index: u8,
        /// Registers as they were written; those that tell the time are zero.
        pub registers: [u8; REGISTERS],
        /// Time of day at power-on, in nanoseconds since the start of 1970.
        pub epoch: u64,
    }
}

impl Record for CmosState {
    const ID: SectionId = SectionId::new(*b"CMOS");
    const VERSION: u16 = 1;
}

impl Cmos {
    /// The record of this clock.
    pub fn save(&self) -> CmosState {
        CmosState { index: self.index, registers: self.registers, epoch: self.epoch }
    }

    /// The clock of `state`.
    pub fn restore(state: &CmosState) -> Result<Self, RestoreError> {
        RestoreError::check(usize::from(state.index) < REGISTERS, DEVICE, "index", state.index, "below 64")?;
        let status_b = state.registers[usize::from(STATUS_B)];
        RestoreError::check(status_b & !STATUS_B_WRITABLE == 0, DEVICE, "status B", status_b, "bits that can be written")?;
        Ok(Self { index: state.index, registers: state.registers, epoch: state.epoch })
    }
}
