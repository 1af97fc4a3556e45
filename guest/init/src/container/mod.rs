//! The container that the program lives in: namespaces of its own, with a process 1 of their own.
//!
//! That process is forked before the barrier. It makes the container's root, and forks the process that waits for the order to become the program; so what
//! is left to do then is little. When the program ends it ends, too, and the kernel takes all that is left in the container with it.

mod beside;
mod helper;
mod inside;
mod order;
mod root;
mod start;
mod user;
mod warm;

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use protocol::{Exec, ExecOrder, Framed};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use crate::control::{HostMessage, Lines, Options};
use crate::error::{Context, Error, Result};
use crate::exec::{self, Link};
use crate::image::ProgramDefaults;
use crate::ports::StreamPorts;
use crate::sys;

pub use helper::Helpers;
pub use order::Order;

/// What a message on the channel is about that says that the container is ready. Any other is a reason why not.
const READY: u8 = 0;

/// A container whose process 1 waits for its order, or obeys it.
#[derive(Debug)]
pub struct Container {
    /// Its process 1, as the machine's init sees it.
    pid: Pid,
    /// To and from that process.
    channel: UnixStream,
    /// The same, for programs beside its own.
    link: Link,
    pipes: Pipes,
    stop_signal: i32,
    helpers: Helpers,
}

/// Our ends of the program's streams.
#[derive(Debug)]
struct Pipes {
    stdin: PipeWriter,
    stdout: PipeReader,
    stderr: PipeReader,
}

/// The program's ends of its streams.
#[derive(Debug)]
struct Streams {
    stdin: PipeReader,
    stdout: PipeWriter,
    stderr: PipeWriter,
}

impl Container {
    /// Makes the container and waits until it is ready; with `warm`, once what the program's start needs is in memory. This process must not
    /// have another thread, and nothing open that is not the container's to see.
    pub fn prepare(image: ProgramDefaults, warm: bool) -> Result<Self> {
        let context = |result: io::Result<_>| result.context("make pipes for", "the program");
        let (stdin, stdin_writer) = context(io::pipe())?;
        let (stdout_reader, stdout) = context(io::pipe())?;
        let (stderr_reader, stderr) = context(io::pipe())?;
        let (mut channel, theirs) = UnixStream::pair().context("make a channel to", "the container")?;
        let (link, their_link) = Link::pair().context("make a channel to", "the container")?;
        let stop_signal = image.stop_signal;
        let Some(pid) = sys::fork_contained().context("fork", "the container's process 1")? else {
            drop((channel, link, stdin_writer, stdout_reader, stderr_reader));
            inside::live(theirs, their_link, (&image, warm), Streams { stdin, stdout, stderr });
        };
        drop((theirs, their_link, stdin, stdout, stderr));
        let pipes = Pipes { stdin: stdin_writer, stdout: stdout_reader, stderr: stderr_reader };
        let mut first = [0];
        match channel.read_exact(&mut first) {
            Ok(()) if first == [READY] => Ok(Self { pid, channel, link, pipes, stop_signal, helpers: Helpers::prepare()? }),
            _ => Err(failure(first.to_vec(), &mut channel)),
        }
    }

    /// Starts the program: with these ports, on three pipes, with a thread between each and its port; else on the terminal.
    ///
    /// A program may open its standard streams again by name; that works with a pipe, while a port opens only once.
    pub fn start(self, order: &Order, ports: Option<StreamPorts>) -> Result<Running> {
        let Self { pid, mut channel, link, pipes, stop_signal, mut helpers } = self;
        let mut output = Vec::new();
        let send = |channel: &mut UnixStream| channel.write_all(&order.encode()).and_then(|()| channel.shutdown(Shutdown::Write));
        // Where it did not take the order, it says why.
        let sent = send(&mut channel);
        if let Some(ports) = ports {
            helpers.pump(ports.stdin, File::from(OwnedFd::from(pipes.stdin)))?;
            output.push(helpers.pump(File::from(OwnedFd::from(pipes.stdout)), ports.stdout)?);
            output.push(helpers.pump(File::from(OwnedFd::from(pipes.stderr)), ports.stderr)?);
        }
        let mut said = Vec::new();
        channel.read_to_end(&mut said).context("hear from", "the container")?;
        match (said.is_empty(), sent) {
            (false, _) => Err(failure(said, &mut channel)),
            (true, Err(_)) => Err(Error::InsideEnded),
            (true, Ok(())) => Ok(Running { pid, link: Some(link), stop_signal, output, helpers, server: Arc::default() }),
        }
    }
}

/// The container with its program.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    /// Until somebody gives orders about programs beside its own.
    link: Option<Link>,
    stop_signal: i32,
    output: Vec<JoinHandle<()>>,
    helpers: Helpers,
    /// What serves programs beside its own, once there was one.
    server: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Running {
    /// Obeys the host's later requests: passes signals to the program, calls `resume` after each restore, and `start` when the program is to be
    /// started anew. Programs beside its own report through `port`, the control port.
    pub fn obey(
        &mut self,
        port: File,
        mut requests: Lines<File>,
        mut resume: impl FnMut(Options) + Send + 'static,
        mut start: impl FnMut(String) + Send + 'static,
    ) -> Result<()> {
        let (pid, stop_signal) = (self.pid, self.stop_signal);
        let mut ends = Some((self.link.take().ok_or(Error::InsideEnded)?, port));
        let (server, mut orders) = (self.server.clone(), None);
        let listen = move |_: &mut [u8]| {
            // After a restore in the middle of a session the random generator gets its new key before any program draws from it.
            if sys::run_first().is_err() {
                return;
            }
            while let Ok(Some(line)) = requests.next_line() {
                if let Some((order, length)) = Exec::<ExecOrder>::parse(line) {
                    let Ok(order) = requests.complete(order, length) else { return };
                    // Most machines never have another program: who serves them is started for the first.
                    if let Some((link, port)) = ends.take() {
                        let Ok((given, thread)) = exec::serve(link, port) else { return };
                        orders = Some(given);
                        *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
                    }
                    if let Some(orders) = &orders {
                        orders.give(order);
                    }
                    continue;
                }
                let signal = match HostMessage::parse(line) {
                    Some(HostMessage::Signal(number)) => number,
                    Some(HostMessage::Stop) => stop_signal,
                    Some(HostMessage::Resume(options)) => {
                        orders.iter().for_each(exec::Orders::hang_up_all);
                        resume(options);
                        continue;
                    }
                    Some(HostMessage::Start(_)) => {
                        start(line.to_owned());
                        continue;
                    }
                    None => continue,
                };
                // A program that has just ended needs no signal.
                let _ = sys::kill(pid, signal);
            }
        };
        self.helpers.give(listen).map(drop)
    }

    /// Waits for the program's end and that of all that it has left behind, and returns its status when all its output is out.
    pub fn finish(self) -> Result<u8> {
        let status = loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => break exit_code(status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for", "the container"),
            }
        };
        // Every writer is dead, so the pumps come to an end, and so does what serves other programs; they cannot panic.
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.output.into_iter().chain(server).for_each(|thread| drop(thread.join()));
        Ok(status)
    }
}

/// The reason that the container's process 1 gives, of which `said` is the start.
fn failure(mut said: Vec<u8>, channel: &mut UnixStream) -> Error {
    // What cannot be read is not said.
    let _ = channel.read_to_end(&mut said);
    match &said[..] {
        [] | [READY, ..] => Error::InsideEnded,
        reason => Error::Inside(String::from_utf8_lossy(reason).into_owned()),
    }
}

/// The status that a shell would report.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255);
    (code & 0xff) as u8
}
