//! What is refused, and how.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::{compiler, with_runtime};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use wamr::{Baseline, Error, Format, Instance, Module, ModuleBytes, Opt, Options, Result, Runtime, Wasi};

fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Module> {
    Module::load(runtime, ModuleBytes::copy_of(bytes)?)
}

#[test]
fn what_is_no_module_is_refused() {
    with_runtime(|runtime| {
        let refused =
            |bytes: &[u8]| matches!(load(runtime, bytes), Err(Error::NotAModule { found }) if found == bytes[..bytes.len().min(4)]);
        for bytes in [&b""[..], b"\0", b"\0as", b"\x7fELF and more", b"#!/bin/sh\n", b"\0asx\x01\0\0\0", &[0; 4096], &[0xff; 4096]] {
            assert!(refused(bytes), "{bytes:02x?}");
        }
        assert!(matches!(load(runtime, b"\0asm\x0d\0\x01\0"), Err(Error::WasmVersion { found: 0x1000d })));
        // The smallest module is one.
        assert_eq!(load(runtime, b"\0asm\x01\0\0\0").unwrap().format(), Format::Wasm);
    });
}

/// A file whose pages lie otherwise there than in memory cannot be mapped, and is read.
#[test]
fn what_is_around_a_part_of_a_file_is_joined_with_it() {
    let page = rustix::param::page_size();
    let content: Vec<u8> = (0..4 * page).map(|at| (at / 7) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    for (before, range, mapped) in [
        (page, page..3 * page, 2 * page),
        (2 * page, page..3 * page + 100, 2 * page),
        (page + 4, page..3 * page, 0),
        (page, 4..2 * page, 0),
        (page, page..page, 0),
    ] {
        let (before, after) = (vec![1; before], [2; 50]);
        for is_mapped in [true, false] {
            let part = range.start as u64..range.end as u64;
            let bytes = ModuleBytes::around((&before, &after), (&file, Path::new("a machine")), part, is_mapped).unwrap();
            assert!(bytes.as_ref() == [&before, &content[range.clone()], &after].concat(), "{range:?}");
            // What is mapped and has not been written to is the file's.
            let first = range.start as u64;
            file.write_all_at(&[0xee], first).unwrap();
            assert_eq!(bytes.as_ref()[before.len()] == 0xee, is_mapped && mapped > 0, "{range:?}");
            file.write_all_at(&content[range.start..=range.start], first).unwrap();
        }
    }
    let cut = ModuleBytes::around((&[], &[]), (&file, Path::new("a machine")), 0..content.len() as u64 + 1, false);
    assert!(matches!(cut, Err(Error::Map(_))), "{cut:?}");
}

#[test]
fn an_import_that_nobody_provides_is_named() {
    let wasm = wat::parse_str(r#"(module (import "env" "magic" (func)) (func (export "f") (call 0)))"#).unwrap();
    let aot = compiler().map(|compiler| common::compile(&compiler, &wasm, &Options::new(common::host())));
    with_runtime(|runtime| {
        for form in std::iter::once(&wasm).chain(&aot) {
            let error = load(runtime, form).unwrap_err();
            assert!(matches!(&error, Error::MissingImport { module, name } if module == "env" && name == "magic"), "{error}");
        }
    });
}

#[test]
fn a_module_cut_anywhere_is_refused_or_whole() {
    for form in common::forms() {
        with_runtime(|runtime| {
            let mut taken = Vec::new();
            for len in 0..form.len() {
                match load(runtime, &form[..len]) {
                    Err(Error::NotAModule { .. }) => assert!(len < 4, "{len}"),
                    Err(Error::Truncated { .. } | Error::Load { .. }) => {}
                    Err(error) => panic!("cut at {len}: {error}"),
                    Ok(module) => taken.push((len, module.format())),
                }
            }
            load(runtime, form).unwrap();
            // A cut between two sections leaves a whole module if what follows is optional: a module of types, or an .aot without what it says of
            // itself. Nothing that can run is left: WebAssembly's functions need their code, and code is the last but one of its sections.
            for (len, format) in taken {
                assert!(format == Format::Wasm || form.len() - len < 64, "{format:?} cut at {len}");
            }
        });
    }
}

#[test]
fn a_wasm_with_any_byte_changed_is_loaded_or_refused() {
    with_runtime(|runtime| {
        let mut refused = 0;
        for at in 0..common::WASM.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut wasm = common::WASM.clone();
                wasm[at] ^= flip;
                refused += u32::from(load(runtime, &wasm).is_err());
            }
        }
        assert!(refused > 100, "{refused}");
    });
}

#[test]
fn an_aot_for_another_host_or_of_another_version_is_refused() {
    let Some(compiler) = compiler() else { return };
    let host = common::host();
    let aot = common::AOT.clone().unwrap();
    with_runtime(|runtime| {
        assert_eq!(load(runtime, &aot).unwrap().format(), Format::Aot);
        for baseline in Baseline::ALL.into_iter().filter(|baseline| baseline.arch() != host.arch()) {
            let foreign = common::compile(&compiler, &common::WASM, &Options::new(baseline));
            let error = load(runtime, &foreign).unwrap_err();
            let named =
                matches!(&error, Error::Architecture { found, wanted } if found.starts_with(baseline.arch()) && *wanted == host.arch());
            assert!(named, "{error}");
        }
        for version in [0, 5, 7, u32::MAX] {
            let mut other = aot.clone();
            other[4..8].copy_from_slice(&u32::to_le_bytes(version));
            let error = load(runtime, &other).unwrap_err();
            assert!(matches!(error, Error::AotVersion { found, wanted: 6 } if found == version), "{error}");
        }
    });
}

#[test]
fn an_aot_for_a_better_host_is_refused() {
    let Some(aot) = common::AOT.as_deref() else { return };
    let requirements = common::host().to_string();
    let at = aot.windows(requirements.len()).position(|window| window == requirements.as_bytes()).unwrap();
    with_runtime(|runtime| {
        let module = load(runtime, aot).unwrap();
        assert_eq!(module.custom_section("prebake.requires"), Some(requirements.as_bytes()));
        assert_eq!(module.custom_section("prebake.require"), None);
        let mut better = aot.to_vec();
        better[at + requirements.len() - 1] = b'9';
        let error = load(runtime, &better).unwrap_err();
        assert!(matches!(&error, Error::HostLacks { needed } if needed.ends_with('9')), "{error}");
    });
}

#[test]
fn the_compiler_gives_the_same_bytes_again_and_others_for_other_options() {
    let Some(compiler) = compiler() else { return };
    let mut all = Vec::new();
    for baseline in Baseline::ALL {
        for opt in [Opt::None, Opt::Full] {
            let options = Options { opt, ..Options::new(baseline) };
            let aot = common::compile(&compiler, &common::WASM, &options);
            assert!(aot == common::compile(&compiler, &common::WASM, &options), "{options:?}");
            all.push(aot);
        }
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn what_cannot_be_compiled_leaves_nothing() {
    let Some(compiler) = compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("bad.wasm"), folder.path().join("bad.aot"));
    std::fs::write(&from, b"\0asm\x01\0\0\0\x01\x7f").unwrap();
    let options = Options::new(Baseline::X86_64V2);
    let error = compiler.compile(&from, &to, &options).unwrap_err();
    assert!(matches!(&error, Error::Compile { reason, .. } if reason.contains("unexpected end")), "{error}");
    let error = compiler.compile(&folder.path().join("none.wasm"), &to, &options).unwrap_err();
    assert!(error.to_string().contains("none.wasm"), "{error}");
    std::fs::write(&from, &*common::WASM).unwrap();
    let error = compiler.compile(&from, &to, &Options { segue: true, ..Options::new(Baseline::Aarch64) }).unwrap_err();
    assert!(error.to_string().contains("segue"), "{error}");
    assert_eq!(common::files(folder.path()), ["bad.wasm"]);

    let error = wamr::Compiler::at("/no/such/program").compile(&from, &to, &options).unwrap_err();
    assert!(matches!(error, Error::NoCompiler { .. }), "{error}");
}

/// An .aot with this many bytes of code. Sections have a number, a length and so many bytes, at a multiple of 4 each; the third has the code.
fn with_code(aot: &[u8], length: usize) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(aot[at..][..4].try_into().unwrap()) as usize;
    let (mut at, mut long) = (8, aot[..8].to_vec());
    while at < aot.len() {
        let (kind, body) = (word(at), &aot[at + 8..][..word(at + 4)]);
        let mut body = body.to_vec();
        if kind == 2 {
            body.resize(length, 0xcc);
        }
        long.resize(long.len().next_multiple_of(4), 0);
        long.extend((kind as u32).to_le_bytes());
        long.extend((body.len() as u32).to_le_bytes());
        long.extend(body);
        at = (at + 8 + word(at + 4)).next_multiple_of(4);
    }
    long
}

/// Kilobytes of this process's memory that is executable and belongs to no file, and those that may be in huge pages.
fn code_in_memory() -> (usize, usize) {
    let (mut all, mut huge) = (0, 0);
    let (mut is_code, mut size) = (false, 0);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["Size:", length, _] => size = length.parse().unwrap(),
            ["VmFlags:", ..] if is_code => {
                all += size;
                huge += if words.contains(&"hg") { size } else { 0 };
            }
            [range, protection, ..] if range.contains('-') => is_code = protection.contains('x') && words.len() == 5,
            _ => {}
        }
    }
    (all, huge)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn code_that_fills_a_third_of_its_last_huge_page_has_it_whole_and_gives_it_back() {
    let Some(aot) = common::AOT.as_deref() else { return };
    with_runtime(|runtime| {
        let before = code_in_memory();
        // WAMR adds less than a page to the code itself.
        for (kilobytes, wanted) in [(2736, (4096, 4096)), (2720, (2724, 2048)), (4608, (4612, 4096)), (1984, (1988, 0))] {
            let length = kilobytes << 10;
            let module = load(runtime, &with_code(aot, length)).unwrap();
            let (all, huge) = code_in_memory();
            assert_eq!((all - before.0, huge - before.1), wanted, "{length}");
            drop(module);
            assert_eq!(code_in_memory(), before, "{length}");
        }
    });
}

/// Minor page faults of this thread so far: fields of its status behind its name, which may contain anything.
fn page_faults() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    status.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn compiled_code_has_no_stack_of_the_interpreters() {
    let Some(aot) = common::AOT.as_deref() else { return };
    with_runtime(|runtime| {
        let module = load(runtime, aot).unwrap();
        let before = page_faults();
        let instance = Instance::new(&module, Wasi::default(), 64 << 20).unwrap();
        let faults = page_faults() - before;
        // 16,384 where each of its pages is written to.
        assert!(faults < 1000, "{faults} page faults");
        drop(instance);
    });
}
