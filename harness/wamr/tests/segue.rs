//! Code that addresses memory through GS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use wamr::{Baseline, Error, Instance, Module, ModuleBytes, Options, Trap, Value, Wasi};

#[test]
#[cfg(target_arch = "x86_64")]
fn code_that_addresses_memory_through_gs_runs_where_the_host_can() {
    let Some(compiler) = common::compiler() else { return };
    let options = Options { segue: true, ..Options::new(Baseline::X86_64V2) };
    let aot = common::compile(&compiler, &common::WASM, &options);
    let plain = common::compile(&compiler, &common::WASM, &Options::new(Baseline::X86_64V2));
    // A load through GS, `mov eax, gs:[…]`, has its prefix.
    let gs_prefixes = |code: &[u8]| code.windows(2).filter(|bytes| *bytes == [0x65, 0x8b]).count();
    assert!(gs_prefixes(&aot) > gs_prefixes(&plain));
    common::with_runtime(|runtime| {
        let module = match Module::load(runtime, ModuleBytes::copy_of(&aot).unwrap()) {
            Err(Error::HostLacks { needed }) => return assert_eq!(needed, "segue"),
            module => module.unwrap(),
        };
        // Each instance has its own memory, whichever ran last.
        let mut instances = [1, 2].map(|_| Instance::new(&module, Wasi::default(), common::STACK).unwrap());
        for round in 0..3 {
            for (i, instance) in instances.iter_mut().enumerate() {
                let value = Value::I32((round * 2 + i) as i32);
                instance.call("store", &[Value::I32(4096), value]).unwrap();
            }
            for (i, instance) in instances.iter_mut().enumerate() {
                assert_eq!(instance.call("load", &[Value::I32(4096)]).unwrap(), [Value::I32((round * 2 + i) as i32)]);
                let trap = instance.call("load", &[Value::I32(-4)]);
                assert!(matches!(trap, Err(Error::Trap { kind: Trap::OutOfBounds, .. })), "{trap:?}");
            }
        }
    });
}
