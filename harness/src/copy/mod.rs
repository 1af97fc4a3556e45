//! Files into a session and out of it, as `docker cp` copies them. A program in the guest, which is init's own, reads or writes an archive; this side of it
//! trusts nothing that comes out.
//!
//! A session that rests is restored for that with nobody at its console, and saved again when all is done. Until then it stays as it was.

mod unpack;

use crate::context::Context;
use crate::distribution::store::Store;
use crate::error::{Error, Result};
use crate::exec::{self, ExecRequest, find};
use crate::run::console::{Console, Control, InputSource, Terminal};
use crate::run::{RunRequest, RunTarget, SessionPolicy};
use crate::service::Vm;
use crate::session::Sessions;
use crate::text::printable;
use protocol::COPIER;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use transfer::{What, pack};

/// Bytes of what the program in the guest complains of that are shown.
const MAX_COMPLAINT: u64 = 4096;

/// This host's end of a copy.
#[derive(Debug)]
pub enum Local {
    /// A file or folder.
    Path(PathBuf),
    /// An archive.
    Archive(OwnedFd),
}

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Files keep their owners. Otherwise they belong to who copies them here, and to root in a session.
    pub keeps_owners: bool,
    /// A link that is named itself stands for what it leads to.
    pub follows: bool,
}

/// Copies `path` of the session that `session` names. Returns how many devices and pipes were left out.
pub fn out(context: &Context, (session, path): (&str, &str), to: Local, options: CopyOptions, control: Box<dyn Control>) -> Result<u64> {
    let path = absolute(path);
    let mut words = vec!["copy".into(), "out".into(), path.clone()];
    words.extend(options.follows.then(|| "follow".to_owned()));
    let guest = Guest { context, session, words };
    match to {
        Local::Archive(stdout) => guest.copy(null()?, stdout, control)?.into_result().map(|()| 0),
        Local::Path(target) => {
            let writer = unpack::open(&target, Path::new(&path), options)?;
            let (archive, stdout) = pipe()?;
            std::thread::scope(|scope| {
                let unpacking = scope.spawn(move || unpack::unpack(archive, writer));
                let copied = guest.copy(null()?, stdout.into(), control)?;
                let unpacked = unpacking.join().unwrap_or(Err(Error::MachineEnded));
                // A program that nobody listens to any more was given up by this side.
                if unpacked.is_err() && copied.is_unheard() { unpacked } else { copied.into_result().and(unpacked) }
            })
        }
    }
}

/// Copies to `path` of the session that `session` names.
pub fn into(context: &Context, from: Local, (session, path): (&str, &str), options: CopyOptions, control: Box<dyn Control>) -> Result<()> {
    let what = match &from {
        Local::Archive(_) => What::Archive,
        Local::Path(source) => {
            fs::symlink_metadata(source).map_err(|error| Error::Read { what: "file", path: source.clone(), source: error })?;
            What::of(source).0
        }
    };
    let mut words = vec!["copy".into(), "in".into(), absolute(path), what.to_string()];
    words.extend((options.keeps_owners || what == What::Archive).then(|| "owners".to_owned()));
    let guest = Guest { context, session, words };
    match from {
        Local::Archive(stdin) => guest.copy(stdin, null()?, control)?.into_result(),
        Local::Path(source) => {
            let (stdin, archive) = pipe()?;
            std::thread::scope(|scope| {
                let packing = scope.spawn(move || pack(&source, options.follows, archive).map(drop));
                let copied = guest.copy(stdin.into(), null()?, control)?.into_result();
                let packed = packing.join().unwrap_or(Ok(()));
                match packed {
                    // The program in the guest has ended early, and says why.
                    Err(transfer::Error::System { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => copied,
                    packed => packed.map_err(Error::from).and(copied),
                }
            })
        }
    }
}

/// A path in a guest begins at its root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.into() } else { format!("/{path}") }
}

/// The program that copies.
struct Guest<'a> {
    context: &'a Context,
    session: &'a str,
    words: Vec<String>,
}

/// How it ended.
struct Copied {
    status: u8,
    complaint: String,
}

impl Copied {
    fn into_result(self) -> Result<()> {
        if self.status == 0 { Ok(()) } else { Err(Error::Copy { status: self.status, complaint: self.complaint }) }
    }

    /// It was hung up because nobody read what it wrote.
    const fn is_unheard(&self) -> bool {
        self.status == 128 + 13
    }
}

impl Guest<'_> {
    fn copy(self, stdin: OwnedFd, stdout: OwnedFd, control: Box<dyn Control>) -> Result<Copied> {
        let (complaints, stderr) = pipe()?;
        let console = Console { stdin, stdout, stderr: stderr.into(), source: InputSource::Pipe, terminal: Terminal::default() };
        std::thread::scope(|scope| {
            let hearing = scope.spawn(move || hear(complaints));
            let status = self.run(console, control)?;
            let heard = hearing.join().unwrap_or_default();
            Ok(Copied { status, complaint: printable(String::from_utf8_lossy(&heard).trim()) })
        })
    }

    fn run(self, console: Console, control: Box<dyn Control>) -> Result<u8> {
        let request = ExecRequest {
            program: COPIER.into(),
            arguments: self.words,
            user: Some("0:0".into()),
            folder: Some("/".into()),
            interactive: true,
            ..ExecRequest::default()
        };
        let sessions = Sessions::of(&Store::open(self.context)?)?;
        let name = find(&sessions, self.session)?;
        match sessions.enter(&name) {
            Ok(machine) => exec::run(machine, &request, console, control),
            Err(Error::SessionRests { .. }) => at_rest(self.context, name, &request, console, control),
            Err(error) => Err(error),
        }
    }
}

/// The beginning of what the program in the guest complains of. The guest may have put another program in its place, which complains without end: the rest
/// is taken, and not kept.
fn hear(mut complaints: impl Read) -> Vec<u8> {
    let mut heard = Vec::new();
    // What cannot be read is no complaint.
    let _ = complaints.by_ref().take(MAX_COMPLAINT).read_to_end(&mut heard).and_then(|_| io::copy(&mut complaints, &mut io::sink()));
    heard
}

/// Restores a session, runs the program in it, and saves it again.
fn at_rest(context: &Context, name: String, program: &ExecRequest, console: Console, control: Box<dyn Control>) -> Result<u8> {
    let (stdin, keys) = pipe()?;
    let silent = Console {
        stdin: stdin.into(),
        stdout: null()?,
        stderr: null()?,
        source: InputSource::RemoteTerminal,
        terminal: Terminal::default(),
    };
    let request = RunRequest { session: SessionPolicy::Visited(name.clone()), ..RunRequest::new(RunTarget::Session) };
    let machine = Vm::start(context.clone(), request, silent)?;
    let status = machine.exec(program, console, control);
    machine.stop();
    let outcome = machine.wait().outcome;
    drop(keys);
    match outcome {
        // Why it could not be restored, or saved, comes first.
        Err(error) => Err(error),
        Ok(outcome) if outcome.checkpoint.is_none() && status.is_ok() => Err(Error::NotCopied { session: name }),
        Ok(_) => status,
    }
}

fn pipe() -> Result<(io::PipeReader, io::PipeWriter)> {
    io::pipe().map_err(|source| Error::Host { what: "make a pipe", source })
}

fn null() -> Result<OwnedFd> {
    let open = OpenOptions::new().read(true).write(true).open("/dev/null");
    open.map(Into::into).map_err(|source| Error::Read { what: "device", path: "/dev/null".into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_complaints_without_end_the_beginning_is_kept() {
        // More than a pipe holds, so that this would wait if the rest were not taken.
        let (complaints, mut stderr) = pipe().unwrap();
        let complaining = std::thread::spawn(move || io::copy(&mut io::repeat(b'x').take(16 << 20), &mut stderr).unwrap());
        let heard = hear(complaints);
        assert_eq!((complaining.join().unwrap(), heard.len() as u64), (16 << 20, MAX_COMPLAINT));
    }
}
