//! WAMR's runtime: the loaders, the interpreter and WASI, linked into this library.

use crate::config::{self, Target};
use crate::{Result, source};
use std::path::Path;

/// What only the runtime has.
const DEFINES: &[(&str, &str)] = &[
    ("WASM_ENABLE_FAST_INTERP", "1"),
    ("WASM_ENABLE_LIBC_WASI", "1"),
    ("WASM_ENABLE_MODULE_INST_CONTEXT", "1"),
    ("WASM_ENABLE_QUICK_AOT_ENTRY", "1"),
    ("WASM_ENABLE_AOT_INTRINSICS", "1"),
];

const FOLDERS: &[&str] = &[
    "iwasm/common",
    "iwasm/libraries/libc-wasi",
    "iwasm/libraries/libc-wasi/sandboxed-system-primitives/src",
    "shared/mem-alloc",
    "shared/mem-alloc/ems",
    "shared/utils",
    "shared/platform/linux",
    "shared/platform/common/posix",
];

const FILES: &[&str] = &[
    "iwasm/aot/aot_runtime.c",
    "iwasm/aot/aot_intrinsic.c",
    "iwasm/interpreter/wasm_loader.c",
    "iwasm/interpreter/wasm_runtime.c",
    "shared/platform/common/libc-util/libc_errno.c",
];

/// The files that c/posix.c and c/thread.c take in and mend. c/interpreter.c does so with `wasm_interp_fast.c`, and c/loader.c with `aot_loader.c`.
const REPLACED: &[&str] = &["posix.c", "posix_thread.c"];

const INCLUDES: &[&str] =
    &["iwasm/libraries/libc-wasi/sandboxed-system-primitives/include", "iwasm/libraries/libc-wasi/sandboxed-system-primitives/src"];

/// Compiles the runtime and has it linked.
pub fn build(core: &Path, target: Target) -> Result<()> {
    let mut build = config::compile(core, target, false);
    for (name, value) in DEFINES {
        build.define(name, *value);
    }
    for include in INCLUDES {
        build.include(core.join(include));
    }
    for folder in FOLDERS {
        build.files(source::files(&core.join(folder), "c", REPLACED)?);
    }
    build.files(FILES.iter().map(|file| core.join(file)));
    build.file(core.join(target.invoke_native())).file(core.join(match target {
        Target::X86_64 => "iwasm/aot/arch/aot_reloc_x86_64.c",
        Target::Aarch64 => "iwasm/aot/arch/aot_reloc_aarch64.c",
    }));
    build.files(["c/host.c", "c/interpreter.c", "c/loader.c", "c/posix.c", "c/runtime.c", "c/thread.c"]);
    config::archive(build, "prebake_wamr", "gcc libc6-dev")?;
    println!("cargo::rustc-link-search=native={}", std::env::var("OUT_DIR").map_err(|_| "OUT_DIR is not set")?);
    println!("cargo::rustc-link-lib=static=prebake_wamr");
    for library in ["m", "dl", "pthread"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}
