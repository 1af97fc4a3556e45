//! Programs beside that of a session that runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::pty::{self, window};
use common::{at_prompt, prebake, run, scratch, signal, text};
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store of a test's own, and the session `work` in it.
struct Home(PathBuf);

/// A run of the session. What its terminal shows is left in a file.
struct Main {
    child: Child,
    stdin: ChildStdin,
}

impl Home {
    fn new(name: &str) -> Self {
        let home = scratch(name);
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        Self(home)
    }

    fn prebake(&self, words: &[&str]) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_HOME", &self.0).args(words);
        command
    }

    fn door(&self) -> PathBuf {
        self.0.join("sessions/work/exec.sock")
    }

    /// Runs the session: a shell at its prompt, or as it stands.
    fn run(&self, snapshot: Option<&Path>) -> Main {
        let mut command = self.prebake(&["run", "--session", "work"]);
        command.args(snapshot).stdin(Stdio::piped());
        let log = |name| fs::File::create(self.0.join(name)).unwrap();
        let mut child = command.stdout(log("out")).stderr(log("err")).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        wait_until("the session's door is open", || self.list().contains("running"));
        Main { child, stdin }
    }

    fn list(&self) -> String {
        text(&run(&mut self.prebake(&["sessions"]), b"").stdout)
    }

    fn exec(&self, words: &[&str]) -> Command {
        let mut command = self.prebake(&["exec"]);
        command.args(words);
        command
    }

    /// What a command says that must succeed.
    fn ask(&self, script: &str) -> String {
        let output = run(&mut self.exec(&["work", "sh", "-c", script]), b"");
        assert!(output.status.success(), "{script}: {output:?}");
        text(&output.stdout)
    }

    /// Starts a script that says `ready` when it has set itself up, and waits until then.
    fn start(&self, script: &str) -> Child {
        let mut command = self.exec(&["-i", "work", "sh", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready\n");
        child
    }
}

impl Main {
    fn type_in(&mut self, line: &str) {
        self.stdin.write_all(line.as_bytes()).unwrap();
    }

    fn end(mut self, number: Signal) {
        signal(&self.child, number);
        self.child.wait().unwrap();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Some bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_second_program_runs_with_its_own_streams_status_and_settings() {
    let home = Home::new("second");
    let mut main = home.run(Some(&at_prompt()));
    let exec = |words: &[&str], input: &[u8]| said(&run(&mut home.exec(words), input));
    assert_eq!(exec(&["work", "sh", "-c", "echo out; echo err >&2; exit 3"], b""), (Some(3), "out\n".into(), "err\n".into()));
    // The session's own program is another one, on the same files.
    main.type_in("echo mine >/tmp/mine; word=secret\n");
    wait_until("the shell's file is seen", || exec(&["work", "cat", "/tmp/mine"], b"").1 == "mine\n");
    assert_eq!(
        exec(&["-e", "word=A b", "-w", "/tmp", "-u", "1000:7", "work", "sh", "-c", "echo $word; pwd; id -u; id -g"], b"").1,
        "A b\n/tmp\n1000\n7\n"
    );
    for (words, status, complaint) in [
        (&["work", "nonexistent"][..], 127, "cannot run nonexistent"),
        (&["work", "/etc"], 126, "cannot run /etc"),
        (&["-u", "stranger", "work", "true"], 126, "no user \"stranger\""),
        (&["work", "sh", "-c", "kill -9 $$"], 137, ""),
    ] {
        let (code, out, err) = exec(words, b"");
        assert!(code == Some(status) && out.is_empty() && err.contains(complaint), "{words:?}: {code:?} {out} {err}");
    }
    // Without -i there is nothing to read, and with it all of it arrives, and its end.
    assert_eq!(exec(&["work", "cat"], b"unread").1, "");
    let bytes = noise(1 << 20);
    let output = run(&mut home.exec(&["-i", "work", "cat"]), &bytes);
    assert!(output.status.success() && output.stdout == bytes, "{} bytes came back", output.stdout.len());
    // Two at a time, one of which waits for the other.
    let waiting = home.start("mkfifo /tmp/pipe; echo ready; cat /tmp/pipe");
    assert_eq!(home.ask("while ! [ -p /tmp/pipe ]; do sleep 0.1; done; echo hello >/tmp/pipe"), "");
    assert_eq!(said(&waiting.wait_with_output().unwrap()), (Some(0), "hello\n".into(), String::new()));
    assert!(home.list().contains("never") && home.list().contains("running"), "{}", home.list());
    main.end(Signal::TERM);
    assert!(home.list().contains("work") && !home.list().contains("running"), "{}", home.list());
}

#[test]
fn it_runs_beside_a_program_that_never_waits() {
    let home = Home::new("busy");
    let mut main = home.run(Some(&at_prompt()));
    main.type_in("while :; do :; done\n");
    for _ in 0..3 {
        assert_eq!(home.ask("echo $((6 * 7))"), "42\n");
    }
    let bytes = noise(100_000);
    assert!(run(&mut home.exec(&["-i", "work", "cat"]), &bytes).stdout == bytes);
    main.end(Signal::KILL);
}

#[test]
fn a_terminal_of_its_own_has_size_keys_and_end() {
    let home = Home::new("terminal");
    let main = home.run(Some(&at_prompt()));
    let mut user = pty::Session::start(&mut home.exec(&["-it", "work", "sh"]));
    user.wait_until_raw();
    user.type_in("tty; stty size; echo $TERM\r");
    user.wait_for("/dev/pts/");
    user.wait_for("33 111\r\nvt220\r\n");
    tcsetwinsize(&user.terminal, window(20, 70)).unwrap();
    signal(&user.child, Signal::WINCH);
    user.type_in("while [ \"$(stty size)\" != '20 70' ]; do sleep 0.1; done; echo other size\r");
    user.wait_for("\r\nother size\r\n");
    // What is typed before the shell has taken its line is not a key yet.
    user.type_in("echo be''gun; sleep 1000\r");
    user.wait_for("\r\nbegun\r\n");
    user.type_in("\x03");
    user.type_in("echo status $?\r");
    user.wait_for("status 130\r\n");
    user.type_in("exit 5\r");
    assert_eq!(user.end().code(), Some(5));
    // The end of input that is no terminal is typed.
    let output = run(&mut home.exec(&["-it", "work", "sh"]), b"echo $((40 + 2))\n");
    assert!(output.status.success() && text(&output.stdout).contains("\r\n42\r\n"), "{output:?}");
    main.end(Signal::TERM);
}

#[test]
fn signals_reach_it_and_who_goes_away_hangs_it_up() {
    let home = Home::new("signals");
    let main = home.run(Some(&at_prompt()));
    let child = home.start("trap 'echo int; exit 9' INT; echo ready; while :; do sleep 0.1; done");
    signal(&child, Signal::INT);
    assert_eq!(said(&child.wait_with_output().unwrap()), (Some(9), "int\n".into(), String::new()));
    // The second one is for prebake.
    let mut child = home.start("trap 'echo int' INT; echo ready; while :; do sleep 0.1; done");
    signal(&child, Signal::INT);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "int\n");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let mut child = home.start("trap 'echo hup >/tmp/hup; exit' HUP; echo ready; while :; do sleep 0.1; done");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(home.ask("while ! [ -s /tmp/hup ]; do sleep 0.1; done; cat /tmp/hup"), "hup\n");
    // One that is not read any more.
    let mut child = home.start("trap '' PIPE; echo ready; while echo x; do :; done");
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    main.end(Signal::TERM);
}

#[test]
fn it_ends_with_the_sessions_program_or_its_run() {
    let home = Home::new("ends");
    let mut main = home.run(Some(&at_prompt()));
    let child = home.start("echo ready; sleep 1000");
    main.type_in("exit 4\n");
    assert_eq!(main.child.wait().unwrap().code(), Some(4));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(137));

    // The program is started anew, and what starts others with it.
    let main = home.run(None);
    let child = home.start("echo ready; sleep 1000");
    main.end(Signal::TERM);
    let (code, _, err) = said(&child.wait_with_output().unwrap());
    assert!(code == Some(125) && err.contains("its session is saved"), "{code:?}: {err}");
}

#[test]
fn a_save_leaves_it_alone_and_a_restore_hangs_it_up() {
    let home = Home::new("restored");
    let main = home.run(Some(&at_prompt()));
    let mut child = home.start("trap 'echo hup >/hup; exit' HUP; echo ready; while read -r line; do echo got $line; done");
    signal(&main.child, Signal::USR1);
    let state = home.0.join("sessions/work/state.snap");
    wait_until("the session is saved", || state.exists());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    child.stdin.as_mut().unwrap().write_all(b"more\n").unwrap();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "got more\n");
    main.end(Signal::KILL);
    let (code, _, err) = said(&child.wait_with_output().unwrap());
    assert!(code == Some(125) && err.contains("the machine's process has ended"), "{code:?}: {err}");

    // A process that was killed leaves its door behind, which leads nowhere.
    assert!(home.door().exists() && !home.list().contains("running"));
    let main = home.run(None);
    assert_eq!(home.ask("while ! [ -s /hup ]; do sleep 0.1; done; cat /hup"), "hup\n");
    main.end(Signal::TERM);
    assert!(!home.door().exists());
}

#[test]
fn a_session_that_does_not_run_says_what_to_do() {
    let home = Home::new("rests");
    let main = home.run(Some(&at_prompt()));
    // What has not begun is not saved.
    home.ask("true");
    main.end(Signal::TERM);
    let (code, _, err) = said(&run(&mut home.exec(&["work", "true"]), b""));
    assert!(code == Some(125) && err.contains("prebake run --session work"), "{err}");
    let (code, _, err) = said(&run(&mut home.exec(&["other", "true"]), b""));
    assert!(code == Some(125) && err.contains("no session other"), "{err}");
    let long = "x".repeat(60_000);
    let main = home.run(None);
    let (code, _, err) = said(&run(&mut home.exec(&["work", "echo", &long]), b""));
    assert!(code == Some(125) && err.contains("at most 49152"), "{err}");
    main.end(Signal::TERM);
}
