//! Makes a code module of what the compiler wrote: gives it a place for a payload and an instruction that reads from there.

use super::wasm::{self, CODE, CUSTOM, DATA, DATA_COUNT, EMPTY_SEGMENT, MEMORY};
use super::{ArtifactError, MAX_MEMORY_PAGES, Result};
use wasm_encoder::{CodeSection, DataCountSection, Encode, Function, Module, RawSection};
use wasmparser::types::Types;
use wasmparser::{BinaryReader, CodeSectionReader, DataSectionReader, ExternalKind, Parser, Payload, ValType, Validator};

/// The exported function that copies from the payload: `(destination: i32, offset: i32, length: i32)`. It traps where `memory.init`
/// does: if the payload ends before `offset + length`, or memory before `destination + length`.
pub const PAYLOAD_READ: &str = "pb_payload_read";

/// The code module of `module`, which defines one memory and exports [`PAYLOAD_READ`] with any body.
///
/// That body becomes a `memory.init` from a new passive data segment, the last one, which is empty. The memory's size is fixed at its
/// minimum. Debug information is dropped, since the places in the code that it names have moved. The rest is as it was.
pub fn link(module: &[u8]) -> Result<Vec<u8>> {
    let types = validate(module)?;
    let pages = memory_pages(&types)?;
    let input = Input::parse(module, &types)?;
    let segment = input.segment_count;
    let Some(segment_count) = segment.checked_add(1) else {
        return Err(ArtifactError::not_linkable("it has no room for another data segment"));
    };
    let data = append_segment(input.segments, segment_count);

    let mut output = Module::new();
    let data_section = RawSection { id: DATA, data: &data };
    let mut is_data_written = false;
    for section in &input.sections {
        let body = &module[section.body.clone()];
        match section.id {
            // memory_section() has the whole section, header included: its body is the rest.
            MEMORY => output.section(&RawSection { id: MEMORY, data: body_of(&wasm::memory_section(pages)) }),
            DATA_COUNT => continue,
            CODE => {
                output.section(&DataCountSection { count: segment_count });
                output.section(&replace_body(body, input.function, &payload_read(segment))?);
                if input.has_data {
                    continue;
                }
                is_data_written = true;
                output.section(&data_section)
            }
            DATA if !is_data_written => output.section(&data_section),
            CUSTOM if is_debug_information(body) => continue,
            id => output.section(&RawSection { id, data: body }),
        };
    }
    let output = output.finish();
    validate(&output)?;
    Ok(output)
}

fn validate(module: &[u8]) -> Result<Types> {
    Validator::new().validate_all(module).map_err(invalid)
}

fn invalid(error: wasmparser::BinaryReaderError) -> ArtifactError {
    ArtifactError::not_linkable(format!("it is not a valid WebAssembly module: {error}"))
}

/// The least pages of the only memory.
fn memory_pages(types: &Types) -> Result<u32> {
    let types = types.as_ref();
    let memory = (types.memory_count() == 1).then(|| types.memory_at(0));
    let Some(memory) = memory.filter(|memory| !memory.memory64 && !memory.shared && memory.page_size_log2.is_none()) else {
        return Err(ArtifactError::not_linkable("it must have one memory: of 32 bits, not shared, with pages of 64 KiB"));
    };
    match u32::try_from(memory.initial) {
        Ok(pages) if (1..=MAX_MEMORY_PAGES).contains(&pages) => Ok(pages),
        _ => Err(ArtifactError::not_linkable(format!("its memory has {} pages, expected 1 to {MAX_MEMORY_PAGES}", memory.initial))),
    }
}

/// What has to be known of a module before it is written anew.
struct Input<'a> {
    sections: Vec<wasm::Section>,
    /// Which body in the code section is that of [`PAYLOAD_READ`].
    function: u32,
    segment_count: u32,
    /// The data section's content after the count.
    segments: &'a [u8],
    has_data: bool,
}

impl<'a> Input<'a> {
    fn parse(module: &'a [u8], types: &Types) -> Result<Self> {
        let Some(sections) = wasm::sections(module) else {
            return Err(ArtifactError::not_linkable("its sections do not end where the file does"));
        };
        if !sections.iter().any(|section| section.id == MEMORY) {
            return Err(ArtifactError::not_linkable("it must define its memory, not import it"));
        }
        let mut defined = 0;
        let mut export = None;
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(invalid)? {
                Payload::FunctionSection(functions) => defined = functions.count(),
                Payload::ExportSection(exports) => {
                    for found in exports {
                        let found = found.map_err(invalid)?;
                        if found.name == PAYLOAD_READ && found.kind == ExternalKind::Func {
                            export = Some(found.index);
                        }
                    }
                }
                _ => {}
            }
        }
        let Some(index) = export else {
            return Err(ArtifactError::not_linkable(format!("it does not export the function {PAYLOAD_READ}")));
        };
        let types = types.as_ref();
        let signature = types[types.core_function_at(index)].unwrap_func();
        if signature.params() != [ValType::I32; 3] || !signature.results().is_empty() {
            return Err(ArtifactError::not_linkable(format!(
                "{PAYLOAD_READ} must take three i32 and return nothing, but its type is {signature}"
            )));
        }
        let imported = types.function_count() - defined;
        let Some(function) = index.checked_sub(imported) else {
            return Err(ArtifactError::not_linkable(format!("{PAYLOAD_READ} is an import; it must be defined in the module")));
        };
        let data = sections.iter().find(|section| section.id == DATA);
        let (segment_count, segments) = match data {
            Some(data) => split_count(&module[data.body.clone()])?,
            None => (0, [].as_slice()),
        };
        Ok(Self { function, segment_count, segments, has_data: data.is_some(), sections })
    }
}

/// The count at the start of a data section, and the segments after it.
fn split_count(body: &[u8]) -> Result<(u32, &[u8])> {
    let segments = DataSectionReader::new(BinaryReader::new(body, 0)).map_err(invalid)?;
    Ok((segments.count(), &body[segments.original_position() as usize..]))
}

fn append_segment(segments: &[u8], count: u32) -> Vec<u8> {
    let mut body = Vec::new();
    count.encode(&mut body);
    body.extend(segments);
    body.extend(EMPTY_SEGMENT);
    body
}

/// The body of a section that was encoded whole and is short.
fn body_of(section: &[u8]) -> &[u8] {
    section.get(2..).unwrap_or_default()
}

/// A function that hands its arguments on to `memory.init`.
fn payload_read(segment: u32) -> Vec<u8> {
    let mut function = Function::new([]);
    function.instructions().local_get(0).local_get(1).local_get(2).memory_init(0, segment).end();
    function.into_raw_body()
}

/// The code section `body` with another body for function `index`, which counts those in the section.
fn replace_body(body: &[u8], index: u32, replacement: &[u8]) -> Result<CodeSection> {
    let mut code = CodeSection::new();
    let functions = CodeSectionReader::new(BinaryReader::new(body, 0)).map_err(invalid)?;
    for (function, number) in functions.into_iter().zip(0..) {
        let function = function.map_err(invalid)?;
        if number != index {
            code.raw(function.as_bytes());
        } else if function.as_bytes().len() > 2 && is_memory_init(function.as_bytes()) {
            return Err(ArtifactError::not_linkable(format!(
                "{PAYLOAD_READ} already reads a data segment; link the output of the compiler"
            )));
        } else {
            code.raw(replacement);
        }
    }
    Ok(code)
}

/// Whether `body` is as [`payload_read`] writes it, for whichever segment.
fn is_memory_init(body: &[u8]) -> bool {
    let pattern = payload_read(0);
    // The segment's index comes after the opcode, 9 bytes in.
    body.get(..9) == pattern.get(..9)
}

/// Whether this custom section says where things are in the code.
fn is_debug_information(body: &[u8]) -> bool {
    let name = BinaryReader::new(body, 0).read_string().unwrap_or_default();
    name.starts_with(".debug_") || name == "sourceMappingURL"
}
