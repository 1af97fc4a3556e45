//! WAMR on several threads of a process. Their guests fault all the time, which is how they are held in bounds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use wamr::{Error, Instance, Module, ModuleBytes, Runtime, Trap, Value, Wasi};

/// Runs `work` on a thread with a stack for WAMR.
fn on_thread<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, T> {
    thread::Builder::new().stack_size(Runtime::STACK).spawn_scoped(scope, work).unwrap()
}

fn trap(instance: &mut Instance, name: &str, argument: i32) -> Option<Trap> {
    match instance.call(name, &[Value::I32(argument)]) {
        Err(Error::Trap { kind, .. }) => Some(kind),
        _ => None,
    }
}

/// What a guest does rightly, and what it is held from.
fn behave(instance: &mut Instance, number: i32) {
    assert_eq!(instance.call("add", &[Value::I32(number), Value::I32(1)]).unwrap(), [Value::I32(number + 1)]);
    assert_eq!(trap(instance, "load", 64 << 20), Some(Trap::OutOfBounds));
    assert_eq!(trap(instance, "recurse", 0), Some(Trap::StackOverflow));
}

#[test]
fn each_thread_has_a_runtime_of_its_own_and_one_alone() {
    common::with_runtime(|_| {
        assert!(matches!(Runtime::start(), Err(Error::AlreadyStarted)));
        thread::scope(|scope| {
            on_thread(scope, || drop(Runtime::start().unwrap())).join().unwrap();
        });
        // That one's end is not the end of this one.
        assert!(matches!(Runtime::start(), Err(Error::AlreadyStarted)));
    });
    common::with_runtime(|_| ());
}

#[test]
fn guests_fault_on_all_threads_at_once_while_others_begin_and_end() {
    for form in common::forms() {
        let all_are_here = Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..4 {
                let all_are_here = &all_are_here;
                on_thread(scope, move || {
                    for round in 0..8 {
                        let runtime = Runtime::start().unwrap();
                        let module = Module::load(&runtime, ModuleBytes::copy_of(form).unwrap()).unwrap();
                        let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
                        if round == 0 {
                            all_are_here.wait();
                        }
                        for call in 0..=10 * number {
                            behave(&mut instance, call);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn the_first_runtime_of_a_process_takes_nothing_from_the_others_when_it_ends() {
    let wasm = wat::parse_str(format!(
        r#"(module (memory (export "memory") 1 1) (data $payload "{}")
             (func (export "init") (param i32) (memory.init $payload (i32.const 0) (local.get 0) (i32.const 16)))
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#,
        "0123456789abcdef".repeat(1 << 17)
    ))
    .unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&wasm).unwrap();
    let (both_run, first_is_gone) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let first = Runtime::start().unwrap();
        on_thread(scope, || {
            let runtime = Runtime::start().unwrap();
            let bytes = ModuleBytes::of_file((&file, Path::new("a machine")), wasm.len() as u64, 4096..wasm.len() as u64).unwrap();
            let module = Module::load(&runtime, bytes).unwrap();
            let mut instance = Instance::new(&module, Wasi::default(), common::STACK).unwrap();
            both_run.wait();
            first_is_gone.wait();
            assert_eq!(trap(&mut instance, "load", 64 << 10), Some(Trap::OutOfBounds));
            instance.call("init", &[Value::I32(64 << 10)]).unwrap();
            file.set_len(128 << 10).unwrap();
            let error = instance.call("init", &[Value::I32(1 << 20)]).unwrap_err().to_string();
            assert!(error.contains("shortened a machine"), "{error}");
        });
        both_run.wait();
        drop(first);
        first_is_gone.wait();
    });
}
