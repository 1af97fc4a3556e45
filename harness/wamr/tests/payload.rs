//! What a large payload costs: alone in its process, since it looks at the whole of its memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::io::Write;
use std::path::Path;
use wamr::{Instance, Module, ModuleBytes, Options, Value, Wasi};

const PAYLOAD: usize = 32 << 20;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn a_payload_that_is_not_read_is_not_loaded() {
    let module = |payload: &str| {
        wat::parse_str(format!(
            r#"(module (memory (export "memory") 1 1) (data $payload "{payload}")
                 (func (export "init") (param i32) (memory.init $payload (i32.const 16) (local.get 0) (i32.const 4))))"#
        ))
    };
    let wasm = module(&"0123456789abcdef".repeat(PAYLOAD / 16)).unwrap();
    let aot = common::compiler().map(|compiler| common::compile(&compiler, &wasm, &Options::new(common::host())));
    for form in std::iter::once(&wasm).chain(&aot) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(form).unwrap();
        common::with_runtime(|runtime| {
            let before = resident();
            let module = Module::load(
                runtime,
                ModuleBytes::of_file((&file, Path::new("payload")), form.len() as u64, 0..form.len() as u64).unwrap(),
            )
            .unwrap();
            let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
            instance.call("init", &[Value::I32(PAYLOAD as i32 / 2 + 5)]).unwrap();
            assert_eq!(instance.memory().unwrap().slice(16, 4).unwrap(), b"5678");
            let cost = resident().saturating_sub(before);
            assert!(cost < PAYLOAD / 4, "{cost} bytes came into memory");

            // The measure sees what is loaded.
            let copy = ModuleBytes::copy_of(form).unwrap();
            assert!(resident() - before > PAYLOAD);
            drop(copy);
        });
    }
}

#[test]
fn a_file_that_is_shortened_while_it_is_in_use_ends_the_call_and_not_the_process() {
    let wasm = wat::parse_str(format!(
        r#"(module (memory (export "memory") 3 3) (data $payload "{}")
             (func (export "init") (param i32) (memory.init $payload (i32.const 0) (local.get 0) (i32.const 0x10000))))"#,
        "0123456789abcdef".repeat(PAYLOAD / 16)
    ))
    .unwrap();
    let aot = common::compiler().map(|compiler| common::compile(&compiler, &wasm, &Options::new(common::host())));
    for form in std::iter::once(&wasm).chain(&aot) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(form).unwrap();
        common::with_runtime(|runtime| {
            let bytes = ModuleBytes::of_file((&file, Path::new("a machine")), form.len() as u64, 1 << 20..form.len() as u64 - (1 << 20));
            let module = Module::load(runtime, bytes.unwrap()).unwrap();
            let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
            let mut init = |at: usize| instance.call("init", &[Value::I32(at as i32)]).map_err(|error| error.to_string());
            init(2 << 20).unwrap();
            file.set_len(3 << 20).unwrap();
            // What is there is read. What was read before the file was shortened, or never mapped, is there too.
            init(2 << 20).unwrap();
            init(64 << 10).unwrap();
            init(PAYLOAD - (64 << 10)).unwrap();
            for at in [(3 << 20) - 100, 16 << 20, 64 << 10] {
                let error = init(at).unwrap_err();
                assert!(error.contains("shortened a machine"), "{error}");
            }
        });
    }
}
