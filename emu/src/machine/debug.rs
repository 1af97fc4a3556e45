//! What a debugger outside sees and changes. Looking leaves no trace in the machine.

use super::{CpuState, Machine};
use crate::bus::PAGE_SIZE;
use crate::cpu::CodeSize;
use crate::decode::MAX_INSTRUCTION_BYTES;

/// The next instruction: its bytes, and more behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextInstruction {
    /// Its linear address.
    pub linear: u64,
    /// 16, 32 or 64.
    pub bits: u32,
    bytes: [u8; MAX_INSTRUCTION_BYTES],
    length: usize,
}

impl NextInstruction {
    /// As many bytes as there are in memory, at most those of the longest instruction.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Machine {
    /// The CPU's registers.
    pub fn cpu_state(&self) -> CpuState {
        CpuState::of(&self.cpu)
    }

    /// Changes the CPU's registers.
    pub fn set_cpu_state(&mut self, state: &CpuState) {
        state.apply(&mut self.cpu);
    }

    /// The instruction at RIP.
    pub fn next_instruction(&mut self) -> NextInstruction {
        let bits = match self.cpu.code_size {
            CodeSize::Bits16 => 16,
            CodeSize::Bits32 => 32,
            CodeSize::Bits64 => 64,
        };
        let mut next = NextInstruction { linear: self.cpu.linear_rip(), bits, bytes: [0; MAX_INSTRUCTION_BYTES], length: 0 };
        next.length = self.read_linear(next.linear, &mut next.bytes);
        next
    }

    /// Reads guest memory as it is mapped now. Returns how many bytes were read: those up to the first that is not mapped, or is no RAM.
    pub fn read_linear(&mut self, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Some((start, length)) = self.look(linear.wrapping_add(done as u64), bytes.len() - done) else { break };
            bytes[done..done + length].copy_from_slice(&self.cpu.mmu.ram().bytes()[start..start + length]);
            done += length;
        }
        done
    }

    /// Writes guest memory as it is mapped now, whatever its rights. Returns how many bytes were written.
    pub fn write_linear(&mut self, linear: u64, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Some((start, length)) = self.look(linear.wrapping_add(done as u64), bytes.len() - done) else { break };
            self.cpu.mmu.store(start as u64, &bytes[done..done + length]);
            done += length;
        }
        done
    }

    /// Where up to `most` bytes of RAM lie that `linear` leads to, and how many of them are on its page.
    fn look(&mut self, linear: u64, most: usize) -> Option<(usize, usize)> {
        let address = self.cpu.mmu.look(&self.cpu.control, linear)?;
        let length = most.min((PAGE_SIZE - linear % PAGE_SIZE) as usize);
        let there = self.cpu.mmu.ram().contains(address, length as u64) && self.cpu.mmu.bring_in(address);
        there.then_some((address as usize, length))
    }

    /// Linear addresses before which [`Machine::run`] stops, as if the count that it was given were reached. The guest cannot tell.
    pub fn set_breakpoints(&mut self, addresses: Vec<u64>) {
        self.cpu.set_debugger_breakpoints(addresses);
    }

    /// Whether the machine stands at a breakpoint that it was not told to pass.
    pub fn at_breakpoint(&self) -> bool {
        self.cpu.at_debugger_breakpoint()
    }

    /// Makes the next run go on from the breakpoint that the machine stands at.
    pub fn pass_breakpoint(&mut self) {
        self.cpu.resume_from_debugger_breakpoint();
    }
}
