//! `prebake aot`: a machine's code compiled for a host, with the machine's payload.

use crate::args::AotArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::make::compile::{compile, ship};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(shell: &Shell, args: &AotArgs) -> ExitCode {
    super::end(shell, make(shell, args))
}

fn make(shell: &Shell, args: &AotArgs) -> Result<()> {
    let (options, start) = (args.options()?, Instant::now());
    let (file, output) = match (&args.ship, &args.file, &args.output) {
        (Some(folder), ..) => {
            let place = ship(&shell.context, folder, &options)?;
            shell.say(format_args!("saved {} for {}", place.display(), options.baseline));
            return Ok(());
        }
        // Without a folder they are required.
        (None, file, output) => (file.clone().unwrap_or_default(), output.clone().unwrap_or_default()),
    };
    let length = compile(&shell.context, &file, &output, &options)?;
    shell.say(format_args!(
        "saved {}: {} for {}, in {:.2} s",
        output.display(),
        mebibytes(length),
        options.baseline,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
