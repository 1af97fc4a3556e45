//! `prebake diff`: what differs between two snapshots.

use crate::args::DiffArgs;
use crate::shell::{Shell, show};
use prebake::error::{Error, Result, exit};
use prebake::host::file::HostFile;
use snapshot::{Diff, Snapshot};
use std::path::Path;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &DiffArgs) -> ExitCode {
    match diff(args) {
        Ok(diff) => {
            show(&diff.to_string());
            if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::DIFFERENT) }
        }
        Err(error) => {
            shell.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn diff(args: &DiffArgs) -> Result<Diff> {
    let (first, second) = (open(&args.first)?, open(&args.second)?);
    snapshot::diff(&first, &second, args.pages).map_err(|source| {
        let path = Path::new(&args.first).display();
        Error::Snapshot { path: format!("{path} or {}", args.second.display()).into(), source }
    })
}

fn open(path: &Path) -> Result<Snapshot<HostFile>> {
    Snapshot::open(HostFile::open("snapshot", path)?).map_err(|source| Error::Snapshot { path: path.into(), source })
}
