//! The machine: CPU, RAM and board, booted, run, saved and restored.

mod board;
mod boot;
mod debug;
mod disk;
mod memory_disk;
pub mod model;
mod settle;
mod state;

use std::any::Any;
use std::convert::Infallible;

use devices::RestoreError;
use devices::blk::{BlkState, BlockError, CowBackend, CowState};
use devices::cmos::{Cmos, CmosState};
use devices::console::{Console, ConsoleSink, ConsoleState, Port, WindowSize};
use devices::p9::{Access, BadTag, FileSystem, P9, P9State};
use devices::platform::{GuestMemory, Presence};
use devices::rng::{DeterministicStream, EntropyDevice, StreamState};
use devices::serial::{Serial, SerialSink, SerialState};
use devices::virtio::{MmioTransport, TransportState};
use rand_core::{Rng, TryRng};
use snapshot::{Digest, GROUP_SIZE, MachineId, Sections, Writer};

use board::{DiskSlot, PcBoard};
pub use disk::{Disk, DiskBackend, DiskContent, MemoryDisk};
pub use settle::*;
pub use state::{ClockState, CpuState, DiskIdentity, FpuState, InterruptState, SegmentState, TableState};

use crate::bus::{PageError, Ram};
use crate::cache::Limits;
use crate::cpu::Rflags;
use crate::engine::{self, new_cache};
use crate::intc::{Lapic, Pic};
use crate::vcpu::{Clock, Vcpu};

/// What can be wrong with a machine that is to be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The kernel is not one.
    #[error("not a kernel that this machine can start: {problem}; it takes an uncompressed 64-bit vmlinux (ELF for x86-64)")]
    NotAKernel {
        /// What is wrong with it.
        problem: String,
    },
    /// Something is larger than RAM.
    #[error("the {what} needs RAM up to {end:#x}, but there are {ram:#x} bytes, from {:#x} on; give the machine more memory", 0x10_0000)]
    DoesNotFit {
        /// What it is.
        what: &'static str,
        /// First address behind it.
        end: u64,
        /// Bytes of RAM.
        ram: u64,
    },
    /// The command line is too long or holds a NUL.
    #[error("the kernel's command line has {length} bytes; it may have {limit}, none of them 0")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The longest.
        limit: usize,
    },
    /// The RAM size is not one that the model has.
    #[error("{bytes} bytes of memory: the machine takes a multiple of {} MiB from {} to {} MiB", model::RAM_UNIT >> 20, model::MIN_RAM >> 20, model::MAX_RAM >> 20)]
    RamSize {
        /// What was asked for.
        bytes: u64,
    },
    /// More devices than the model has slots.
    #[error("{count} {what}: the machine has room for {limit}")]
    TooMany {
        /// Kind of device.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A share's tag is not one.
    #[error("share: {0}")]
    Tag(#[from] BadTag),
    /// A share is not the one that the snapshot was taken with.
    #[error("share {number} has the tag {found:?}, but the snapshot was taken with {wanted:?}; give the same shares in the same order")]
    WrongShare {
        /// Its number, from 0.
        number: usize,
        /// Tag of the share that was given.
        found: String,
        /// Tag in the snapshot.
        wanted: String,
    },
    /// A disk is not the one that the snapshot was taken with.
    #[error(
        "disk {number} is not the one that the snapshot was taken with: its contents have digest {found}, wanted {wanted}; give the same file"
    )]
    WrongDisk {
        /// Its number, from 0.
        number: usize,
        /// Digest of the disk that was given.
        found: Digest,
        /// Digest in the snapshot.
        wanted: Digest,
    },
    /// The snapshot holds changes to a disk that was given as read-only.
    #[error("the snapshot holds changes to disk {number}, which was given as read-only; give it without `:ro`")]
    ReadOnlyDisk {
        /// Its number, from 0.
        number: usize,
    },
    /// Changed blocks of a disk could not be read.
    #[error("the changes to disk {number} cannot be read: {problem}")]
    Disk {
        /// Its number, from 0.
        number: usize,
        /// What its backend said.
        problem: BlockError,
    },
    /// Pages of the snapshot could not be brought into RAM. The machine stands before whatever needs them; [`Machine::run`] tries again.
    #[error("group {group} of guest RAM ({} KiB each) cannot be restored, so the machine has stopped: {source}", GROUP_SIZE >> 10)]
    Pages {
        /// Number of the group of pages.
        group: u64,
        /// What is wrong with it.
        source: snapshot::Error,
    },
    /// A device's record is not one that it could have written.
    #[error(transparent)]
    Device(#[from] RestoreError),
    /// The snapshot's sections are wrong.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

impl MachineError {
    /// A stable name of the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAKernel { .. } => "not-a-kernel",
            Self::DoesNotFit { .. } => "does-not-fit",
            Self::CommandLine { .. } => "command-line",
            Self::RamSize { .. } => "ram-size",
            Self::TooMany { .. } => "too-many-devices",
            Self::Tag(_) => "share-tag",
            Self::WrongShare { .. } => "wrong-share",
            Self::WrongDisk { .. } => "wrong-disk",
            Self::ReadOnlyDisk { .. } => "read-only-disk",
            Self::Disk { .. } => "disk",
            Self::Pages { source, .. } => source.kind(),
            Self::Device(_) => "invalid-record",
            Self::Snapshot(error) => error.kind(),
        }
    }
}

/// A host directory or another file system for the guest.
pub struct Share {
    /// Tag that the guest mounts it by.
    pub tag: String,
    /// Its contents.
    pub filesystem: Box<dyn FileSystem>,
    /// What the guest may do.
    pub access: Access,
}

/// Where the guest's random bytes come from.
pub enum Entropy {
    /// The published stream: what baking uses. A restored machine goes on where the stream was.
    Published,
    /// The host.
    Host(Box<dyn Rng>),
}

/// What a machine is made of besides CPU and RAM.
pub struct Config {
    /// Disks, vda first.
    pub disks: Vec<Disk>,
    /// 9P mounts.
    pub shares: Vec<Share>,
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
    /// Requests that console, shares and disks have completed since this machine was made.
    pub device_work: u64,
    /// Instructions that are not implemented and were met, with how often.
    pub gaps: Vec<(String, u64)>,
}

/// The machine.
pub struct Machine {
    cpu: Vcpu,
    /// Bits of the occupied virtio slots.
    slots: u32,
}

/// Checks a RAM size before anything is allocated.
pub fn check_ram_size(bytes: u64) -> Result<(), MachineError> {
    if bytes.is_multiple_of(model::RAM_UNIT) && (model::MIN_RAM..=model::MAX_RAM).contains(&bytes) {
        Ok(())
    } else {
        Err(MachineError::RamSize { bytes })
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), MachineError> {
    if count <= limit { Ok(()) } else { Err(MachineError::TooMany { what, count, limit }) }
}

/// The entropy device's source, which is saved if it is the published stream.
pub enum EntropyPort {
    /// The published stream.
    Published(Box<DeterministicStream>),
    /// The host.
    Host(Box<dyn Rng>),
}

impl TryRng for EntropyPort {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            Self::Published(stream) => stream.try_next_u32(),
            Self::Host(source) => source.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            Self::Published(stream) => stream.try_next_u64(),
            Self::Host(source) => source.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self {
            Self::Published(stream) => stream.try_fill_bytes(bytes),
            Self::Host(source) => source.try_fill_bytes(bytes),
        }
    }
}

impl Machine {
    /// A machine with Linux loaded, at its first instruction. `ram` must be zeroed.
    pub fn boot(config: Config, ram: Ram, kernel: &[u8], initrd: Option<&[u8]>, command_line: &str) -> Result<Self, MachineError> {
        check_ram_size(ram.size())?;
        let mut entropy = match config.entropy {
            Entropy::Published => EntropyPort::Published(Box::new(DeterministicStream::new(DeterministicStream::BAKE_SEED))),
            Entropy::Host(source) => EntropyPort::Host(source),
        };
        let mut seed = [0; boot::SEED_LENGTH];
        entropy.fill_bytes(&mut seed);
        let share = |share: Share| Ok(MmioTransport::new(P9::new(&share.tag, share.filesystem, share.access)?));
        let shares = config.shares.into_iter().map(share).collect::<Result<_, MachineError>>()?;
        let disks = config.disks.into_iter().enumerate().map(|(i, disk)| {
            let device = devices::blk::Blk::new(DiskBackend::from(disk.content), &format!("disk{i}"));
            DiskSlot { digest: disk.digest, device: MmioTransport::new(device) }
        });
        let board = PcBoard {
            pic: Pic::default(),
            lapic: Lapic::in_virtual_wire_mode(),
            serial: Serial::new(config.serial),
            cmos: Cmos::new(config.epoch),
            console: MmioTransport::new(Console::new(config.console)),
            entropy: MmioTransport::new(EntropyDevice::new(entropy)),
            shares,
            disks: disks.collect(),
            power_off: None,
            reset: false,
        };
        let slots = Self::check_slots(&board)?;
        let words = model::virtio_words((0..32).filter(|slot| slots >> slot & 1 != 0));
        let command_line = format!("{}{words} {command_line}", model::COMMAND_LINE);
        let mut cpu = Vcpu::new(ram, Box::new(board), new_cache(config.limits), config.clock);
        cpu.time.set_tsc(0);
        boot::load(&mut cpu, kernel, &boot::Payload { initrd, command_line: &command_line, seed })?;
        Ok(Self { cpu, slots })
    }

    /// Bits of the occupied virtio slots.
    fn check_slots(board: &PcBoard) -> Result<u32, MachineError> {
        check_count("shares", board.shares.len(), model::MAX_SHARES)?;
        check_count("disks", board.disks.len(), model::MAX_DISKS)?;
        let run = |first: usize, count: usize| ((1u32 << count) - 1) << first;
        Ok(run(model::SLOT_CONSOLE, 1)
            | run(model::SLOT_ENTROPY, 1)
            | run(model::SLOT_SHARES, board.shares.len())
            | run(model::SLOT_DISKS, board.disks.len()))
    }

    /// The machine of a snapshot: `ram` and the disks that are memory already hold its pages, or will by the time they are read.
    pub fn restore(config: Config, ram: Ram, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        check_ram_size(ram.size())?;
        check_count("shares", config.shares.len(), model::MAX_SHARES)?;
        check_count("disks", config.disks.len(), model::MAX_DISKS)?;
        let saved_stream = sections.take_if_present::<StreamState>(0)?;
        let entropy = match config.entropy {
            Entropy::Host(source) => EntropyPort::Host(source),
            Entropy::Published => EntropyPort::Published(Box::new(match saved_stream {
                Some(state) => DeterministicStream::restore(&state),
                None => DeterministicStream::new(DeterministicStream::BAKE_SEED),
            })),
        };
        let transport = |sections: &mut Sections<'_>, slot: usize| sections.take::<TransportState>(slot as u16);
        let console = Console::restore(config.console, &sections.take::<ConsoleState>(0)?)?;
        let console = MmioTransport::restore(console, &transport(sections, model::SLOT_CONSOLE)?)?;
        let entropy = MmioTransport::restore(EntropyDevice::new(entropy), &transport(sections, model::SLOT_ENTROPY)?)?;
        let mut shares = Vec::new();
        for (i, share) in config.shares.into_iter().enumerate() {
            let state = sections.take::<P9State>(i as u16)?;
            if state.tag != share.tag {
                return Err(MachineError::WrongShare { number: i, found: share.tag, wanted: state.tag });
            }
            let device = P9::restore(share.filesystem, share.access, &state)?;
            shares.push(MmioTransport::restore(device, &transport(sections, model::SLOT_SHARES + i)?)?);
        }
        let mut disks = Vec::new();
        for (i, disk) in config.disks.into_iter().enumerate() {
            let wanted = Digest::from_bytes(sections.take::<DiskIdentity>(i as u16)?.digest);
            if wanted != disk.digest {
                return Err(MachineError::WrongDisk { number: i, found: disk.digest, wanted });
            }
            let changes = sections.take_if_present::<CowState>(i as u16)?;
            let backend = match (disk.content, changes) {
                (DiskContent::CopyOnWrite(source, store), Some(changes)) => {
                    DiskBackend::CopyOnWrite(CowBackend::restore(source, store, &changes)?)
                }
                (content, None) => content.into(),
                (_, Some(_)) => return Err(MachineError::ReadOnlyDisk { number: i }),
            };
            let device = devices::blk::Blk::restore(backend, &sections.take::<BlkState>(i as u16)?)?;
            let device = MmioTransport::restore(device, &transport(sections, model::SLOT_DISKS + i)?)?;
            disks.push(DiskSlot { digest: wanted, device });
        }
        let interrupts = sections.take::<InterruptState>(0)?;
        let board = PcBoard {
            pic: Pic::restore(&interrupts.pic),
            lapic: Lapic::restore(&interrupts.lapic),
            serial: Serial::restore(config.serial, &sections.take::<SerialState>(0)?)?,
            cmos: Cmos::restore(&sections.take::<CmosState>(0)?)?,
            console,
            entropy,
            shares,
            disks,
            power_off: None,
            reset: false,
        };
        let slots = Self::check_slots(&board)?;
        let mut cpu = Vcpu::new(ram, Box::new(board), new_cache(config.limits), config.clock);
        sections.take::<CpuState>(0)?.apply(&mut cpu);
        let clock = sections.take::<ClockState>(0)?;
        cpu.time.resume(clock.count, clock.not_retired, clock.halts);
        cpu.time.set_tsc(clock.tsc);
        Ok(Self { cpu, slots })
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
        writer.add(model::SLOT_CONSOLE as u16, &board.console.save())?;
        writer.add(0, &board.console.device().save())?;
        writer.add(model::SLOT_ENTROPY as u16, &board.entropy.save())?;
        if let EntropyPort::Published(stream) = board.entropy.device().source() {
            writer.add(0, &stream.save())?;
        }
        for (i, share) in board.shares.iter().enumerate() {
            writer.add((model::SLOT_SHARES + i) as u16, &share.save())?;
            writer.add(i as u16, &share.device().save())?;
        }
        for (i, disk) in board.disks.iter_mut().enumerate() {
            writer.add((model::SLOT_DISKS + i) as u16, &disk.device.save())?;
            writer.add(i as u16, &DiskIdentity { digest: *disk.digest.as_bytes() })?;
            writer.add(i as u16, &disk.device.device().save())?;
            if let DiskBackend::CopyOnWrite(changes) = disk.device.device_mut().backend_mut() {
                let state = changes.save().map_err(|problem| MachineError::Disk { number: i, problem })?;
                writer.add(i as u16, &state)?;
            }
        }
        Ok(())
    }

    /// What a snapshot's header says of this machine.
    pub fn id(&self) -> MachineId {
        MachineId { model: model::MODEL, ram_size: self.cpu.mmu.ram().size(), devices: self.slots }
    }

    /// What disk `number` holds, if that is memory.
    pub fn disk_memory(&self, number: usize) -> Option<&Ram> {
        match self.board().disks.get(number)?.device.device().backend() {
            DiskBackend::Memory(disk) => Some(disk.memory()),
            DiskBackend::ReadOnly(_) | DiskBackend::CopyOnWrite(_) => None,
        }
    }

    /// Guest RAM. Of a machine that is restored as it is touched, all of it is there once the machine was saved.
    pub fn ram(&self) -> &Ram {
        self.cpu.mmu.ram()
    }

    /// Runs until the count of instructions, REP iterations, exceptions and interrupts reaches `until`, or something else stops the machine. If that is
    /// [`MachineError::Pages`], running again goes on as if nothing had been, provided that the pages can be had by then.
    pub fn run(&mut self, until: u64) -> Result<Stop, MachineError> {
        self.retry()?;
        let stop = self.cpu.run(until);
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
        self.with_console(|console, platform| console.with_device(platform, |device, queues| device.catch_up(queues)));
        if self.cpu.mmu.ram().presence() == Presence::Stalled { Err(self.page_error()) } else { Ok(()) }
    }

    /// Why something could not be brought in.
    fn page_error(&mut self) -> MachineError {
        match self.cpu.mmu.take_error() {
            Some(PageError { group, source }) => MachineError::Pages { group, source },
            None => unreachable!("whatever finds that something is missing has tried to read it"),
        }
    }

    /// Whether a copy of the machine as it is now can be made unlike its siblings before any of its programs goes on: the CPU is halted, or in
    /// user mode, and takes interrupts. An interrupt that is raised here is served before the next instruction of a program, while a system
    /// call that is under way would end with random numbers that every copy gets.
    pub fn at_safe_point(&self) -> bool {
        let takes_interrupts = self.cpu.system_flags & Rflags::IF != 0 && !self.cpu.interrupts_blocked;
        takes_interrupts && (self.cpu.halted || self.cpu.cpl == 3)
    }

    /// Runs on to the next safe point, which may be here, or until the count reaches `until` or something else stops the machine, as
    /// in [`Self::run`]. [`Self::at_safe_point`] says which it was.
    pub fn run_to_safe_point(&mut self, until: u64) -> Result<Stop, MachineError> {
        let mut stop = Stop::Due;
        while stop == Stop::Due && !self.at_safe_point() && !self.at_breakpoint() && self.count() < until {
            stop = self.run(self.count() + 1)?;
        }
        Ok(stop)
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
        let device_work = self.board_mut().work_done();
        Stats { retired: self.cpu.retired(), halts: self.cpu.time.halts(), device_work, gaps }
    }

    /// Gives the guest input on a console port. Returns how many bytes were taken.
    pub fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize {
        self.with_console(|console, platform| console.with_device(platform, |device, queues| device.push_input(port, bytes, queues)))
            .unwrap_or(0)
    }

    /// Ends the input on a console port.
    pub fn close_input(&mut self, port: Port) {
        self.with_console(|console, platform| console.with_device(platform, |device, queues| device.close_input(port, queues)));
    }

    /// Tells the guest the size of its terminal.
    pub fn resize(&mut self, window: WindowSize) {
        self.with_console(|console, platform| console.with_device(platform, |device, queues| device.resize(window, queues)));
    }

    /// Whether the guest has a buffer ready for input on a console port.
    pub fn wants_input(&mut self, port: Port) -> bool {
        self.with_console(|console, platform| console.with_device(platform, |device, queues| device.wants_input(port, queues)))
            .unwrap_or(false)
    }

    /// Bytes of input on a console port that the guest has not taken.
    pub fn input_pending(&mut self, port: Port) -> usize {
        self.board_mut().console.device().input_pending(port)
    }

    /// Gives the serial port input. Returns how many bytes were taken.
    pub fn push_serial(&mut self, bytes: &[u8]) -> usize {
        self.board_mut().push_serial(bytes)
    }

    /// Writes of some disk failed because its store of changed blocks is full.
    pub fn disk_was_full(&mut self) -> bool {
        self.board_mut().disks.iter_mut().any(|disk| match disk.device.device().backend() {
            DiskBackend::CopyOnWrite(backend) => backend.was_full(),
            DiskBackend::ReadOnly(_) | DiskBackend::Memory(_) => false,
        })
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

    fn with_console<R>(&mut self, work: impl FnOnce(&mut board::ConsoleDevice, &mut devices::platform::Platform<'_>) -> R) -> R {
        let (board, memory, now) = self.cpu.board_and_memory();
        let board: &mut dyn Any = board;
        match board.downcast_mut::<PcBoard>() {
            Some(board) => board.with_console(memory, now, work),
            None => unreachable!("a machine's CPU is only ever given a PcBoard"),
        }
    }
}

/// A name for the number of an iced-x86 `Code`.
fn instruction_name(code: u16) -> String {
    iced_x86::Code::try_from(usize::from(code)).map_or_else(|_| code.to_string(), |code| format!("{code:?}"))
}
