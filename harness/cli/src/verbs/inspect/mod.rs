//! `prebake inspect`: what is in a snapshot or in a machine's file.

mod machine;
mod snapshot;

use crate::args::{InspectArgs, RunOperand};
use crate::shell::{Shell, show};
use prebake::artifact::is_machine;
use prebake::distribution::oci::{PullOptions, PullPolicy};
use prebake::error::Result;
use prebake::make::image::Name;
use prebake::run::named;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The files to describe: this one, or those in the store of the image that has this name.
fn files(shell: &Shell, file: &Path) -> Result<Vec<PathBuf>> {
    let image = match RunOperand::of(&file.to_string_lossy()) {
        RunOperand::File(file) => return Ok(vec![file]),
        // A snapshot may have any name.
        RunOperand::Image(image) if file.is_file() && matches!(Name::parse(&image), Ok(Name::Registry(_)) | Err(_)) => {
            return Ok(vec![file.into()]);
        }
        RunOperand::Image(image) => image,
    };
    let options = PullOptions { policy: PullPolicy::Never, ..PullOptions::default() };
    let artifacts = named::ensure(&shell.context, &image, &options)?;
    let snapshot =
        artifacts.snapshot_file.clone().or_else(|| Some(artifacts.wasm_file.with_extension("snap")).filter(|made| made.exists()));
    Ok(std::iter::once(artifacts.wasm_file.clone()).chain(snapshot).collect())
}

/// Runs the verb.
pub fn run(shell: &Shell, args: &InspectArgs) -> ExitCode {
    let result = files(shell, &args.file).and_then(|files| {
        let one = |file: &PathBuf| {
            let args = InspectArgs { file: file.clone(), ..*args };
            if is_machine(file) { machine::inspect(&args) } else { snapshot::inspect(&args) }
        };
        let parts = files.iter().map(one).collect::<Result<Vec<_>>>()?;
        Ok(if args.json && parts.len() > 1 { format!("[{}]\n", parts.join(",")) } else { parts.join("\n") })
    });
    match result {
        Ok(text) => {
            if args.json {
                // Whoever reads the first lines only has seen enough.
                let _ = std::io::stdout().write_all(text.as_bytes());
            } else {
                show(&text);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            if args.json {
                let error = json!({ "error": { "kind": error.kind(), "message": error.to_string() } });
                let _ = writeln!(std::io::stdout(), "{error:#}");
            }
            shell.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
