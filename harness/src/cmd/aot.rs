//! `prebake aot`: a machine's code compiled for a host, with the machine's payload.

use crate::artefact::{Artefact, Kind, PartInput, pack};
use crate::cli::AotArgs;
use crate::code::CodeCache;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::file::atomic::AtomicFile;
use crate::progress::{mebibytes, say};
use std::process::ExitCode;
use std::time::Instant;

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
    let written = file.commit()?;
    let length = written.metadata().map_or(0, |metadata| metadata.len());
    say(format_args!(
        "aot: saved {}: {} for {}, in {:.2} s",
        args.output.display(),
        mebibytes(length),
        options.baseline,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
