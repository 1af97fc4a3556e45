//! Makes the JavaScript around a module: `bindgen MODULE.wasm FOLDER`.
//!
//! The program `wasm-bindgen` does the same, and brings a web server and a client with it.

use anyhow::{Context as _, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(module), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: bindgen MODULE.wasm FOLDER");
    };
    Bindgen::new()
        .input_path(&module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&folder)
        .with_context(|| format!("make the JavaScript of {}", module.display()))
}
