//! A second program in a machine that runs, for whoever is on the other end of a connection to it.

use crate::context::Context;
use crate::distribution::store::Store;
use crate::error::{Error, Result, exit};
use crate::run::console::{Console, Control, ControlCommand, Input, InputSource};
use crate::run::named;
use crate::run::stdin::{Arrival, Stdin};
use crate::session::Sessions;
use protocol::{Exec, ExecOrder, ExecReport, ExecTerminal, ExecWindow, FrameReader, Info, MAX_CHUNK, MAX_EXEC_INFO};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// What to run, and on what. What is not given is as the machine's own program has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment, besides those of the machine's own program.
    pub environment: Vec<(String, String)>,
    /// The directory that it starts in: an absolute path in the guest.
    pub folder: Option<String>,
    /// The user that it runs as: `USER[:GROUP]`, by name or number.
    pub user: Option<String>,
    /// It gets what is on standard input; otherwise, it has none.
    pub interactive: bool,
    /// It is on a terminal of its own.
    pub on_terminal: bool,
}

impl ExecRequest {
    fn order(&self, terminal: ExecTerminal) -> Result<ExecOrder> {
        let info = Info {
            entrypoint: Some(self.program.clone()),
            command: self.arguments.clone(),
            environment: self.environment.clone(),
            user: self.user.clone(),
            folder: self.folder.clone(),
            ..Info::default()
        };
        let info = info.to_string().into_bytes();
        if info.len() > MAX_EXEC_INFO {
            return Err(Error::ExecTooLong { found: info.len(), most: MAX_EXEC_INFO });
        }
        Ok(ExecOrder::Start { terminal: self.on_terminal.then_some(terminal), info })
    }
}

/// A connection to the machine of the session that `text` names: by its own name, or by the reference that it is of, if it is the only one.
pub fn enter(context: &Context, text: &str) -> Result<UnixStream> {
    let sessions = Sessions::of(&Store::open(context)?)?;
    sessions.enter(&find(&sessions, text)?)
}

/// The name of the session that `text` names.
pub(crate) fn find(sessions: &Sessions, text: &str) -> Result<String> {
    let listed = sessions.list()?;
    if listed.iter().any(|session| session.name == text) {
        return Ok(text.into());
    }
    let reference = named::stored_name(text).ok();
    let of_it = || listed.iter().filter(|session| reference.is_some() && session.origin.reference == reference);
    // One that runs is meant rather than one that rests.
    let running = of_it().filter(|session| session.runs);
    let candidates: Vec<_> = if running.clone().next().is_some() { running.collect() } else { of_it().collect() };
    match &candidates[..] {
        [] => Err(Error::NoSession { name: text.into() }),
        [session] => Ok(session.name.clone()),
        several => {
            let names = several.iter().map(|session| session.name.as_str()).collect::<Vec<_>>().join(", ");
            Err(Error::SeveralSessions { of: text.into(), names })
        }
    }
}

/// Runs what `request` asks for through a connection to a machine, with its streams on `console`, and returns its exit status. Signals are the program's;
/// a second one that asks it to end ends this instead, and so does the end of the terminal. The program gets SIGHUP then.
pub fn run(stream: UnixStream, request: &ExecRequest, console: Console, mut control: Box<dyn Control>) -> Result<u8> {
    let (Input { stdin, source, terminal }, [stdout, stderr]) = console.split();
    let name = terminal.name;
    let window = terminal.window.map(|window| ExecWindow { cols: window.cols, rows: window.rows }).unwrap_or_default();
    let mut client = Client { stream, reader: FrameReader::default(), outputs: [stdout, stderr].map(File::from), input_room: None };
    client.send(request.order(ExecTerminal { name, window })?);

    let raw = (request.on_terminal && source == InputSource::LocalTerminal).then(|| control.raw_mode()).transpose();
    let _raw = raw.map_err(|source| Error::Host { what: "change the settings of the terminal", source })?;
    // Nothing to read is the end of it, but not on a terminal, where a program may wait for keys that never come.
    let mut must_end = !request.interactive && !request.on_terminal;
    let mut stdin = Stdin::new(stdin, source);
    let mut asked_to_end = false;
    loop {
        let room = client.input_room.unwrap_or_default();
        if client.input_room.is_some() && std::mem::take(&mut must_end) {
            client.send(ExecOrder::Input(Vec::new()));
        }
        let wanted = request.interactive && room >= MAX_CHUNK;
        let arrival = stdin.wait(wanted, &[control.as_fd(), client.stream.as_fd()], None);
        match arrival.map_err(|source| Error::Host { what: "read standard input", source })? {
            Arrival::Nothing => {}
            Arrival::Bytes(bytes) => client.give(bytes),
            Arrival::End => client.send(ExecOrder::Input(Vec::new())),
            Arrival::HangUp => return client.leave(Signal::HUP.as_raw()),
        }
        while let Some(command) = control.take() {
            match command {
                ControlCommand::Signal(number) => {
                    let asks_to_end = [Signal::INT, Signal::QUIT, Signal::TERM].iter().any(|signal| signal.as_raw() == number);
                    if number == Signal::HUP.as_raw() || asks_to_end && asked_to_end {
                        return client.leave(number);
                    }
                    asked_to_end |= asks_to_end;
                    client.send(ExecOrder::Signal(number));
                }
                ControlCommand::Resize(window) => client.send(ExecOrder::Resize(ExecWindow { cols: window.cols, rows: window.rows })),
                ControlCommand::Leave | ControlCommand::HangUp => return client.leave(Signal::HUP.as_raw()),
                ControlCommand::Save => {}
            }
        }
        if let Some(status) = client.hear()? {
            return Ok(status);
        }
    }
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    reader: FrameReader<Exec<ExecReport>>,
    outputs: [File; 2],
    /// Bytes of input that may be sent; nothing before the program has started.
    input_room: Option<usize>,
}

impl Client {
    /// Sends an order. A machine that has gone is noticed in listening to it.
    fn send(&self, what: ExecOrder) {
        let bytes = Exec { id: 0, what }.encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match send(&self.stream, rest, SendFlags::NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn give(&mut self, bytes: Vec<u8>) {
        self.input_room = self.input_room.map(|room| room.saturating_sub(bytes.len()));
        self.send(ExecOrder::Input(bytes));
    }

    fn leave(&self, signal: i32) -> Result<u8> {
        self.send(ExecOrder::HangUp);
        Err(Error::Interrupted { signal })
    }

    /// Takes what the machine has said. Returns the program's status once it has ended.
    fn hear(&mut self) -> Result<Option<u8>> {
        let mut bytes = [0; MAX_CHUNK];
        loop {
            let count = match recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(_) => 0,
            };
            if count == 0 {
                return Err(Error::ExecLost);
            }
            let mut reports = Vec::new();
            self.reader.read(&bytes[..count], |report| reports.push(report.what));
            for report in reports {
                match report {
                    ExecReport::Output { is_error, bytes } => {
                        if let Some(status) = self.show(is_error, &bytes)? {
                            return Ok(Some(status));
                        }
                        self.send(ExecOrder::Taken(bytes.len()));
                    }
                    ExecReport::Taken(count) => self.input_room = Some(self.input_room.unwrap_or_default().saturating_add(count)),
                    ExecReport::Exit(status) => return Ok(Some(status)),
                    ExecReport::Failed(reason) => return Err(Error::ExecFailed { reason }),
                }
            }
        }
    }

    /// Writes output. Where nobody reads it any more, there is a status as a shell has it.
    fn show(&mut self, is_error: bool, bytes: &[u8]) -> Result<Option<u8>> {
        let (stream, name) = if is_error { (&mut self.outputs[1], "standard error") } else { (&mut self.outputs[0], "standard output") };
        match stream.write_all(bytes) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.send(ExecOrder::HangUp);
                Ok(Some(exit::of_signal(Signal::PIPE.as_raw())))
            }
            Err(source) => Err(Error::Output { stream: name, source }),
        }
    }
}
