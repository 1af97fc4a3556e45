//! `prebake boot`: a cold start, with someone at the console.

use super::{finish, mode, say_stats};
use crate::args::BootArgs;
use crate::console;
use crate::shell::Shell;
use crate::terminal::Signals;
use attend::{Begin, Routes, Transcript};
use prebake::error::Result;
use prebake::host::backend::disk::Verify;
use prebake::machine::config::{ConfigBuilder, Randomness, seed};
use prebake::machine::output::HostOutput;
use prebake::machine::{boot, native};
use prebake::report::Report;
use prebake::run::attend;
use prebake::run::attended::{AttendOptions, Attended};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(shell: &Shell, args: &BootArgs, start: Instant) -> ExitCode {
    let mut report = Report::of("boot");
    let result = boot(shell, args, start, &mut report);
    say_stats(shell, &args.console, &report);
    finish(shell, &args.report, report, result)
}

fn boot(shell: &Shell, args: &BootArgs, start: Instant, report: &mut Report) -> Result<u8> {
    let signals = Signals::catch()?;
    let mut parts = ConfigBuilder::open(&shell.context, &(&args.cold.devices).into(), Verify::IfChanged)?;
    let (input, streams) = console::of_process()?.split();
    let (mode, clock) = (mode(&args.console).unwrap_or(input.source.usual_mode()), args.console.clock.into());
    let output = HostOutput::new(Routes::all(mode), streams, true, Transcript::default());
    let randomness = Randomness::of_boot(clock);
    let config = parts.take_config(&output, clock, randomness, Some(seed(randomness)?))?;
    let engine = native(&shell.context, boot::kernel(&args.kernel, &args.cold.kernel(), config)?, args.debug.aid().as_ref())?;
    let options = AttendOptions { begin: Begin::PowerOn, clock, mode, limit: args.report.limit_instructions, saver: None };
    let mut attended = Attended::new(shell.context.clone(), engine, (input, output.clone()), Box::new(signals), options);
    attend(&shell.context, &mut attended, &output, (report, start))?.status()
}
