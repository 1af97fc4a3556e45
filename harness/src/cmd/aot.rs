//! `prebake aot`: a machine's code compiled for a host, with the machine's payload.

use crate::artefact::{Artefact, Kind, PartInput, pack};
use crate::cli::AotArgs;
use crate::code::CodeCache;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::file::atomic::AtomicFile;
use crate::file::ledger::{Ledger, Stamp};
use crate::progress::{mebibytes, say};
use snapshot::ReadAt;
use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
    let error = |source| Error::Artefact { path: args.file.clone(), source };
    let options = args.options()?;
    let wasm = Artefact::open(HostFile::open("machine", &args.file)?).map_err(error)?;
    if *wasm.kind() != Kind::Wasm {
        return Err(Error::NotWasm { path: args.file.clone() });
    }
    let mut file = AtomicFile::create(&args.output)?;
    let code = wasm.code().map_err(error)?;
    let start = Instant::now();
    let compiled = CodeCache::of_user()?.compiled(&code, &options, || {
        say(format_args!("aot: compiling the machine's code for {}; once", options.baseline));
    })?;
    let parts = wasm.parts().iter().map(|part| PartInput::new(part.kind, part.length, wasm.reader(part))).collect();
    pack(&compiled, wasm.size(), parts, file.file()).map_err(error)?;
    let length = read_back(args, file.commit()?)?;
    say(format_args!(
        "aot: saved {}: {} for {}, in {:.2} s",
        args.output.display(),
        mebibytes(length),
        options.baseline,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Reads back what is on the disk, and remembers that its code is good. Returns the file's length.
fn read_back(args: &AotArgs, written: File) -> Result<u64> {
    let stamp = Stamp::of(&written);
    std::thread::sleep(stamp.map_or(Duration::ZERO, |stamp| stamp.wait()));
    let error = |source| Error::Artefact { path: args.output.clone(), source };
    let machine = Artefact::open(HostFile::open("machine", &args.output)?).map_err(error)?;
    let digest = machine.code_digest().map_err(error)?;
    Ledger::of_code().remember(machine.file().file(), stamp, digest);
    Ok(machine.file().byte_len())
}
