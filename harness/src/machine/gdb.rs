//! A machine under a debugger: GDB's remote protocol on a socket.
//!
//! The machine stands before its first instruction until a debugger has connected. While that looks around, the guest stands still; its time goes on under
//! the host's clock. When the debugger leaves, the guest goes on, and another can come.

use super::native::Native;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observer::Notice;
use emu::machine::{CpuState, FpuState, Machine, Stop};
use gdbstub::common::Signal;
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, SingleThreadStopReason};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// GDB's order of the general registers, by Intel's numbers.
const ORDER: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
/// GDB's order of the segment registers, by Intel's numbers: CS, SS, DS, ES, FS, GS.
const SEGMENTS: [usize; 6] = [1, 2, 3, 0, 4, 5];
/// Counts between two looks at what the debugger wants.
const SLICE: u64 = 100_000;
/// For so long a guest that stands still waits for the debugger, before whoever drives it may look at the outside: a tenth of a second.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// `EFAULT`.
const BAD_ADDRESS: u8 = 14;

type Stub = GdbStubStateMachine<'static, Debugged, TcpStream>;

/// What the debugger debugs.
pub struct Debugged {
    machine: Machine,
    breakpoints: BTreeSet<u64>,
    /// The debugger wants to see the machine after the next instruction.
    stepping: bool,
}

/// See the module.
pub struct Gdb {
    debugged: Debugged,
    listener: TcpListener,
    /// No debugger has been there yet.
    expecting: bool,
    stub: Option<Stub>,
    /// The session's, to be waited on.
    connection: Option<TcpStream>,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Host { what, source }
}

impl Gdb {
    /// Listens for a debugger.
    pub fn new(context: &Context, machine: Machine, address: SocketAddr) -> Result<Self> {
        let failed = failed("listen for a debugger");
        let listener = TcpListener::bind(address).map_err(&failed)?;
        listener.set_nonblocking(true).map_err(&failed)?;
        let address = listener.local_addr().map_err(&failed)?;
        context.notice(Notice::WaitingForDebugger { address });
        let debugged = Debugged { machine, breakpoints: BTreeSet::new(), stepping: false };
        Ok(Self { debugged, listener, expecting: true, stub: None, connection: None })
    }

    /// Begins a session with a debugger that has connected, if there is one: the machine stands still.
    fn meet(&mut self) -> Result<()> {
        let failed = failed("talk to a debugger");
        let connection = match self.listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        self.connection = Some(connection.try_clone().map_err(&failed)?);
        self.stub = GdbStub::new(connection).run_state_machine(&mut self.debugged).ok();
        self.expecting = false;
        Ok(())
    }

    /// Ends the session: the guest goes on by itself.
    fn part(&mut self) {
        self.debugged.breakpoints.clear();
        self.debugged.stepping = false;
        self.debugged.apply_breakpoints();
        (self.stub, self.connection) = (None, None);
    }

    /// Where the debugger is heard.
    fn watched(&self) -> BorrowedFd<'_> {
        self.connection.as_ref().map_or(self.listener.as_fd(), AsFd::as_fd)
    }

    /// Waits a little for what the debugger says. Whether there is something.
    fn hear(&self) -> bool {
        // A signal ends the waiting, too.
        matches!(poll(&mut [PollFd::from_borrowed_fd(self.watched(), PollFlags::IN)], Some(&PATIENCE)), Ok(1..))
    }

    /// Does what the debugger asks for. Whether the guest may go on.
    fn obey(&mut self) -> Result<bool> {
        if self.expecting {
            self.hear();
        }
        if self.stub.is_none() {
            self.meet()?;
        }
        while let Some(stub) = self.stub.take() {
            let debugged = &mut self.debugged;
            self.stub = match stub {
                GdbStubStateMachine::Idle(mut idle) => {
                    if !self.hear() {
                        self.stub = Some(idle.into());
                        return Ok(false);
                    }
                    let byte = idle.borrow_conn().read();
                    byte.ok().and_then(|byte| idle.incoming_data(&mut self.debugged, byte).ok())
                }
                GdbStubStateMachine::Running(mut running) => match ConnectionExt::peek(running.borrow_conn()) {
                    Ok(None) => {
                        self.stub = Some(running.into());
                        return Ok(true);
                    }
                    // Or the end.
                    Ok(Some(_)) | Err(_) => {
                        let byte = running.borrow_conn().read();
                        byte.ok().and_then(|byte| running.incoming_data(debugged, byte).ok())
                    }
                },
                GdbStubStateMachine::CtrlCInterrupt(interrupted) => {
                    debugged.stepping = false;
                    interrupted.interrupt_handled(debugged, Some(SingleThreadStopReason::Signal(Signal::SIGINT))).ok()
                }
                GdbStubStateMachine::Disconnected(gone) if gone.get_reason() == DisconnectReason::Kill => {
                    return Err(Error::Interrupted { signal: rustix::process::Signal::KILL.as_raw() });
                }
                GdbStubStateMachine::Disconnected(_) => None,
            };
            if self.stub.is_none() {
                self.part();
            }
        }
        Ok(!self.expecting)
    }

    /// Tells the debugger that the guest has stopped.
    fn report(&mut self, reason: SingleThreadStopReason<u64>) {
        self.stub = match self.stub.take() {
            Some(GdbStubStateMachine::Running(running)) => running.report_stop(&mut self.debugged, reason).ok(),
            other => other,
        };
        if self.stub.is_none() {
            self.part();
        }
    }
}

impl Native for Gdb {
    fn machine(&mut self) -> &mut Machine {
        &mut self.debugged.machine
    }

    fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watched())
    }

    fn run(&mut self, until: u64) -> Result<Stop> {
        loop {
            let goes_on = self.obey()?;
            let debugged = &mut self.debugged;
            let count = debugged.machine.count();
            if !goes_on || count >= until {
                return Ok(Stop::Due);
            }
            let slice = if debugged.stepping { 1 } else { SLICE };
            let stop = debugged.machine.run(until.min(count + slice))?;
            if debugged.machine.at_breakpoint() {
                debugged.stepping = false;
                self.report(SingleThreadStopReason::SwBreak(()));
            } else if debugged.stepping && debugged.machine.count() != count {
                debugged.stepping = false;
                self.report(SingleThreadStopReason::DoneStep);
            }
            match stop {
                Stop::Due => {}
                Stop::Halted { .. } => return Ok(stop),
                Stop::PowerOff { status } => {
                    self.report(SingleThreadStopReason::Exited(status as u8));
                    return Ok(stop);
                }
                Stop::HaltedForGood | Stop::Reset => {
                    self.report(SingleThreadStopReason::Terminated(Signal::SIGKILL));
                    return Ok(stop);
                }
            }
        }
    }
}

impl Debugged {
    fn apply_breakpoints(&mut self) {
        self.machine.set_breakpoints(self.breakpoints.iter().copied().collect());
    }

    fn add(&mut self, address: u64) -> bool {
        self.breakpoints.insert(address);
        self.apply_breakpoints();
        true
    }

    fn remove(&mut self, address: u64) -> bool {
        let was_there = self.breakpoints.remove(&address);
        self.apply_breakpoints();
        was_there
    }
}

/// The full tag word (SDM Vol. 1, 8.1.7).
fn tags(fpu: &FpuState) -> u16 {
    (0..8).fold(0, |word, register| {
        let (mantissa, exponent) = (fpu.mantissa[register], fpu.exponent[register] & 0x7fff);
        let tag = match (fpu.valid >> register & 1, exponent, mantissa >> 63) {
            (0, ..) => 3,
            (_, 0, _) if mantissa == 0 => 1,
            (_, 0 | 0x7fff, _) | (_, _, 0) => 2,
            _ => 0,
        };
        word | tag << (2 * register)
    })
}

/// ST(`number`)'s physical register.
fn physical(fpu: &FpuState, number: usize) -> usize {
    (usize::from(fpu.status >> 11 & 7) + number) % 8
}

fn selectors(state: &CpuState) -> [u32; 6] {
    SEGMENTS.map(|number| u32::from(state.segments[number].selector))
}

impl Target for Debugged {
    type Arch = X86_64_SSE;
    type Error = Error;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }
    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debugged {
    fn read_registers(&mut self, registers: &mut X86_64CoreRegs) -> TargetResult<(), Self> {
        let state = self.machine.cpu_state();
        registers.regs = ORDER.map(|number| state.general[number]);
        (registers.rip, registers.eflags) = (state.rip, state.rflags as u32);
        let segments = &mut registers.segments;
        [segments.cs, segments.ss, segments.ds, segments.es, segments.fs, segments.gs] = selectors(&state);
        let fpu = &state.fpu;
        for (number, st) in registers.st.iter_mut().enumerate() {
            let register = physical(fpu, number);
            st[..8].copy_from_slice(&fpu.mantissa[register].to_le_bytes());
            st[8..].copy_from_slice(&fpu.exponent[register].to_le_bytes());
        }
        registers.fpu.fctrl = fpu.control.into();
        registers.fpu.fstat = fpu.status.into();
        registers.fpu.ftag = tags(fpu).into();
        registers.fpu.fioff = fpu.instruction as u32;
        registers.fpu.fooff = fpu.data as u32;
        registers.fpu.fop = fpu.opcode.into();
        registers.xmm = fpu.xmm;
        registers.mxcsr = fpu.mxcsr;
        Ok(())
    }

    /// All but segment registers and the x87's tags and pointers, which a debugger has no business with.
    fn write_registers(&mut self, registers: &X86_64CoreRegs) -> TargetResult<(), Self> {
        let mut state = self.machine.cpu_state();
        let segments = &registers.segments;
        if [segments.cs, segments.ss, segments.ds, segments.es, segments.fs, segments.gs] != selectors(&state) {
            return Err(TargetError::NonFatal);
        }
        for (place, value) in ORDER.iter().zip(registers.regs) {
            state.general[*place] = value;
        }
        state.rip = registers.rip;
        state.rflags = state.rflags & !0xffff_ffff | u64::from(registers.eflags);
        let fpu = &mut state.fpu;
        fpu.control = registers.fpu.fctrl as u16;
        fpu.status = registers.fpu.fstat as u16;
        for (number, st) in registers.st.iter().enumerate() {
            let register = physical(fpu, number);
            let [b0, b1, b2, b3, b4, b5, b6, b7, e0, e1] = *st;
            fpu.mantissa[register] = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
            fpu.exponent[register] = u16::from_le_bytes([e0, e1]);
        }
        fpu.xmm = registers.xmm;
        fpu.mxcsr = registers.mxcsr & 0xffff;
        self.machine.set_cpu_state(&state);
        Ok(())
    }

    fn read_addrs(&mut self, address: u64, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        match self.machine.read_linear(address, bytes) {
            0 => Err(TargetError::Errno(BAD_ADDRESS)),
            length => Ok(length),
        }
    }

    fn write_addrs(&mut self, address: u64, bytes: &[u8]) -> TargetResult<(), Self> {
        if self.machine.write_linear(address, bytes) == bytes.len() { Ok(()) } else { Err(TargetError::Errno(BAD_ADDRESS)) }
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

/// Signals are the guest's own business: none is passed on.
impl SingleThreadResume for Debugged {
    fn resume(&mut self, _: Option<Signal>) -> Result<()> {
        self.machine.pass_breakpoint();
        Ok(())
    }
    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debugged {
    fn step(&mut self, _: Option<Signal>) -> Result<()> {
        self.machine.pass_breakpoint();
        self.stepping = true;
        Ok(())
    }
}

impl Breakpoints for Debugged {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }
    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

/// By address, without a trace in the guest's memory.
impl SwBreakpoint for Debugged {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add(address))
    }
    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove(address))
    }
}

impl HwBreakpoint for Debugged {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add(address))
    }
    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove(address))
    }
}
