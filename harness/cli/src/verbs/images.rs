//! `prebake images`: what has been pulled.

use crate::args::ImagesArgs;
use crate::shell::{Shell, show};
use crate::wording::mebibytes;
use prebake::distribution::store::{Entry, Store};
use prebake::error::Result;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ImagesArgs) -> ExitCode {
    super::end(shell, list(shell, args))
}

fn list(shell: &Shell, args: &ImagesArgs) -> Result<()> {
    let entries = Store::open(&shell.context)?.entries()?;
    if args.json {
        // Whoever reads the first lines only has seen enough.
        let _ = std::io::stdout().write_all(as_json(&entries).as_bytes());
    } else {
        show(&as_text(&entries));
    }
    Ok(())
}

fn as_json(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        json!({
            "reference": entry.reference,
            "digest": entry.digest.to_string(),
            "target": target(entry),
            "machine_bytes": entry.machine.bytes,
            "snapshot_bytes": entry.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            "pulled": entry.pulled,
        })
    };
    format!("{:#}\n", serde_json::Value::Array(entries.iter().map(entry).collect()))
}

fn target(entry: &Entry) -> &str {
    entry.target.as_deref().unwrap_or("wasm")
}

fn as_text(entries: &[Entry]) -> String {
    let longest = entries.iter().map(|entry| entry.reference.len()).max().unwrap_or(0).max("REFERENCE".len());
    let row = |reference: &str, digest: &str, target: &str, size: &str, snapshot: &str| {
        format!("{reference:longest$}  {digest:12}  {target:8}  {size:>10}  {snapshot}\n")
    };
    let mut text = row("REFERENCE", "DIGEST", "TARGET", "SIZE", "SNAPSHOT");
    for entry in entries {
        let snapshot = if entry.snapshot.is_some() { "yes" } else { "no" };
        text += &row(&entry.reference, &entry.digest.digits()[..12], target(entry), &mebibytes(entry.bytes()), snapshot);
    }
    text
}
