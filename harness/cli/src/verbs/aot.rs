//! `prebake aot`: a machine's code compiled for a host, with the machine's payload.

use crate::args::AotArgs;
use prebake::error::{Error, Result};
use prebake::host::file::HostFile;
use prebake::host::file::atomic::AtomicFile;
use prebake::host::file::ledger::{Ledger, Stamp};
use prebake::make::artifact::{Artifact, Kind, PartInput, pack};
use prebake::make::code::CodeCache;
use prebake::progress::{Progress, mebibytes, say};
use snapshot::ReadAt;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wamr::Options;

/// Runs the verb.
pub fn run(args: &AotArgs) -> ExitCode {
    match compile(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("prebake aot: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn compile(args: &AotArgs) -> Result<()> {
    let (options, start) = (args.options()?, Instant::now());
    let mut progress = Progress::new("aot");
    let length = make(&args.file, &args.output, &options, &mut progress)?;
    progress.say(format_args!(
        "saved {}: {} for {}, in {:.2} s",
        args.output.display(),
        mebibytes(length),
        options.baseline,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Compiles the machine in `file` to `output`. Returns the length of that.
pub fn make(file: &Path, output: &Path, options: &Options, progress: &mut Progress) -> Result<u64> {
    let error = |source| Error::Artifact { path: file.into(), source };
    let wasm = Artifact::open(HostFile::open("machine", file)?).map_err(error)?;
    if *wasm.kind() != Kind::Wasm {
        return Err(Error::NotWasm { path: file.into() });
    }
    let mut new = AtomicFile::create(output)?;
    let code = wasm.code().map_err(error)?;
    let compiled = CodeCache::of_user()?.compiled(&code, options, || {
        progress.say(format_args!("compiling the machine's code for {}; once", options.baseline));
    })?;
    let parts = wasm.parts().iter().map(|part| PartInput::new(part.kind, part.length, wasm.reader(part))).collect();
    pack(&compiled, wasm.size(), parts, new.file()).map_err(error)?;
    read_back(output, new.commit()?)
}

/// Reads back what is on the disk, and remembers that its code is good. Returns the file's length.
fn read_back(path: &Path, written: File) -> Result<u64> {
    let stamp = Stamp::of(&written);
    std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
    let error = |source| Error::Artifact { path: path.into(), source };
    let machine = Artifact::open(HostFile::open("machine", path)?).map_err(error)?;
    let digest = machine.code_digest().map_err(error)?;
    Ledger::of_code().remember(machine.file().file(), stamp, digest);
    Ok(machine.file().byte_len())
}
