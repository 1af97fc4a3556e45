//! `prebake serve`: the library for a program that talks to it by standard input and output. `docs/serve.md` has the specification.
//!
//! The main thread reads what the other side asks for, and never waits for anything else. Whatever may take a while has a thread of its own: each
//! request, and for each machine its input and its output. One thread writes.

mod frame;
mod machine;
mod message;
mod peer;

use crate::args::ServeArgs;
use crate::shell::Shell;
use crate::wording;
use frame::{BadFrame, Frame};
use machine::Machines;
use message::{Incoming, Method, PROTOCOL, Refusal, bounded};
use peer::{AskPeer, Peer};
use prebake::context::Context;
use prebake::distribution::oci::VmArtifacts;
use prebake::error::{Error, Result};
use prebake::observer::{Notice, Observer, Progress};
use prebake::service::spec::pull_options;
use prebake::service::{self, Cancel, LAST_SIGNAL, store};
use prebake::session::Checkpoint;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Requests that are worked on at a time.
const MAX_REQUESTS: usize = 64;

/// Runs the verb.
pub fn run(shell: &Shell, args: &ServeArgs) -> ExitCode {
    super::end(shell, serve(shell, args))
}

fn serve(shell: &Shell, args: &ServeArgs) -> Result<()> {
    // Whatever is the end of it comes here: output that nobody reads, a signal.
    let (ended, end) = io::pipe().map_err(host("make a pipe"))?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let end = end.try_clone().map_err(host("catch signals"))?;
        signal_hook::low_level::pipe::register(signal, end).map_err(host("catch signals"))?;
    }
    let peer = Peer::new(move || ring(&end));
    let context = shell.context.clone();
    let context = if args.resolve { context.with_resolver(Arc::new(AskPeer(peer.clone()))) } else { context };
    let (stream, output) = take_streams()?;
    let server = Server { context, peer: peer.clone(), tasks: Arc::default(), machines: Machines::new(peer.clone()), kept: Arc::default() };

    peer.notify("ready", json!({ "protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION") }));
    let writer = peer.clone();
    spawn("writer", move || writer.send_to(std::fs::File::from(output)))?;
    let mut input = Input { stream, ended, is_over: false };
    // A frame that is cut off by the end is no fault of the program's.
    let bad = server.listen(&mut input).err().filter(|_| !input.is_over);
    if let Some(problem) = &bad {
        peer.answer(&Value::Null, Err(Refusal::of_protocol(problem.to_string())));
    }
    server.end();
    match bad {
        Some(problem) => Err(Error::Host { what: "understand the program at standard input", source: io::Error::other(problem) }),
        None => Ok(()),
    }
}

/// Wakes the main thread, for the last time.
fn ring(end: &io::PipeWriter) {
    use io::Write;
    let _ = (&*end).write(&[0]);
}

/// Standard input and output, which are nobody else's from now on: what a library writes to its standard output is a diagnostic, and no frame.
fn take_streams() -> Result<(OwnedFd, OwnedFd)> {
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(host("use standard input"))?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(host("use standard output"))?;
    let nothing = std::fs::File::open("/dev/null").map_err(host("use standard input"))?;
    dup2_stdin(nothing).map_err(|error| host("use standard input")(error.into()))?;
    dup2_stdout(io::stderr()).map_err(|error| host("use standard output")(error.into()))?;
    Ok((input, output))
}

fn host(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Host { what, source }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop).map_err(host("start a thread"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard input, until it ends or something else is the end.
struct Input {
    stream: OwnedFd,
    ended: io::PipeReader,
    /// Something else was.
    is_over: bool,
}

impl io::Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            let mut polled = [PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut polled, None) {
                Ok(_) if !polled[0].revents().is_empty() => {
                    self.is_over = true;
                    return Ok(0);
                }
                Ok(_) => return Ok(rustix::io::read(&self.stream, buffer)?),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Server {
    context: Context,
    peer: Peer,
    tasks: Tasks,
    machines: Machines,
    /// What was ensured last under each reference stays in the store.
    kept: Arc<Mutex<BTreeMap<String, VmArtifacts>>>,
}

/// The requests that are worked on, by their numbers.
type Tasks = Arc<Mutex<BTreeMap<String, Cancel>>>;

impl Server {
    /// Does what is asked for, until the other side goes.
    fn listen(&self, input: &mut Input) -> std::result::Result<(), BadFrame> {
        while let Some(frame) = Frame::read(input)? {
            match frame {
                Frame::Bytes { machine, stream: 0, bytes } => {
                    if let Err(refusal) = self.machines.input(machine, bytes) {
                        self.peer.answer(&Value::Null, Err(refusal));
                    }
                }
                Frame::Bytes { stream, .. } => {
                    let problem = format!("bytes are for stream {stream}, but a machine reads stream 0 only");
                    self.peer.answer(&Value::Null, Err(Refusal::of_protocol(problem)));
                }
                Frame::Message(message) => match message::parse(&message) {
                    Ok(Incoming::Answer { id, result }) => self.peer.take_answer(id, result),
                    Ok(Incoming::Request { id, method: Ok(method) }) => self.begin(id, method),
                    Ok(Incoming::Request { id, method: Err(refusal) }) | Err((id, refusal)) => self.peer.answer(&id, Err(refusal)),
                },
            }
        }
        Ok(())
    }

    /// Begins to do what is asked for.
    fn begin(&self, id: Value, method: Method) {
        let nothing = || Ok(json!({}));
        match method {
            Method::Cancel(cancel) => {
                if let Some(task) = lock(&self.tasks).get(&cancel.id.to_string()) {
                    task.cancel();
                }
                self.peer.answer(&id, nothing())
            }
            Method::Start(start) => {
                let observer = Arc::new(Told { peer: self.peer.clone(), about: json!({ "machine": start.machine }) });
                let context = self.context.clone().with_observer(observer);
                let started = self.machines.start(context, start.machine, &start.spec);
                self.peer.answer(&id, started.and_then(|()| nothing()))
            }
            Method::Resize(resize) => self.peer.answer(&id, self.machines.resize(&resize).and_then(|()| nothing())),
            Method::Signal(signal) => {
                let told = if (1..=LAST_SIGNAL).contains(&signal.number) {
                    self.machines.with(signal.machine, |handle| handle.signal(signal.number))
                } else {
                    Err(Refusal::of_protocol(format!("{} is no signal; they have numbers from 1 to {LAST_SIGNAL}", signal.number)))
                };
                self.peer.answer(&id, told.and_then(|()| nothing()))
            }
            Method::Stop(stop) => {
                let told = self.machines.with(stop.machine, service::Handle::stop);
                self.peer.answer(&id, told.and_then(|()| nothing()))
            }
            Method::Checkpoint(checkpoint) => match self.machines.with(checkpoint.machine, Clone::clone) {
                Ok(handle) => self.task(id, move |_, _| handle.checkpoint().map(|checkpoint| saved(&checkpoint))),
                Err(refusal) => self.peer.answer(&id, Err(refusal)),
            },
            Method::Ensure(ensure) => {
                let kept = self.kept.clone();
                self.task(id, move |context, cancel| {
                    let options = pull_options(ensure.offline, ensure.verify_key.as_deref())?;
                    let artifacts = service::ensure(context, &ensure.reference, &options, cancel)?;
                    let answer = json!({
                        "machine": artifacts.wasm_file.to_string_lossy(),
                        "snapshot": artifacts.snapshot_file.as_ref().map(|path| path.to_string_lossy()),
                        "reference": artifacts.reference,
                        "digest": artifacts.digest.to_string(),
                    });
                    lock(&kept).insert(artifacts.reference.clone(), artifacts);
                    Ok(answer)
                })
            }
            Method::Images => self.task(id, |context, _| listed("images", store::images(context)?)),
            Method::Sessions => self.task(id, |context, _| listed("sessions", store::sessions(context)?)),
            Method::RemoveSession(session) => {
                self.task(id, move |context, _| store::remove_session(context, &session.name).map(|()| json!({})))
            }
            Method::Prune(prune) => {
                let kept = self.kept.clone();
                self.task(id, move |context, _| {
                    // What is to be forgotten is not needed here any more.
                    lock(&kept).retain(|reference, _| !prune.references.contains(reference));
                    let pruned = store::prune(context, &prune.references)?;
                    Ok(json!({ "files": pruned.files, "bytes": pruned.bytes, "in_use": pruned.in_use }))
                })
            }
        }
    }

    /// Works on a request in a thread of its own.
    fn task(&self, id: Value, work: impl FnOnce(&Context, &Cancel) -> Result<Value> + Send + 'static) {
        let (peer, tasks, cancel, name) = (self.peer.clone(), self.tasks.clone(), Cancel::default(), id.to_string());
        {
            let mut tasks = lock(&tasks);
            if tasks.len() >= MAX_REQUESTS || tasks.contains_key(&name) {
                let problem = format!("there are {} requests already, or one of the same number", tasks.len());
                return self.peer.answer(&id, Err(Refusal::of_protocol(problem)));
            }
            tasks.insert(name.clone(), cancel.clone());
        }
        let observer = Told { peer: self.peer.clone(), about: json!({ "id": id.clone() }) };
        let context = self.context.clone().with_observer(Arc::new(observer));
        let number = id.clone();
        let started = spawn("request", move || {
            let result = work(&context, &cancel).map_err(|error| refusal(&error));
            lock(&tasks).remove(&name);
            peer.answer(&number, result);
        });
        if let Err(error) = started {
            lock(&self.tasks).remove(&id.to_string());
            self.peer.answer(&id, Err(refusal(&error)));
        }
    }

    /// The other side has gone: what is being fetched is given up, machines are saved and end.
    fn end(&self) {
        self.peer.has_gone();
        lock(&self.tasks).values().for_each(Cancel::cancel);
        self.machines.end();
        self.peer.flush();
    }
}

/// An error, for the other side.
fn refusal(error: &Error) -> Refusal {
    Refusal::new(Refusal::FAILED, error.kind(), wording::error(error))
}

fn listed(name: &str, list: impl Serialize) -> Result<Value> {
    let list = serde_json::to_value(list).map_err(|source| Error::Host { what: "write JSON", source: source.into() })?;
    Ok(json!({ name: list }))
}

/// A session that was saved.
fn saved(checkpoint: &Checkpoint) -> Value {
    let Checkpoint { session, pages, bytes, took, at: _ } = checkpoint;
    json!({ "session": session, "pages": pages, "bytes": bytes, "milliseconds": took.as_secs_f64() * 1e3 })
}

/// Passes on what the library tells.
struct Told {
    peer: Peer,
    /// The request or the machine that it is about.
    about: Value,
}

impl Told {
    fn tell(&self, method: &str, mut parameters: Value) {
        if let (Value::Object(parameters), Value::Object(about)) = (&mut parameters, &self.about) {
            parameters.extend(about.clone());
        }
        self.peer.notify(method, parameters);
    }
}

impl Observer for Told {
    fn notice(&self, notice: &Notice<'_>) {
        self.tell("notice", json!({ "text": bounded(&wording::notice(notice).join("\n")) }));
    }

    fn progress(&self, progress: &Progress<'_>) {
        let Progress { task, done, total, ended } = *progress;
        self.tell(
            "progress",
            json!({ "task": task.name(), "text": bounded(&wording::task(task)), "done": done, "total": total, "ended": ended }),
        );
    }
}
