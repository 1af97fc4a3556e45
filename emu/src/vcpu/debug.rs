//! What leads to a debug exception (SDM Vol. 3, 17.2 and 17.3).

use crate::cpu::Breakpoints;

/// Breakpoints and the single-step trap.
#[derive(Default)]
pub struct DebugState {
    /// The single-step trap behind the current instruction has not been taken back, as by an instruction that enters a handler.
    pub single_step: bool,
    /// Data and port breakpoints that the current instruction has met: B0 to B3 of DR6.
    pub detected: u8,
    /// The current instruction loads SS: no trap before the next is done ("blocking by MOV SS").
    pub blocked_by_mov_ss: bool,
    /// What the debug registers and a debugger wait for; see [`Vcpu::breakpoints_changed`].
    pub breakpoints: Breakpoints,
    /// Count at which the debugger's breakpoint that the CPU stands at is to be passed.
    pub(super) resumed_at: Option<u64>,
}
