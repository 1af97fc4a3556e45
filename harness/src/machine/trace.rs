//! A trace: each instruction of a machine, and what it changed.

use super::native::Native;
use crate::error::{Error, Result};
use crate::host::file::place::Destination;
use emu::machine::{CpuState, FpuState, Machine, Stop};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const NAMES: [&str; 16] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// A machine that runs one instruction at a time and writes a line about each: the count before it, where it lies, what it is, and the registers
/// that are others behind it. Parentheses are around an instruction that was not done since an exception or interrupt came first. Each iteration of a REP
/// has a line.
pub struct Traced {
    machine: Machine,
    out: BufWriter<File>,
    path: PathBuf,
    formatter: IntelFormatter,
}

impl Traced {
    /// Traces into a new file.
    pub fn new(machine: Machine, path: &Path) -> Result<Self> {
        let file = Destination::open(path)?.begin()?;
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_rip_relative_addresses(true);
        Ok(Self { machine, out: BufWriter::new(file), path: path.into(), formatter })
    }

    /// Runs one instruction, or delivers one event, and says what it was.
    fn step(&mut self) -> Result<(Stop, String)> {
        let (before, count, next) = (self.machine.cpu_state(), self.machine.count(), self.machine.next_instruction());
        let retired = self.machine.stats().retired;
        let stop = self.machine.run(count + 1)?;
        let after = self.machine.cpu_state();
        let mut instruction = Instruction::default();
        Decoder::with_ip(next.bits, next.bytes(), before.rip, DecoderOptions::NONE).decode_out(&mut instruction);
        let mut disassembly = String::new();
        self.formatter.format(&instruction, &mut disassembly);
        // An iteration of a REP does not retire it, either, but stays there.
        let was_done = self.machine.stats().retired != retired || after.rip == before.rip;
        let (open, close) = if was_done { ("", "") } else { ("(", ")") };
        let mut line = format!("{count} {:016x}  {open}{disassembly}{close}", next.linear);
        let changes = changes(&before, &after, before.rip.wrapping_add(instruction.len() as u64));
        if !changes.is_empty() {
            line += "  ;";
            line += &changes;
        }
        Ok((stop, line))
    }
}

/// The registers that differ, and RIP if it is not `next`.
fn changes(before: &CpuState, after: &CpuState, next: u64) -> String {
    let mut out = String::new();
    let mut note = |name: &str, old: u128, new: u128| {
        if old != new {
            let _ = write!(out, " {name}={new:x}");
        }
    };
    note("rip", next.into(), after.rip.into());
    for (number, name) in NAMES.iter().enumerate() {
        note(name, before.general[number].into(), after.general[number].into());
    }
    note("rflags", before.rflags.into(), after.rflags.into());
    for (number, name) in ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"].iter().enumerate() {
        note(name, before.segments[number].selector.into(), after.segments[number].selector.into());
        note(&format!("{name}.base"), before.segments[number].base.into(), after.segments[number].base.into());
    }
    for (number, name) in ["cr0", "cr2", "cr3", "cr4"].iter().enumerate() {
        note(name, before.control[number].into(), after.control[number].into());
    }
    let (old, new) = (&before.fpu, &after.fpu);
    for number in 0..8 {
        let register = |fpu: &FpuState| u128::from(fpu.exponent[number]) << 64 | u128::from(fpu.mantissa[number]);
        note(&format!("r{number}"), register(old), register(new));
    }
    note("fcw", old.control.into(), new.control.into());
    note("fsw", old.status.into(), new.status.into());
    note("ftw", old.valid.into(), new.valid.into());
    for number in 0..16 {
        note(&format!("xmm{number}"), old.xmm[number], new.xmm[number]);
    }
    note("mxcsr", old.mxcsr.into(), new.mxcsr.into());
    out
}

impl Native for Traced {
    fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    fn run(&mut self, until: u64) -> Result<Stop> {
        let mut stop = Stop::Due;
        while stop == Stop::Due && self.machine.count() < until {
            let before = self.machine.count();
            let (next, line) = self.step()?;
            stop = next;
            // A CPU that stays halted has done nothing.
            if self.machine.count() != before {
                writeln!(self.out, "{line}").map_err(|source| Error::Write { path: self.path.clone(), source })?;
            }
        }
        // Whoever drives the machine may end it here.
        self.out.flush().map_err(|source| Error::Write { path: self.path.clone(), source })?;
        Ok(stop)
    }
}
