//! A machine, wherever it runs: as a part of this program, or as a WebAssembly module in WAMR. Whoever drives it cannot tell.

pub mod boot;
pub mod coming;
pub mod config;
pub mod drive;
pub mod file;
mod gdb;
pub mod limits;
pub mod module;
mod native;
mod options;
pub mod output;
mod profile;
pub mod program;
pub mod saved;
mod trace;
pub mod watch;

use crate::context::Context;
use crate::error::{Error, Result, Setting};
use crate::machine::saved::Covered;
pub use attend::record;
use devices::console::{Port, WindowSize};
use devices::net::{Offload, Pushed};
use emu::machine::{Machine, Stats, Stop};
use gdb::Gdb;
use net::{Frame, Guest};
pub use options::{ClockSource, Devices, DiskFile, EngineKind, SharedDirectory};
use profile::Profiled;
use snapshot::{Pages, ReadAt, Snapshot, Space, Writer, Written};
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use trace::Traced;

/// A machine. It stands at an instruction boundary between any two calls.
///
/// What cannot be asked of a module that has failed gives nothing; [`Engine::run`] says why it failed.
pub trait Engine {
    /// Runs until the count reaches `until`, or something else stops the machine. What the guest has written is passed on before this returns.
    fn run(&mut self, until: u64) -> Result<Stop>;
    /// Runs on to the next safe point, which may be here, or as far as [`Engine::run`] does.
    fn run_to_safe_point(&mut self, until: u64) -> Result<Stop>;
    /// Whether copies of the machine as it stands can be made unlike each other before any program goes on.
    fn at_safe_point(&mut self) -> bool;
    /// Under the virtual clock: lets time pass up to `tick`, while the CPU is halted.
    fn skip_to(&mut self, tick: u64);
    /// Instructions and REP iterations since power-on.
    fn count(&mut self) -> u64;
    /// TSC ticks since power-on.
    fn now(&mut self) -> u64;
    /// What the machine has done.
    fn stats(&mut self) -> Stats;
    /// Gives the guest input on a console port. Returns how many bytes were taken.
    fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize;
    /// Ends the input on a console port.
    fn close_input(&mut self, port: Port);
    /// What the guest's network driver takes, if the guest has a network device.
    fn network(&mut self) -> Option<Offload>;
    /// Takes the frames that the guest has sent.
    fn take_frames(&mut self) -> Vec<Frame>;
    /// Gives the guest a frame.
    fn push_frame(&mut self, frame: &Frame) -> Pushed;
    /// Whether the guest has a buffer ready for input on a console port.
    fn wants_input(&mut self, port: Port) -> bool;
    /// Bytes of input on a console port that the guest has not taken.
    fn input_pending(&mut self, port: Port) -> usize;
    /// Tells the guest the size of its terminal.
    fn resize(&mut self, window: WindowSize);
    /// Writes of some disk failed because there is no room for changed blocks.
    fn disk_was_full(&mut self) -> bool;
    /// A snapshot of the machine to be, with its records.
    fn save(&mut self) -> Result<Writer>;
    /// Asks `wanted` whether the machine is to end, while it does not stop by itself for seconds. Then [`Engine::run`] fails. Only a machine that
    /// may come from anyone can do so.
    fn end_when(&mut self, _wanted: Box<dyn FnMut() -> bool>) {}
    /// What else than the guest's timers wakes whoever waits for a halted machine.
    fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Ends the machine's work: whoever looked on says what it saw.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
    /// Guest RAM and the disks that are memory, and for each of their pages whether it was written since the machine was made.
    fn memory(&mut self) -> Memory<'_>;
}

impl Guest for dyn Engine + '_ {
    type Error = Error;
    fn network(&mut self) -> Result<Option<Offload>> {
        Ok(Engine::network(self))
    }
    fn take_frames(&mut self) -> Result<Vec<Frame>> {
        Ok(Engine::take_frames(self))
    }
    fn push_frame(&mut self, frame: &Frame) -> Result<Pushed> {
        Ok(Engine::push_frame(self, frame))
    }
}

/// See [`Engine::memory`].
#[derive(Debug, Clone)]
pub struct Memory<'a> {
    /// All of RAM.
    pub bytes: &'a [u8],
    /// One for each page.
    pub written: &'a [bool],
    /// The disks that are memory.
    pub disks: Vec<DiskMemory<'a>>,
}

/// A disk that is memory.
#[derive(Debug, Clone, Copy)]
pub struct DiskMemory<'a> {
    /// Which disk, from 0.
    pub number: u16,
    /// All of it.
    pub bytes: &'a [u8],
    /// One for each page.
    pub written: &'a [bool],
}

/// Who looks on while a machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugAid {
    /// This file gets a line about each.
    Trace(PathBuf),
    /// A debugger connects here.
    Gdb(SocketAddr),
    /// How often each block runs is counted, into this file.
    Profile(PathBuf),
}

impl DebugAid {
    /// What was asked for.
    pub const fn setting(&self) -> Setting {
        match self {
            Self::Trace(_) => Setting::Trace,
            Self::Gdb(_) => Setting::Debugger,
            Self::Profile(_) => Setting::Profile,
        }
    }
}

/// A machine of this program, with whoever is to look on.
pub fn native(context: &Context, machine: Machine, aid: Option<&DebugAid>) -> Result<Box<dyn Engine>> {
    Ok(match aid {
        None => Box::new(machine),
        Some(DebugAid::Trace(path)) => Box::new(Traced::new(machine, path)?),
        Some(DebugAid::Gdb(address)) => Box::new(Gdb::new(context, machine, *address)?),
        Some(DebugAid::Profile(path)) => Box::new(Profiled::new(machine, path)?),
    })
}

impl Memory<'_> {
    /// Writes the snapshot that `writer` has the records of. If the machine was made at power-on, what was not written since is zero, and is
    /// not looked at.
    pub fn save<W: Write + Seek>(
        &self,
        writer: &Writer,
        since_power_on: bool,
        sink: &mut W,
    ) -> std::result::Result<Written, snapshot::Error> {
        let hint = |_, written: &[bool], page| !since_power_on || flag(written, page).unwrap_or(true);
        self.with_hints(hint, |memory| writer.write(memory, sink))
    }

    /// The same as a delta on `base`, from which the machine was made with the pages that are `covered` laid over it. What was not written
    /// since is not looked at.
    pub fn save_delta<W: Write + Seek, S: ReadAt>(
        &self,
        writer: &Writer,
        (base, covered): (&Snapshot<S>, &Covered),
        sink: &mut W,
    ) -> std::result::Result<Written, snapshot::Error> {
        let is_covered = |space, page| covered.get(&space).and_then(|covered| flag(covered, page)).unwrap_or(false);
        let hint = |space, written: &[bool], page| flag(written, page).unwrap_or(true) || is_covered(space, page);
        self.with_hints(hint, |memory| writer.write_delta(memory, base, sink))
    }

    /// `write`s all memory, with what `hint` says of each page of a space, and whether it was written.
    fn with_hints<R>(&self, hint: impl Fn(Space, &[bool], u64) -> bool, write: impl FnOnce(snapshot::Memory<'_>) -> R) -> R {
        let hint = &hint;
        let of_ram = |page| hint(Space::Ram, self.written, page);
        let of_disks: Vec<_> = self.disks.iter().map(|disk| move |page| hint(Space::Disk(disk.number), disk.written, page)).collect();
        let mut memory = snapshot::Memory::of_ram(Pages::with_hint(self.bytes, &of_ram));
        for (disk, of_disk) in self.disks.iter().zip(&of_disks) {
            memory = memory.with_disk(disk.number, Pages::with_hint(disk.bytes, of_disk));
        }
        write(memory)
    }
}

fn flag(flags: &[bool], page: u64) -> Option<bool> {
    usize::try_from(page).ok().and_then(|page| flags.get(page)).copied()
}
