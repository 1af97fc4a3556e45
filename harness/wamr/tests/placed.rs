//! Code that lies where a module had it before.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::{AOT, STACK, with_runtime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use wamr::{Error, Instance, Module, ModuleBytes, Place, PlacedCode, Runtime, Value, Wasi, loader};

/// A file with a module's code and its data, and where they belong.
struct Kept {
    file: File,
    data_at: u64,
    place: Place,
}

impl Kept {
    fn of(module: &Module) -> Self {
        let (place, code, data) = module.place().unwrap();
        let file = tempfile::tempfile().unwrap();
        let data_at = (code.len() as u64).next_multiple_of(rustix::param::page_size() as u64);
        file.write_all_at(code, 0).unwrap();
        file.write_all_at(data, data_at).unwrap();
        Self { file, data_at, place }
    }

    fn code(&self) -> PlacedCode<'_> {
        PlacedCode { file: &self.file, code_at: 0, data_at: self.data_at, place: self.place }
    }
}

fn bytes() -> Option<ModuleBytes> {
    AOT.as_deref().map(|aot| ModuleBytes::copy_of(aot).unwrap())
}

/// Lines of this process's mappings that are of the file, from the code's address on.
fn is_mapped(place: &Place) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.starts_with(&format!("{:08x}-", place.code)));
    line.is_some_and(|line| line.contains("/") && line.contains("r-x"))
}

/// Whatever reads its data, calls the runtime and another function, and traps.
fn assert_works(module: &Module) {
    let mut instance = Instance::new(module, Wasi::default(), STACK).unwrap();
    assert_eq!(instance.call("add", &[Value::I32(2), Value::I32(3)]).unwrap(), [Value::I32(5)]);
    assert_eq!(instance.call("half", &[Value::F64(3.0), Value::F32(-2.0)]).unwrap(), [Value::F64(-1.5)]);
    assert!(matches!(instance.call("divide", &[Value::I32(1), Value::I32(0)]), Err(Error::Trap { .. })));
    instance.call("indirect", &[Value::I32(0)]).unwrap();
    instance.call("init", &[Value::I32(0), Value::I32(0), Value::I32(8)]).unwrap();
}

fn kept(runtime: &Runtime) -> Option<Kept> {
    let module = Module::load(runtime, bytes()?).unwrap();
    assert_works(&module);
    Some(Kept::of(&module))
}

#[test]
fn a_module_runs_what_another_of_the_same_bytes_had_there() {
    with_runtime(|runtime| {
        let Some(kept) = kept(runtime) else { return };
        for _ in 0..2 {
            let module = Module::load_placed(runtime, bytes().unwrap(), &kept.code()).unwrap();
            assert!(is_mapped(&kept.place));
            assert_works(&module);
            // What is the file's already is not kept once more.
            assert!(module.place().is_none());
            // The place is taken: a second module has its own.
            let second = Module::load_placed(runtime, bytes().unwrap(), &kept.code()).unwrap();
            assert_works(&second);
            assert_ne!(second.place().unwrap().0.code, kept.place.code);
            assert_works(&module);
        }
        assert!(!is_mapped(&kept.place), "it is unmapped with its module");
    });
}

#[test]
fn code_of_another_size_is_refused_and_leaves_no_trace() {
    with_runtime(|runtime| {
        let Some(kept) = kept(runtime) else { return };
        let page = rustix::param::page_size() as u32;
        for place in
            [Place { code_size: kept.place.code_size + page, ..kept.place }, Place { data_size: kept.place.data_size + page, ..kept.place }]
        {
            let code = PlacedCode { place, ..kept.code() };
            assert!(matches!(Module::load_placed(runtime, bytes().unwrap(), &code), Err(Error::Load { .. })));
        }
        // The next has its own relocations again, or its place.
        assert_works(&Module::load(runtime, bytes().unwrap()).unwrap());
        let module = Module::load_placed(runtime, bytes().unwrap(), &kept.code()).unwrap();
        assert!(is_mapped(&kept.place));
        assert_works(&module);
    });
}

#[test]
fn a_module_that_is_interpreted_has_no_place() {
    with_runtime(|runtime| {
        let module = Module::load(runtime, ModuleBytes::copy_of(&common::WASM).unwrap()).unwrap();
        assert!(module.place().is_none());
        assert_ne!(loader(), 0);
    });
}
