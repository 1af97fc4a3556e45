//! The one configuration of WAMR, which its runtime and its compiler share.

use crate::Result;
use std::env;
use std::path::Path;
use std::process::Command;

/// What a guest may do and how it is held in bounds. The compiler's driver reads the same names, so the two cannot differ.
const GUEST: &[(&str, &str)] = &[
    ("WASM_ENABLE_BULK_MEMORY", "1"),
    ("WASM_ENABLE_BULK_MEMORY_OPT", "1"),
    ("WASM_ENABLE_REF_TYPES", "1"),
    ("WASM_ENABLE_CALL_INDIRECT_OVERLONG", "1"),
    // Its loader follows a null pointer where such an expression is malformed.
    ("WASM_ENABLE_EXTENDED_CONST_EXPR", "0"),
    ("WASM_ENABLE_TAIL_CALL", "0"),
    ("WASM_ENABLE_SHARED_MEMORY", "0"),
    // The interpreter would need the headers of SIMDe.
    ("WASM_ENABLE_SIMD", "0"),
    // WAMR's own default cuts a memory that cannot grow down to its `__heap_base`.
    ("WASM_ENABLE_SHRUNK_MEMORY", "0"),
    // Out of bounds is a page fault: no access has a compare.
    ("WASM_DISABLE_HW_BOUND_CHECK", "0"),
    ("WASM_DISABLE_STACK_HW_BOUND_CHECK", "0"),
    // Left to c/host.h, which asks the processor first.
    ("WASM_DISABLE_WRITE_GS_BASE", "1"),
];

/// What both parts are made of.
const PARTS: &[(&str, &str)] = &[
    ("WASM_ENABLE_AOT", "1"),
    ("WASM_ENABLE_INTERP", "1"),
    ("WASM_ENABLE_LOAD_CUSTOM_SECTION", "1"),
    ("WASM_ENABLE_MULTI_MODULE", "0"),
    ("WASM_ENABLE_MINI_LOADER", "0"),
    ("WASM_HAVE_MREMAP", "1"),
    ("BH_MALLOC", "wasm_runtime_malloc"),
    ("BH_FREE", "wasm_runtime_free"),
    ("BH_PLATFORM_LINUX", "1"),
    ("_GNU_SOURCE", "1"),
    ("NDEBUG", "1"),
];

const INCLUDES: &[&str] = &[
    "",
    "iwasm/include",
    "iwasm/common",
    "iwasm/aot",
    "iwasm/interpreter",
    "shared/include",
    "shared/platform/include",
    "shared/platform/linux",
    "shared/platform/common/posix",
    "shared/platform/common/libc-util",
    "shared/mem-alloc",
    "shared/utils",
    "shared/utils/uncommon",
];

/// A processor that WAMR is built for.
#[derive(Clone, Copy)]
pub enum Target {
    X86_64,
    Aarch64,
}

impl Target {
    /// What cargo builds for.
    pub fn of_this_build() -> Result<Self> {
        let value = |name| env::var(name).map_err(|_| format!("{name} is not set: run this through cargo"));
        let (arch, os) = (value("CARGO_CFG_TARGET_ARCH")?, value("CARGO_CFG_TARGET_OS")?);
        match (arch.as_str(), os.as_str()) {
            ("x86_64", "linux") => Ok(Self::X86_64),
            ("aarch64", "linux") => Ok(Self::Aarch64),
            _ => Err(format!("the crate wamr builds for x86_64 and aarch64 Linux, not for {arch} {os}")),
        }
    }

    /// How WAMR calls the processor in a define.
    fn define(self) -> &'static str {
        match self {
            Self::X86_64 => "BUILD_TARGET_X86_64",
            Self::Aarch64 => "BUILD_TARGET_AARCH64",
        }
    }

    /// The assembly that calls native code with a list of arguments, for a build without SIMD.
    pub fn invoke_native(self) -> &'static str {
        match self {
            Self::X86_64 => "iwasm/common/arch/invokeNative_em64.s",
            Self::Aarch64 => "iwasm/common/arch/invokeNative_aarch64.s",
        }
    }
}

/// A compiler of C, or of C++ if `cpp`, that is set up for the files in `core`.
pub fn compile(core: &Path, target: Target, cpp: bool) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(cpp).std(if cpp { "c++17" } else { "gnu99" }).warnings(false).opt_level(3).debug(false).pic(true);
    build.flag("-ffunction-sections").flag("-fdata-sections").flag("-fvisibility=hidden").flag("-w");
    for (name, value) in GUEST.iter().chain(PARTS) {
        build.define(name, *value);
    }
    build.define(target.define(), "1");
    if matches!(target, Target::Aarch64) {
        // The loader compares it with the name of the architecture in an .aot.
        build.define("BUILD_TARGET", "\"AARCH64\"");
    }
    for include in INCLUDES {
        build.include(core.join(include));
    }
    build.include("c").flag("-include").flag("c/host.h");
    build
}

/// Compiles into the archive lib`name`.a, which nothing is told to link yet. `packages` have the compiler and the headers that it takes.
pub fn archive(mut build: cc::Build, name: &str, packages: &str) -> Result<()> {
    build.cargo_metadata(false);
    let compiler = build.try_get_compiler().map_err(|error| format!("no compiler: apt-get install {packages} ({error})"))?;
    if let Err(error) = Command::new(compiler.path()).arg("--version").output() {
        return Err(format!("{} does not run: apt-get install {packages} ({error})", compiler.path().display()));
    }
    // The whole command line is in the error of `try_compile`; the compiler's own words were passed on as warnings.
    build.try_compile(name).map_err(|_| format!("{name} does not compile, see above; for a missing header: apt-get install {packages}"))
}
