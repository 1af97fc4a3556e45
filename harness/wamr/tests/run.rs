//! Calls, traps and WASI, interpreted and compiled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::with_each;
use std::io::Read;
use wamr::{Error, Instance, Module, ModuleBytes, Trap, Value, Wasi};

fn trap(instance: &mut Instance, name: &str, params: &[Value]) -> Trap {
    let trap = match instance.call(name, params) {
        Err(Error::Trap { kind, message }) => {
            assert!(!message.is_empty() && !message.starts_with("Exception"), "{message}");
            kind
        }
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(instance.call("add", &[Value::I32(2), Value::I32(3)]).unwrap(), [Value::I32(5)], "after {name}");
    trap
}

#[test]
fn values_of_every_kind_go_in_and_come_out() {
    with_each(Wasi::default, |instance| {
        let swapped = instance.call("swap", &[Value::I32(-2), Value::I64(i64::MIN + 7)]).unwrap();
        assert_eq!(swapped, [Value::I64(i64::MIN + 7), Value::I32(-2)]);
        assert_eq!(instance.call("half", &[Value::F64(3.0), Value::F32(-2.0)]).unwrap(), [Value::F64(-1.5)]);

        let add = instance.typed_func::<(i32, u32), u32>("add").unwrap();
        assert_eq!(add.call(instance, (-1, 3)).unwrap(), 2);
        let swap = instance.typed_func::<(u32, u64), (u64, i32)>("swap").unwrap();
        assert_eq!(swap.call(instance, (u32::MAX, u64::MAX - 1)).unwrap(), (u64::MAX - 1, -1));
        let sum = instance.typed_func::<(i64, i32, i64, i32, i64, i32, i64, i32), i64>("sum8").unwrap();
        assert_eq!(sum.call(instance, (1 << 40, -1, 2 << 40, -2, 3 << 40, -3, 4 << 40, -4)).unwrap(), (10 << 40) - 10);
        let store = instance.typed_func::<(u32, u32), ()>("store").unwrap();
        store.call(instance, (4096, 0xdead_beef)).unwrap();
        assert_eq!(instance.typed_func::<u32, u32>("load").unwrap().call(instance, 4096).unwrap(), 0xdead_beef);
    });
}

#[test]
fn a_function_of_another_type_or_name_or_instance_is_refused() {
    with_each(Wasi::default, |instance| {
        assert!(matches!(instance.call("add", &[Value::I32(1)]), Err(Error::Signature { .. })));
        assert!(matches!(instance.call("add", &[Value::I32(1), Value::I64(1)]), Err(Error::Signature { .. })));
        assert!(matches!(instance.typed_func::<(i32, i32), u64>("add"), Err(Error::Signature { .. })));
        assert!(matches!(instance.typed_func::<(i32, i64), i32>("add"), Err(Error::Signature { .. })));
        for name in ["no such", "ad", "memory", "add\0"] {
            assert!(matches!(instance.typed_func::<(), ()>(name), Err(Error::NoFunction { .. })), "{name:?}");
        }
        let add = instance.typed_func::<(i32, i32), i32>("add").unwrap();
        let mut other = Instance::new(instance.module(), Wasi::default(), common::STACK).unwrap();
        assert!(matches!(add.call(&mut other, (1, 2)), Err(Error::OtherInstance)));
        assert_eq!(other.typed_func::<(i32, i32), i32>("add").unwrap().call(&mut other, (1, 2)).unwrap(), 3);
    });
}

#[test]
fn a_trap_is_named_and_the_instance_goes_on() {
    with_each(Wasi::default, |instance| {
        let memory = instance.memory().unwrap().len() as i32;
        assert_eq!(memory, 16 << 16);
        for address in [memory, memory - 3, i32::MAX, -4] {
            assert_eq!(trap(instance, "load", &[Value::I32(address)]), Trap::OutOfBounds, "{address:#x}");
        }
        assert_eq!(instance.call("load", &[Value::I32(memory - 4)]).unwrap(), [Value::I32(0)]);
        assert_eq!(trap(instance, "unreachable", &[]), Trap::Unreachable);
        assert_eq!(trap(instance, "divide", &[Value::I32(1), Value::I32(0)]), Trap::Arithmetic);
        assert_eq!(trap(instance, "divide", &[Value::I32(i32::MIN), Value::I32(-1)]), Trap::Arithmetic);
        instance.call("indirect", &[Value::I32(0)]).unwrap();
        for index in [1, 2] {
            assert_eq!(trap(instance, "indirect", &[Value::I32(index)]), Trap::IndirectCall, "{index}");
        }
        assert_eq!(trap(instance, "init", &[Value::I32(0), Value::I32(8), Value::I32(8)]), Trap::OutOfBounds);
    });
}

#[test]
fn endless_recursion_is_a_stack_overflow_each_time() {
    with_each(Wasi::default, |instance| {
        for _ in 0..3 {
            assert_eq!(trap(instance, "recurse", &[Value::I32(0)]), Trap::StackOverflow);
        }
    });
}

#[test]
fn proc_exit_gives_its_code() {
    with_each(Wasi::default, |instance| {
        for code in [0, 1, 42, 255] {
            let exit = instance.typed_func::<u32, ()>("exit").unwrap().call(instance, code);
            assert!(matches!(exit, Err(Error::Exit { code: found }) if found == code), "{exit:?}");
        }
    });
}

#[test]
fn wasi_gives_directories_streams_arguments_and_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("name.txt"), "from the host").unwrap();
    for named in [true, false] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let wasi = || Wasi {
            args: ["guest", "one", ""].map(String::from).to_vec(),
            env: vec![("NAME".into(), "a=b".into())],
            preopens: if named { vec![common::preopen("/there", folder.path())] } else { Vec::new() },
            stdio: [None, Some(writer.try_clone().unwrap().into()), None],
            ..Wasi::default()
        };
        with_each(wasi, |instance| {
            let read = instance.typed_func::<(u32, u32), i32>("read_file").unwrap().call(instance, (4096, 100)).unwrap();
            assert_eq!(read, if named { 13 } else { -8 });
            assert_eq!(instance.call("argc", &[]).unwrap(), [Value::I32(3)]);
            assert_eq!(instance.call("environ", &[Value::I32(8192)]).unwrap(), [Value::I32(0)]);
            let memory = instance.memory().unwrap();
            assert_eq!(memory.slice(8192, 9).unwrap(), b"NAME=a=b\0");
            assert_eq!(memory.slice(4096, 13).unwrap(), if named { b"from the host" } else { &[0; 13] });
            assert_eq!(instance.call("print", &[Value::I32(8192), Value::I32(4)]).unwrap(), [Value::I32(0)]);
        });
        drop(writer);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "NAME".repeat(common::forms().len()));
    }
}

/// Also where the process's own directory, that of this package, has the names in it.
#[test]
fn links_are_made_in_the_directory_that_was_given() {
    for name in ["src", "tests"] {
        assert!(std::fs::exists(name).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("name.txt"), "from the host").unwrap();
    let wasi = || Wasi { preopens: vec![common::preopen("/there", folder.path())], ..Wasi::default() };
    with_each(wasi, |instance| {
        for call in ["link", "symlink"] {
            assert_eq!(instance.call(call, &[]).unwrap(), [Value::I32(0)], "{call}");
        }
        assert_eq!(std::fs::read_link(folder.path().join("tests")).unwrap(), std::path::Path::new("src"));
        assert_eq!(std::fs::read_to_string(folder.path().join("tests")).unwrap(), "from the host");
        assert!(!std::fs::symlink_metadata(folder.path().join("src")).unwrap().is_symlink());
        for name in ["src", "tests"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    });
}

#[test]
fn wasi_that_cannot_be_given_is_refused() {
    common::with_runtime(|runtime| {
        let module = Module::load(runtime, ModuleBytes::copy_of(&common::WASM).unwrap()).unwrap();
        let refuse = |wasi: Wasi| Instance::new(&module, wasi, common::STACK).unwrap_err().to_string();
        let folder = |guest: &str, host: &str| Wasi { preopens: vec![common::preopen(guest, host.as_ref())], ..Wasi::default() };
        assert!(refuse(folder("a::b", "/")).contains("::"));
        assert!(refuse(folder("a:", "/")).contains("::"));
        assert!(refuse(folder("/", "/no/such/folder")).contains("/no/such/folder"));
        assert!(refuse(Wasi { args: vec!["a\0b".into()], ..Wasi::default() }).contains("NUL"));
        Instance::new(&module, folder("/", "/"), common::STACK).unwrap();
    });
}

#[test]
fn an_instance_keeps_what_it_needs() {
    common::with_runtime(|runtime| {
        let mut instance = {
            let runtime = runtime.clone();
            let module = Module::load(&runtime, ModuleBytes::copy_of(&common::WASM).unwrap()).unwrap();
            Instance::new(&module, Wasi::default(), common::STACK).unwrap()
        };
        assert_eq!(instance.call("add", &[Value::I32(1), Value::I32(1)]).unwrap(), [Value::I32(2)]);
    });
}
