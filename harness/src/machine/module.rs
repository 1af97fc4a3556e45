//! The machine as a WebAssembly module in WAMR, through Machine ABI version 1 (`emu/ports/ABI.md`).

use super::watch::Patience;
use super::{DiskMemory, Engine, Memory};
use crate::error::{Error, Result};
use crate::machine::saved::Saved;
use crate::text::printable;
use devices::console::{ConsoleSink, Port, WindowSize};
use devices::net::{Offload, Pushed};
use devices::serial::SerialSink;
use emu::machine::{MachineError, Stats, Stop};
use net::Frame;
use snapshot::{PAGE_SIZE, Run, SectionId, SectionName, Snapshot, Space, Writer};
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;
use tracing::debug;
use wamr::{Grants, Instance, Module, Preopen, Runtime, TypedFunc, Wasi};

/// The version of the ABI that this host speaks.
const ABI: u32 = 1;
/// The module's descriptor of the first folder that it may use.
pub const FIRST_FOLDER: usize = 3;
/// Number of the serial port in the module's output.
const SERIAL: u8 = 0xff;
/// The module's descriptor of a snapshot that it reads itself: its standard input, for which it has no other use.
const SNAPSHOT: usize = 0;
/// What `pb_run` gives where the machine cannot go on.
const UNAVAILABLE: u32 = 6;
/// Bytes that the interpreter has for the module's calls.
const STACK: u32 = 1 << 20;

/// The module's exports, each looked up once.
struct Exports {
    reserve: TypedFunc<u32, u32>,
    answer: TypedFunc<(), u32>,
    answer_length: TypedFunc<(), u32>,
    configure: TypedFunc<u32, u32>,
    boot: TypedFunc<(), u32>,
    restore: TypedFunc<(u32, u64), u32>,
    run: TypedFunc<u64, u32>,
    run_to_safe_point: TypedFunc<u64, u32>,
    at_safe_point: TypedFunc<(), u32>,
    detail: TypedFunc<(), i64>,
    count: TypedFunc<(), u64>,
    now: TypedFunc<(), u64>,
    skip_to: TypedFunc<u64, ()>,
    push_input: TypedFunc<(u32, u32), u32>,
    close_input: TypedFunc<u32, ()>,
    wants_input: TypedFunc<u32, u32>,
    input_pending: TypedFunc<u32, u32>,
    take_output: TypedFunc<(), u32>,
    resize: TypedFunc<(u32, u32), ()>,
    stats: TypedFunc<(), u32>,
    save: TypedFunc<(), u32>,
    dirty_pages: TypedFunc<(), u32>,
    disk: TypedFunc<u32, u32>,
    dirty_blocks: TypedFunc<u32, u32>,
    network: Option<NetworkExports>,
}

/// What modules have that know the network device.
struct NetworkExports {
    network: TypedFunc<(), u32>,
    take_frames: TypedFunc<(), u32>,
    push_frame: TypedFunc<u32, u32>,
}

impl NetworkExports {
    fn of(instance: &mut Instance) -> wamr::Result<Self> {
        Ok(Self {
            network: instance.typed_func("pb_network")?,
            take_frames: instance.typed_func("pb_take_frames")?,
            push_frame: instance.typed_func("pb_push_frame")?,
        })
    }
}

impl Exports {
    fn of(instance: &mut Instance) -> wamr::Result<Self> {
        Ok(Self {
            reserve: instance.typed_func("pb_reserve")?,
            answer: instance.typed_func("pb_answer")?,
            answer_length: instance.typed_func("pb_answer_length")?,
            configure: instance.typed_func("pb_configure")?,
            boot: instance.typed_func("pb_boot")?,
            restore: instance.typed_func("pb_restore")?,
            run: instance.typed_func("pb_run")?,
            run_to_safe_point: instance.typed_func("pb_run_to_safe_point")?,
            at_safe_point: instance.typed_func("pb_at_safe_point")?,
            detail: instance.typed_func("pb_detail")?,
            count: instance.typed_func("pb_count")?,
            now: instance.typed_func("pb_now")?,
            skip_to: instance.typed_func("pb_skip_to")?,
            push_input: instance.typed_func("pb_push_input")?,
            close_input: instance.typed_func("pb_close_input")?,
            wants_input: instance.typed_func("pb_wants_input")?,
            input_pending: instance.typed_func("pb_input_pending")?,
            take_output: instance.typed_func("pb_take_output")?,
            resize: instance.typed_func("pb_resize")?,
            stats: instance.typed_func("pb_stats")?,
            save: instance.typed_func("pb_save")?,
            dirty_pages: instance.typed_func("pb_dirty_pages")?,
            disk: instance.typed_func("pb_disk")?,
            dirty_blocks: instance.typed_func("pb_dirty_blocks")?,
            // A module that was made before there were network devices has none.
            network: NetworkExports::of(instance).ok(),
        })
    }
}

/// Where the guest's output goes.
pub trait Sink: ConsoleSink + SerialSink {}
impl<T: ConsoleSink + SerialSink> Sink for T {}

/// How much memory a module has for its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of guest RAM.
    pub ram: usize,
    /// The disk that is memory.
    pub disk: Option<DiskRoom>,
}

/// See [`Room::disk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// Which disk, from 0.
    pub number: u16,
    /// Bytes of it.
    pub size: usize,
}

/// What a module gets of its host.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// Folders, the first as [`FIRST_FOLDER`].
    pub folders: Vec<Preopen>,
    /// What may be changed in them.
    pub grants: Grants,
    /// The snapshot that it reads.
    pub snapshot: Option<&'a File>,
    /// How long is waited for it.
    pub patience: Rc<Patience>,
}

/// A module that has been loaded and has no machine yet.
pub struct Loaded {
    instance: Instance,
    /// What it says besides what its machine does.
    said: PipeReader,
    patience: Rc<Patience>,
    exports: Exports,
    ram: u32,
    room: Room,
}

impl Loaded {
    /// Loads a `.wasm` or `.aot` by `load`, which came from the file at `path`. It is to have so much room for a machine, and what is `given`.
    pub fn load(path: &Path, load: impl FnOnce(&Runtime) -> wamr::Result<Module>, room: Room, given: Given<'_>) -> Result<Self> {
        let Given { folders, grants, snapshot, patience } = given;
        let error = |source| Error::Module { path: path.into(), source: Box::new(source) };
        let start = Instant::now();
        let runtime = Runtime::start().map_err(error)?;
        let module = load(&runtime).map_err(error)?;
        // Its own standard streams are none of the user's.
        let (stdio, said) = streams(snapshot).map_err(|source| Error::Host { what: "hand the module its streams", source })?;
        let wasi = Wasi { preopens: folders, grants, stdio, watch: Some(patience.watch()), ..Wasi::default() };
        let mut instance = Instance::new(&module, wasi, STACK).map_err(error)?;
        let found = instance.typed_func::<(), u32>("pb_abi").and_then(|abi| abi.call(&mut instance, ())).map_err(error)?;
        if found != ABI {
            return Err(Error::ModuleAbi { path: path.into(), found, wanted: ABI });
        }
        instance.typed_func::<(), ()>("pb_init").and_then(|init| init.call(&mut instance, ())).map_err(error)?;
        let exports = Exports::of(&mut instance).map_err(error)?;
        let ram = instance.typed_func::<(), u32>("pb_ram").and_then(|ram| ram.call(&mut instance, ())).map_err(error)?;
        debug!(target: "prebake::engine", file = %path.display(), elapsed = ?start.elapsed(), "loaded");
        Ok(Self { instance, said, patience, exports, ram, room })
    }

    /// Boots the kernel of the payload. `config` is text as the ABI defines it.
    pub fn boot<S: Sink>(mut self, config: &str, sink: S) -> Result<ModuleMachine<S>> {
        self.configure(config)?;
        let status = self.exports.boot.call(&mut self.instance, ()).map_err(failed)?;
        self.check(status)?;
        Ok(ModuleMachine::new(self, sink))
    }

    /// Restores what was `saved`, whose bytes have been verified: its pages are mapped. `taken` are the critical sections that the caller
    /// has taken itself.
    pub fn restore<S: Sink>(mut self, config: &str, saved: &Saved, taken: &[SectionId], sink: S) -> Result<ModuleMachine<S>> {
        self.configure(config)?;
        let disk = self.room.disk;
        let size = |number| disk.filter(|disk| disk.number == number).map(|disk| disk.size as u64);
        saved.require_disks(size).map_err(|source| Error::Machine(source.into()))?;
        for space in saved.spaces() {
            let base = match space {
                Space::Ram => self.ram,
                Space::Disk(number) => self.exports.disk.call(&mut self.instance, number.into()).map_err(failed)?,
            };
            let mut memory = self.instance.memory().map_err(failed)?;
            // An address that there is not is refused as any other behind the end.
            let place = |offset: u64| u32::try_from(offset).ok().and_then(|offset| base.checked_add(offset)).unwrap_or(u32::MAX);
            saved.lay_out(
                space,
                &mut memory,
                |memory, file, Run { address, file_offset, len }| {
                    memory.map_file(place(address), file, file_offset, len as usize).map_err(failed)
                },
                |memory, address, bytes| memory.write(place(address), bytes).map_err(failed),
            )?;
        }
        let (head, file_length) = saved.head()?;
        let length = self.give(&head).map_err(failed)?;
        self.finish_restore((length, file_length), taken, sink)
    }

    /// Restores the snapshot that it was loaded with: its pages are read, and verified, when the guest first touches them.
    pub fn restore_by_reading<S: Sink>(mut self, config: &str, taken: &[SectionId], sink: S) -> Result<ModuleMachine<S>> {
        self.configure(&format!("{config}snapshot={SNAPSHOT}\n"))?;
        self.finish_restore((0, 0), taken, sink)
    }

    fn finish_restore<S: Sink>(mut self, given: (u32, u64), taken: &[SectionId], sink: S) -> Result<ModuleMachine<S>> {
        let status = self.exports.restore.call(&mut self.instance, given).map_err(failed)?;
        self.check(status)?;
        let left = self.answer().map_err(failed)?;
        let left = String::from_utf8_lossy(&left);
        match left.lines().find(|name| !taken.iter().any(|id| *name == SectionName { id: *id, instance: 0 }.to_string())) {
            Some(name) => Err(Error::Refused {
                kind: "unknown-critical-section".into(),
                message: format!("the snapshot has a section {}, which this machine does not know; use a newer prebake", printable(name)),
            }),
            None => Ok(ModuleMachine::new(self, sink)),
        }
    }

    fn configure(&mut self, config: &str) -> Result<()> {
        let length = self.give(config.as_bytes()).map_err(failed)?;
        let status = self.exports.configure.call(&mut self.instance, length).map_err(failed)?;
        self.check(status)
    }

    /// Puts bytes where the module takes them. Returns how many there are.
    fn give(&mut self, bytes: &[u8]) -> wamr::Result<u32> {
        let length = bytes.len() as u32;
        let address = self.exports.reserve.call(&mut self.instance, length)?;
        self.instance.memory()?.write(address, bytes)?;
        Ok(length)
    }

    /// The answer to the last call.
    fn answer(&mut self) -> wamr::Result<Vec<u8>> {
        let address = self.exports.answer.call(&mut self.instance, ())?;
        let length = self.exports.answer_length.call(&mut self.instance, ())?;
        Ok(self.instance.memory()?.slice(address, length as usize)?.to_vec())
    }

    /// For each page of `size` bytes whether it was written. The module's flags are at `address`.
    fn written(&mut self, address: u32, size: usize) -> wamr::Result<Vec<bool>> {
        Ok(self.instance.memory()?.slice(address, size / PAGE_SIZE)?.iter().map(|&written| written != 0).collect())
    }

    /// Makes an error of a status that is not 0.
    fn check(&mut self, status: u32) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let answer = self.answer().map_err(failed)?;
        let text = String::from_utf8_lossy(&answer);
        let (kind, message) = text.split_once('\n').unwrap_or(("engine", &text));
        Err(Error::Refused { kind: printable(kind), message: printable(message) })
    }
}

fn failed(source: wamr::Error) -> Error {
    match source {
        wamr::Error::Stopped => Error::Unresponsive,
        source => Error::Engine(Box::new(source)),
    }
}

/// The module's standard streams: the snapshot, or nothing, to read; and a pipe to write to, which drops what nobody has read in time.
fn streams(snapshot: Option<&File>) -> io::Result<([Option<OwnedFd>; 3], PipeReader)> {
    let stdin = match snapshot {
        Some(snapshot) => snapshot.try_clone()?,
        None => File::open("/dev/null")?,
    };
    let (reader, writer) = io::pipe()?;
    for end in [reader.as_fd(), writer.as_fd()] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    let mut stdio = [const { None }; 3];
    stdio[SNAPSHOT] = Some(stdin.into());
    (stdio[1], stdio[2]) = (Some(writer.try_clone()?.into()), Some(writer.into()));
    Ok((stdio, reader))
}

/// A machine in a module.
pub struct ModuleMachine<S> {
    module: Loaded,
    sink: S,
    /// Why a call gave nothing.
    failure: Option<wamr::Error>,
    /// That was told. After a failure nothing is asked of the module any more.
    has_failed: bool,
    /// The pages of guest RAM, and then of the disk that is memory, as they were when [`Engine::memory`] was last called.
    written: Vec<bool>,
}

impl<S: Sink> ModuleMachine<S> {
    fn new(module: Loaded, sink: S) -> Self {
        Self { module, sink, failure: None, has_failed: false, written: Vec::new() }
    }

    /// Calls the module. What a module gives that has failed is the default.
    fn call<R: Default>(&mut self, call: impl FnOnce(&mut Loaded) -> wamr::Result<R>) -> R {
        if self.failure.is_some() || self.has_failed {
            return R::default();
        }
        call(&mut self.module).unwrap_or_else(|error| {
            self.failure = Some(error);
            R::default()
        })
    }

    /// Passes on what the guest has written, and what the module says of itself, with the messages of the guest's kernel.
    fn pass_output_on(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = self.module.said.read(&mut bytes) {
            bytes[..length].iter().for_each(|&byte| SerialSink::write(&mut self.sink, byte));
        }
        let output = self.call(|module| match module.exports.take_output.call(&mut module.instance, ())? {
            0 => Ok(Vec::new()),
            _ => module.answer(),
        });
        let mut rest = output.as_slice();
        while let Some((&[number, a, b, c, d], tail)) = rest.split_first_chunk() {
            let length = (u32::from_le_bytes([a, b, c, d]) as usize).min(tail.len());
            let (bytes, tail) = tail.split_at(length);
            rest = tail;
            match Port::ALL.get(usize::from(number)) {
                Some(&port) => ConsoleSink::write(&mut self.sink, port, bytes),
                None if number == SERIAL => bytes.iter().for_each(|&byte| SerialSink::write(&mut self.sink, byte)),
                None => {}
            }
        }
    }

    /// What becomes of a call that lets the machine run.
    fn run_by(&mut self, until: u64, call: impl FnOnce(&mut Loaded) -> wamr::Result<u32>) -> Result<Stop> {
        if self.has_failed {
            return Err(Error::MachineEnded);
        }
        let count = self.count();
        let (reason, detail) = self.call(|module| {
            let reason = module.patience.clone().for_counts(until.saturating_sub(count), || call(module))?;
            Ok((reason, module.exports.detail.call(&mut module.instance, ())?))
        });
        // The answer of this call, not of the next.
        let refused = if reason == UNAVAILABLE { self.module.check(1) } else { Ok(()) };
        self.pass_output_on();
        if let Some(failure) = self.failure.take() {
            self.has_failed = true;
            return Err(failed(failure));
        }
        refused?;
        Ok(match reason {
            0 => Stop::Due,
            1 => Stop::Halted { deadline: u64::try_from(detail).ok() },
            2 => Stop::HaltedForGood,
            3 => Stop::PowerOff { status: detail as u32 },
            _ => Stop::Reset,
        })
    }
}

impl<S: Sink> Engine for ModuleMachine<S> {
    fn end_when(&mut self, wanted: Box<dyn FnMut() -> bool>) {
        self.module.patience.end_when(wanted);
    }
    fn run(&mut self, until: u64) -> Result<Stop> {
        self.run_by(until, |module| module.exports.run.call(&mut module.instance, until))
    }
    fn run_to_safe_point(&mut self, until: u64) -> Result<Stop> {
        self.run_by(until, |module| module.exports.run_to_safe_point.call(&mut module.instance, until))
    }
    fn at_safe_point(&mut self) -> bool {
        self.call(|module| module.exports.at_safe_point.call(&mut module.instance, ())) != 0
    }
    fn skip_to(&mut self, tick: u64) {
        self.call(|module| module.exports.skip_to.call(&mut module.instance, tick));
    }
    fn count(&mut self) -> u64 {
        self.call(|module| module.exports.count.call(&mut module.instance, ()))
    }
    fn now(&mut self) -> u64 {
        self.call(|module| module.exports.now.call(&mut module.instance, ()))
    }
    fn stats(&mut self) -> Stats {
        let answer = self.call(|module| {
            module.exports.stats.call(&mut module.instance, ())?;
            module.answer()
        });
        let (numbers, gaps) = answer.split_at(answer.len().min(24));
        let number = |index: usize| numbers.as_chunks::<8>().0.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let gaps = String::from_utf8_lossy(gaps);
        let gap = |line: &str| line.split_once(' ').and_then(|(name, count)| Some((printable(name), count.parse().ok()?)));
        Stats { retired: number(0), halts: number(1), device_work: number(2), gaps: gaps.lines().filter_map(gap).collect() }
    }
    fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize {
        let taken = self.call(|module| {
            let length = module.give(bytes)?;
            module.exports.push_input.call(&mut module.instance, (port.index() as u32, length))
        });
        taken as usize
    }
    fn close_input(&mut self, port: Port) {
        self.call(|module| module.exports.close_input.call(&mut module.instance, port.index() as u32));
    }
    fn network(&mut self) -> Option<Offload> {
        net::offload_of(self.call(|module| match &module.exports.network {
            Some(exports) => exports.network.call(&mut module.instance, ()),
            None => Ok(0),
        }))
    }
    fn take_frames(&mut self) -> Vec<Frame> {
        net::frames_of(&self.call(|module| match &module.exports.network {
            Some(exports) if exports.take_frames.call(&mut module.instance, ())? != 0 => module.answer(),
            _ => Ok(Vec::new()),
        }))
    }
    fn push_frame(&mut self, frame: &Frame) -> Pushed {
        let message = net::message_of(frame);
        net::pushed_of(self.call(|module| {
            let length = module.give(&message)?;
            match &module.exports.network {
                Some(exports) => exports.push_frame.call(&mut module.instance, length),
                None => Ok(2),
            }
        }))
    }
    fn wants_input(&mut self, port: Port) -> bool {
        self.call(|module| module.exports.wants_input.call(&mut module.instance, port.index() as u32)) != 0
    }
    fn input_pending(&mut self, port: Port) -> usize {
        self.call(|module| module.exports.input_pending.call(&mut module.instance, port.index() as u32)) as usize
    }
    fn resize(&mut self, window: WindowSize) {
        let size = (u32::from(window.cols), u32::from(window.rows));
        self.call(|module| module.exports.resize.call(&mut module.instance, size));
    }
    fn disk_was_full(&mut self) -> bool {
        // Its disks are read-only, or memory that is there.
        false
    }
    fn save(&mut self) -> Result<Writer> {
        if self.has_failed {
            return Err(Error::MachineEnded);
        }
        let module = &mut self.module;
        let status = module.exports.save.call(&mut module.instance, ()).map_err(failed)?;
        module.check(status)?;
        let records = module.answer().map_err(failed)?;
        let error = |source| Error::Machine(MachineError::Snapshot(source));
        let records = Snapshot::open(records.as_slice()).map_err(error)?;
        let mut writer = Writer::new(*records.machine());
        writer.add_sections_of(&records).map_err(error)?;
        Ok(writer)
    }
    fn memory(&mut self) -> Memory<'_> {
        let (ram, room) = (self.module.ram as usize, self.module.room);
        let (disk, written) = self.call(|module| {
            let flags = module.exports.dirty_pages.call(&mut module.instance, ())?;
            let mut written = module.written(flags, room.ram)?;
            let mut address = 0;
            if let Some(DiskRoom { number, size }) = room.disk {
                address = module.exports.disk.call(&mut module.instance, number.into())?;
                let flags = module.exports.dirty_blocks.call(&mut module.instance, number.into())?;
                written.extend(module.written(flags, size)?);
            }
            Ok((address as usize, written))
        });
        self.written = written;
        let memory: &[u8] = match self.module.instance.memory() {
            Ok(memory) => {
                let length = memory.len();
                memory.into_slice_mut(0, length).map_or(&[][..], |bytes| bytes)
            }
            Err(_) => &[],
        };
        let (of_ram, of_disk) = self.written.split_at((room.ram / PAGE_SIZE).min(self.written.len()));
        let bytes = |start: usize, size: usize| memory.get(start..).and_then(|rest| rest.get(..size)).unwrap_or_default();
        let disk = room.disk.map(|DiskRoom { number, size }| DiskMemory { number, bytes: bytes(disk, size), written: of_disk });
        Memory { bytes: bytes(ram, room.ram), written: of_ram, disks: disk.into_iter().collect() }
    }
}
