//! `prebake boot`: a cold start, with someone at the console.

use super::{mode, report, say_stats};
use crate::args::BootArgs;
use crate::console;
use crate::shell::Shell;
use crate::terminal::Signals;
use attend::{Begin, Routes, Transcript};
use prebake::error::Result;
use prebake::host::backend::disk::Verify;
use prebake::host::backend::entropy::OsEntropy;
use prebake::host::net::Network;
use prebake::machine::Devices;
use prebake::machine::config::{ConfigBuilder, Randomness, seed};
use prebake::machine::output::HostOutput;
use prebake::machine::program::Program;
use prebake::machine::{boot, native};
use prebake::report::Report;
use prebake::run::attend;
use prebake::run::attended::{AttendOptions, Attended};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(shell: &Shell, args: &BootArgs, start: Instant) -> ExitCode {
    report(shell, &args.report, "boot", |report| {
        let result = boot(shell, args, start, report);
        say_stats(shell, &args.console, report);
        result
    })
}

fn boot(shell: &Shell, args: &BootArgs, start: Instant, report: &mut Report) -> Result<u8> {
    let signals = Signals::catch()?;
    let network = args.network.options().map(|options| Network::open(&options, None, &mut OsEntropy::open()?)).transpose()?.flatten();
    let devices = Devices { network: network.is_some(), ..(&args.cold.devices).into() };
    let mut parts = ConfigBuilder::open(
        &shell.context,
        &devices,
        Verify::IfChanged,
        &Program::default(),
        network.as_ref().map(Network::info).as_ref(),
    )?;
    let (input, streams) = console::of_process()?.split();
    let (mode, clock) = (mode(&args.console).unwrap_or(input.source.usual_mode()), args.console.clock.into());
    let output = HostOutput::new(Routes::all(mode), streams, true, Transcript::default());
    let randomness = Randomness::of_boot(clock);
    let config = parts.take_config(&output, clock, randomness, Some(seed(randomness)?))?;
    let engine = native(&shell.context, boot::kernel(&args.kernel, &args.cold.kernel(), config)?, args.debug.aid().as_ref())?;
    let options = AttendOptions {
        begin: Begin::PowerOn,
        clock,
        mode,
        limit: args.report.limit_instructions,
        saver: None,
        door: None,
        visit: false,
        network,
    };
    let mut attended = Attended::new(shell.context.clone(), engine, (input, output.clone()), Box::new(signals), options)?;
    attend(&shell.context, &mut attended, &output, (report, start))?.status()
}
