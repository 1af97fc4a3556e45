//! Where WAMR's source is, and which files of a folder are wanted.

use crate::Result;
use serde_json::Value;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate that carries WAMR 2.4.3, as it is named in Cargo.toml.
const CARRIER: &str = "wamrx-sys";

/// The folder `core` of WAMR, in the crate that cargo fetched.
pub fn core() -> Result<PathBuf> {
    // A package that is not there yet must be fetched; all else is quicker, and more surely the same, without a network.
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let manifest = packages.iter().find(|package| package["name"] == CARRIER).and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.ok_or_else(|| format!("cargo metadata knows no package {CARRIER}; is Cargo.lock up to date?"))?);
    println!("cargo::rerun-if-changed={}", manifest.display());
    let core = manifest.with_file_name("wasm-micro-runtime").join("core");
    if !core.is_dir() {
        return Err(format!("{} is missing: remove the folder of {CARRIER} and run `cargo fetch`", core.display()));
    }
    Ok(core)
}

fn metadata(arguments: &[&str]) -> Result<Value> {
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set: run this through cargo")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1"])
        .args(arguments)
        .env_remove("RUSTC_WRAPPER")
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// The files of `folder` that end in `.extension`, without those `left_out`, in an order that is always the same.
pub fn files(folder: &Path, extension: &str, left_out: &[&str]) -> Result<Vec<PathBuf>> {
    let error = |error| format!("cannot list {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let wanted = Path::new(&name).extension().is_some_and(|found| found == extension);
        if wanted && !left_out.iter().any(|left_out| name == *left_out) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
