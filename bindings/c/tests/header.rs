//! The header is what `src` says. `HEADER_WRITE=1` writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::Builder::new().with_config(config).with_src(root.join("src/lib.rs")).generate().unwrap().write(&mut made);
    let made = without_safety(&String::from_utf8(made).unwrap());
    let header = root.join("include/prebake.h");
    if std::env::var_os("HEADER_WRITE").is_some() {
        std::fs::write(&header, &made).unwrap();
    }
    assert!(std::fs::read_to_string(&header).is_ok_and(|found| found == made), "the source says something else: make c-header");
}

/// What Rust calls safety goes without saying in C. It is the last part of a comment.
fn without_safety(header: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_safety = false;
    for line in header.lines() {
        is_safety = line == "// # Safety" || is_safety && line.starts_with("//");
        if line == "// # Safety" {
            // The empty line before it.
            kept.pop();
        }
        if !is_safety {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}
