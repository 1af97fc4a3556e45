//! Interrupt controllers: a pair of 8259s behind the local APIC's LINT0 pin.

mod lapic;
mod pic;

pub use lapic::{DEFAULT_ADDRESS as LAPIC_ADDRESS, Lapic, LapicState};
pub use pic::{ChipState, Pic, PicLine, PicState};
