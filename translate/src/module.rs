//! The machine's module as it is, and with more functions behind its own: types, functions, places of the table, and the list that the machine reads when it starts.

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, DataSegment, DataSegmentMode, ElementSection, Elements, Encode, FunctionSection, GlobalSection,
    GlobalType, Module, RawSection, TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{
    CompositeInnerType, Data, DataKind, DataSectionReader, ExternalKind, Operator, Parser, Payload, RefType, TableInit, TypeRef,
};

use crate::emit::CALL_PARAMETERS;
use crate::layout::{Globals, Helpers, Layout};
use crate::link::Error;

/// Of a handler: the CPU, and the slot that is run. Its result is the slot that is next.
const HANDLER_PARAMETERS: [ValType; 2] = [ValType::I32; 2];

/// What is known of a module.
pub struct Known<'a> {
    pub layout: Layout,
    pub helpers: Helpers,
    /// Types of a handler, and of the function for calls.
    pub handler_type: u32,
    call_type: u32,
    /// Those of the two that must be added.
    types: Vec<&'static [ValType]>,
    /// Number of the first function that is added: the one for calls, which all others call.
    first_function: u32,
    /// Globals that all translated code shares. They are added once.
    pub globals: Globals,
    table: TableType,
    /// Number of the first place of the table that is free.
    pub table_size: u32,
    /// Address of the list.
    space: u32,
    /// The list of what was linked before, with its segment's place in the module.
    pub list: Option<(&'a [u8], u64)>,
}

impl<'a> Known<'a> {
    pub fn read(module: &'a [u8]) -> Result<Self, Error> {
        let mut layout = None;
        let mut types = Vec::new();
        let (mut imported, mut globals) = (0, None);
        let mut exports = Vec::new();
        let mut table = None;
        let mut bodies = Vec::new();
        let mut data = None;
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        for sub in group?.into_types() {
                            types.push(match sub.composite_type.inner {
                                CompositeInnerType::Func(function) if function.results() == [wasmparser::ValType::I32] => {
                                    function.params().iter().map(|&one| plain(one)).collect::<Option<Vec<_>>>()
                                }
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => imported += 1,
                            // What the machine imports are functions of WASI.
                            TypeRef::Global(_) => return Err(Error::Missing("globals of its own alone")),
                            _ => {}
                        }
                    }
                }
                Payload::GlobalSection(section) => globals = Some(section.count()),
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
                Payload::DataSection(section) => data = Some(section),
                Payload::CustomSection(section) if section.name() == "prebake.translated" => layout = read_layout(section.data()),
                _ => {}
            }
        }
        let layout = layout.ok_or(Error::Missing("section `prebake.translated`"))?;
        let find =
            |name: &'static str| exports.iter().find(|(there, _)| there == name).map(|&(_, index)| index).ok_or(Error::Missing(name));
        let first_function = imported + bodies.len() as u32;
        let helpers = Helpers {
            call: first_function,
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
                Operator::I32Const { value } => break value as u32,
                Operator::End => return Err(Error::Missing("constant in pb_translated_space")),
                _ => {}
            }
        };
        let (mut known_types, mut more) = (types, Vec::new());
        let mut type_of = |parameters: &'static [ValType]| {
            known_types.iter().position(|known| known.as_deref() == Some(parameters)).unwrap_or_else(|| {
                more.push(parameters);
                known_types.push(Some(parameters.to_vec()));
                known_types.len() - 1
            }) as u32
        };
        let (handler_type, call_type) = (type_of(&HANDLER_PARAMETERS), type_of(&CALL_PARAMETERS));
        let table = table.ok_or(Error::Missing("table of functions"))?;
        let table_size = table.initial as u32;
        let table = TableType {
            element_type: wasm_encoder::RefType::FUNCREF,
            table64: false,
            minimum: table.initial,
            maximum: table.maximum,
            shared: false,
        };
        let list = data.map_or(Ok(None), |data| last_at(data, space))?;
        let globals = globals.ok_or(Error::Missing("section of globals"))?;
        let globals = Globals { first: if list.is_some() { globals.saturating_sub(Globals::COUNT) } else { globals } };
        Ok(Self { layout, helpers, list, handler_type, call_type, types: more, first_function, globals, table, table_size, space })
    }

    /// The module with `count` handlers more behind the function for calls, and with another list.
    pub fn rewrite(&self, module: &[u8], count: u32, bodies: &CodeSection, list: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Module::new();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            match &payload {
                Payload::TypeSection(section) => {
                    let mut more = TypeSection::new();
                    for parameters in &self.types {
                        more.ty().function(parameters.iter().copied(), [ValType::I32]);
                    }
                    append(&mut out, 1, slice(module, &section.range()), self.types.len() as u32, &body_of(&more));
                }
                Payload::FunctionSection(section) => {
                    let mut more = FunctionSection::new();
                    more.function(self.call_type);
                    (0..count).for_each(|_| {
                        more.function(self.handler_type);
                    });
                    append(&mut out, 3, slice(module, &section.range()), 1 + count, &body_of(&more));
                }
                Payload::GlobalSection(section) => {
                    let mut more = GlobalSection::new();
                    let count = if self.list.is_some() { 0 } else { Globals::COUNT };
                    for (val_type, value) in Globals::initial().into_iter().take(count as usize) {
                        more.global(GlobalType { val_type, mutable: true, shared: false }, &value);
                    }
                    append(&mut out, 6, slice(module, &section.range()), count, &body_of(&more));
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
                    let functions: Vec<u32> = (self.first_function + 1..=self.first_function + count).collect();
                    more.active(None, &ConstExpr::i32_const(self.table_size as i32), Elements::Functions(functions.into()));
                    append(&mut out, 9, slice(module, &section.range()), 1, &body_of(&more));
                }
                Payload::DataCountSection { count, .. } => {
                    let mut bytes = Vec::new();
                    (count + u32::from(self.list.is_none())).encode(&mut bytes);
                    out.section(&RawSection { id: 12, data: &bytes });
                }
                Payload::CodeSectionStart { unchecked_range: range, .. } => {
                    append(&mut out, 10, slice(module, range), 1 + count, &body_of(bodies));
                }
                Payload::CodeSectionEntry(_) => {}
                Payload::DataSection(section) => {
                    let mut more = DataSection::new();
                    let offset = ConstExpr::i32_const(self.space as i32);
                    more.segment(DataSegment {
                        mode: DataSegmentMode::Active { memory_index: 0, offset: &offset },
                        data: list.iter().copied(),
                    });
                    let mut range = section.range();
                    range.end = self.list.map_or(range.end, |(_, start)| start);
                    append(&mut out, 11, slice(module, &range), u32::from(self.list.is_none()), &body_of(&more));
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

/// The last segment's bytes and its place in the module, if it is for the address `space`.
fn last_at(data: DataSectionReader<'_>, space: u32) -> Result<Option<(&[u8], u64)>, Error> {
    let Some(last) = data.into_iter().last().transpose()? else { return Ok(None) };
    Ok(is_for(&last, space)?.then_some((last.data, last.range.start)))
}

fn is_for(segment: &Data<'_>, space: u32) -> Result<bool, Error> {
    let DataKind::Active { memory_index: 0, offset_expr } = &segment.kind else { return Ok(false) };
    Ok(matches!(offset_expr.get_operators_reader().read()?, Operator::I32Const { value } if value as u32 == space))
}

/// The list of a module that may have been packed, so that other segments stand behind it.
pub fn list_of(module: &[u8]) -> Result<&[u8], Error> {
    let space = Known::read(module)?.space;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::DataSection(section) = payload? {
            for segment in section {
                let segment = segment?;
                if is_for(&segment, space)? {
                    return Ok(segment.data);
                }
            }
        }
    }
    Ok(&[])
}

/// A type of numbers, as the other crate has it.
fn plain(one: wasmparser::ValType) -> Option<ValType> {
    match one {
        wasmparser::ValType::I32 => Some(ValType::I32),
        wasmparser::ValType::I64 => Some(ValType::I64),
        _ => None,
    }
}

fn slice<'a>(module: &'a [u8], range: &std::ops::Range<u64>) -> &'a [u8] {
    module.get(range.start as usize..range.end as usize).unwrap_or_default()
}

fn read_layout(bytes: &[u8]) -> Option<Layout> {
    let words: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let &[
        version,
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
        code,
        handler,
    ] = words.as_slice()
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
        code,
        handler,
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
