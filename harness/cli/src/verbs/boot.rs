//! `prebake boot`: a cold start, with someone at the console.

use super::{finish, mode, say_stats};
use crate::args::BootArgs;
use crate::console;
use crate::shell::Shell;
use prebake::error::Result;
use prebake::host::backend::disk::Verify;
use prebake::machine::parts::{Parts, Randomness, seed};
use prebake::machine::{boot, native};
use prebake::report::Report;
use prebake::run::attended::{Attended, Manner};
use prebake::run::console::{Console, Typist};
use prebake::run::drive::Drive;
use prebake::run::input::Input;
use prebake::run::outlet::Outlet;
use prebake::run::tail::Tail;
use prebake::run::{attend, routes};
use prebake::terminal::signals::Signals;
use protocol::Mode;
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
    let mut parts = Parts::open(&shell.context, &(&args.cold.devices).into(), Verify::IfChanged)?;
    let Console { stdin, stdout, stderr, typist, terminal } = console::of_process()?;
    let usual = if typist == Typist::Script { Mode::Streams } else { Mode::Tty };
    let (mode, clock) = (mode(&args.console).unwrap_or(usual), args.console.clock.into());
    let outlet = Outlet::new(routes(mode), (stdout, stderr), true, Tail::default());
    let randomness = Randomness::of_boot(clock);
    let config = parts.take_config(&outlet, clock, randomness, Some(seed(randomness)?))?;
    let engine = native(&shell.context, boot::cold(&args.kernel, &args.cold.cold(), config)?, args.debug.aid().as_ref())?;
    let drive = Drive::new(engine, args.report.limit_instructions);
    let manner = Manner { clock, mode, terminal };
    let mut attended = Attended::new(shell.context.clone(), drive, outlet.clone(), Input::new(stdin, typist), Box::new(signals), manner);
    attend(&shell.context, &mut attended, &outlet, (report, start))?.status()
}
