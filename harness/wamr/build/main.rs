//! Compiles WAMR: its runtime into this library, its compiler into the program `prebake-wamrc`.
//!
//! Both take what a guest may do, and how its bounds are checked, from `config`. Nothing else may decide it: code that was compiled for
//! hardware bounds checks loads without a word in a runtime that has none, and then nothing checks.

mod compiler;
mod config;
mod llvm;
mod runtime;
mod source;

use std::process::ExitCode;

/// Why the build stops, in words for whoever started it.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    for path in ["build", "c", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let core = source::core()?;
    let target = config::Target::of_this_build()?;
    // The compiler first: it needs what a machine may not have.
    if std::env::var_os("CARGO_FEATURE_COMPILER").is_some() {
        if std::env::var_os("HOST") != std::env::var_os("TARGET") {
            return Err("the feature `compiler` of the crate wamr is for native builds: pass --no-default-features to a cross build".into());
        }
        compiler::build(&core, target)?;
    }
    runtime::build(&core, target)
}
