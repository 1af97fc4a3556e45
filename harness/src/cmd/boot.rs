//! `prebake boot`: a cold start, with someone at the console.

use super::{cold_machine, finish, mode, say_stats};
use crate::backend::disk::Verify;
use crate::cli::BootArgs;
use crate::engine::native;
use crate::error::Result;
use crate::file::ledger::Ledger;
use crate::launch::{attend, routes};
use crate::report::Report;
use crate::terminal::signals::Signals;
use crate::vm::attended::{Attended, Manner};
use crate::vm::console::{Console, Typist};
use crate::vm::drive::Drive;
use crate::vm::input::Input;
use crate::vm::outlet::Outlet;
use crate::vm::parts::{Parts, Randomness, seed};
use crate::vm::tail::Tail;
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
    let mut parts = Parts::open(&args.cold.devices, &Ledger::of_user(), Verify::IfChanged)?;
    let Console { stdin, stdout, stderr, typist, terminal } = Console::of_process()?;
    let usual = if typist == Typist::Script { Mode::Streams } else { Mode::Tty };
    let (mode, clock) = (mode(&args.console).unwrap_or(usual), args.console.clock);
    let outlet = Outlet::new(routes(mode), (stdout, stderr), true, Tail::default());
    let randomness = Randomness::of_boot(clock);
    let config = parts.take_config(&outlet, clock, randomness, Some(seed(randomness)?))?;
    let engine = native(cold_machine(&args.kernel, &args.cold, config)?, args.debug.aid().as_ref())?;
    let drive = Drive::new(engine, args.report.limit_instructions);
    let manner = Manner { clock, mode, terminal };
    let mut attended = Attended::new(drive, outlet.clone(), Input::new(stdin, typist), Box::new(signals), manner);
    attend(&mut attended, &outlet, (report, start))?.status()
}
