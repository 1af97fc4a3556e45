//! `prebake cp`: files in and out of a session.

use crate::args::{CopyArgs, Place};
use crate::shell::Shell;
use crate::terminal::Signals;
use prebake::copy::{self, Local};
use prebake::error::{Error, Result};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

/// Runs the verb.
pub fn run(shell: &Shell, args: &CopyArgs) -> ExitCode {
    super::end(shell, copy(shell, args))
}

fn copy(shell: &Shell, args: &CopyArgs) -> Result<()> {
    let (context, options, control) = (&shell.context, args.options(), Box::new(Signals::catch()?));
    match (&args.source, &args.target) {
        (Place::Session(session, path), target) => {
            let left_out = copy::out(context, (session, path), local(target, io::stdout())?, options, control)?;
            if left_out > 0 {
                shell.say(format_args!("{left_out} devices and pipes were left out"));
            }
            Ok(())
        }
        (source, Place::Session(session, path)) => copy::into(context, local(source, io::stdin())?, (session, path), options, control),
        _ => Ok(()),
    }
}

/// This host's end.
fn local(place: &Place, stream: impl AsFd) -> Result<Local> {
    match place {
        Place::Local(path) => Ok(Local::Path(path.clone())),
        Place::Stream | Place::Session(..) => {
            let own: io::Result<OwnedFd> = stream.as_fd().try_clone_to_owned();
            own.map(Local::Archive).map_err(|source| Error::Host { what: "use the standard streams", source })
        }
    }
}
