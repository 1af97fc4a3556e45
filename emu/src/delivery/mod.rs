//! Delivery of exceptions and interrupts through the IDT (SDM Vol. 3, chapter 6).
//!
//! All checks, and all pushes onto the new stack, come before the first change of a register: a delivery that faults leaves the CPU where it
//! was. Task gates and hardware task switches are not supported: a task gate raises #GP, as it would in long mode. RF is set in RFLAGS at
//! two kinds of boundary alone, behind an IRET that loaded it and between two iterations of a REP that was cut off: see `Vcpu::run`.

pub mod descriptor;
pub mod legacy;
pub mod long;
pub mod stack;
#[cfg(test)]
mod tests;

use crate::cpu::breakpoint::{GENERAL_DETECT, MET};
use crate::cpu::{Exception, Rflags, Vector};
use crate::vcpu::Vcpu;

/// Why an event was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undelivered {
    /// The CPU met a fault while it delivered a double fault.
    Shutdown,
    /// Memory could not be brought in. Nothing has changed: the same can be tried again.
    Unavailable,
}

/// Bit 0 of an error code: an event outside of the program.
const EXTERNAL: u32 = 1;

/// Bit 1 of an error code: its index is that of an IDT entry.
const IN_IDT: u32 = 1 << 1;

/// What is to be delivered.
#[derive(Clone, Copy)]
struct Event {
    vector: u8,
    error_code: Option<u32>,
    /// INT n, INT3, INTO: the gate's DPL counts.
    software: bool,
    /// RFLAGS as pushed.
    rflags: u64,
}

impl Event {
    /// Error code that names the event's gate.
    fn gate_code(&self) -> u32 {
        u32::from(self.vector) << 3 | IN_IDT
    }

    /// The exception that stopped this event's delivery.
    fn stopped_by(&self, mut exception: Exception) -> Exception {
        if !self.software && exception.vector != Vector::PageFault {
            exception.error_code = exception.error_code.map(|code| code | EXTERNAL);
        }
        exception
    }
}

/// Delivers an exception of the instruction at `rip`. What breakpoints that has met, it will meet again.
pub fn exception(cx: &mut Vcpu, exception: Exception) -> Result<(), Undelivered> {
    cx.debug.detected = 0;
    raise(cx, exception, Rflags::RF)
}

/// Delivers #DB with `cause`, bits of DR6, between two instructions: for a trap behind the last, or a breakpoint on the next.
pub fn debug(cx: &mut Vcpu, cause: u64) -> Result<(), Undelivered> {
    cx.control.dr6 = cx.control.dr6 & !MET | cause;
    cx.halted = false;
    raise(cx, Exception::DEBUG, 0)
}

/// Delivers an exception, with `resume` added to the RFLAGS that are pushed: RF if it is a fault, of which it holds off the breakpoint when the
/// instruction is tried again (SDM Vol. 3, 17.3.1.1).
fn raise(cx: &mut Vcpu, exception: Exception, mut resume: u64) -> Result<(), Undelivered> {
    let cr2 = cx.control.cr2;
    let mut current = exception;
    loop {
        if current.vector == Vector::Frozen {
            cx.halted = true;
            return Ok(());
        }
        if current.vector == Vector::Unavailable {
            cx.control.cr2 = cr2;
            return Err(Undelivered::Unavailable);
        }
        if current.vector == Vector::PageFault {
            cx.control.cr2 = current.address;
        }
        if current.vector == Vector::DoubleFault {
            resume = 0;
        }
        let event = Event { vector: current.vector as u8, error_code: current.error_code, software: false, rflags: cx.rflags() | resume };
        match deliver(cx, &event) {
            Ok(()) => {
                if current.vector == Vector::Debug {
                    cx.control.dr7 &= !GENERAL_DETECT;
                }
                return Ok(());
            }
            Err(next) => {
                if next.vector == Vector::PageFault {
                    cx.control.cr2 = next.address;
                }
                current = combine(current.vector, next)?;
                resume = Rflags::RF;
            }
        }
    }
}

/// Delivers an external interrupt.
pub fn interrupt(cx: &mut Vcpu, vector: u8) -> Result<(), Undelivered> {
    let event = Event { vector, error_code: None, software: false, rflags: cx.rflags() };
    deliver(cx, &event).or_else(|fault| exception(cx, fault))
}

/// INT n, INT3 and INTO: `rip` is that of the next instruction.
pub fn software(cx: &mut Vcpu, vector: u8) -> Result<(), Exception> {
    let event = Event { vector, error_code: None, software: true, rflags: cx.rflags() };
    deliver(cx, &event)
}

/// INT1: like an exception, but behind its instruction. `rip` is that of the next instruction.
pub fn debug_interrupt(cx: &mut Vcpu) -> Result<(), Exception> {
    let event = Event { vector: Vector::Debug as u8, error_code: None, software: false, rflags: cx.rflags() };
    deliver(cx, &event)?;
    // What a load of SS just before has met is told by this exception: another one would find its stack in use.
    let detected = u64::from(std::mem::take(&mut cx.debug.detected));
    if detected != 0 {
        cx.control.dr6 = cx.control.dr6 & !MET | detected;
    }
    cx.control.dr7 &= !GENERAL_DETECT;
    Ok(())
}

fn deliver(cx: &mut Vcpu, event: &Event) -> Result<(), Exception> {
    let delivered = if cx.long_mode() { long::deliver(cx, event) } else { legacy::deliver(cx, event) };
    delivered.map_err(|exception| event.stopped_by(exception))?;
    cx.interrupts_blocked = false;
    cx.debug.single_step = false;
    if !event.software {
        // No instruction has retired. Did nothing count, a guest whose handlers fault in turn would never come to the end of a run.
        cx.time.pass(1);
    }
    Ok(())
}

/// What an exception during the delivery of another becomes (SDM Vol. 3, table 6-5).
fn combine(first: Vector, second: Exception) -> Result<Exception, Undelivered> {
    const DOUBLE_FAULT: Exception = Exception { vector: Vector::DoubleFault, error_code: Some(0), address: 0 };
    let contributory = |vector| {
        matches!(
            vector,
            Vector::DivideError | Vector::InvalidTss | Vector::SegmentNotPresent | Vector::StackFault | Vector::GeneralProtection
        )
    };
    match (first, second.vector) {
        (_, Vector::Unavailable) => Ok(second),
        (Vector::DoubleFault, _) => Err(Undelivered::Shutdown),
        (Vector::PageFault, Vector::PageFault) => Ok(DOUBLE_FAULT),
        (first, second) if (contributory(first) || first == Vector::PageFault) && contributory(second) => Ok(DOUBLE_FAULT),
        _ => Ok(second),
    }
}

/// RFLAGS in an event's handler.
fn enter_handler(cx: &mut Vcpu, interrupt_gate: bool) {
    cx.system_flags &= !(Rflags::TF | Rflags::NT | Rflags::RF | Rflags::VM);
    if interrupt_gate {
        cx.system_flags &= !Rflags::IF;
    }
}
