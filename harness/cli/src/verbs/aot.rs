//! `prebake aot`: a machine's code compiled for a host, with the machine's payload.

use crate::args::AotArgs;
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::error::Result;
use prebake::make::compile::compile;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(shell: &Shell, args: &AotArgs) -> ExitCode {
    super::end(shell, make(shell, args))
}

fn make(shell: &Shell, args: &AotArgs) -> Result<()> {
    let (options, start) = (args.options()?, Instant::now());
    let length = compile(&shell.context, &args.file, &args.output, &options)?;
    shell.say(format_args!(
        "saved {}: {} for {}, in {:.2} s",
        args.output.display(),
        mebibytes(length),
        options.baseline,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
