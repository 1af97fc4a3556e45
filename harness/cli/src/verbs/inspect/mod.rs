//! `prebake inspect`: what is in a snapshot or in a machine's file.

mod machine;
mod snapshot;

use crate::args::InspectArgs;
use crate::shell::Shell;
use prebake::artifact::is_machine;
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &InspectArgs) -> ExitCode {
    let result = if is_machine(&args.file) { machine::inspect(args) } else { snapshot::inspect(args) };
    // Whoever reads the first lines only has seen enough.
    match result {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
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
