//! Breakpoints of the guest and of a debugger outside of the machine.

use super::Vcpu;
use crate::cpu::{CodeSize, SegmentName};

impl Vcpu {
    /// Brings what is derived from the debug registers and CR4.DE up to date. Pages with breakpoints are never reached without notice: those with
    /// data breakpoints have no TLB entry, those with code breakpoints no entry in the jump table.
    pub fn breakpoints_changed(&mut self) {
        if self.debug.breakpoints.follow(&self.control) {
            self.flush_translations();
        }
    }

    /// Linear addresses before which [`Vcpu::run`] stops.
    pub fn set_debugger_breakpoints(&mut self, addresses: Vec<u64>) {
        if self.debug.breakpoints.set_debugger(addresses) {
            self.flush_translations();
        }
    }

    /// Whether a debugger wants to stop before the next instruction, and has not asked to pass it.
    pub fn at_debugger_breakpoint(&self) -> bool {
        self.debug.breakpoints.stop_at(self.linear_rip()) && self.debug.resumed_at != Some(self.count())
    }

    /// Makes the next run pass the debugger's breakpoint that the CPU stands at.
    pub fn resume_from_debugger_breakpoint(&mut self) {
        self.debug.resumed_at = Some(self.count());
    }

    /// Linear address of the next instruction.
    pub fn linear_rip(&self) -> u64 {
        match self.code_size {
            CodeSize::Bits64 => self.rip,
            _ => self.segment(SegmentName::Cs).base.wrapping_add(self.rip) & 0xffff_ffff,
        }
    }

    /// Notes breakpoints that the current instruction has met: a trap behind it.
    fn note_detected(&mut self, detected: u8) {
        if detected != 0 {
            self.debug.detected |= detected;
            self.attention = true;
        }
    }

    /// Notes the breakpoints that an access to data meets.
    #[inline(always)]
    pub(super) fn watch(&mut self, linear: u64, length: u64, write: bool) {
        if self.debug.breakpoints.are_on_data() {
            self.note_detected(self.debug.breakpoints.met_by_access(linear, length, write));
        }
    }

    /// Notes the breakpoints that an access to ports meets.
    pub fn watch_port(&mut self, port: u16, length: u64) {
        if self.debug.breakpoints.are_set() {
            self.note_detected(self.debug.breakpoints.met_by_port(port, length));
        }
    }
}
