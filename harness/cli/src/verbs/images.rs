//! `prebake images`: what has been pulled.

use crate::args::ImagesArgs;
use crate::shell::{Shell, show};
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::service::store::{self, Image};
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ImagesArgs) -> ExitCode {
    super::end(shell, list(shell, args))
}

fn list(shell: &Shell, args: &ImagesArgs) -> Result<()> {
    let images = store::images(&shell.context)?;
    if args.json {
        // Whoever reads the first lines only has seen enough.
        let _ = std::io::stdout().write_all(super::json(&images)?.as_bytes());
    } else {
        show(&as_text(&images));
    }
    Ok(())
}

fn as_text(images: &[Image]) -> String {
    let longest = images.iter().map(|image| image.reference.len()).max().unwrap_or(0).max("REFERENCE".len());
    let row = |reference: &str, digest: &str, target: &str, size: &str, snapshot: &str| {
        format!("{reference:longest$}  {digest:12}  {target:8}  {size:>10}  {snapshot}\n")
    };
    let mut text = row("REFERENCE", "DIGEST", "TARGET", "SIZE", "SNAPSHOT");
    for image in images {
        let digits = image.digest.split_once(':').map_or(&*image.digest, |(_, digits)| digits);
        let size = mebibytes(image.machine_bytes + image.snapshot_bytes.unwrap_or(0));
        let snapshot = if image.snapshot_bytes.is_some() { "yes" } else { "no" };
        text += &row(&image.reference, digits.get(..12).unwrap_or(digits), &image.target, &size, snapshot);
    }
    text
}
