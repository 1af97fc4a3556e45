//! A guest in both forms, and a thread to run it on.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use wamr::{Baseline, Compiler, Instance, Module, ModuleBytes, Options, Preopen, Runtime, Wasi};

/// How much stack the interpreter has in these tests.
pub const STACK: u32 = 64 << 10;

pub const GUEST: &str = include_str!("guest.wat");

/// The guest as WebAssembly.
pub static WASM: LazyLock<Vec<u8>> = LazyLock::new(|| wat::parse_str(GUEST).unwrap());

/// The guest for this host; none where the compiler was not built.
pub static AOT: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| Some(compile(&compiler()?, &WASM, &Options::new(host()))));

/// The compiler: `$PREBAKE_WAMRC`, for a cross build's tests, or the one that was built with this; none if neither is.
pub fn compiler() -> Option<Compiler> {
    let built = || option_env!("CARGO_BIN_EXE_prebake-wamrc").filter(|_| cfg!(feature = "compiler")).map(Into::into);
    std::env::var_os("PREBAKE_WAMRC").or_else(built).map(Compiler::at)
}

/// What this host can run.
pub fn host() -> Baseline {
    Baseline::default_for(std::env::consts::ARCH).unwrap()
}

pub fn compile(compiler: &Compiler, wasm: &[u8], options: &Options) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("guest.wasm"), folder.path().join("guest.aot"));
    std::fs::write(&from, wasm).unwrap();
    compiler.compile(&from, &to, options).unwrap();
    assert_eq!(files(folder.path()), ["guest.aot", "guest.wasm"]);
    std::fs::read(to).unwrap()
}

pub fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory that the guest may change.
pub fn preopen(guest: &str, host: &Path) -> Preopen {
    Preopen { guest: guest.into(), host: host.into(), read_only: false }
}

/// Both forms of the guest.
pub fn forms() -> Vec<&'static [u8]> {
    std::iter::once(WASM.as_slice()).chain(AOT.as_deref()).collect()
}

/// Runs `test` on a thread as the runtime wants it, while no other test does.
pub fn with_runtime<T: Send>(test: impl FnOnce(&Runtime) -> T + Send) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(Runtime::STACK);
        let thread = thread.spawn_scoped(scope, || test(&Runtime::start().unwrap())).unwrap();
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs `test` on an instance of each form of the guest.
pub fn with_each(wasi: impl Fn() -> Wasi + Sync, test: impl Fn(&mut Instance) + Sync) {
    for form in forms() {
        with_runtime(|runtime| {
            let module = Module::load(runtime, ModuleBytes::copy_of(form).unwrap()).unwrap();
            test(&mut Instance::new(&module, wasi(), STACK).unwrap());
        });
    }
}
