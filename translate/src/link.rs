//! Translated code into the machine's module, behind what is there: types, functions, places of the table, and the list that the machine reads when
//! it starts.

use emu::decode::Op;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, DataSegment, DataSegmentMode, ElementSection, Elements, Encode, FunctionSection, Module,
    RawSection, TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, RefType, TableInit};

use crate::emit::{Region, translate};
use crate::layout::{Helpers, Layout};
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

/// A machine's module with the code of some pages behind its own.
pub fn link(module: &[u8], pages: &[PageCode]) -> Result<(Vec<u8>, Linked), Error> {
    let known = Known::read(module)?;
    let mut linked = Linked::default();
    let mut bodies = CodeSection::new();
    let mut list = Vec::new();
    let mut ops: Vec<Op> = Vec::new();
    for page in pages {
        for blocks in regions(page) {
            let translated =
                translate(&Region { blocks: &blocks, layout: known.layout, helpers: known.helpers, first_op: ops.len() as u32 });
            ops.extend(&translated.ops);
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
    let list = [(ops.len() as u32).to_le_bytes().to_vec(), ops.iter().flat_map(bytes_of).collect(), list].concat();
    if list.len() + 4 > known.space_size {
        return Err(Error::Space { wanted: list.len(), room: known.space_size });
    }
    Ok((known.rewrite(module, linked.regions as u32, &bodies, &list)?, linked))
}

/// An op as [`emu::cache::Translated::read`] reads it.
fn bytes_of(op: &Op) -> [u8; 24] {
    let mut bytes = [0; 24];
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

/// Bytes that the machine has for the list: `TRANSLATED_SPACE` of the crate `payload`.
const SPACE: usize = 1 << 20;

/// What is known of a module.
struct Known {
    layout: Layout,
    helpers: Helpers,
    /// Type of a handler; `types` if it must be added.
    handler_type: u32,
    types: u32,
    table: TableType,
    table_size: u32,
    space: u32,
    space_size: usize,
}

impl Known {
    fn read(module: &[u8]) -> Result<Self, Error> {
        let mut layout = None;
        let mut types = Vec::new();
        let mut imported = 0;
        let mut exports = Vec::new();
        let mut table = None;
        let mut bodies = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        for sub in group?.into_types() {
                            types.push(match sub.composite_type.inner {
                                CompositeInnerType::Func(function) => Some((function.params().to_vec(), function.results().to_vec())),
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        imported += u32::from(matches!(import?.ty, wasmparser::TypeRef::Func(_)));
                    }
                }
                Payload::TableSection(section) => {
                    for one in section {
                        let one = one?;
                        if one.ty.element_type == RefType::FUNCREF && matches!(one.init, TableInit::RefNull) {
                            table = Some(one.ty);
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            exports.push((export.name.to_string(), export.index));
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => bodies.push(body),
                Payload::CustomSection(section) if section.name() == "prebake.translated" => layout = read_layout(section.data()),
                _ => {}
            }
        }
        let layout = layout.ok_or(Error::Missing("section `prebake.translated`"))?;
        let find =
            |name: &'static str| exports.iter().find(|(there, _)| there == name).map(|&(_, index)| index).ok_or(Error::Missing(name));
        let helpers = Helpers {
            go: find("pb_translated_go")?,
            interpret: find("pb_translated_interpret")?,
            run: find("pb_translated_run")?,
            evaluate: find("pb_translated_evaluate")?,
        };
        let space = find("pb_translated_space")?;
        let space = bodies.get((space - imported) as usize).ok_or(Error::Missing("pb_translated_space"))?;
        let mut operators = space.get_operators_reader()?;
        let space = loop {
            match operators.read()? {
                wasmparser::Operator::I32Const { value } => break value as u32,
                wasmparser::Operator::End => return Err(Error::Missing("constant in pb_translated_space")),
                _ => {}
            }
        };
        let handler = (vec![wasmparser::ValType::I32; 2], vec![wasmparser::ValType::I32]);
        let table = table.ok_or(Error::Missing("table of functions"))?;
        let table_size = table.initial as u32;
        let table = TableType {
            element_type: wasm_encoder::RefType::FUNCREF,
            table64: false,
            minimum: table.initial,
            maximum: table.maximum,
            shared: false,
        };
        Ok(Self {
            layout,
            helpers,
            handler_type: types.iter().position(|one| one.as_ref() == Some(&handler)).unwrap_or(types.len()) as u32,
            types: types.len() as u32,
            table,
            table_size,
            space,
            space_size: SPACE,
        })
    }

    /// The module with `count` functions more.
    fn rewrite(&self, module: &[u8], count: u32, bodies: &CodeSection, list: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Module::new();
        let mut first_function = 0;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            match &payload {
                Payload::TypeSection(section) if self.handler_type == self.types => {
                    let mut more = TypeSection::new();
                    more.ty().function([ValType::I32; 2], [ValType::I32]);
                    append(&mut out, 1, slice(module, &section.range()), 1, &body_of(&more));
                }
                Payload::ImportSection(section) => {
                    for import in section.clone().into_imports() {
                        first_function += u32::from(matches!(import?.ty, wasmparser::TypeRef::Func(_)));
                    }
                    out.section(&RawSection { id: 2, data: slice(module, &section.range()) });
                }
                Payload::FunctionSection(section) => {
                    first_function += section.count();
                    let mut more = FunctionSection::new();
                    (0..count).for_each(|_| {
                        more.function(self.handler_type);
                    });
                    append(&mut out, 3, slice(module, &section.range()), count, &body_of(&more));
                }
                Payload::TableSection(_) => {
                    let mut tables = TableSection::new();
                    let grown = u64::from(count);
                    tables.table(TableType {
                        minimum: self.table.minimum + grown,
                        maximum: self.table.maximum.map(|most| most + grown),
                        ..self.table
                    });
                    out.section(&tables);
                }
                Payload::ElementSection(section) => {
                    let mut more = ElementSection::new();
                    let functions: Vec<u32> = (first_function..first_function + count).collect();
                    more.active(None, &ConstExpr::i32_const(self.table_size as i32), Elements::Functions(functions.into()));
                    append(&mut out, 9, slice(module, &section.range()), 1, &body_of(&more));
                }
                Payload::DataCountSection { count, .. } => {
                    let mut bytes = Vec::new();
                    (count + 1).encode(&mut bytes);
                    out.section(&RawSection { id: 12, data: &bytes });
                }
                Payload::CodeSectionStart { unchecked_range: range, .. } => {
                    append(&mut out, 10, slice(module, range), count, &body_of(bodies));
                }
                Payload::CodeSectionEntry(_) => {}
                Payload::DataSection(section) => {
                    let mut more = DataSection::new();
                    let offset = ConstExpr::i32_const(self.space as i32);
                    more.segment(DataSegment {
                        mode: DataSegmentMode::Active { memory_index: 0, offset: &offset },
                        data: list.iter().copied(),
                    });
                    append(&mut out, 11, slice(module, &section.range()), 1, &body_of(&more));
                }
                other => {
                    if let Some((id, range)) = other.as_section() {
                        out.section(&RawSection { id, data: slice(module, &range) });
                    }
                }
            }
        }
        Ok(out.finish())
    }
}

fn slice<'a>(module: &'a [u8], range: &std::ops::Range<u64>) -> &'a [u8] {
    module.get(range.start as usize..range.end as usize).unwrap_or_default()
}

fn read_layout(bytes: &[u8]) -> Option<Layout> {
    let words: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let &[version, registers, budget, result, source, operation, tlb, tlb_entries, tlb_read, tlb_write, tlb_addend, immediate, xmm] =
        words.as_slice()
    else {
        return None;
    };
    (version == emu::exec::translated::VERSION).then_some(Layout {
        registers,
        budget,
        result,
        source,
        operation,
        tlb,
        tlb_entries,
        tlb_read,
        tlb_write,
        tlb_addend,
        immediate,
        xmm,
    })
}

/// What follows the count in a section that was made anew.
fn body_of(section: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    // The section's size, then how many.
    let rest = after_number(&bytes);
    after_number(rest).to_vec()
}

fn after_number(bytes: &[u8]) -> &[u8] {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |last| last + 1);
    &bytes[length..]
}

/// A section that counts what it holds, with more of that at its end.
fn append(out: &mut Module, id: u8, section: &[u8], count: u32, more: &[u8]) {
    let mut before = 0u32;
    for (place, byte) in section.iter().enumerate().take(5) {
        before |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut data = Vec::with_capacity(section.len() + more.len() + 5);
    (before + count).encode(&mut data);
    data.extend(after_number(section));
    data.extend(more);
    out.section(&RawSection { id, data: &data });
}
