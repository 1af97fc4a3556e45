//! The machine's module, through its exports.

use crate::error::{self, Result, error};
use devices::console::{Port, WindowSize};
use devices::net::{Offload, Pushed};
use emu::machine::Stop;
use js_sys::Uint8Array;
use net::{Frame, Guest};
use payload::{HEADER_LEN, Table};
use snapshot::{Snapshot, Writer};
use wasm_bindgen::prelude::*;

/// The version of the ABI that this host speaks.
const ABI: u32 = 1;
/// What `pb_run` gives where the machine cannot go on.
const UNAVAILABLE: u32 = 6;

#[wasm_bindgen]
extern "C" {
    /// What the module exports.
    pub type Exports;
    /// Its memory.
    pub type Memory;

    #[wasm_bindgen(method, getter)]
    fn memory(this: &Exports) -> Memory;
    #[wasm_bindgen(method, getter)]
    fn buffer(this: &Memory) -> JsValue;
    #[wasm_bindgen(method, catch)]
    fn pb_abi(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_init(this: &Exports) -> Result<()>;
    #[wasm_bindgen(method, catch)]
    fn pb_ram(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_reserve(this: &Exports, length: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_answer(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_answer_length(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_payload_read(this: &Exports, destination: u32, offset: u32, length: u32) -> Result<()>;
    #[wasm_bindgen(method, catch)]
    fn pb_configure(this: &Exports, length: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_restore(this: &Exports, length: u32, file_length: u64) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_run(this: &Exports, until: u64) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_run_to_safe_point(this: &Exports, until: u64) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_at_safe_point(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_detail(this: &Exports) -> Result<i64>;
    #[wasm_bindgen(method, catch)]
    fn pb_count(this: &Exports) -> Result<u64>;
    #[wasm_bindgen(method, catch)]
    fn pb_now(this: &Exports) -> Result<u64>;
    #[wasm_bindgen(method, catch)]
    fn pb_skip_to(this: &Exports, tick: u64) -> Result<()>;
    #[wasm_bindgen(method, catch)]
    fn pb_push_input(this: &Exports, port: u32, length: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_close_input(this: &Exports, port: u32) -> Result<()>;
    #[wasm_bindgen(method, catch)]
    fn pb_wants_input(this: &Exports, port: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_input_pending(this: &Exports, port: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_take_output(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_resize(this: &Exports, columns: u32, rows: u32) -> Result<()>;
    #[wasm_bindgen(method, catch)]
    fn pb_network(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_take_frames(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_push_frame(this: &Exports, length: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_stats(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_save(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_dirty_pages(this: &Exports) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_disk(this: &Exports, number: u32) -> Result<u32>;
    #[wasm_bindgen(method, catch)]
    fn pb_dirty_blocks(this: &Exports, number: u32) -> Result<u32>;
}

/// A module. Its memory neither grows nor moves.
pub struct Module {
    exports: Exports,
    memory: Uint8Array,
    ram: u32,
}

/// How a run ended.
pub enum Ran {
    /// The machine stopped.
    Stopped(Stop),
    /// It stands before an instruction that needs pages of the snapshot, which cannot be read.
    Unavailable(JsValue),
}

/// A call of the module, which may trap.
fn called<T>(result: Result<T>) -> Result<T> {
    result.map_err(|thrown| error::trap(&thrown))
}

fn number(port: Port) -> u32 {
    port.index() as u32
}

impl Module {
    /// Takes over a new instance.
    pub fn new(exports: Exports) -> Result<Self> {
        let found = called(exports.pb_abi())?;
        if found != ABI {
            let message =
                format!("the machine speaks version {found} of the Machine ABI, this page version {ABI}; convert the image again");
            return Err(error("module-abi", message));
        }
        called(exports.pb_init())?;
        let ram = called(exports.pb_ram())?;
        let memory = Uint8Array::new(&exports.memory().buffer());
        Ok(Self { exports, memory, ram })
    }

    /// Bytes of the payload.
    pub fn payload(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let (Ok(offset), Ok(wanted)) = (u32::try_from(offset), u32::try_from(length)) else {
            return Err(error("malformed", "a part of the payload is where no module has one"));
        };
        let address = called(self.exports.pb_reserve(wanted))?;
        called(self.exports.pb_payload_read(address, offset, wanted))?;
        Ok(self.bytes(address, length))
    }

    /// The payload's table, verified.
    pub fn table(&self) -> Result<Table> {
        let start = self.payload(0, HEADER_LEN)?;
        let start = start.first_chunk().ok_or_else(|| error("malformed", "the payload has no table"))?;
        let parts = Table::part_count(start).map_err(error::payload)?;
        Table::decode(&self.payload(0, Table::encoded_len(parts))?).map_err(error::payload)
    }

    /// Bytes of the memory, as far as it goes.
    pub fn bytes(&self, address: u32, length: usize) -> Vec<u8> {
        self.memory.subarray(address, address.saturating_add(length as u32)).to_vec()
    }

    /// Copies memory into `bytes`, if there is so much.
    pub fn read(&self, address: u32, bytes: &mut [u8]) -> Result<()> {
        self.place(address, bytes.len()).map(|place| place.copy_to(bytes))
    }

    /// Copies `bytes` into the memory, if there is so much.
    pub fn write(&self, address: u32, bytes: &[u8]) -> Result<()> {
        self.place(address, bytes.len()).map(|place| place.copy_from(bytes))
    }

    fn place(&self, address: u32, length: usize) -> Result<Uint8Array> {
        let place = self.memory.subarray(address, address.saturating_add(length as u32));
        if place.length() as usize == length {
            Ok(place)
        } else {
            Err(error("module-memory", "the machine's memory ends before its machine"))
        }
    }

    /// Address of guest RAM.
    pub const fn ram(&self) -> u32 {
        self.ram
    }

    /// Address of a disk that is memory.
    pub fn disk(&self, number: u16) -> Result<u32> {
        called(self.exports.pb_disk(number.into()))
    }

    /// For each page of RAM whether it was written.
    pub fn dirty_pages(&self, size: u64) -> Result<Vec<u8>> {
        Ok(self.bytes(called(self.exports.pb_dirty_pages())?, size as usize / snapshot::PAGE_SIZE))
    }

    /// The same of a disk.
    pub fn dirty_blocks(&self, number: u16, size: u64) -> Result<Vec<u8>> {
        Ok(self.bytes(called(self.exports.pb_dirty_blocks(number.into()))?, size as usize / snapshot::PAGE_SIZE))
    }

    fn give(&self, bytes: &[u8]) -> Result<u32> {
        let length = bytes.len() as u32;
        let address = called(self.exports.pb_reserve(length))?;
        if address == 0 && length != 0 {
            return Err(error("module-memory", format!("the machine has no room for {length} bytes of its host")));
        }
        self.write(address, bytes)?;
        Ok(length)
    }

    fn answer(&self) -> Result<Vec<u8>> {
        let address = called(self.exports.pb_answer())?;
        let length = called(self.exports.pb_answer_length())?;
        Ok(self.bytes(address, length as usize))
    }

    /// The error in the answer.
    fn refusal(&self) -> Result<JsValue> {
        let answer = self.answer()?;
        let text = String::from_utf8_lossy(&answer);
        let (kind, message) = text.split_once('\n').unwrap_or(("engine", &text));
        Ok(error(kind, message))
    }

    fn check(&self, status: u32) -> Result<()> {
        if status == 0 { Ok(()) } else { Err(self.refusal()?) }
    }

    /// Passes the configuration.
    pub fn configure(&self, config: &str) -> Result<()> {
        let length = self.give(config.as_bytes())?;
        self.check(called(self.exports.pb_configure(length))?)
    }

    /// Makes the machine of a snapshot whose pages are in place, or which it reads itself; then there is no `head`. Returns the critical
    /// sections that it leaves to its host.
    pub fn restore(&self, head: Option<&[u8]>) -> Result<String> {
        let length = head.map_or(Ok(0), |head| self.give(head))?;
        self.check(called(self.exports.pb_restore(length, length.into()))?)?;
        Ok(String::from_utf8_lossy(&self.answer()?).into_owned())
    }

    /// Runs until the count is `until`, or something else stops the machine.
    pub fn run(&self, until: u64) -> Result<Ran> {
        let reason = called(self.exports.pb_run(until))?;
        self.ran(reason)
    }

    /// Runs on to the next safe point, at most as far as [`Self::run`].
    pub fn run_to_safe_point(&self, until: u64) -> Result<Ran> {
        let reason = called(self.exports.pb_run_to_safe_point(until))?;
        self.ran(reason)
    }

    fn ran(&self, reason: u32) -> Result<Ran> {
        if reason == UNAVAILABLE {
            return self.refusal().map(Ran::Unavailable);
        }
        let detail = called(self.exports.pb_detail())?;
        Ok(Ran::Stopped(match reason {
            0 => Stop::Due,
            1 => Stop::Halted { deadline: u64::try_from(detail).ok() },
            2 => Stop::HaltedForGood,
            3 => Stop::PowerOff { status: detail as u32 },
            _ => Stop::Reset,
        }))
    }

    /// Whether copies of the machine as it stands can be made unlike each other.
    pub fn at_safe_point(&self) -> Result<bool> {
        Ok(called(self.exports.pb_at_safe_point())? != 0)
    }

    /// Instructions and REP iterations since power-on.
    pub fn count(&self) -> Result<u64> {
        called(self.exports.pb_count())
    }

    /// Instructions since power-on.
    pub fn retired(&self) -> Result<u64> {
        called(self.exports.pb_stats())?;
        Ok(self.answer()?.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// Ticks since power-on.
    pub fn now(&self) -> Result<u64> {
        called(self.exports.pb_now())
    }

    /// Lets time pass, under the virtual clock.
    pub fn skip_to(&self, tick: u64) -> Result<()> {
        called(self.exports.pb_skip_to(tick))
    }

    /// Gives a port input, for which there is room.
    pub fn push_input(&self, port: Port, bytes: &[u8]) -> Result<()> {
        let length = self.give(bytes)?;
        called(self.exports.pb_push_input(number(port), length)).map(drop)
    }

    /// Ends the input of a port.
    pub fn close_input(&self, port: Port) -> Result<()> {
        called(self.exports.pb_close_input(number(port)))
    }

    /// Whether the guest has a buffer ready.
    pub fn wants_input(&self, port: Port) -> Result<bool> {
        Ok(called(self.exports.pb_wants_input(number(port)))? != 0)
    }

    /// Bytes that the guest has not taken.
    pub fn input_pending(&self, port: Port) -> Result<usize> {
        Ok(called(self.exports.pb_input_pending(number(port)))? as usize)
    }

    /// Sets the size of the guest's terminal.
    pub fn resize(&self, window: WindowSize) -> Result<()> {
        called(self.exports.pb_resize(window.cols.into(), window.rows.into()))
    }

    /// What the guest has written since the last call: `write` gets the port, none for the serial port.
    pub fn take_output(&self, mut write: impl FnMut(Option<Port>, &[u8])) -> Result<()> {
        if called(self.exports.pb_take_output())? == 0 {
            return Ok(());
        }
        let output = self.answer()?;
        let mut rest = output.as_slice();
        while let Some((&[number, a, b, c, d], tail)) = rest.split_first_chunk() {
            let length = (u32::from_le_bytes([a, b, c, d]) as usize).min(tail.len());
            let (bytes, tail) = tail.split_at(length);
            write(Port::ALL.get(usize::from(number)).copied(), bytes);
            rest = tail;
        }
        Ok(())
    }

    /// A snapshot to be, with the machine's records.
    pub fn save(&self) -> Result<Writer> {
        self.check(called(self.exports.pb_save())?)?;
        let records = self.answer()?;
        let records = Snapshot::open(records.as_slice()).map_err(error::snapshot)?;
        let mut writer = Writer::new(*records.machine());
        writer.add_sections_of(&records).map_err(error::snapshot)?;
        Ok(writer)
    }
}

impl Guest for Module {
    type Error = JsValue;

    fn network(&mut self) -> Result<Option<Offload>> {
        Ok(net::offload_of(called(self.exports.pb_network())?))
    }

    fn take_frames(&mut self) -> Result<Vec<Frame>> {
        if called(self.exports.pb_take_frames())? == 0 {
            return Ok(Vec::new());
        }
        Ok(net::frames_of(&self.answer()?))
    }

    fn push_frame(&mut self, frame: &Frame) -> Result<Pushed> {
        let length = self.give(&net::message_of(frame))?;
        Ok(net::pushed_of(called(self.exports.pb_push_frame(length))?))
    }
}
