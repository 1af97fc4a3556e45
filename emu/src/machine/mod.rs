//! The machine: CPU, RAM and board, booted, run, saved and restored.

mod board;
mod boot;
mod console;
mod debug;
mod disk;
mod entropy;
mod error;
mod frames;
mod input;
mod memory_disk;
pub mod model;
mod network;
mod plug;
mod settle;
mod share;
mod slots;
mod state;

use std::any::Any;

use devices::cmos::{Cmos, CmosState};
use devices::console::ConsoleSink;
use devices::net::Mac;
use devices::platform::{GuestMemory, Presence};
use devices::serial::{Serial, SerialSink, SerialState};
use rand_core::Rng;
use snapshot::{MachineId, Sections, Writer};

use board::PcBoard;
pub use disk::{Disk, DiskBackend, DiskContent, MemoryDisk};
pub use entropy::{Entropy, EntropyPort};
pub use error::MachineError;
pub use settle::*;
pub use share::Share;
use slots::{Backends, Origin, VirtioSlots};
pub use state::{ClockState, CpuState, DiskIdentity, FpuState, InterruptState, SegmentState, TableState};

use crate::bus::{PageError, Ram};
use crate::cache::{Counts, Limits, Room, Translated};
use crate::cpu::Rflags;
use crate::engine::{self, new_cache};
use crate::intc::{Lapic, Pic};
use crate::vcpu::{Clock, Vcpu};
use disk::DiskDevice;

/// What a machine is made of besides CPU and RAM.
pub struct Config {
    /// Disks, vda first.
    pub disks: Vec<Disk>,
    /// 9P mounts.
    pub shares: Vec<Share>,
    /// The address of the network device, if there is one. A restored device keeps its own.
    pub network: Option<Mac>,
    /// Random bytes.
    pub entropy: Entropy,
    /// Where the console's output goes.
    pub console: Box<dyn ConsoleSink>,
    /// Where the serial port's output goes.
    pub serial: Box<dyn SerialSink>,
    /// Time.
    pub clock: Clock,
    /// What the CMOS clock shows at power-on: nanoseconds since 1970. A restored machine keeps its own.
    pub epoch: u64,
    /// How blocks are cut.
    pub limits: Limits,
}

/// Why [`Machine::run`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The count that was asked for is reached, or a debugger's breakpoint.
    Due,
    /// The CPU is halted and nothing is pending. Time must pass, or input come.
    Halted {
        /// TSC tick at which a timer fires, if one runs.
        deadline: Option<u64>,
    },
    /// Halted with interrupts off: for good.
    HaltedForGood,
    /// The guest powered off with this exit status.
    PowerOff {
        /// As written to the power-off port.
        status: u32,
    },
    /// The guest reset the machine, or shut the CPU down by a triple fault.
    Reset,
}

/// What a machine has done since power-on, and since it was made in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Instructions retired since power-on.
    pub retired: u64,
    /// HLT instructions since power-on.
    pub halts: u64,
    /// Requests that console, shares, disks and network have completed since this machine was made.
    pub device_work: u64,
    /// Instructions that are not implemented and were met, with how often.
    pub gaps: Vec<(String, u64)>,
}

/// The machine.
pub struct Machine {
    cpu: Vcpu,
}

/// Checks a RAM size before anything is allocated.
pub fn check_ram_size(bytes: u64) -> Result<(), MachineError> {
    if bytes.is_multiple_of(model::RAM_UNIT) && (model::MIN_RAM..=model::MAX_RAM).contains(&bytes) {
        Ok(())
    } else {
        Err(MachineError::RamSize { bytes })
    }
}

impl Machine {
    /// A machine with Linux loaded, at its first instruction. `ram` must be zeroed.
    pub fn boot(config: Config, ram: Ram, kernel: &[u8], initrd: Option<&[u8]>, command_line: &str) -> Result<Self, MachineError> {
        check_ram_size(ram.size())?;
        let mut entropy = config.entropy.at_power_on();
        let mut seed = [0; boot::SEED_LENGTH];
        entropy.fill_bytes(&mut seed);
        let parts = Backends { console: config.console, entropy, shares: config.shares, disks: config.disks, network: config.network };
        let slots = VirtioSlots::new(parts, &mut Origin::PowerOn)?;
        let words = model::virtio_words(slots.occupied());
        let board = PcBoard {
            pic: Pic::default(),
            lapic: Lapic::in_virtual_wire_mode(),
            serial: Serial::new(config.serial),
            cmos: Cmos::new(config.epoch),
            slots,
            power_off: None,
            reset: false,
        };
        let command_line = format!("{}{words} {command_line}", model::COMMAND_LINE);
        let mut cpu = Vcpu::new(ram, Box::new(board), new_cache(config.limits), config.clock);
        cpu.time.set_tsc(0);
        boot::load(&mut cpu, kernel, &boot::Payload { initrd, command_line: &command_line, seed })?;
        Ok(Self { cpu })
    }

    /// The machine of a snapshot: `ram` and the disks that are memory already hold its pages, or will by the time they are read.
    pub fn restore(config: Config, ram: Ram, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        check_ram_size(ram.size())?;
        let entropy = config.entropy.restored(sections)?;
        let parts = Backends { console: config.console, entropy, shares: config.shares, disks: config.disks, network: config.network };
        let slots = VirtioSlots::new(parts, &mut Origin::Snapshot(sections))?;
        let interrupts = sections.take::<InterruptState>(0)?;
        let board = PcBoard {
            pic: Pic::restore(&interrupts.pic),
            lapic: Lapic::restore(&interrupts.lapic),
            serial: Serial::restore(config.serial, &sections.take::<SerialState>(0)?)?,
            cmos: Cmos::restore(&sections.take::<CmosState>(0)?)?,
            slots,
            power_off: None,
            reset: false,
        };
        let mut cpu = Vcpu::new(ram, Box::new(board), new_cache(config.limits), config.clock);
        sections.take::<CpuState>(0)?.apply(&mut cpu);
        let clock = sections.take::<ClockState>(0)?;
        cpu.time.resume(clock.count, clock.not_retired, clock.halts);
        cpu.time.set_tsc(clock.tsc);
        Ok(Self { cpu })
    }

    /// Guest code that was translated ahead of time is used from now on.
    pub fn set_translated(&mut self, translated: Translated) {
        self.cpu.cache.set_translated(translated);
    }

    /// Counts how often each block of code runs from now on, and which runs next; to be called before anything runs. That slows the machine down.
    pub fn start_profile(&mut self) {
        self.cpu.cache.profile = Some(Box::default());
    }

    /// What has been counted so far, by the content of pages.
    pub fn profile(&self) -> Counts {
        self.cpu.cache.profile.as_ref().map(|profile| profile.counts()).unwrap_or_default()
    }

    /// Adds the machine's records to a snapshot of it, and brings in what is missing of its RAM. The machine stands at an instruction boundary,
    /// as it does after [`Self::run`].
    pub fn save(&mut self, writer: &mut Writer) -> Result<(), MachineError> {
        self.retry()?;
        if !self.cpu.mmu.bring_in_all() {
            return Err(self.page_error());
        }
        let tsc = self.cpu.now();
        writer.add(0, &CpuState::of(&self.cpu))?;
        let clock = ClockState { count: self.cpu.count(), not_retired: self.cpu.time.not_retired(), halts: self.cpu.time.halts(), tsc };
        writer.add(0, &clock)?;
        let board = self.board_mut();
        writer.add(0, &InterruptState { pic: board.pic.save(), lapic: board.lapic.save() })?;
        writer.add(0, &board.serial.save())?;
        writer.add(0, &board.cmos.save())?;
        board.slots.save(writer)
    }

    /// What a snapshot's header says of this machine.
    pub fn id(&self) -> MachineId {
        MachineId { model: model::MODEL, ram_size: self.cpu.mmu.ram().size(), devices: self.board().slots.occupied_bits() }
    }

    /// What disk `number` holds, if that is memory.
    pub fn disk_memory(&self, number: usize) -> Option<&Ram> {
        self.board().slots.get::<DiskDevice>(number)?.device().backend().memory()
    }

    /// Guest RAM. Of a machine that is restored as it is touched, all of it is there once the machine was saved.
    pub fn ram(&self) -> &Ram {
        self.cpu.mmu.ram()
    }

    /// Where the guest's code is kept once it is decoded.
    pub fn room(&self) -> Room {
        self.cpu.cache.room()
    }

    /// Runs until the count of instructions, REP iterations, exceptions and interrupts reaches `until`, or something else stops the machine. If that is
    /// [`MachineError::Pages`], running again goes on as if nothing had been, provided that the pages can be had by then.
    pub fn run(&mut self, until: u64) -> Result<Stop, MachineError> {
        self.run_by(|cpu| cpu.run(until))
    }

    fn run_by(&mut self, run: impl FnOnce(&mut Vcpu) -> engine::VcpuExit) -> Result<Stop, MachineError> {
        self.retry()?;
        let stop = run(&mut self.cpu);
        let board = self.board_mut();
        if let Some(status) = board.power_off {
            return Ok(Stop::PowerOff { status });
        }
        if board.reset {
            return Ok(Stop::Reset);
        }
        match stop {
            engine::VcpuExit::Unavailable => Err(self.page_error()),
            engine::VcpuExit::Due | engine::VcpuExit::Board | engine::VcpuExit::Breakpoint => Ok(Stop::Due),
            engine::VcpuExit::Shutdown => Ok(Stop::Reset),
            engine::VcpuExit::Halted if self.cpu.system_flags & Rflags::IF == 0 => Ok(Stop::HaltedForGood),
            engine::VcpuExit::Halted => Ok(Stop::Halted { deadline: self.cpu.board().deadline() }),
        }
    }

    /// Tries again what could not be brought in, and then tells the guest what it was not told meanwhile.
    fn retry(&mut self) -> Result<(), MachineError> {
        if self.cpu.mmu.ram().presence() != Presence::Stalled {
            return Ok(());
        }
        if !self.cpu.mmu.retry() {
            return Err(self.page_error());
        }
        self.with_board(|board, memory, now| board.catch_up(memory, now));
        if self.cpu.mmu.ram().presence() == Presence::Stalled { Err(self.page_error()) } else { Ok(()) }
    }

    /// Why something could not be brought in.
    fn page_error(&mut self) -> MachineError {
        match self.cpu.mmu.take_error() {
            Some(PageError { group, source }) => MachineError::Pages { group, source },
            None => unreachable!("whatever finds that something is missing has tried to read it"),
        }
    }

    /// Whether copies of the machine as it is now can be reseeded before any of their programs resumes: see [`Vcpu::at_safe_point`].
    pub fn at_safe_point(&self) -> bool {
        self.cpu.at_safe_point()
    }

    /// Runs on to the next safe point, which may be here, or until the count reaches `until` or something else stops the machine, as in [`Self::run`].
    /// [`Self::at_safe_point`] says which it was. Time passes by counts meanwhile, under the host's clock, too.
    pub fn run_to_safe_point(&mut self, until: u64) -> Result<Stop, MachineError> {
        self.run_by(|cpu| cpu.run_to_safe_point(until))
    }

    /// Under the virtual clock: lets time pass up to `tick`, while the CPU is halted.
    pub fn skip_to(&mut self, tick: u64) {
        self.cpu.time.skip_to(tick);
    }

    /// Drops everything that is kept for speed alone, at any boundary: the guest cannot tell.
    pub fn drop_caches(&mut self) {
        self.cpu.drop_caches();
    }

    /// Instructions, REP iterations, exceptions and interrupts since power-on.
    pub fn count(&self) -> u64 {
        self.cpu.count()
    }

    /// TSC ticks since power-on.
    pub fn now(&mut self) -> u64 {
        self.cpu.now()
    }

    /// What the machine has done.
    pub fn stats(&mut self) -> Stats {
        let gaps = self.cpu.unimplemented().map(|(code, count)| (instruction_name(code), count)).collect();
        let device_work = self.board().slots.work_done();
        Stats { retired: self.cpu.retired(), halts: self.cpu.time.halts(), device_work, gaps }
    }

    /// Writes of some disk failed because its store of changed blocks is full.
    pub fn disk_was_full(&mut self) -> bool {
        self.board_mut().slots.all_mut::<DiskDevice>().any(|disk| disk.device_mut().backend_mut().was_full())
    }

    fn board(&self) -> &PcBoard {
        let board: &dyn Any = self.cpu.board();
        match board.downcast_ref() {
            Some(board) => board,
            None => unreachable!("a machine's CPU is only ever given a PcBoard"),
        }
    }

    fn board_mut(&mut self) -> &mut PcBoard {
        let board: &mut dyn Any = self.cpu.board_mut();
        match board.downcast_mut() {
            Some(board) => board,
            None => unreachable!("a machine's CPU is only ever given a PcBoard"),
        }
    }

    fn with_board<R>(&mut self, work: impl FnOnce(&mut PcBoard, &mut dyn GuestMemory, u64) -> R) -> R {
        let (board, memory, now) = self.cpu.board_and_memory();
        let board: &mut dyn Any = board;
        match board.downcast_mut::<PcBoard>() {
            Some(board) => work(board, memory, now),
            None => unreachable!("a machine's CPU is only ever given a PcBoard"),
        }
    }
}

/// A name for the number of an iced-x86 `Code`.
fn instruction_name(code: u16) -> String {
    iced_x86::Code::try_from(usize::from(code)).map_or_else(|_| code.to_string(), |code| format!("{code:?}"))
}
