//! `prebake run`: what a reference names, a machine or a snapshot, with someone at the console.

use super::{mode, on_thread_for_wamr, report, say_stats};
use crate::args::{RunArgs, RunOperand};
use crate::console;
use crate::shell::Shell;
use crate::terminal::Signals;
use crate::wording::saved;
use prebake::artifact::is_machine;
use prebake::distribution::oci::PullOptions;
use prebake::error::Result;
use prebake::report::Report;
use prebake::run::{self, RunRequest, RunTarget, SessionPolicy};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn run(shell: &Shell, args: RunArgs, start: Instant) -> ExitCode {
    let request = request(shell, &args);
    let may_need_wamr = request.as_ref().is_ok_and(RunRequest::may_need_wamr);
    let attempt = || {
        report(shell, &args.report, "run", |report| {
            let result = request.and_then(|request| make_and_attend(shell, &request, start, report));
            say_stats(shell, &args.console, report);
            result
        })
    };
    if may_need_wamr { on_thread_for_wamr(attempt) } else { attempt() }
}

fn make_and_attend(shell: &Shell, request: &RunRequest, start: Instant, report: &mut Report) -> Result<u8> {
    let outcome = run::run(&shell.context, request, console::of_process()?, || Ok(Box::new(Signals::catch()?)), (report, start))?;
    if let Some(checkpoint) = &outcome.checkpoint {
        shell.say(saved(checkpoint));
    }
    outcome.status()
}

fn request(shell: &Shell, args: &RunArgs) -> Result<RunRequest> {
    let what = match (args.operand(), args.snapshot.clone()) {
        (None, None) => RunTarget::Session,
        (Some(RunOperand::Image(name)), _) => RunTarget::Reference(name),
        (Some(RunOperand::File(file)), snapshot) if is_machine(&file) => RunTarget::Files { machine: Some(file), snapshot },
        (Some(RunOperand::File(snapshot)), _) | (None, Some(snapshot)) => RunTarget::Files { machine: None, snapshot: Some(snapshot) },
    };
    let verify_key = args.verify_key.as_deref().map(|key| shell.public_key(key)).transpose()?;
    Ok(RunRequest {
        session: match args.session.as_ref().or(args.name.as_ref()) {
            _ if args.fresh || args.rm => SessionPolicy::Never,
            Some(name) => SessionPolicy::Named(name.clone()),
            None => SessionPolicy::Automatic,
        },
        engine: args.engine.map(Into::into),
        verify: args.verify,
        restore: args.restore.into(),
        memory: args.memory.map(|memory| memory.0),
        program: args.program(),
        devices: (&args.devices).into(),
        network: args.network.options(),
        mode: mode(&args.console),
        clock: args.console.clock.into(),
        limit_instructions: args.report.limit_instructions,
        aid: args.debug.aid(),
        pull: PullOptions { policy: args.pull_policy(), verify_key, ..PullOptions::default() },
        ..RunRequest::new(what)
    })
}
