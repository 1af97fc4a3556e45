//! How the module's memory is laid out when it is linked. Its exports are the functions that are `no_mangle`.

use payload::RAM_START;
use std::env;

const STACK: usize = 1 << 20;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("wasi") {
        for argument in [format!("--initial-memory={RAM_START}"), format!("--max-memory={RAM_START}"), format!("-zstack-size={STACK}")] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
