//! `prebake boot`: a cold start, with someone at the console.

use super::{attend, cold_machine, finish, mode, routes};
use crate::backend::disk::Verify;
use crate::cli::BootArgs;
use crate::error::Result;
use crate::file::ledger::Ledger;
use crate::report::Report;
use crate::terminal;
use crate::terminal::signals::Signals;
use crate::vm::attended::Attended;
use crate::vm::drive::Drive;
use crate::vm::input::Input;
use crate::vm::outlet::Outlet;
use crate::vm::parts::{Parts, Randomness, seed};
use crate::vm::tail::Tail;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(args: &BootArgs, start: Instant) -> ExitCode {
    let mut report = Report::of("boot");
    let result = boot(args, start, &mut report);
    finish("boot", &args.report, report, result)
}

fn boot(args: &BootArgs, start: Instant, report: &mut Report) -> Result<u8> {
    let signals = Signals::catch()?;
    let mut parts = Parts::open(&args.cold.devices, &Ledger::of_user(), Verify::IfChanged)?;
    let mode = mode(&args.console);
    let outlet = Outlet::new(routes(mode), true, Tail::default());
    let randomness = Randomness::of_boot(args.console.clock);
    let config = parts.take_config(&outlet, args.console.clock, randomness, Some(seed(randomness)?))?;
    let drive = Drive::new(Box::new(cold_machine(&args.kernel, &args.cold, config)?), args.report.limit_instructions);
    let input = Input::new(rustix::stdio::stdin(), terminal::on_stdin());
    let mut attended = Attended::new(drive, outlet.clone(), input, signals, args.console.clock, mode);
    attend(&mut attended, &outlet, (&args.console, &args.report), report, start)
}
