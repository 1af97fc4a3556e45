//! `prebake unpack`: a snapshot in its travelling form, turned into one that can be run.

use crate::args::UnpackArgs;
use prebake::error::{Error, Result};
use prebake::host::file::HostFile;
use prebake::host::file::atomic::AtomicFile;
use prebake::progress::{Progress, mebibytes};
use snapshot::Travelling;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &UnpackArgs) -> ExitCode {
    super::end("unpack", unpack(args))
}

fn unpack(args: &UnpackArgs) -> Result<()> {
    let mut progress = Progress::new("unpack");
    let error = |source| Error::Snapshot { path: args.file.clone(), source };
    let travelling = Travelling::open(HostFile::open("snapshot", &args.file)?).map_err(error)?;
    let mut file = AtomicFile::create(&args.output)?;
    let written = travelling.unpack(file.file(), |done| progress.update(|| mebibytes(done))).map_err(|source| match source {
        snapshot::Error::Io { doing: "writing the snapshot", source } => Error::Write { path: args.output.clone(), source },
        source => error(source),
    })?;
    file.commit()?;
    progress.say(format_args!("saved {}: {}, {}", args.output.display(), mebibytes(written.file_length), written.content_digest));
    Ok(())
}
