//! Translated code into the machine's module, behind what is there.

use emu::cache::{Slot, Translated};
use emu::decode::Op;
use payload::TRANSLATED_SPACE;
use wasm_encoder::CodeSection;

use crate::code::PAGE;
use crate::emit::{Region, call, translate};
use crate::module::{Known, list_of};
use crate::regions::{PageCode, regions};

/// What a module cannot be linked with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a module.
    #[error("not a WebAssembly module: {0}")]
    Module(#[from] wasmparser::BinaryReaderError),
    /// Something that the machine's module has.
    #[error("the module has no {0}: it is no machine, or one of another version")]
    Missing(&'static str),
    /// The list is too long.
    #[error("the list of translated code takes {wanted} bytes, and the module has {room}: translate less")]
    Space {
        /// Bytes of the list.
        wanted: usize,
        /// Bytes that there are.
        room: usize,
    },
}

/// What was linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Functions.
    pub regions: usize,
    /// Places where they can be entered.
    pub entries: usize,
    /// Guest instructions.
    pub instructions: usize,
    /// Bytes of their code in WebAssembly.
    pub bytes: usize,
}

/// Whether the code at an offset of a page is a part of what was linked into a module, of which a machine may have been packed.
pub fn translated_in(module: &[u8]) -> Result<impl Fn(&[u8; PAGE], u16) -> bool, Error> {
    let there = Translated::read(list_of(module)?.to_vec().into(), |_| || (), Slot::new);
    Ok(move |page: &[u8; PAGE], offset| there.covers(page, offset))
}

/// A machine's module that translated code can be linked into.
pub struct Linker<'a> {
    module: &'a [u8],
    known: Known<'a>,
    there: Translated,
}

impl<'a> Linker<'a> {
    /// Of a machine's module.
    pub fn new(module: &'a [u8]) -> Result<Self, Error> {
        let known = Known::read(module)?;
        let (list, _) = known.list.unwrap_or_default();
        let there = Translated::read(list.to_vec().into(), |_| || (), Slot::new);
        Ok(Self { module, known, there })
    }

    /// Whether the code at `offset` of a page is a part of what was linked before.
    pub fn has(&self, page: &[u8; PAGE], offset: u16) -> bool {
        self.there.covers(page, offset)
    }

    /// The module with the code of some pages behind what is there.
    pub fn link(&self, pages: &[PageCode]) -> Result<(Vec<u8>, Linked), Error> {
        let known = &self.known;
        let mut linked = Linked::default();
        let mut bodies = CodeSection::new();
        bodies.function(&call(known.layout, known.helpers, known.handler_type, known.globals));
        let (mut ops, mut list) = split(known.list.map_or(&[], |(list, _)| list));
        for page in pages {
            for blocks in regions(page) {
                let first_op = (ops.len() / OP) as u32;
                let translated =
                    translate(&Region { blocks: &blocks, layout: known.layout, helpers: known.helpers, globals: known.globals, first_op });
                ops.extend(translated.ops.iter().flat_map(bytes_of));
                let number = known.table_size + linked.regions as u32;
                list.extend(number.to_le_bytes());
                list.extend((translated.entries.len() as u16).to_le_bytes());
                let pieces = pieces(&blocks);
                list.extend((pieces.len() as u16).to_le_bytes());
                translated.entries.iter().for_each(|offset| list.extend(offset.to_le_bytes()));
                for &(start, end) in &pieces {
                    list.extend((start as u16).to_le_bytes());
                    list.extend(((end - start) as u16).to_le_bytes());
                }
                pieces.iter().for_each(|&(start, end)| list.extend(&page.bytes[start..end]));
                linked.regions += 1;
                linked.entries += translated.entries.len();
                linked.instructions += blocks.iter().map(|block| block.instructions.len()).sum::<usize>();
                linked.bytes += translated.body.byte_len();
                bodies.function(&translated.body);
            }
        }
        let list = [&((ops.len() / OP) as u32).to_le_bytes()[..], &ops, &list].concat();
        // The end of the list is a number that is 0.
        if list.len() + 4 > TRANSLATED_SPACE {
            return Err(Error::Space { wanted: list.len(), room: TRANSLATED_SPACE });
        }
        Ok((known.rewrite(self.module, linked.regions as u32, &bodies, &list)?, linked))
    }
}

/// Bytes of an op in the list.
const OP: usize = 24;

/// The ops of a list, and what is behind them.
fn split(list: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let Some((count, rest)) = list.split_first_chunk() else { return Default::default() };
    let (ops, regions) = rest.split_at((u32::from_le_bytes(*count) as usize * OP).min(rest.len()));
    (ops.to_vec(), regions.to_vec())
}

/// An op as [`emu::cache::Translated::read`] reads it.
fn bytes_of(op: &Op) -> [u8; OP] {
    let mut bytes = [0; OP];
    bytes[..2].copy_from_slice(&op.code.0.to_le_bytes());
    bytes[2..8].copy_from_slice(&[op.a, op.b, op.base, op.index, op.scale, op.segment]);
    bytes[8..12].copy_from_slice(&op.displacement.to_le_bytes());
    bytes[12..14].copy_from_slice(&op.offset.to_le_bytes());
    bytes[14..16].copy_from_slice(&[op.retired, op.length]);
    bytes[16..].copy_from_slice(&op.immediate.to_le_bytes());
    bytes
}

/// Where the code of blocks lies in their page, without gaps or overlaps.
fn pieces(blocks: &[crate::code::CodeBlock]) -> Vec<(usize, usize)> {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut all: Vec<(usize, usize)> = blocks.iter().map(|block| (usize::from(block.offset), block.limit())).collect();
    all.sort_unstable();
    for (start, end) in all {
        match pieces.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => pieces.push((start, end)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Globals;
    use emu::cache::Handler;
    use emu::exec::translated::LAYOUT;
    use std::collections::{BTreeMap, BTreeSet};
    use wasm_encoder::{
        CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection, Elements, ExportKind, ExportSection,
        Function, FunctionSection, GlobalSection, GlobalType, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
        TypeSection, ValType,
    };

    /// What is compared before a region is entered is all that it was made of, and nothing else: a byte less, and code that has changed would run as it was.
    #[test]
    fn all_code_of_a_region_is_compared_and_nothing_else() {
        // Blocks that touch, that lie apart, and of which one runs into the middle of another.
        let mut bytes = Box::new([0x90; crate::PAGE]);
        (bytes[0x20], bytes[0x110], bytes[0xfff]) = (0xc3, 0xc3, 0xc3);
        bytes[0x100..0x105].copy_from_slice(&[0xb8, 0xb8, 1, 2, 3]);
        let blocks = crate::blocks(&bytes, &BTreeSet::from([0x10, 0x18, 0x100, 0x101, 0xff0]));
        assert_eq!(pieces(&blocks), [(0x10, 0x21), (0x100, 0x111), (0xff0, 0x1000)]);
    }

    /// Where the machine below has its list.
    const SPACE: i32 = 0x2000;

    /// What the linker needs of a machine, and no more, in a version.
    fn machine(version: u32) -> Vec<u8> {
        const I: ValType = ValType::I32;
        const L: ValType = ValType::I64;
        let helpers: [(&str, &[ValType], ValType); 5] =
            [("go", &[I, L], I), ("interpret", &[I, L], I), ("run", &[I, I], I), ("evaluate", &[I, L, L], L), ("space", &[], I)];
        let (mut types, mut functions, mut exports, mut code) =
            (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
        for (number, (name, parameters, result)) in helpers.into_iter().enumerate() {
            types.ty().function(parameters.iter().copied(), [result]);
            functions.function(number as u32);
            exports.export(&format!("pb_translated_{name}"), ExportKind::Func, number as u32);
            let mut function = Function::new([]);
            match result {
                ValType::I64 => function.instructions().i64_const(0).end(),
                _ => function.instructions().i32_const(SPACE).end(),
            };
            code.function(&function);
        }
        let mut tables = TableSection::new();
        tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum: 2, maximum: Some(2), shared: false });
        let mut memories = MemorySection::new();
        memories.memory(MemoryType { minimum: 32, maximum: None, memory64: false, shared: false, page_size_log2: None });
        let mut globals = GlobalSection::new();
        globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(64));
        let mut elements = ElementSection::new();
        elements.active(None, &ConstExpr::i32_const(1), Elements::Functions([0].as_slice().into()));
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(8), [1, 2, 3]);
        let layout: Vec<u8> = [version].iter().chain(&LAYOUT[1..]).flat_map(|word| word.to_le_bytes()).collect();
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&tables)
            .section(&memories)
            .section(&globals)
            .section(&exports)
            .section(&elements);
        module.section(&DataCountSection { count: 1 }).section(&code).section(&data);
        module.section(&CustomSection { name: "prebake.translated".into(), data: layout.as_slice().into() });
        module.finish()
    }

    /// A page of `inc` and a return, at an offset.
    fn page(offset: u16) -> PageCode {
        let mut bytes = Box::new([0xf4; PAGE]);
        bytes[usize::from(offset)..][..4].copy_from_slice(&[0xff, 0xc0, 0x90, 0xc3]);
        PageCode { bytes, blocks: BTreeMap::from([(offset, 1)]) }
    }

    fn nothing() {}

    #[test]
    fn what_is_linked_stands_behind_what_was_linked_before() {
        let (plain, first, second) = (machine(LAYOUT[0]), page(0x10), page(0x800));
        let linker = Linker::new(&plain).unwrap();
        assert!(!linker.has(&first.bytes, 0x10));
        let (once, linked) = linker.link(&[page(0x10)]).unwrap();
        assert_eq!((linked.regions, linked.entries, linked.instructions), (1, 1, 3));
        let linker = Linker::new(&once).unwrap();
        assert!(linker.has(&first.bytes, 0x10) && linker.has(&first.bytes, 0x12) && !linker.has(&second.bytes, 0x800));
        let (twice, linked) = linker.link(&[page(0x800)]).unwrap();
        assert_eq!(linked.regions, 1);
        let globals = [&plain, &once, &twice].map(|module| Linker::new(module).unwrap().known.globals);
        assert!(globals.iter().all(|&globals| globals == Globals { first: 1 }), "all share the same: {globals:?}");
        let linker = Linker::new(&twice).unwrap();
        assert!(linker.has(&first.bytes, 0x10) && linker.has(&second.bytes, 0x800));
        for module in [&plain, &once, &twice] {
            wasmparser::validate(module).unwrap();
        }
        // The two functions are the third and the fourth of the table.
        let (list, _) = linker.known.list.unwrap();
        let numbers = std::cell::RefCell::new(Vec::new());
        let handler = |number| {
            numbers.borrow_mut().push(number);
            nothing as Handler
        };
        Translated::read(list.to_vec().into(), handler, Slot::new);
        assert_eq!(*numbers.borrow(), [2, 3]);
    }

    /// The module with an empty segment behind its others, as a packed machine has one for its payload.
    fn packed(module: &[u8]) -> Vec<u8> {
        let mut out = Module::new();
        for payload in wasmparser::Parser::new(0).parse_all(module) {
            match payload.unwrap() {
                wasmparser::Payload::DataSection(section) => {
                    let mut data = DataSection::new();
                    for segment in section {
                        let segment = segment.unwrap();
                        let wasmparser::DataKind::Active { offset_expr, .. } = segment.kind else { panic!("a passive segment") };
                        let wasmparser::Operator::I32Const { value } = offset_expr.get_operators_reader().read().unwrap() else {
                            panic!("an address that is none")
                        };
                        data.active(0, &ConstExpr::i32_const(value), segment.data.iter().copied());
                    }
                    data.passive([]);
                    out.section(&data);
                }
                wasmparser::Payload::DataCountSection { count, .. } => {
                    out.section(&DataCountSection { count: count + 1 });
                }
                other => {
                    if let Some((id, range)) = other.as_section() {
                        out.section(&wasm_encoder::RawSection { id, data: &module[range.start as usize..range.end as usize] });
                    }
                }
            }
        }
        out.finish()
    }

    #[test]
    fn what_is_translated_is_found_in_a_packed_machine_too() {
        let (plain, first, second) = (machine(LAYOUT[0]), page(0x10), page(0x800));
        let (once, _) = Linker::new(&plain).unwrap().link(&[page(0x10)]).unwrap();
        for (module, wanted) in [(&plain, false), (&once, true), (&packed(&plain), false), (&packed(&once), true)] {
            let there = translated_in(module).unwrap();
            assert_eq!([there(&first.bytes, 0x10), there(&second.bytes, 0x800)], [wanted, false]);
        }
    }

    #[test]
    fn nothing_is_linked_into_a_machine_of_another_version() {
        for version in [LAYOUT[0] - 1, LAYOUT[0] + 1] {
            let module = machine(version);
            let error = Linker::new(&module).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("another version"), "{version}: {error}");
        }
    }
}
