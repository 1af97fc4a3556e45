//! Sessions of files: what is kept, when, and what can go wrong with it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use common::{at_barrier, at_prompt, prebake, report, run, scratch, signal, succeed, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A guest that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store of a test's own.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let home = scratch(name);
        let _ = fs::remove_dir_all(&home);
        Self(home)
    }

    fn prebake(&self) -> Command {
        let mut command = prebake();
        command.env("PREBAKE_HOME", &self.0);
        command
    }

    fn run(&self, args: &[&str], snapshot: &Path) -> Command {
        let mut command = self.prebake();
        command.arg("run").args(args).arg(snapshot);
        command
    }

    fn folder(&self, session: &str) -> PathBuf {
        self.0.join("sessions").join(session)
    }
}

/// A shell on a terminal that a script types at.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    seen: String,
}

impl Shell {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { child, stdin, seen: String::new() }
    }

    fn ask(&mut self, command: &str, answer: &str) -> String {
        self.stdin.write_all(format!("{command}\n").as_bytes()).unwrap();
        self.wait_for(&format!("\r\n{answer}"));
        self.wait_for("\r\n")
    }

    /// What was shown before `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let mut bytes = [0; 4096];
        let start = Instant::now();
        while !self.seen.contains(text) {
            let mut stdout = [PollFd::new(self.child.stdout.as_ref().unwrap(), PollFlags::IN)];
            let left = Timespec::try_from(PATIENCE.saturating_sub(start.elapsed())).unwrap();
            if poll(&mut stdout, Some(&left)).unwrap() == 0 {
                self.child.kill().unwrap();
                let complaints = self.complaints();
                panic!("`{text}` was not shown within {PATIENCE:?}: {}{complaints}", self.seen);
            }
            let count = self.child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
            if count == 0 {
                let complaints = self.complaints();
                panic!("`{text}` was not shown: {}{complaints}", self.seen);
            }
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
        }
        let start = self.seen.find(text).unwrap();
        let before = self.seen[..start].to_owned();
        self.seen.drain(..start + text.len());
        before
    }

    /// Ends the shell: its status, and whether the user was told that its files are kept.
    fn exit(mut self) -> (Option<i32>, bool) {
        // With what a program can leave behind.
        self.stdin.write_all(b"stty raw; sleep 1000 & exit 4\n").unwrap();
        let code = self.child.wait().unwrap().code();
        (code, self.complaints().contains("the next run has its files and starts its program anew"))
    }

    fn complaints(&mut self) -> String {
        let mut complaints = Vec::new();
        let _ = self.child.stderr.as_mut().unwrap().read_to_end(&mut complaints);
        text(&complaints)
    }

    /// Sends a signal, and waits for the end. What was said to the user.
    fn end_by(mut self, number: Signal) -> (Option<i32>, String) {
        signal(&self.child, number);
        let code = self.child.wait().unwrap().code();
        (code, self.complaints())
    }
}

#[test]
fn what_is_kept_is_resumed_and_its_files_outlive_its_program() {
    let home = Home::new("goes-on");
    let json = scratch("kept.json");
    let mut shell = Shell::start(&mut home.run(&["--session", "work", "--json", json.to_str().unwrap()], &at_prompt()));
    shell.ask("word=one; echo $word", "one");
    let (code, said) = shell.end_by(Signal::TERM);
    assert_eq!(code, Some(128 + 15));
    assert!(said.contains("saved session work"), "{said}");
    let figures = report(&json);
    assert_eq!(figures["session"], "work");
    assert!(figures["kept"]["pages"].as_u64().unwrap() > 0 && figures["error"]["kind"] == "interrupted", "{figures}");
    let inspected = text(&succeed(home.prebake().args(["inspect", "--verify"]).arg(home.folder("work").join("state.snap"))).stdout);
    assert!(inspected.contains("delta on   blake3:") && inspected.contains("not the base's"), "{inspected}");

    let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
    shell.ask("echo $word", "one");
    shell.ask("mkdir -p /data /sys/fs/cgroup/group; echo two >/data/file; cat /data/file", "two");
    assert_eq!(shell.exit(), (Some(4), true));
    let figures = report(&run_to_json(&home, "work", b"exit\n"));
    assert!(figures["kept"]["pages"].as_u64().unwrap() > 0 && figures["exit_code"] == 0, "{figures}");

    for _ in 0..3 {
        let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
        shell.ask("echo :$word: $(cat /data/file)", ":: two");
        assert_eq!(shell.exit(), (Some(4), true));
    }
    succeed(home.prebake().args(["sessions", "--remove", "work"]));
    assert!(!home.folder("work").exists());
}

/// A session starts the program that it began with.
#[test]
fn a_program_starts_anew_with_all_that_it_was_given() {
    let home = Home::new("anew");
    let folder = tempfile::tempdir().unwrap();
    let volume = format!("{}:/data", folder.path().display());
    let script = "read line; echo $WORD $PWD $line; echo $line >>/data/lines; cat /data/lines; exit 6";
    let args = ["--session", "anew", "-e", "WORD=word", "-w", "/tmp", "-v", &volume];
    let mut first = home.run(&args, &at_barrier());
    first.args(["--", "sh", "-c", script]);
    let output = run(&mut first, b"one\n");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("word /tmp one\none\n", Some(6)), "{}", text(&output.stderr));
    let output = run(home.prebake().args(["run", "--session", "anew"]), b"two\nnot read");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("word /tmp two\none\ntwo\n", Some(6)), "{}", text(&output.stderr));
    // What the program before has not read is not for this one.
    let output = run(home.prebake().args(["run", "--session", "anew"]), b"three\n");
    assert_eq!(text(&output.stdout), "word /tmp three\none\ntwo\nthree\n", "{}", text(&output.stderr));
}

/// Each start has random numbers of its own.
#[test]
fn copies_of_a_program_that_has_ended_differ() {
    let home = Home::new("differ");
    let uuid = b"cat /proc/sys/kernel/random/uuid; exit\n";
    run(&mut home.run(&["--session", "one"], &at_barrier()), uuid);
    fs::create_dir_all(home.folder("two")).unwrap();
    for file in ["session.json", "state.snap"] {
        fs::copy(home.folder("one").join(file), home.folder("two").join(file)).unwrap();
    }
    let [one, two] = ["one", "two"].map(|session| text(&run(home.prebake().args(["run", "--session", session]), uuid).stdout));
    assert!(one.len() == 37 && one != two, "{one}{two}");
}

/// Runs a session with this input; its figures.
fn run_to_json(home: &Home, session: &str, input: &[u8]) -> PathBuf {
    let json = scratch("figures.json");
    run(home.prebake().args(["run", "--session", session, "--json"]).arg(&json), input);
    json
}

/// Without a terminal, too.
#[test]
fn three_streams_go_on_byte_for_byte() {
    let home = Home::new("streams");
    let mut shell = Shell::start(&mut home.run(&["--session", "pipe"], &at_barrier()));
    shell.stdin.write_all(b"word=one; echo $word; echo two >&2\n").unwrap();
    assert_eq!(shell.wait_for("one\n"), "");
    let (_, said) = shell.end_by(Signal::HUP);
    assert!(said.starts_with("two\n"), "{said}");
    let output = run(home.prebake().args(["run", "--session", "pipe"]), b"echo $word; cat; exit 5\nthe rest");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("one\nthe rest", Some(5)));
}

#[test]
fn a_session_keeps_its_volumes() {
    let home = Home::new("volumes");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "first").unwrap();
    let volume = format!("{}:/data", folder.path().display());
    let mut shell = Shell::start(&mut home.run(&["--session", "work", "-t", "-v", &volume], &at_barrier()));
    shell.ask("exec 3<>/data/file; cat /data/file; echo", "first");
    shell.end_by(Signal::TERM);
    fs::write(folder.path().join("file"), "second").unwrap();
    let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
    shell.ask("cat <&3; echo", "second");
    shell.ask("echo third >/data/new; cat /data/new", "third");
    assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"third\n");
    shell.end_by(Signal::TERM);
}

#[test]
fn what_a_session_cannot_be_is_refused() {
    let home = Home::new("refused");
    let refused = |command: &mut Command, kind: &str, words: &[&str]| common::assert_fails(command, kind, words);
    refused(&mut home.run(&["--session", "../x"], &at_prompt()), "session-name", &["../x"]);
    refused(home.prebake().args(["run", "--session", "none"]), "no-session", &["none", "prebake sessions"]);
    refused(&mut home.run(&["--session", "x", "--restore", "read"], &at_prompt()), "not-in-session", &["--restore read"]);
    let mut shell = Shell::start(&mut home.run(&["--session", "work"], &at_prompt()));
    shell.ask("echo here", "here");
    refused(&mut home.run(&["--session", "work"], &at_prompt()), "session-in-use", &["work"]);
    let removal = run(home.prebake().args(["sessions", "--remove", "work"]), b"");
    assert!(text(&removal.stderr).contains("in use"), "{}", text(&removal.stderr));
    shell.end_by(Signal::TERM);
    refused(&mut home.run(&["--session", "work", "-e", "A=b"], &at_prompt()), "session-option", &["work", "-e"]);
    refused(&mut home.run(&["--session", "work", "-T"], &at_prompt()), "session-option", &["-T"]);
    refused(&mut home.run(&["--session", "work"], &at_barrier()), "other-session", &["work", "barrier.snap", "prompt.snap"]);

    // A state that is damaged is told, and stays for whoever can mend it.
    let state = home.folder("work").join("state.snap");
    let good = fs::read(&state).unwrap();
    let mut bad = good.clone();
    let last = bad.iter().rposition(|&byte| byte != 0).unwrap();
    bad[last] ^= 1;
    fs::write(&state, &bad).unwrap();
    refused(home.prebake().args(["run", "--session", "work"]), "corrupted", &["state.snap"]);
    fs::write(&state, &good).unwrap();
    let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
    shell.ask("echo again", "again");
    shell.end_by(Signal::TERM);
    // Without its base it is nothing, and says so.
    let base = scratch("moved.snap");
    fs::copy(at_prompt(), &base).unwrap();
    let mut shell = Shell::start(&mut home.run(&["--session", "moved"], &base));
    shell.ask("echo here", "here");
    shell.end_by(Signal::TERM);
    fs::remove_file(&base).unwrap();
    refused(home.prebake().args(["run", "--session", "moved"]), "session-file", &["moved.snap", "--remove moved"]);
    succeed(home.prebake().args(["sessions", "--remove", "moved", "--remove", "work"]));
    assert_eq!(fs::read_dir(home.0.join("sessions")).unwrap().count(), 0);
}

/// What is done is kept, whoever goes away.
#[test]
fn a_session_whose_output_nobody_reads_is_kept() {
    let home = Home::new("broken-pipe");
    let mut shell = Shell::start(&mut home.run(&["--session", "work"], &at_prompt()));
    shell.ask("word=one; echo $word", "one");
    drop(shell.child.stdout.take());
    shell.stdin.write_all(b"echo nobody sees this\n").unwrap();
    assert_eq!(shell.child.wait().unwrap().code(), Some(128 + 13));
    assert!(shell.complaints().contains("saved session work"));
    let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
    shell.ask("echo $word", "one");
    shell.end_by(Signal::TERM);
}

/// Whatever is written when, the state that was complete last is there.
#[test]
fn a_process_that_is_killed_while_it_keeps_loses_nothing_that_was_kept() {
    let home = Home::new("killed");
    // How long it takes here: the kills are to come in the middle of it.
    let json = scratch("killed.json");
    let mut shell = Shell::start(&mut home.run(&["--session", "work", "--json", json.to_str().unwrap()], &at_prompt()));
    shell.ask("n=0; echo ready", "ready");
    shell.end_by(Signal::TERM);
    let longest = Duration::from_secs_f64(2.0 * report(&json)["kept"]["milliseconds"].as_f64().unwrap() / 1e3);

    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut kept, mut completed) = (0, 0);
    for round in 0..50 {
        let mut shell = Shell::start(&mut home.run(&["--session", "work"], &at_prompt()));
        let counted: u64 = shell.ask("n=$((n+1)); echo count $n", "count ").parse().unwrap();
        // What was being kept when the process was killed may be there or not, but what was there before is.
        assert!(counted == kept + 1 || counted == kept + 2, "round {round}: {counted} after {kept}");
        kept = counted - 1;
        signal(&shell.child, Signal::USR1);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(longest * (random >> 40) as u32 / (1 << 24));
        shell.child.kill().unwrap();
        shell.child.wait().unwrap();
        if shell.complaints().contains("saved session") {
            (kept, completed) = (counted, completed + 1);
        }
    }
    assert!((1..50).contains(&completed), "{completed} of 50 were complete, so nothing was tried");
    // The socket of the last one stays until the next takes its place.
    let files = fs::read_dir(home.folder("work")).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "exec.sock");
    assert!(files.count() <= 4, "what was half written is never removed");
}

/// A limit on the size of files stands in for a full disk.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let home = Home::new("full");
    let mut shell = Shell::start(&mut home.run(&["--session", "work"], &at_prompt()));
    shell.ask("word=one; echo $word", "one");
    shell.end_by(Signal::TERM);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 64; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_prebake"));
    limited.env("PREBAKE_HOME", &home.0).env("PREBAKE_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    let mut shell = Shell::start(limited.args(["run", "--session", "work"]));
    shell.ask("word=two; echo $word", "two");
    signal(&shell.child, Signal::USR1);
    shell.ask("echo still here", "still here");
    let (code, said) = shell.end_by(Signal::TERM);
    assert_eq!(code, Some(125), "{said}");
    assert_eq!(said.matches("free some space").count(), 2, "{said}");
    let mut shell = Shell::start(home.prebake().args(["run", "--session", "work"]));
    shell.ask("echo $word", "one");
    shell.end_by(Signal::TERM);
}
