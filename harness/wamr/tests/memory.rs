//! A guest's memory, seen and mapped by its host.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::with_each;
use std::fs::File;
use std::io::Write;
use wamr::{Error, Instance, Trap, Value, Wasi};

const PAGE: usize = 64 << 10;

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn load(instance: &mut Instance, address: u32) -> wamr::Result<u32> {
    instance.typed_func::<u32, u32>("load").unwrap().call(instance, address)
}

#[test]
fn host_and_guest_see_the_same_memory() {
    with_each(Wasi::default, |instance| {
        instance.call("store", &[Value::I32(4096), Value::I32(0x0403_0201)]).unwrap();
        let mut memory = instance.memory().unwrap();
        let mut four = [0; 4];
        memory.read(4096, &mut four).unwrap();
        assert_eq!(four, [1, 2, 3, 4]);
        memory.write(4098, &[9, 8]).unwrap();
        memory.slice_mut(4100, 1).unwrap()[0] = 7;
        assert_eq!(load(instance, 4097).unwrap(), 0x0708_0902);
        instance.memory().unwrap().into_slice_mut(4096, 1).unwrap()[0] = 5;
        assert_eq!(load(instance, 4096).unwrap(), 0x0809_0205);
    });
}

#[test]
fn the_host_is_held_in_bounds_too() {
    with_each(Wasi::default, |instance| {
        let mut memory = instance.memory().unwrap();
        let len = memory.len();
        let end = len as u32;
        for (address, len) in [(end, 1), (end - 1, 2), (0, len + 1), (u32::MAX, usize::MAX), (1, usize::MAX), (u32::MAX, 0)] {
            assert!(matches!(memory.slice(address, len), Err(Error::OutOfBounds { .. })), "{address:#x} {len:#x}");
            assert!(matches!(memory.slice_mut(address, len), Err(Error::OutOfBounds { .. })), "{address:#x} {len:#x}");
        }
        assert_eq!(memory.slice(0, len).unwrap().len(), len);
        assert_eq!(memory.slice(end, 0).unwrap().len(), 0);
    });
}

#[test]
fn a_passive_segment_comes_when_it_is_asked_for() {
    with_each(Wasi::default, |instance| {
        instance.call("init", &[Value::I32(5000), Value::I32(6), Value::I32(9)]).unwrap();
        assert_eq!(instance.memory().unwrap().slice(5000, 10).unwrap(), b"that wait\0");
    });
}

#[test]
fn mapped_pages_of_a_file_are_the_guests_own() {
    let content: Vec<u8> = (0..4 * PAGE).map(|i| (i / PAGE) as u8 + 1).collect();
    let file = file(&content);
    with_each(Wasi::default, |instance| {
        let base = instance.memory().unwrap().base();
        instance.memory().unwrap().map_file(3 * PAGE as u32, &file, PAGE as u64, 2 * PAGE).unwrap();
        let sum = instance.typed_func::<(u32, u32), u64>("sum").unwrap();
        assert_eq!(sum.call(instance, (2 * PAGE as u32, 4 * PAGE as u32)).unwrap(), (2 + 3) * PAGE as u64);
        // Over one that is mapped already, and at the very end of memory.
        instance.memory().unwrap().map_file(4 * PAGE as u32, &file, 0, PAGE).unwrap();
        instance.memory().unwrap().map_file(15 * PAGE as u32, &file, 3 * PAGE as u64, PAGE).unwrap();
        assert_eq!(sum.call(instance, (0, 16 * PAGE as u32)).unwrap() / PAGE as u64, 2 + 1 + 4);
        assert!(matches!(load(instance, 16 * PAGE as u32 - 3), Err(Error::Trap { kind: Trap::OutOfBounds, .. })));

        instance.call("store", &[Value::I32(3 * PAGE as i32), Value::I32(-1)]).unwrap();
        instance.memory().unwrap().slice_mut(4 * PAGE as u32, PAGE).unwrap().fill(0xee);
        assert_eq!(load(instance, 4 * PAGE as u32 - 4).unwrap(), 0x0202_0202);
        assert_eq!(load(instance, 4 * PAGE as u32).unwrap(), 0xeeee_eeee);
        assert_eq!(instance.memory().unwrap().base(), base);
    });
    let mut now = vec![0; content.len()];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut now, 0).unwrap();
    assert!(now == content);
}

#[test]
fn a_mapping_that_does_not_fit_is_refused_and_changes_nothing() {
    let file = file(&vec![1; 2 * PAGE]);
    with_each(Wasi::default, |instance| {
        instance.call("store", &[Value::I32(PAGE as i32), Value::I32(77)]).unwrap();
        let at = PAGE as u32;
        let mut memory = instance.memory().unwrap();
        for (address, offset, len) in
            [(at, 0, 0), (at + 1, 0, PAGE), (at, 1, PAGE), (at, 0, PAGE + 1), (at, 512, PAGE), (at + 512, 512, PAGE)]
        {
            assert!(matches!(memory.map_file(address, &file, offset, len), Err(Error::Unaligned { .. })), "{address} {offset} {len}");
        }
        for (address, len) in [(16 * at, PAGE), (15 * at, 2 * PAGE), (0, 17 * PAGE), (!0xffff, PAGE), (at, !0xffff)] {
            assert!(matches!(memory.map_file(address, &file, 0, len), Err(Error::OutOfBounds { .. })), "{address} {len}");
        }
        for (offset, len) in [(0, 3 * PAGE), (at.into(), 2 * PAGE), (2 * PAGE as u64, PAGE), (!0xffff, PAGE)] {
            assert!(matches!(memory.map_file(at, &file, offset, len), Err(Error::ShortFile { .. })), "{offset} {len}");
        }
        assert_eq!(load(instance, at).unwrap(), 77);
        assert_eq!(load(instance, 2 * at).unwrap(), 0);
    });
}

#[test]
fn a_mapped_file_that_became_shorter_is_a_trap() {
    with_each(Wasi::default, |instance| {
        let file = file(&vec![1; 2 * PAGE]);
        instance.memory().unwrap().map_file(0x10000, &file, 0, 2 * PAGE).unwrap();
        file.set_len(PAGE as u64).unwrap();
        assert_eq!(load(instance, 0x10000).unwrap(), 0x0101_0101);
        assert!(matches!(load(instance, 0x20000), Err(Error::Trap { kind: Trap::OutOfBounds, .. })));
    });
}

#[test]
fn a_module_without_memory_has_none() {
    let wasm = wat::parse_str(r#"(module (func (export "f") (result i32) (i32.const 4)))"#).unwrap();
    common::with_runtime(|runtime| {
        let module = wamr::Module::load(runtime, wamr::ModuleBytes::copy_of(&wasm).unwrap()).unwrap();
        let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
        assert!(matches!(instance.memory(), Err(Error::NoMemory)));
        assert_eq!(instance.call("f", &[]).unwrap(), [Value::I32(4)]);
    });
}

#[test]
fn memory_that_grows_stays_where_it_is_and_what_is_mapped_stays_mapped() {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 2 64)
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#,
    );
    let wasm = wasm.unwrap();
    let aot = common::compiler().map(|compiler| common::compile(&compiler, &wasm, &wamr::Options::new(common::host())));
    let file = file(&vec![1; PAGE]);
    for form in std::iter::once(&wasm).chain(&aot) {
        common::with_runtime(|runtime| {
            let module = wamr::Module::load(runtime, wamr::ModuleBytes::copy_of(form).unwrap()).unwrap();
            let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
            let mut memory = instance.memory().unwrap();
            let base = memory.base();
            memory.map_file(PAGE as u32, &file, 0, PAGE).unwrap();
            assert_eq!(instance.call("grow", &[Value::I32(62)]).unwrap(), [Value::I32(2)]);
            assert_eq!(instance.call("grow", &[Value::I32(1)]).unwrap(), [Value::I32(-1)]);
            assert_eq!(load(&mut instance, PAGE as u32).unwrap(), 0x0101_0101);
            assert_eq!(load(&mut instance, 63 * PAGE as u32).unwrap(), 0);
            assert!(load(&mut instance, 64 * PAGE as u32).is_err());
            let memory = instance.memory().unwrap();
            assert_eq!((memory.base(), memory.len()), (base, 64 * PAGE));
        });
    }
}
