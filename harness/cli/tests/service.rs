//! Machines for programs: the library's service, with streams of the program's own.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{at_barrier, at_prompt};
use devices::console::WindowSize;
use prebake::context::Context;
use prebake::exec::ExecRequest;
use prebake::run::attended::Ending;
use prebake::run::console::{Control, ControlCommand, Terminal};
use prebake::run::{RunRequest, RunTarget, SessionPolicy};
use prebake::service::{ConsoleEnds, Vm, console};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

fn snapshot(path: PathBuf) -> RunRequest {
    RunRequest::new(RunTarget::Files { machine: None, snapshot: Some(path) })
}

/// Whoever stands at the machine.
struct User {
    ends: ConsoleEnds,
    seen: String,
}

impl User {
    fn start(request: RunRequest) -> (Vm, Self) {
        Self::start_in(common::context("alone"), request)
    }

    fn start_in(context: Context, request: RunRequest) -> (Vm, Self) {
        let window = Some(WindowSize { cols: 90, rows: 30 });
        let (console, ends) = console(Terminal { name: Some("vt220".into()), window }).unwrap();
        (Vm::start(context, request, console).unwrap(), Self { ends, seen: String::new() })
    }

    fn ask(&mut self, command: &str, answer: &str) {
        self.ends.stdin.write_all(format!("{command}\n").as_bytes()).unwrap();
        self.wait_for(&format!("\r\n{answer}\r\n"));
    }

    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            let count = self.ends.stdout.read(&mut bytes).unwrap();
            assert!(count > 0, "`{text}` was not shown: {}", self.seen);
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
        }
        self.seen.drain(..self.seen.find(text).unwrap() + text.len());
    }
}

#[test]
fn a_program_types_and_reads_and_resizes() {
    let (vm, mut user) = User::start(snapshot(at_barrier()));
    user.wait_for("# ");
    user.ask("tty; echo $TERM", "/dev/hvc0\r\nvt220");
    user.ask("stty size", "30 90");
    vm.resize(WindowSize { cols: 120, rows: 40 });
    user.ask("stty size", "40 120");
    user.ends.stdin.write_all(b"exit 7\n").unwrap();
    let ended = vm.wait();
    assert_eq!(ended.outcome.unwrap().ending, Ending::Exited(7));
    assert!(ended.report.guest_instructions > 0 && ended.report.restore_ms.is_some());
}

/// Whoever has nothing to say to a program.
struct Silent(UnixStream, #[allow(dead_code, reason = "it keeps the other end open")] UnixStream);

impl Silent {
    fn boxed() -> Box<Self> {
        let (one, other) = UnixStream::pair().unwrap();
        Box::new(Self(one, other))
    }
}

impl Control for Silent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn take(&mut self) -> Option<ControlCommand> {
        None
    }
}

#[test]
fn a_second_program_runs_without_a_session_too() {
    let (vm, mut user) = User::start(snapshot(at_prompt()));
    let request = ExecRequest {
        program: "cat".into(),
        arguments: vec!["/proc/sys/kernel/hostname".into(), "-".into()],
        interactive: true,
        ..ExecRequest::default()
    };
    // At once: it waits for the machine's own program.
    let (console, mut ends) = console(Terminal::default()).unwrap();
    ends.stdin.write_all(b"typed\n").unwrap();
    drop(ends.stdin);
    assert_eq!(vm.exec(&request, console, Silent::boxed()).unwrap(), 0);
    let mut text = String::new();
    ends.stdout.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\ntyped\n"), "{text}");

    user.wait_for("# ");
    user.ends.stdin.write_all(b"exit 7\n").unwrap();
    while !vm.has_ended() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (console, _ends) = prebake::service::console(Terminal::default()).unwrap();
    assert_eq!(vm.exec(&request, console, Silent::boxed()).unwrap_err().kind(), "exec-lost");
    assert_eq!(vm.wait().outcome.unwrap().ending, Ending::Exited(7));
}

/// All that is kept here is in a store of this test's own.
#[test]
fn what_is_done_is_kept_and_goes_on() {
    let _ = std::fs::remove_dir_all(common::scratch("home"));
    let start = |request| User::start_in(common::context("home"), request);
    let kept = || RunRequest { session: SessionPolicy::Named("work".into()), ..snapshot(at_prompt()) };
    let (vm, mut user) = start(kept());
    user.wait_for("# ");
    user.ask("word=one; echo $word", "one");
    let checkpoint = vm.checkpoint().unwrap();
    assert_eq!((checkpoint.session.as_str(), checkpoint.pages > 0), ("work", true));
    user.ask("word=two; echo $word", "two");
    // Nobody else can have it meanwhile.
    let (other, _user) = start(kept());
    assert_eq!(other.wait().outcome.unwrap_err().kind(), "session-in-use");
    vm.stop();
    assert!(vm.wait().outcome.unwrap().checkpoint.is_some());

    let (vm, mut user) = start(kept());
    user.ask("echo $word", "two");
    // To close the input is to go away.
    drop(user.ends.stdin);
    let outcome = vm.wait().outcome.unwrap();
    assert!(matches!(outcome.ending, Ending::Signalled(_)) && outcome.checkpoint.is_some(), "{outcome:?}");
    let (vm, mut user) = start(kept());
    user.ask("echo $word", "two");
    user.ends.stdin.write_all(b"exit\n").unwrap();
    assert_eq!(vm.wait().outcome.unwrap().ending, Ending::Exited(0));
}

#[test]
fn what_cannot_be_kept_is_said() {
    let (vm, mut user) = User::start(snapshot(at_prompt()));
    user.ask("echo here", "here");
    assert_eq!(vm.checkpoint().unwrap_err().kind(), "keeps-nothing");
    vm.stop();
    while !vm.has_ended() {
        std::thread::yield_now();
    }
    assert_eq!(vm.checkpoint().unwrap_err().kind(), "machine-ended");
    assert!(vm.wait().outcome.unwrap().checkpoint.is_none());
    for nothing in [RunTarget::Session, RunTarget::Files { machine: None, snapshot: None }] {
        let (vm, _user) = User::start(RunRequest::new(nothing));
        assert_eq!(vm.wait().outcome.unwrap_err().kind(), "nothing-to-run");
    }
    let (vm, _user) = User::start(snapshot("/nonexistent.snap".into()));
    assert_eq!(vm.wait().outcome.unwrap_err().kind(), "missing");
}

/// Once the thread of a machine is gone, nobody holds the other ends of its console.
#[test]
fn a_machine_ends_when_it_is_dropped() {
    let (vm, mut user) = User::start(snapshot(at_prompt()));
    user.ask("echo here", "here");
    drop(vm);
    let mut rest = Vec::new();
    user.ends.stdout.read_to_end(&mut rest).unwrap();
    assert!(user.ends.stdin.write_all(b"x").is_err());
}
