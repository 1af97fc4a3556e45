//! Artifacts: what goes in comes out, and what is not right is an error with a name.
#![allow(clippy::unwrap_used, reason = "a test may")]

use prebake::artifact::{
    Around, Artifact, ArtifactError, Kind, MachineSize, PAYLOAD_READ, PartInput, PartKind, PayloadError, Result, link, pack, with_cpu,
};
use proptest::prelude::*;
use snapshot::Digest;
use std::io::{Cursor, Read};
use std::ops::Range;
use wasmparser::{ExternalKind, Operator, Parser, Payload, Validator};

const AOT_CODE: &[u8] = include_bytes!("data/payload.aot");
const SIZE: MachineSize = MachineSize { pages: 64, ram_size: 2 << 20 };
/// Pages of the module in data/payload.wat.
const CODE_PAGES: u32 = 4;

fn wasm_code() -> Vec<u8> {
    link(&wat::parse_str(include_str!("data/payload.wat")).unwrap()).unwrap()
}

fn both_codes() -> [Vec<u8>; 2] {
    [wasm_code(), AOT_CODE.to_vec()]
}

fn inputs<'a>(parts: &'a [(PartKind, Vec<u8>)]) -> Vec<PartInput<'a>> {
    parts.iter().map(|(kind, content)| PartInput::new(*kind, content.len() as u64, content.as_slice())).collect()
}

fn packed_with(code: &[u8], size: MachineSize, parts: &[(PartKind, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut output = Cursor::new(Vec::new());
    assert_eq!(pack(code, size, inputs(parts), &mut output)?, Digest::of(code));
    Ok(output.into_inner())
}

fn small_parts() -> Vec<(PartKind, Vec<u8>)> {
    vec![(PartKind::Kernel, b"a kernel".to_vec()), (PartKind::Root, vec![7; 5000]), (PartKind::Metadata, b"{}".to_vec())]
}

fn packed(code: &[u8]) -> Vec<u8> {
    packed_with(code, SIZE, &small_parts()).unwrap()
}

fn open_and_verify(file: &[u8]) -> Result<()> {
    Artifact::open(file)?.verify()
}

fn error_of(file: &[u8]) -> ArtifactError {
    open_and_verify(file).unwrap_err()
}

/// Where the payload is in a packed file.
fn payload_range(file: &[u8]) -> Range<usize> {
    let field = |at: usize| u64::from_le_bytes(file[file.len() - at..][..8].try_into().unwrap()) as usize;
    let (offset, length) = (field(16), field(8));
    offset..offset + length
}

/// Changes the table with `change` and makes its digest fit again.
fn forge(file: &mut [u8], parts: usize, change: impl FnOnce(&mut [u8])) {
    let start = payload_range(file).start;
    let content = start..start + 80 + 64 * parts;
    change(&mut file[content.clone()]);
    let digest = *Digest::of(&file[content.clone()]).as_bytes();
    file[content.end..content.end + 32].copy_from_slice(&digest);
}

#[test]
fn a_packed_module_is_valid_and_has_the_payload_and_the_memory() {
    let file = packed(&wasm_code());
    Validator::new().validate_all(&file).unwrap();
    let mut memories = Vec::new();
    let mut last_segment = Vec::new();
    for payload in Parser::new(0).parse_all(&file) {
        match payload.unwrap() {
            Payload::MemorySection(section) => memories.extend(section.into_iter().map(|memory| memory.unwrap())),
            Payload::DataSection(section) => last_segment = section.into_iter().last().unwrap().unwrap().data.to_vec(),
            _ => {}
        }
    }
    assert_eq!(memories.iter().map(|memory| (memory.initial, memory.maximum)).collect::<Vec<_>>(), [(64, Some(64))]);
    assert_eq!(last_segment, file[payload_range(&file)]);
}

#[test]
fn the_kind_and_the_size_can_be_told() {
    let [module, native] = both_codes().map(|code| packed(&code));
    assert_eq!(Artifact::open(module.as_slice()).unwrap().kind(), &Kind::Wasm);
    let native = Artifact::open(native.as_slice()).unwrap();
    assert_eq!(native.kind(), &Kind::Aot { target: "x86_64".into() });
    assert_eq!(native.size(), SIZE);
}

#[test]
fn code_comes_back_bit_for_bit_whatever_is_packed_with_it() {
    for code in both_codes() {
        for pages in [32, 64, 40_000, 65_535] {
            let file = packed_with(&code, MachineSize { pages, ..SIZE }, &small_parts()).unwrap();
            let artifact = Artifact::open(file.as_slice()).unwrap();
            assert_eq!(artifact.code().unwrap(), code);
            assert_eq!(artifact.code_digest().unwrap(), Digest::of(&code));
        }
    }
}

#[test]
fn a_payload_moves_from_a_module_to_its_native_code() {
    let module = packed(&wasm_code());
    let module = Artifact::open(module.as_slice()).unwrap();
    let parts = module.parts().iter().map(|part| PartInput::new(part.kind, part.length, module.reader(part))).collect();
    let mut moved = Cursor::new(Vec::new());
    pack(AOT_CODE, module.size(), parts, &mut moved).unwrap();
    assert_eq!(moved.into_inner(), packed(AOT_CODE));
}

/// Where the parts lie in the file depends on the code, and what is between the first and the end of the payload does not.
#[test]
fn other_code_around_the_same_parts_is_what_packing_gives() {
    for code in both_codes() {
        let file = packed(&code);
        let artifact = Artifact::open(file.as_slice()).unwrap();
        let parts = artifact.parts_range();
        for cpu in ["v2", "some longer name of a processor"] {
            let other = with_cpu(AOT_CODE.to_vec(), cpu);
            let around = Around::of(&other, artifact.size(), artifact.parts()).unwrap();
            let whole = [&around.before, &file[parts.start as usize..parts.end as usize], &around.after].concat();
            assert!(whole == packed(&other), "{cpu}");
            assert_eq!(around.parts, Artifact::open(whole.as_slice()).unwrap().parts());
        }
    }
    let artifact = packed(AOT_CODE);
    let artifact = Artifact::open(artifact.as_slice()).unwrap();
    let small = MachineSize { pages: CODE_PAGES - 1, ..artifact.size() };
    let refused = Around::of(AOT_CODE, small, artifact.parts()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, ArtifactError::Payload(PayloadError::MemoryTooSmall { .. })), "{refused}");
}

#[test]
fn every_truncation_is_an_error() {
    for code in both_codes() {
        let file = packed(&code);
        for length in 0..file.len() {
            let error = error_of(&file[..length]);
            assert!(
                matches!(error, ArtifactError::Truncated { .. } | ArtifactError::NotAnArtifact { .. } | ArtifactError::NoPayload),
                "{error}"
            );
        }
        // Only where a section ends can it not be told that something is missing.
        let silent = (8..file.len()).filter(|length| matches!(error_of(&file[..*length]), ArtifactError::NoPayload)).count();
        assert!(silent <= 12, "{silent}");
    }
}

#[test]
fn every_flipped_byte_is_an_error() {
    for code in both_codes() {
        let mut file = packed(&code);
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                file[at] ^= flip;
                assert!(open_and_verify(&file).is_err(), "byte {at} ^ {flip:#x}");
                file[at] ^= flip;
            }
        }
        open_and_verify(&file).unwrap();
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for code in both_codes() {
        let mut file = packed(&code);
        file.push(0);
        assert!(open_and_verify(&file).is_err());
    }
}

#[test]
fn code_alone_is_named_as_such() {
    for code in both_codes() {
        assert!(matches!(error_of(&code), ArtifactError::NoPayload));
    }
}

#[test]
fn other_files_are_named_as_such() {
    assert!(matches!(error_of(b""), ArtifactError::NotAnArtifact { .. }));
    assert!(matches!(error_of(b"\x7fELF\x02\x01\x01\0"), ArtifactError::NotAnArtifact { .. }));
    assert!(matches!(error_of(b"\0aot\x05\0\0\0"), ArtifactError::OtherCodeVersion { found: 5, supported: 6, .. }));
    assert!(matches!(error_of(b"\0asm\x0d\0\x01\0"), ArtifactError::OtherCodeVersion { supported: 1, .. }));
}

#[test]
fn another_version_of_the_payload_is_named_as_such() {
    for code in both_codes() {
        let mut file = packed(&code);
        forge(&mut file, 3, |table| table[8] = 2);
        assert!(matches!(error_of(&file), ArtifactError::Payload(PayloadError::OtherVersion { found: 2, supported: 1 })));
        let mut file = packed(&code);
        let version = file.len() - 24;
        file[version] = 2;
        assert!(matches!(error_of(&file), ArtifactError::Payload(PayloadError::OtherVersion { found: 2, supported: 1 })));
    }
}

#[test]
fn a_forged_table_is_an_error() {
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 12] = [
        ("malformed", |table| table[12..16].fill(0xff)), // number of parts
        ("memory-too-small", |table| table[16..20].copy_from_slice(&[1, 0, 0, 0])),
        ("memory-too-large", |table| table[16..20].fill(0xff)),
        ("corrupted", |table| table[20] = 1), // pages of the code file
        ("invalid-ram-size", |table| table[24] = 1),
        ("invalid-ram-size", |table| table[24..32].fill(0)),
        ("code-too-large", |table| table[39] = 1),
        ("malformed", |table| table[40] ^= 8), // length of the payload
        ("corrupted", |table| table[48] ^= 1), // digest of the code
        ("malformed", |table| table[80..86].copy_from_slice(b"colone")),
        ("misplaced-part", |table| table[144 + 18] ^= 1), // offset of the second part
        ("malformed", |table| table[144 + 31] = 0xff),    // length of the second part
    ];
    for code in both_codes() {
        for (number, (kind, change)) in changes.into_iter().enumerate() {
            let mut file = packed(&code);
            forge(&mut file, 3, change);
            assert_eq!(error_of(&file).kind(), kind, "change {number}");
        }
    }
}

#[test]
fn memory_below_what_the_code_was_compiled_for_cannot_be_smuggled_in() {
    let code = link_wat(r#"(module (memory 64) (func (export "pb_payload_read") (param i32 i32 i32)))"#).unwrap();
    let mut file = packed(&code);
    let memory = file.windows(4).position(|field| field == [1, 1, 64, 64]).unwrap();
    file[memory + 2..memory + 4].fill(32);
    assert!(matches!(error_of(&file), ArtifactError::Payload(PayloadError::Malformed { .. })), "the table says something else");
    forge(&mut file, 3, |table| table[16] = 32);
    assert!(matches!(error_of(&file), ArtifactError::Payload(PayloadError::MemoryTooSmall { found: 32, wanted: 64 })));
    forge(&mut file, 3, |table| table[20] = 32);
    assert!(
        matches!(error_of(&file), ArtifactError::Payload(PayloadError::Corrupted { what: "code", .. })),
        "this is the digest of other code"
    );
}

#[test]
fn changed_code_does_not_pass_for_the_code_it_was() {
    for code in both_codes() {
        let mut file = packed(&code);
        let payload = payload_range(&file);
        // A byte of the name of an export, or of native code.
        let at = file.windows(5).position(|name| name == b"fetch").unwrap();
        assert!(!payload.contains(&at));
        file[at] ^= 1;
        assert!(matches!(error_of(&file), ArtifactError::Payload(PayloadError::Corrupted { what: "code", .. })));
        let mut other = code.clone();
        let at = other.windows(5).position(|name| name == b"fetch").unwrap();
        other[at] ^= 1;
        forge(&mut file, 3, |table| table[48..80].copy_from_slice(Digest::of(&other).as_bytes()));
        assert_eq!(Artifact::open(file.as_slice()).unwrap().code_digest().unwrap(), Digest::of(&other));
    }
}

#[test]
fn parts_are_read_and_checked() {
    let mut file = packed(&wasm_code());
    let artifact = Artifact::open(file.as_slice()).unwrap();
    assert_eq!(artifact.read_part(PartKind::Kernel).unwrap(), b"a kernel");
    assert!(matches!(
        artifact.read_part(PartKind::Initramfs),
        Err(ArtifactError::Payload(PayloadError::MissingPart { part: PartKind::Initramfs }))
    ));
    let kernel = artifact.file_offset(artifact.part(PartKind::Kernel).unwrap()) as usize;
    file[kernel] ^= 1;
    let artifact = Artifact::open(file.as_slice()).unwrap();
    assert!(matches!(artifact.read_part(PartKind::Kernel), Err(ArtifactError::Payload(PayloadError::Corrupted { what: "kernel", .. }))));
    artifact.code_digest().unwrap(); // the code is as it was
}

#[test]
fn what_cannot_be_packed_is_an_error() {
    for code in both_codes() {
        let pack_one = |length: u64, content: &'static [u8]| {
            let part = PartInput::new(PartKind::Root, length, content);
            pack(&code, SIZE, vec![part], &mut Cursor::new(Vec::new())).unwrap_err()
        };
        assert!(matches!(pack_one(1 << 32, b""), ArtifactError::TooLarge { .. }));
        assert!(matches!(pack_one((1 << 32) - 4096, b""), ArtifactError::TooLarge { .. }));
        assert!(matches!(pack_one(u64::MAX, b""), ArtifactError::TooLarge { .. }));
        assert!(matches!(pack_one(5, b"four"), ArtifactError::PartChanged { found: 4, wanted: 5, .. }));
        assert!(matches!(pack_one(3, b"four"), ArtifactError::PartChanged { found: 4, wanted: 3, .. }));

        let size_error = |pages, ram_size| packed_with(&code, MachineSize { pages, ram_size }, &[]).unwrap_err();
        assert!(matches!(
            size_error(CODE_PAGES - 1, 2 << 20),
            ArtifactError::Payload(PayloadError::MemoryTooSmall { found: 3, wanted: 4 })
        ));
        assert!(matches!(size_error(65_536, 2 << 20), ArtifactError::Payload(PayloadError::MemoryTooLarge { found: 65_536 })));
        assert!(matches!(size_error(64, 0), ArtifactError::Payload(PayloadError::InvalidRamSize { .. })));
        assert!(matches!(size_error(64, 6 << 20), ArtifactError::Payload(PayloadError::InvalidRamSize { .. })));
        assert!(matches!(size_error(64, 1 << 20), ArtifactError::Payload(PayloadError::InvalidRamSize { .. })));

        let twice = [(PartKind::Root, vec![]), (PartKind::Root, vec![])];
        assert!(matches!(packed_with(&code, SIZE, &twice), Err(ArtifactError::DuplicatePart { part: PartKind::Root })));
        assert!(matches!(packed_with(&packed(&code), SIZE, &[]), Err(ArtifactError::NotACodeFile { .. })));
        for length in 0..code.len() {
            // Where a custom section ends, what is left is a code file too.
            let _ = packed_with(&code[..length], SIZE, &[]);
        }
    }
    let unlinked = wat::parse_str(include_str!("data/payload.wat")).unwrap();
    assert!(matches!(packed_with(&unlinked, SIZE, &[]), Err(ArtifactError::NotACodeFile { .. })));
}

/// What linking changes: the body of the function that reads the payload, the memories, the number of segments, the custom sections.
struct Linked {
    body: Vec<String>,
    other_bodies: Vec<Vec<u8>>,
    memories: Vec<(u64, Option<u64>)>,
    segments: Vec<Vec<u8>>,
    data_count: Option<u32>,
    custom: Vec<String>,
}

fn examine(module: &[u8]) -> Linked {
    let mut linked = Linked { body: vec![], other_bodies: vec![], memories: vec![], segments: vec![], data_count: None, custom: vec![] };
    let (mut imported, mut export, mut number) = (0, None, 0);
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ImportSection(section) => imported = section.into_imports().count() as u32,
            Payload::ExportSection(section) => {
                let found = section.into_iter().map(|export| export.unwrap()).find(|export| export.name == PAYLOAD_READ);
                export = found.filter(|export| export.kind == ExternalKind::Func).map(|export| export.index);
            }
            Payload::MemorySection(section) => {
                linked.memories =
                    section.into_iter().map(|memory| memory.map(|memory| (memory.initial, memory.maximum)).unwrap()).collect();
            }
            Payload::DataCountSection { count, .. } => linked.data_count = Some(count),
            Payload::DataSection(section) => linked.segments = section.into_iter().map(|data| data.unwrap().data.to_vec()).collect(),
            Payload::CustomSection(section) => linked.custom.push(section.name().into()),
            Payload::CodeSectionEntry(body) => {
                if Some(number + imported) == export {
                    let operators = body.get_operators_reader().unwrap();
                    linked.body = operators
                        .into_iter()
                        .map(|operator: wasmparser::Result<Operator<'_>>| format!("{:?}", operator.unwrap()))
                        .collect();
                } else {
                    linked.other_bodies.push(body.as_bytes().to_vec());
                }
                number += 1;
            }
            _ => {}
        }
    }
    linked
}

fn link_wat(text: &str) -> Result<Vec<u8>> {
    link(&wat::parse_str(text).unwrap())
}

fn read_from(segment: u32) -> Vec<String> {
    let get = |index: u32| format!("LocalGet {{ local_index: {index} }}");
    vec![get(0), get(1), get(2), format!("MemoryInit {{ data_index: {segment}, mem: 0 }}"), "End".into()]
}

#[test]
fn linking_gives_the_function_its_body_and_keeps_the_rest() {
    let module = wat::parse_str(include_str!("data/payload.wat")).unwrap();
    let (before, after) = (examine(&module), examine(&link(&module).unwrap()));
    assert_eq!(after.body, read_from(1));
    assert_eq!(after.other_bodies, before.other_bodies);
    assert_eq!(after.memories, [(4, Some(4))]);
    assert_eq!(after.segments, [b"hello".to_vec(), vec![]]);
    assert_eq!(after.data_count, Some(2));
}

#[test]
fn linking_counts_imports_and_segments_that_are_there() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory 1)
        (func (memory.init $a (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $a))
        (func (export "pb_payload_read") (param i32 i32 i32) (local i64) unreachable)
        (func (export "_start"))
        (data $a "passive") (data (i32.const 0) "active")
        (@custom ".debug_info" (after last) "x") (@custom "producers" (after last) ""))"#;
    let module = wat::parse_str(text).unwrap();
    let (before, after) = (examine(&module), examine(&link(&module).unwrap()));
    assert_eq!(before.data_count, Some(2));
    assert_eq!(after.data_count, Some(3));
    assert_eq!(after.body, read_from(2));
    assert_eq!(after.other_bodies, before.other_bodies);
    assert_eq!(after.segments, [b"passive".to_vec(), b"active".to_vec(), vec![]]);
    assert!(before.custom.iter().any(|name| name == ".debug_info") && !after.custom.iter().any(|name| name == ".debug_info"));
    assert!(after.custom.iter().any(|name| name == "producers"));
    open_and_verify(&packed(&link(&module).unwrap())).unwrap();
}

#[test]
fn linking_adds_a_data_section_where_there_is_none() {
    let module = link_wat(r#"(module (memory 1 9) (func (export "pb_payload_read") (param i32 i32 i32)))"#).unwrap();
    let after = examine(&module);
    assert_eq!(after.body, read_from(0));
    assert_eq!((after.memories, after.segments.len()), (vec![(1, Some(1))], 1));
    open_and_verify(&packed(&module)).unwrap();
}

#[test]
fn what_cannot_be_linked_is_an_error() {
    for (text, wanted) in [
        (r#"(module (memory 1))"#, "does not export"),
        (r#"(module (memory 1) (func (export "pb_payload_read") (param i32 i32)))"#, "three i32"),
        (r#"(module (memory 1) (func (export "pb_payload_read") (param i32 i32 i64)))"#, "three i32"),
        (r#"(module (memory (export "pb_payload_read") 1))"#, "does not export"),
        (
            r#"(module (import "m" "f" (func $f (param i32 i32 i32))) (memory 1) (func) (export "pb_payload_read" (func $f)))"#,
            "is an import",
        ),
        (r#"(module (func (export "pb_payload_read") (param i32 i32 i32)))"#, "one memory"),
        (r#"(module (memory i64 1) (func (export "pb_payload_read") (param i32 i32 i32)))"#, "one memory"),
        (r#"(module (memory 1 1 shared) (func (export "pb_payload_read") (param i32 i32 i32)))"#, "one memory"),
        (r#"(module (import "m" "m" (memory 1)) (func (export "pb_payload_read") (param i32 i32 i32)))"#, "not import"),
        (r#"(module (memory 0) (func (export "pb_payload_read") (param i32 i32 i32)))"#, "0 pages"),
        (r#"(module (memory 65536) (func (export "pb_payload_read") (param i32 i32 i32)))"#, "65536 pages"),
    ] {
        let error = link_wat(text).unwrap_err();
        assert!(error.kind() == "not-linkable" && error.to_string().contains(wanted), "{text}: {error}");
    }
    assert!(link(&wasm_code()).unwrap_err().to_string().contains("already"));
    assert_eq!(link(b"\x7fELF").unwrap_err().kind(), "not-linkable");
}

fn parts() -> impl Strategy<Value = Vec<(PartKind, Vec<u8>)>> {
    let content = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9000));
    (content(), content(), content(), content())
        .prop_map(|(a, b, c, d)| PartKind::ALL.into_iter().zip([a, b, c, d]).filter_map(|(kind, content)| Some((kind, content?))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_read_back(parts in parts(), pages in 32_u32..65_536) {
        for code in both_codes() {
            let size = MachineSize { pages, ..SIZE };
            let file = packed_with(&code, size, &parts).unwrap();
            let mut backwards = parts.clone();
            backwards.reverse();
            prop_assert_eq!(&file, &packed_with(&code, size, &backwards).unwrap());
            let artifact = Artifact::open(file.as_slice()).unwrap();
            artifact.verify().unwrap();
            prop_assert_eq!(artifact.size(), size);
            prop_assert_eq!(artifact.parts().len(), parts.len());
            for (kind, content) in &parts {
                let part = artifact.part(*kind).unwrap();
                prop_assert_eq!(artifact.file_offset(part) % 4096, 0);
                prop_assert_eq!(&artifact.read_part(*kind).unwrap(), content);
                let mut read = Vec::new();
                artifact.reader(part).read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, content);
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_harmless(seed in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for code in both_codes() {
            let mut file = packed(&code);
            let good = file.clone();
            for (index, byte) in &seed {
                let at = index.index(file.len());
                file[at] = *byte;
            }
            prop_assert_eq!(open_and_verify(&file).is_ok(), file == good);
            let mut damaged = code.clone();
            for (index, byte) in &seed {
                let at = index.index(damaged.len());
                damaged[at] = *byte;
            }
            // What is packed can be read; what cannot be packed is an error.
            if let Ok(file) = packed_with(&damaged, SIZE, &small_parts()) {
                prop_assert_eq!(Artifact::open(file.as_slice()).and_then(|artifact| artifact.code()).ok(), Some(damaged.clone()));
            }
            let _ = link(&damaged);
        }
    }

    #[test]
    fn soup_is_never_more_than_an_error(
        is_aot in any::<bool>(),
        soup in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(11), Just(255)], 0..400),
        payload_offset in 0_u64..500,
        payload_length in prop_oneof![0_u64..500, any::<u64>()],
    ) {
        let start: &[u8] = if is_aot { b"\0aot\x06\0\0\0" } else { b"\0asm\x01\0\0\0" };
        let mut file = [start, &soup].concat();
        prop_assert!(open_and_verify(&file).is_err());
        let _ = packed_with(&file, SIZE, &small_parts());
        let _ = link(&file);
        // The same with the locator of a good file, which points somewhere else.
        let good = packed(if is_aot { AOT_CODE } else { &SOUP_CODE });
        file.extend(&good[good.len() - if is_aot { 62 } else { 50 }..]);
        let end = file.len();
        file[end - 16..end - 8].copy_from_slice(&payload_offset.to_le_bytes());
        file[end - 8..].copy_from_slice(&payload_length.to_le_bytes());
        prop_assert!(open_and_verify(&file).is_err());
    }
}

static SOUP_CODE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(wasm_code);

#[test]
fn native_code_says_what_processor_it_is_for() {
    let code = with_cpu(AOT_CODE.to_vec(), "x86-64-v2");
    let file = packed(&code);
    let artifact = Artifact::open(file.as_slice()).unwrap();
    artifact.verify().unwrap();
    assert_eq!(artifact.cpu().unwrap().as_deref(), Some("x86-64-v2"));
    // It is a part of the code: whoever trusts that trusts it, too.
    assert_eq!(artifact.code().unwrap(), code);
    assert_eq!(artifact.code_digest().unwrap(), Digest::of(&code));
    for without in both_codes() {
        assert_eq!(Artifact::open(packed(&without).as_slice()).unwrap().cpu().unwrap(), None);
    }
    for odd in ["", "x86 64", "\u{1b}[2J"] {
        let file = packed(&with_cpu(AOT_CODE.to_vec(), odd));
        assert_eq!(Artifact::open(file.as_slice()).unwrap().cpu().unwrap(), None, "{odd}");
    }
    let long = packed(&with_cpu(AOT_CODE.to_vec(), &"x".repeat(1000)));
    assert_eq!(Artifact::open(long.as_slice()).unwrap().cpu().unwrap(), None);
}
