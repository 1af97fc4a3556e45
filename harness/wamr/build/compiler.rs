//! WAMR's compiler on LLVM: linked into the program `prebake-wamrc` alone, because its functions have the names of the runtime's.

use crate::config::{self, Target};
use crate::llvm::Llvm;
use crate::{Result, source};
use std::path::Path;

/// What only the compiler has.
const DEFINES: &[(&str, &str)] = &[
    ("WASM_ENABLE_WAMR_COMPILER", "1"),
    // Says nothing. The runtime must not have this: there, a guest's own output would go the same way.
    ("BH_VPRINTF", "prebake_wamrc_vprintf"),
    // The compiler can be asked for stack frames, and does not build without knowing their shape. It is never asked.
    ("WASM_ENABLE_AOT_STACK_FRAME", "1"),
    ("WASM_ENABLE_DUMP_CALL_STACK", "1"),
];

const FOLDERS: &[&str] = &[
    "iwasm/common",
    "iwasm/compilation",
    "iwasm/compilation/simd",
    "shared/mem-alloc",
    "shared/mem-alloc/ems",
    "shared/utils",
    "shared/utils/uncommon",
    "shared/platform/linux",
];

const FILES: &[&str] = &[
    "iwasm/aot/aot_loader.c",
    "iwasm/aot/aot_runtime.c",
    "iwasm/aot/aot_intrinsic.c",
    "iwasm/aot/arch/aot_reloc_dummy.c",
    "iwasm/interpreter/wasm_loader.c",
    "iwasm/interpreter/wasm_runtime.c",
    "iwasm/interpreter/wasm_interp_classic.c",
];

/// They serve a running guest.
const NOT_NEEDED: &[&str] = &["posix_file.c", "posix_clock.c", "posix_socket.c"];

/// Compiles the compiler and has the program link it.
pub fn build(core: &Path, target: Target) -> Result<()> {
    let llvm = Llvm::find()?;
    let compile = |cpp| {
        let mut build = config::compile(core, target, cpp);
        // Its time is spent in LLVM, so it is built quickly rather than well.
        build.opt_level(1);
        for (name, value) in DEFINES {
            build.define(name, *value);
        }
        build.include(core.join("iwasm/compilation"));
        for flag in &llvm.defines {
            build.flag(flag);
        }
        build.flag("-isystem").flag(&llvm.include);
        build
    };

    let mut c = compile(false);
    for folder in FOLDERS {
        c.files(source::files(&core.join(folder), "c", &[])?);
    }
    c.files(source::files(&core.join("shared/platform/common/posix"), "c", NOT_NEEDED)?);
    c.files(FILES.iter().map(|file| core.join(file))).file(core.join(target.invoke_native()));
    c.file("c/host.c").file("c/compiler.c");
    config::archive(c, "prebake_wamrc", "g++ llvm-22-dev")?;

    let mut cpp = compile(true);
    cpp.flag("-fno-rtti").files(source::files(&core.join("iwasm/compilation"), "cpp", &[])?);
    config::archive(cpp, "prebake_wamrc_llvm", "g++ llvm-22-dev")?;

    let out = std::env::var("OUT_DIR").map_err(|_| "OUT_DIR is not set")?;
    let archives = ["prebake_wamrc", "prebake_wamrc_llvm"].map(|name| format!("{out}/lib{name}.a"));
    let system = ["-lstdc++", "-lm", "-ldl", "-lpthread"].map(String::from);
    // The two archives call each other.
    let group = [String::from("-Wl,--start-group")].into_iter().chain(archives).chain([String::from("-Wl,--end-group")]);
    for argument in group.chain([format!("-L{}", llvm.libraries)]).chain(llvm.link).chain(system) {
        println!("cargo::rustc-link-arg-bin=prebake-wamrc={argument}");
    }
    Ok(())
}
