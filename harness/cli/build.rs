//! How the program is linked, so that it starts in little time.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, wanted: &str| env::var(variable).is_ok_and(|value| value == wanted);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // What unwinds stacks comes with the program: as a library of its own, it would be found, mapped and relocated at each start.
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
