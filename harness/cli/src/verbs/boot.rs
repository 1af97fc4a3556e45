//! `prebake boot`: a cold start, with someone at the console.

use super::{finish, mode, say_stats};
use crate::args::BootArgs;
use prebake::error::Result;
use prebake::host::backend::disk::Verify;
use prebake::host::file::ledger::Ledger;
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
pub fn run(args: &BootArgs, start: Instant) -> ExitCode {
    let mut report = Report::of("boot");
    let result = boot(args, start, &mut report);
    say_stats(&args.console, &report);
    finish("boot", &args.report, report, result)
}

fn boot(args: &BootArgs, start: Instant, report: &mut Report) -> Result<u8> {
    let signals = Signals::catch()?;
    let mut parts = Parts::open(&(&args.cold.devices).into(), &Ledger::of_user(), Verify::IfChanged)?;
    let Console { stdin, stdout, stderr, typist, terminal } = Console::of_process()?;
    let usual = if typist == Typist::Script { Mode::Streams } else { Mode::Tty };
    let (mode, clock) = (mode(&args.console).unwrap_or(usual), args.console.clock.into());
    let outlet = Outlet::new(routes(mode), (stdout, stderr), true, Tail::default());
    let randomness = Randomness::of_boot(clock);
    let config = parts.take_config(&outlet, clock, randomness, Some(seed(randomness)?))?;
    let engine = native(boot::cold(&args.kernel, &args.cold.cold(), config)?, args.debug.aid().as_ref())?;
    let drive = Drive::new(engine, args.report.limit_instructions);
    let manner = Manner { clock, mode, terminal };
    let mut attended = Attended::new(drive, outlet.clone(), Input::new(stdin, typist), Box::new(signals), manner);
    attend(&mut attended, &outlet, (report, start))?.status()
}
