//! The program that the machine exists for: starting it, feeding it, burying what is left of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::control::{Lines, Request};
use crate::error::{Context, Result};
use crate::info::Info;
use crate::ports::StreamPorts;
use crate::sys;
use crate::terminal::Terminal;

const SHELL: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A helper thread does nothing but copy bytes.
const STACK: usize = 64 << 10;
/// As much as the kernel passes to a port at once.
const CHUNK: usize = 32 << 10;

/// A running program and what carries its output to the ports, if it is on ports.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    output: Vec<JoinHandle<()>>,
}

/// Runs the shell once, doing nothing, so that what its start needs is in memory before the snapshot.
pub fn warm_up() {
    // A machine without a shell fails when it is to start one, with a better message.
    let _ = shell().args(["-c", ":"]).stdin(Stdio::null()).status();
}

impl Program {
    /// Starts the program, or the shell, on the terminal, which is `name` in its environment. The terminal is the program's alone from then on, so that its
    /// last close, at the program's end, waits for the output.
    pub fn on_terminal(terminal: Terminal, name: &str, info: &Info) -> Result<Self> {
        terminal.make_sane()?;
        let mut command = command(info, Some(name));
        command.stdin(terminal.handle()?).stdout(terminal.handle()?).stderr(terminal.handle()?);
        let child = spawn(sys::in_new_session(&mut command, true))?;
        Ok(Self { pid: pid_of(&child)?, output: Vec::new() })
    }

    /// Starts the program, or the shell, on three pipes, with a thread between each and its port. A program may open its standard streams again by name;
    /// that works with a pipe, while a port opens only once.
    pub fn on_ports(ports: StreamPorts, info: &Info) -> Result<Self> {
        let mut command = command(info, None);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(sys::in_new_session(&mut command, false))?;
        let pipe = |end: Option<OwnedFd>| end.map(File::from).ok_or(io::ErrorKind::BrokenPipe).context("connect", SHELL);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        pump(ports.stdin, pipe(stdin.map(OwnedFd::from))?)?;
        let out = pump(pipe(stdout.map(OwnedFd::from))?, ports.stdout)?;
        let err = pump(pipe(stderr.map(OwnedFd::from))?, ports.stderr)?;
        Ok(Self { pid: pid_of(&child)?, output: vec![out, err] })
    }

    /// Obeys the host's later requests: passes signals to the program, and calls `resume` after each restore.
    pub fn obey(&self, mut requests: Lines<File>, mut resume: impl FnMut(Option<u64>) + Send + 'static) -> Result<()> {
        let program = self.pid;
        helper(move || {
            // After a restore in the middle of a session the random generator gets its new key before any program draws from it.
            if sys::run_first().is_err() {
                return;
            }
            while let Ok(Some(line)) = requests.next_line() {
                match Request::parse(line) {
                    Some(Request::Signal(number)) => {
                        // A program that has just ended needs no signal.
                        let _ = Signal::from_named_raw(number).map(|signal| kill_process(program, signal));
                    }
                    Some(Request::Resume(time)) => resume(time),
                    Some(Request::Start(_)) | None => {}
                }
            }
        })
        .map(drop)
    }

    /// Waits for the program's end, ends what it has left behind, and returns its status when all its output is out.
    pub fn finish(self) -> Result<u8> {
        let status = loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == self.pid => break exit_code(status),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for", SHELL),
            }
        };
        // ESRCH: nobody is left.
        let _ = sys::kill_all();
        while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
        // Every writer is dead, so the pumps come to an end; they cannot panic.
        self.output.into_iter().for_each(|pump| drop(pump.join()));
        Ok(status)
    }
}

fn shell() -> Command {
    command(&Info::default(), None)
}

/// What `info` wants to be run, or the shell.
fn command(info: &Info, terminal: Option<&str>) -> Command {
    let mut command = match info.command() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => Command::new(SHELL),
    };
    command.env_clear().env("PATH", PATH).env("HOME", "/root").current_dir(info.folder.as_deref().unwrap_or(Path::new("/")));
    command.envs(terminal.map(|name| ("TERM", name)));
    command.envs(info.environment.iter().map(|(name, value)| (name, value)));
    command
}

fn spawn(command: &mut Command) -> Result<Child> {
    let child = command.spawn();
    child.context("start", command.get_program().to_string_lossy())
}

fn pid_of(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData).context("start", SHELL)
}

/// The status that a shell would report.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255);
    (code & 0xff) as u8
}

fn helper(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().stack_size(STACK).spawn(work).context("start", "a helper thread")
}

/// Copies `from` to `to` in a thread of its own, until either side ends.
fn pump(mut from: File, mut to: File) -> Result<JoinHandle<()>> {
    helper(move || {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}
