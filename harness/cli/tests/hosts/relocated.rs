//! Code that one process has relocated is mapped by those after it.

use crate::common::{scratch, succeed, text};
use crate::fallback::installed;
use crate::host::{assert_same, packed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A snapshot that is baked in WAMR, and whether that mapped code.
fn bake(cache: &Path, name: &str) -> (Vec<u8>, bool) {
    let snapshot = scratch(name);
    let mut bake = Command::new(env!("CARGO_BIN_EXE_prebake"));
    bake.env("PREBAKE_MACHINE", installed()).env("PREBAKE_CACHE", cache).env("PREBAKE_LOG", "prebake::engine=debug");
    let output = succeed(bake.arg("bake").arg(&packed().aot).args(["--engine", "wamr"]).arg("-o").arg(&snapshot));
    (fs::read(snapshot).unwrap(), text(&output.stderr).contains("mapping code that was relocated before"))
}

#[test]
fn code_is_relocated_once_and_comes_to_the_same_bytes() {
    let cache = scratch("relocated-cache");
    let _ = fs::remove_dir_all(&cache);
    let kept = || -> Vec<PathBuf> { fs::read_dir(cache.join("relocated")).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let (first, is_mapped) = bake(&cache, "relocated-first.snap");
    let [path] = &kept()[..] else { panic!("{:?}", kept()) };
    assert!(!is_mapped);
    let (second, is_mapped) = bake(&cache, "relocated-second.snap");
    assert!(is_mapped);
    assert_same(&first, &second, "with relocated code (first) and mapped");

    // What is damaged is not run, and made anew.
    let whole = fs::read(path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(path, &damaged).unwrap();
    assert!(!bake(&cache, "relocated-damaged.snap").1);
    let anew = fs::read(path).unwrap();
    assert!(anew != damaged && anew.len() == whole.len());
    assert!(bake(&cache, "relocated-anew.snap").1);
}
