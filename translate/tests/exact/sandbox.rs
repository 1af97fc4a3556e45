//! A region in a WebAssembly runtime, with a CPU's state laid out for it.

use std::collections::BTreeSet;

use emu::cpu::{FlagOp, LazyFlags, slot};
use emu::decode::{Op, Opcode};
use emu::engine::VcpuExit;
use translate::{CALL_PARAMETERS, CodeBlock, Globals, Helpers, Layout, PAGE, Region, Translated, blocks, call, translate};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType,
    ImportSection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};
use wasmi::{Caller, Engine, Linker, Store};

use crate::machine::{ALIAS, CODE, DATA, Machine, RAM, READ_ONLY, STACK, State, WINDOWS};

const CPU: usize = 0x400;
/// A slot for each entry, by its number; the first leaves the dispatcher.
const SLOTS: usize = 0x2000;
/// A slot for code that is not the region's.
const OUTSIDE: usize = 0x1000;
const SLOT_SIZE: usize = 32;
const GLOBALS: Globals = Globals { first: 0 };
const TLB: usize = 0x4000;
/// Each page of guest memory is at one of two places, by the byte here.
const PLACE: usize = 0x300;
const GUEST: usize = 0x10_0000;
const ENTRIES: u32 = 4096;

/// The layout of the state here: any would do.
pub const LAYOUT: Layout = Layout {
    registers: 0,
    budget: 0x800,
    result: 0x808,
    source: 0x810,
    operation: 0x818,
    tlb: 0x820,
    tlb_entries: ENTRIES,
    tlb_read: 0,
    tlb_write: 8,
    tlb_addend: 16,
    immediate: 16,
    code: 8,
    handler: 0,
    xmm: 0x900,
};

/// How the region was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// For an address outside.
    For(u64),
    /// For the interpreter, at an address.
    ToInterpreter(u64),
    /// An op that was run by its handler raised an exception.
    Faulted(u64),
}

struct Host {
    left: Option<Left>,
    machine: Machine,
    /// Ops that are left to their handlers, and how many handlers ran.
    ops: Vec<Op>,
    handled: u64,
    /// What the region was made of, and the offsets of its entries.
    page: Box<[u8; PAGE]>,
    entries: Vec<u16>,
    /// How often code outside came to an entry, and how often the region was then entered as a function of its own.
    came_back: u64,
    entered: u64,
    /// Code outside has just come to an entry.
    is_back: bool,
    /// How often the block cache was asked what stands at an address.
    asked: u64,
}

impl Host {
    /// The number of the region's entry at an address, of which the page has two. There is none once the page's code has changed.
    fn entry(&self, code: &[u8], rip: u64) -> Option<usize> {
        self.place(rip).filter(|_| self.is_intact(code))
    }

    fn place(&self, rip: u64) -> Option<usize> {
        let place = self.entries.iter().position(|&entry| CODE + u64::from(entry) == rip & !(CODE ^ ALIAS))?;
        Some(place + 1)
    }

    /// Whether the page of code is what the region was made of.
    fn is_intact(&self, code: &[u8]) -> bool {
        code == &self.page[..]
    }
}

/// A region, ready to be run.
pub struct Sandbox {
    store: Store<Host>,
    memory: wasmi::Memory,
    function: wasmi::TypedFunc<(i32, i32), i32>,
    /// Offsets of its entries in the page, by their numbers less 1.
    pub entries: Vec<u16>,
}

impl Sandbox {
    /// Translates the blocks of `page` that start at `leaders`.
    pub fn new(page: &[u8; PAGE], leaders: &BTreeSet<u16>) -> Self {
        let (translated, engine, module) = check(&blocks(page, leaders));
        let Translated { ops, entries, .. } = translated;
        let (page, entries_of) = (Box::new(*page), entries.clone());
        let host = Host {
            left: None,
            machine: Machine::new(),
            ops,
            handled: 0,
            page,
            entries: entries_of,
            came_back: 0,
            entered: 0,
            is_back: false,
            asked: 0,
        };
        let mut store = Store::new(&engine, host);
        let memory = wasmi::Memory::new(&mut store, wasmi::MemoryType::new((GUEST + 2 * RAM) as u32 / 65536, None)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("", "memory", memory).unwrap();
        linker.func_wrap("", "go", move |mut caller: Caller<'_, Host>, _: i32, to: i64| go(&mut caller, memory, to as u64)).unwrap();
        linker.func_wrap("", "outside", move |mut caller: Caller<'_, Host>, _: i32, _: i32| outside(&mut caller, memory)).unwrap();
        let again = |mut caller: Caller<'_, Host>, cpu: i32, slot: i32| {
            let is_back = std::mem::take(&mut caller.data_mut().is_back);
            caller.data_mut().entered += u64::from(is_back);
            let region = caller.get_export("region").and_then(wasmi::Extern::into_func).expect("it is exported");
            region.typed::<(i32, i32), i32>(&caller)?.call(&mut caller, (cpu, slot))
        };
        linker.func_wrap("", "again", again).unwrap();
        let interpret = |mut caller: Caller<'_, Host>, _: i32, at: i64| leave(&mut caller, Left::ToInterpreter(at as u64));
        linker.func_wrap("", "interpret", interpret).unwrap();
        let run = move |mut caller: Caller<'_, Host>, _: i32, number: i32| run_op(&mut caller, memory, number as usize);
        linker.func_wrap("", "run", run).unwrap();
        let evaluate = |operation: i32, result: i64, source: i64| lazy(operation as u16, result as u64, source as u64).evaluate() as i64;
        linker.func_wrap("", "evaluate", evaluate).unwrap();
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        let function = instance.get_typed_func(&store, "region").unwrap();
        let mut sandbox = Self { store, memory, function, entries };
        fill_tlb(sandbox.memory.data_mut(&mut sandbox.store));
        sandbox.fill_slots();
        sandbox
    }

    fn fill_slots(&mut self) {
        let entries = self.entries.len();
        let bytes = self.memory.data_mut(&mut self.store);
        let mut fill = |at: usize, code: Opcode, handler: u32, entry: usize| {
            bytes[at + LAYOUT.handler as usize..][..4].copy_from_slice(&handler.to_le_bytes());
            bytes[at + LAYOUT.code as usize..][..2].copy_from_slice(&code.0.to_le_bytes());
            put(bytes, at + LAYOUT.immediate as usize, entry as u64);
        };
        fill(SLOTS, Opcode::INVALID, 0, 0);
        (1..=entries).for_each(|entry| fill(SLOTS + SLOT_SIZE * entry, Opcode::TRANSLATED, AGAIN_PLACE, entry));
        fill(OUTSIDE, Opcode::TRANSLATED, OUTSIDE_PLACE, 0);
    }

    /// Runs from an entry with a budget. How it was left, what is left of the budget, and the state then.
    pub fn run(&mut self, state: &State, entry: usize, budget: i64) -> (Left, i64, State) {
        put_state(self.memory.data_mut(&mut self.store), state);
        self.store.data_mut().machine.load(state);
        self.store.data_mut().left = None;
        self.store.data_mut().is_back = false;
        let bytes = self.memory.data_mut(&mut self.store);
        put(bytes, CPU + LAYOUT.budget as usize, budget as u64);
        put(bytes, CPU + 8 * usize::from(slot::BLOCK), state.rip);
        let slot = SLOTS + SLOT_SIZE * entry;
        self.function.call(&mut self.store, (CPU as i32, slot as i32)).unwrap_or_else(|error| panic!("trapped: {error}"));
        let left = self.store.data().left.expect("somebody said why");
        let bytes = self.memory.data(&self.store);
        let rest = get(bytes, CPU + LAYOUT.budget as usize) as i64;
        let (Left::For(rip) | Left::ToInterpreter(rip) | Left::Faulted(rip)) = left;
        let mut state = get_state(bytes);
        state.rip = rip;
        (left, rest, state)
    }

    /// How often code outside came to an entry of the region, so far; and how often the region was then entered as a function of its own, since it was not the
    /// one at which its call was to come back.
    pub fn came_back(&self) -> (u64, u64) {
        (self.store.data().came_back, self.store.data().entered)
    }

    /// How often the block cache was asked what stands at an address, so far.
    pub fn asked(&self) -> u64 {
        self.store.data().asked
    }

    /// Ops that handlers ran, so far.
    pub fn handled(&self) -> u64 {
        self.store.data().handled
    }
}

/// What is added to the addresses of a page to find it: neighbours lie apart.
fn addend(bytes: &[u8], page: u64) -> usize {
    let is_odd = page as usize / PAGE % 2;
    GUEST + RAM * (usize::from(bytes[PLACE]) ^ is_odd)
}

/// The bytes of guest memory at some place, a page at a time.
fn pages(bytes: &[u8], (start, length): (u64, usize)) -> impl Iterator<Item = std::ops::Range<usize>> {
    (start..start + length as u64).step_by(PAGE).map(|page| addend(bytes, page) + page as usize).map(|at| at..at + PAGE)
}

fn page_of_code(bytes: &[u8]) -> &[u8] {
    &bytes[addend(bytes, CODE) + CODE as usize..][..PAGE]
}

fn fill_tlb(bytes: &mut [u8]) {
    for (start, length, write) in [(DATA, 0x2000, true), (READ_ONLY, 0x1000, false), (STACK, 0x2000, true)] {
        for page in (start..start + length).step_by(PAGE) {
            let entry = TLB + 32 * (page as usize / PAGE % ENTRIES as usize);
            let (tag, addend) = ((page | 0xfff).to_le_bytes(), addend(bytes, page) as u32);
            bytes[entry..][..8].copy_from_slice(&tag);
            if write {
                bytes[entry + 8..][..8].copy_from_slice(&tag);
            }
            bytes[entry + 16..][..4].copy_from_slice(&addend.to_le_bytes());
        }
    }
}

/// What handlers and code outside may do: guest memory moves, and nothing of use is left where it was.
fn move_guest(bytes: &mut [u8]) {
    for range in WINDOWS.into_iter().flat_map(|window| pages(bytes, window)).collect::<Vec<_>>() {
        bytes[range].fill(0xcc);
    }
    bytes[PLACE] ^= 1;
    fill_tlb(bytes);
}

/// Number of the function for calls, and places of what the slots are run by in the table.
const CALL: u32 = 6;
const OUTSIDE_PLACE: u32 = 1;
const AGAIN_PLACE: u32 = 2;

/// Most instructions of code outside.
const MOST_CALLED: u64 = 40;

/// What the dispatcher would run at an address: the region, code outside, or nothing if the budget does not vouch for a block.
fn go(caller: &mut Caller<'_, Host>, memory: wasmi::Memory, to: u64) -> i32 {
    let (bytes, host) = memory.data_and_store_mut(&mut *caller);
    (host.left, host.is_back) = (Some(Left::For(to)), false);
    host.asked += 1;
    put(bytes, CPU + 8 * usize::from(slot::BLOCK), to);
    if (get(bytes, CPU + LAYOUT.budget as usize) as i64) < emu::cache::MAX_BLOCK as i64 {
        return SLOTS as i32;
    }
    host.entry(page_of_code(bytes), to).map_or(OUTSIDE, |entry| SLOTS + SLOT_SIZE * entry) as i32
}

/// Code outside runs in the machine, until it comes to an entry of the region.
fn outside(caller: &mut Caller<'_, Host>, memory: wasmi::Memory) -> i32 {
    let (bytes, host) = memory.data_and_store_mut(&mut *caller);
    let budget = CPU + LAYOUT.budget as usize;
    let left = get(bytes, budget) as i64;
    let mut state = get_state(bytes);
    state.rip = get(bytes, CPU + 8 * usize::from(slot::BLOCK));
    host.machine.load(&state);
    let start = host.machine.0.count();
    let most = MOST_CALLED.min(left.max(0) as u64);
    // It comes back to where the region can be entered, also if that is not the region's code any more; but for a fault.
    let mut came_back = false;
    while !came_back && host.machine.0.count() < start + most && host.machine.run(1) == VcpuExit::Due {
        came_back = host.place(host.machine.0.rip).is_some();
    }
    let ran = host.machine.0.count() - start;
    let after = host.machine.save();
    move_guest(bytes);
    put_state(bytes, &after);
    put(bytes, budget, (left - ran as i64) as u64);
    host.left = Some(Left::For(after.rip));
    if came_back {
        let next = go(caller, memory, after.rip);
        let host = caller.data_mut();
        (host.came_back, host.is_back) = (host.came_back + 1, true);
        return next;
    }
    SLOTS as i32
}

/// A region as a valid module.
pub fn check(blocks: &[CodeBlock]) -> (Translated, Engine, wasmi::Module) {
    let helpers = Helpers { go: 0, interpret: 1, run: 2, evaluate: 3, call: CALL };
    let translated = translate(&Region { blocks, layout: LAYOUT, helpers, globals: GLOBALS, first_op: 0 });
    let engine = Engine::default();
    let module = wasmi::Module::new(&engine, &module(&translated.body, helpers)[..]).unwrap_or_else(|error| panic!("not valid: {error}"));
    (translated, engine, module)
}

fn leave(caller: &mut Caller<'_, Host>, left: Left) -> i32 {
    caller.data_mut().left = Some(left);
    SLOTS as i32
}

/// The op that stands in guest memory: the machine runs it there.
fn run_op(caller: &mut Caller<'_, Host>, memory: wasmi::Memory, number: usize) -> i32 {
    let (bytes, host) = memory.data_and_store_mut(&mut *caller);
    let block = get(bytes, CPU + 8 * usize::from(slot::BLOCK));
    let Op { offset, retired, length, .. } = host.ops[number];
    let at = block + u64::from(offset);
    let mut state = get_state(bytes);
    state.rip = at;
    host.machine.load(&state);
    let _ = host.machine.run(1);
    host.handled += 1;
    let after = host.machine.save();
    let budget = CPU + LAYOUT.budget as usize;
    if after.rip != at + u64::from(length) {
        host.left = Some(Left::Faulted(at));
        put(bytes, budget, get(bytes, budget) - u64::from(retired));
        return SLOTS as i32;
    }
    move_guest(bytes);
    put_state(bytes, &after);
    // A handler that has changed the code of its own block does not come back to it.
    if !host.is_intact(page_of_code(bytes)) {
        host.left = Some(Left::For(after.rip));
        put(bytes, budget, get(bytes, budget) - u64::from(retired) - 1);
        return SLOTS as i32;
    }
    0
}

fn lazy(operation: u16, result: u64, source: u64) -> LazyFlags {
    let all = [FlagOp::Flags, FlagOp::Add, FlagOp::Sub, FlagOp::Logic, FlagOp::Inc, FlagOp::Dec, FlagOp::Carries];
    let op = all.into_iter().find(|&op| op as u16 == operation & 0xff).expect("an operation");
    LazyFlags { result, source, op, bits: (operation >> 8) as u8 }
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..][..8].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..][..8].try_into().unwrap())
}

fn put_state(bytes: &mut [u8], state: &State) {
    for (number, &value) in state.registers.iter().enumerate() {
        put(bytes, CPU + 8 * number, value);
    }
    for (number, &value) in state.xmm.iter().enumerate() {
        let at = CPU + LAYOUT.xmm as usize + 16 * number;
        put(bytes, at, value as u64);
        put(bytes, at + 8, (value >> 64) as u64);
    }
    put(bytes, CPU + 8 * usize::from(slot::FS), DATA + 0x800);
    put(bytes, CPU + LAYOUT.result as usize, 0);
    put(bytes, CPU + LAYOUT.source as usize, state.flags);
    put(bytes, CPU + LAYOUT.operation as usize, FlagOp::Flags as u64 | 64 << 8);
    // The TLB's address stands behind.
    bytes[CPU + LAYOUT.tlb as usize..][..4].copy_from_slice(&(TLB as u32).to_le_bytes());
    let ranges: Vec<_> = WINDOWS.into_iter().flat_map(|window| pages(bytes, window)).collect();
    for (range, page) in ranges.into_iter().zip(state.memory.chunks(PAGE)) {
        bytes[range].copy_from_slice(page);
    }
}

fn get_state(bytes: &[u8]) -> State {
    let word = |offset: u32| get(bytes, CPU + offset as usize);
    let operation = word(LAYOUT.operation) as u16;
    State {
        registers: std::array::from_fn(|number| get(bytes, CPU + 8 * number)),
        flags: lazy(operation, word(LAYOUT.result), word(LAYOUT.source)).evaluate(),
        rip: CODE,
        xmm: std::array::from_fn(|number| {
            let at = CPU + LAYOUT.xmm as usize + 16 * number;
            u128::from(get(bytes, at)) | u128::from(get(bytes, at + 8)) << 64
        }),
        memory: WINDOWS.into_iter().flat_map(|window| pages(bytes, window)).flat_map(|range| &bytes[range]).copied().collect(),
    }
}

/// A module with the region and the helpers as imports.
fn module(body: &wasm_encoder::Function, helpers: Helpers) -> Vec<u8> {
    const I: ValType = ValType::I32;
    const L: ValType = ValType::I64;
    let mut types = TypeSection::new();
    types.ty().function([I, I], [I]);
    types.ty().function([I, L], [I]);
    types.ty().function([I, L, L], [L]);
    types.ty().function(CALL_PARAMETERS, [I]);
    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: ((GUEST + 2 * RAM) / 65536) as u64, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("", "memory", EntityType::Memory(memory));
    for (name, number) in [("go", 1), ("interpret", 1), ("run", 0), ("evaluate", 2), ("outside", 0), ("again", 0)] {
        imports.import("", name, EntityType::Function(number));
    }
    let mut functions = FunctionSection::new();
    functions.function(3).function(0);
    let mut tables = TableSection::new();
    tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum: 3, maximum: None, shared: false });
    let mut globals = GlobalSection::new();
    for (val_type, value) in Globals::initial() {
        globals.global(GlobalType { val_type, mutable: true, shared: false }, &value);
    }
    let mut exports = ExportSection::new();
    exports.export("region", ExportKind::Func, CALL + 1);
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(OUTSIDE_PLACE as i32), Elements::Functions([CALL - 2, CALL - 1].as_slice().into()));
    let mut code = CodeSection::new();
    code.function(&call(LAYOUT, helpers, 0, GLOBALS)).function(body);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&globals).section(&exports);
    module.section(&elements).section(&code);
    module.finish()
}
