//! Machine ABI version 1: what the module exports. `ABI.md` says it for whoever writes a host.

use crate::config::{Config, Upper};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::make;
use crate::ram;
use crate::save::{self, Head};
use crate::sink::Output;
use devices::console::{Port, WindowSize};
use devices::net::wire::{HEADER_SIZE, Header};
use devices::net::{Offload, Pushed};
use emu::machine::{Machine, MachineError, Stop};
use std::cell::RefCell;

/// Version of the ABI.
pub const VERSION: u32 = 1;

/// Everything between two calls.
#[derive(Default)]
struct State {
    exchange: Exchange,
    config: Option<Config>,
    /// The disk that is memory, as it was configured.
    upper: Option<Upper>,
    output: Output,
    machine: Option<Machine>,
    /// What came with the last stop.
    detail: i64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// How a call that may fail ends: 0, or 1 with kind and message as the answer.
fn status(state: &mut State, result: Result<(), Error>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            state.exchange.answer(format!("{}\n{error}", error.kind()).into_bytes());
            1
        }
    }
}

fn with<R>(call: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(call)
}

/// A call that needs the machine; `otherwise` is the answer where there is none.
fn with_machine<R>(otherwise: R, call: impl FnOnce(&mut Machine) -> R) -> R {
    with(|state| state.machine.as_mut().map_or(otherwise, call))
}

fn port(number: u32) -> Option<Port> {
    Port::ALL.get(number as usize).copied()
}

impl State {
    /// The configuration, for a machine that is to be made.
    fn take_config(&mut self, call: &'static str) -> Result<Config, Error> {
        if self.machine.is_some() {
            return Err(Error::Order { call, problem: "when there was a machine already" });
        }
        self.config.take().ok_or(Error::Order { call, problem: "before pb_configure" })
    }

    fn boot(&mut self) -> Result<(), Error> {
        let config = self.take_config("pb_boot")?;
        // SAFETY: there is no machine.
        self.machine = Some(unsafe { make::boot(config, &self.output) }?);
        Ok(())
    }

    fn restore(&mut self, length: usize, file_length: u64) -> Result<(), Error> {
        let head = Head { bytes: self.exchange.taken(length), file_length };
        let config = self.take_config("pb_restore")?;
        // SAFETY: there is no machine.
        let (machine, left) = unsafe { make::restore(config, head, &self.output) }?;
        self.machine = Some(machine);
        let left = left.iter().map(|name| format!("{name}\n"));
        self.exchange.answer(left.collect::<String>().into_bytes());
        Ok(())
    }
}

/// Version of this ABI.
#[unsafe(no_mangle)]
extern "C" fn pb_abi() -> u32 {
    VERSION
}

/// Runs the constructors of the C library. Once, before everything else but `pb_abi`.
#[unsafe(no_mangle)]
extern "C" fn pb_init() {
    #[cfg(target_os = "wasi")]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        // SAFETY: the linker makes this function; the host calls this once, and `_start` never.
        unsafe { __wasm_call_ctors() }
    }
}

/// Address of guest RAM.
#[unsafe(no_mangle)]
extern "C" fn pb_ram() -> u32 {
    ram::START as u32
}

/// Address of `length` bytes for the host to fill before the next call, which takes them; 0 if there is no room.
#[unsafe(no_mangle)]
extern "C" fn pb_reserve(length: u32) -> u32 {
    with(|state| state.exchange.reserve(length as usize).map_or(0, |pointer| pointer as usize as u32))
}

/// Address of the answer of the last call that gave one.
#[unsafe(no_mangle)]
extern "C" fn pb_answer() -> u32 {
    with(|state| state.exchange.address() as usize as u32)
}

/// Length of the answer of the last call that gave one.
#[unsafe(no_mangle)]
extern "C" fn pb_answer_length() -> u32 {
    with(|state| state.exchange.length() as u32)
}

/// Takes the configuration: `length` bytes of text.
#[unsafe(no_mangle)]
extern "C" fn pb_configure(length: u32) -> u32 {
    with(|state| {
        let bytes = state.exchange.taken(length as usize);
        let result = Config::parse(&String::from_utf8_lossy(&bytes)).map(|config| {
            state.upper = config.upper();
            state.config = Some(config);
        });
        status(state, result)
    })
}

/// Makes the machine that was configured, with Linux loaded. Guest RAM and the disk that is memory must be untouched.
#[unsafe(no_mangle)]
extern "C" fn pb_boot() -> u32 {
    with(|state| {
        let result = state.boot();
        status(state, result)
    })
}

/// Makes the machine of a snapshot, whose first `length` bytes of `file_length` the host has given, and whose pages it has put into guest
/// RAM and the disk that is memory; or of the one in the configuration, with both 0. The answer names the critical sections that were left, one
/// in a line.
#[unsafe(no_mangle)]
extern "C" fn pb_restore(length: u32, file_length: u64) -> u32 {
    with(|state| {
        let result = state.restore(length as usize, file_length);
        status(state, result)
    })
}

/// Runs until the count reaches `until`, or something else stops the machine: 0 the count, 1 HLT, 2 HLT for good, 3 power-off, 4 reset;
/// 5 without a machine; 6 if the machine cannot go on, and the answer says why.
#[unsafe(no_mangle)]
extern "C" fn pb_run(until: u64) -> u32 {
    run(|machine| machine.run(until))
}

/// Runs on to the next safe point, which may be where the machine stands, or as far as `pb_run` does; the same numbers say why it stopped.
#[unsafe(no_mangle)]
extern "C" fn pb_run_to_safe_point(until: u64) -> u32 {
    run(|machine| machine.run_to_safe_point(until))
}

/// Whether a snapshot of the machine as it stands can be restored more than once.
#[unsafe(no_mangle)]
extern "C" fn pb_at_safe_point() -> u32 {
    with_machine(0, |machine| u32::from(machine.at_safe_point()))
}

fn run(run: impl FnOnce(&mut Machine) -> Result<Stop, MachineError>) -> u32 {
    with(|state| {
        let Some(machine) = &mut state.machine else { return 5 };
        let (reason, detail) = match run(machine) {
            Ok(Stop::Due) => (0, -1),
            Ok(Stop::Halted { deadline }) => (1, deadline.map_or(-1, |tick| tick as i64)),
            Ok(Stop::HaltedForGood) => (2, -1),
            Ok(Stop::PowerOff { status }) => (3, i64::from(status)),
            Ok(Stop::Reset) => (4, -1),
            Err(error) => {
                status(state, Err(error.into()));
                (6, -1)
            }
        };
        state.detail = detail;
        reason
    })
}

/// After `pb_run` gave 1: the tick at which a timer fires, -1 for none. After 3: the exit status.
#[unsafe(no_mangle)]
extern "C" fn pb_detail() -> i64 {
    with(|state| state.detail)
}

/// Instructions and REP iterations since power-on.
#[unsafe(no_mangle)]
extern "C" fn pb_count() -> u64 {
    with_machine(0, |machine| machine.count())
}

/// TSC ticks since power-on.
#[unsafe(no_mangle)]
extern "C" fn pb_now() -> u64 {
    with_machine(0, Machine::now)
}

/// Under the virtual clock: lets time pass up to `tick`, while the CPU is halted.
#[unsafe(no_mangle)]
extern "C" fn pb_skip_to(tick: u64) {
    with_machine((), |machine| machine.skip_to(tick));
}

/// Gives the guest input on console port `number`: `length` bytes. Returns how many were taken.
#[unsafe(no_mangle)]
extern "C" fn pb_push_input(number: u32, length: u32) -> u32 {
    with(|state| {
        let bytes = state.exchange.taken(length as usize);
        match (&mut state.machine, port(number)) {
            (Some(machine), Some(port)) => machine.push_input(port, &bytes) as u32,
            _ => 0,
        }
    })
}

/// Ends the input on console port `number`.
#[unsafe(no_mangle)]
extern "C" fn pb_close_input(number: u32) {
    with_machine((), |machine| port(number).into_iter().for_each(|port| machine.close_input(port)));
}

/// Whether the guest has a buffer ready for input on console port `number`.
#[unsafe(no_mangle)]
extern "C" fn pb_wants_input(number: u32) -> u32 {
    with_machine(0, |machine| port(number).map_or(0, |port| u32::from(machine.wants_input(port))))
}

/// Bytes of input on console port `number` that the guest has not taken.
#[unsafe(no_mangle)]
extern "C" fn pb_input_pending(number: u32) -> u32 {
    with_machine(0, |machine| port(number).map_or(0, |port| machine.input_pending(port) as u32))
}

/// The answer is what the guest has written since the last call, as records: the console port's number or 255 for the serial port (1 byte),
/// the length (4 bytes, little-endian), the bytes. Returns the answer's length.
#[unsafe(no_mangle)]
extern "C" fn pb_take_output() -> u32 {
    with(|state| {
        let output = state.output.take();
        state.exchange.answer(output) as u32
    })
}

/// Tells the guest the size of its terminal.
#[unsafe(no_mangle)]
extern "C" fn pb_resize(cols: u32, rows: u32) {
    let limit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    with_machine((), |machine| machine.resize(WindowSize { cols: limit(cols), rows: limit(rows) }));
}

/// What there is of a network device: 0 none; else bit 0, with bit 1 if the guest takes partial checksums, and bit 2 if it takes long segments.
#[unsafe(no_mangle)]
extern "C" fn pb_network() -> u32 {
    with_machine(0, |machine| {
        let bits = |offload: Offload| 1 | u32::from(offload.checksum) << 1 | u32::from(offload.segmentation) << 2;
        machine.network().map_or(0, bits)
    })
}

/// The answer is what the guest has sent since the last call, as records: the frame's length (4 bytes, little-endian), its virtio header (12
/// bytes), the frame. Returns the answer's length.
#[unsafe(no_mangle)]
extern "C" fn pb_take_frames() -> u32 {
    with(|state| {
        let mut answer = Vec::new();
        for (header, frame) in state.machine.as_mut().map(Machine::take_frames).unwrap_or_default() {
            answer.extend((frame.len() as u32).to_le_bytes());
            answer.extend(header.to_bytes(&frame, 0));
            answer.extend(frame);
        }
        state.exchange.answer(answer) as u32
    })
}

/// Gives the guest a frame: `length` bytes, of which the first 12 are its virtio header. Returns 0 if the guest has it, 1 if it has no buffers
/// for it now, 2 if it will never take it.
#[unsafe(no_mangle)]
extern "C" fn pb_push_frame(length: u32) -> u32 {
    with(|state| {
        let bytes = state.exchange.taken(length as usize);
        let Some((header, frame)) = bytes.split_first_chunk::<HEADER_SIZE>() else { return 2 };
        match (Header::parse(*header, u64::MAX), &mut state.machine) {
            (Some(header), Some(machine)) => match machine.push_frame(header, frame) {
                Pushed::Delivered => 0,
                Pushed::NoRoom => 1,
                Pushed::Refused => 2,
            },
            _ => 2,
        }
    })
}

/// The answer is what the machine has done: retired instructions and HLTs since power-on, and requests that devices have completed since it
/// was made (8 bytes each, little-endian), then a line `NAME COUNT` for each instruction that was met and is not implemented.
#[unsafe(no_mangle)]
extern "C" fn pb_stats() -> u32 {
    with(|state| {
        let Some(machine) = &mut state.machine else { return 0 };
        let stats = machine.stats();
        let mut bytes: Vec<u8> = [stats.retired, stats.halts, stats.device_work].into_iter().flat_map(u64::to_le_bytes).collect();
        for (name, count) in &stats.gaps {
            bytes.extend(format!("{name} {count}\n").into_bytes());
        }
        state.exchange.answer(bytes) as u32
    })
}

/// Drops everything that is kept for speed alone.
#[unsafe(no_mangle)]
extern "C" fn pb_drop_caches() {
    with_machine((), Machine::drop_caches);
}

/// The answer is a snapshot of the machine as if its memory were all zero: the host adds the pages of guest RAM and of the disk that is memory,
/// and its own sections.
#[unsafe(no_mangle)]
extern "C" fn pb_save() -> u32 {
    with(|state| {
        let result = match &mut state.machine {
            Some(machine) => save::records(machine),
            None => Err(Error::Order { call: "pb_save", problem: "without a machine" }),
        };
        let result = result.map(|bytes| {
            state.exchange.answer(bytes);
        });
        status(state, result)
    })
}

/// Address of one byte for each page of guest RAM: not 0 if it was written since the machine was made. 0 without a machine.
#[unsafe(no_mangle)]
extern "C" fn pb_dirty_pages() -> u32 {
    with_machine(0, |machine| machine.ram().dirty_pages().as_ptr() as usize as u32)
}

/// Address of what disk `number` holds, as it was configured; 0 if it is no disk that is memory.
#[unsafe(no_mangle)]
extern "C" fn pb_disk(number: u32) -> u32 {
    with(|state| {
        let upper = state.upper.filter(|upper| upper.number == number);
        upper.and_then(|upper| ram::address(upper.offset)).map_or(0, |address| address as u32)
    })
}

/// Address of one byte for each block (4 KiB) of disk `number`: not 0 if it was written since the machine was made. 0 without a machine, or if it
/// is no disk that is memory.
#[unsafe(no_mangle)]
extern "C" fn pb_dirty_blocks(number: u32) -> u32 {
    with_machine(0, |machine| machine.disk_memory(number as usize).map_or(0, |disk| disk.dirty_pages().as_ptr() as usize as u32))
}
