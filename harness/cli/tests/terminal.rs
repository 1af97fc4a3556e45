//! A person at a terminal: a pseudo-terminal stands in for theirs.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::pty::{Session, window};
use common::{at_barrier, at_prompt, prebake, signal};
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A person in the shell of a snapshot.
fn start(snapshot: &Path) -> Session {
    Session::start(prebake().arg("run").arg(snapshot))
}

#[test]
fn a_shell_on_the_users_terminal() {
    let mut session = start(&at_barrier());
    session.wait_for("# ");
    assert!(session.is_raw());
    session.type_in("tty; stty size; echo $TERM\r");
    session.wait_for("\r\n/dev/hvc0\r\n33 111\r\nvt220\r\n");
    session.type_in("exit 9\r");
    assert_eq!(session.end().code(), Some(9));
}

#[test]
fn the_window_changes_with_the_users() {
    let mut session = start(&at_prompt());
    session.wait_for("/ # ");
    session.type_in("stty size\r");
    session.wait_for("\r\n33 111\r\n");
    tcsetwinsize(&session.terminal, window(50, 132)).unwrap();
    // The terminal is not the process's controlling one, so the kernel does not tell it.
    signal(&session.child, Signal::WINCH);
    session.type_in("stty size\r");
    session.wait_for("\r\n50 132\r\n");
    session.type_in("exit\r");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn control_keys_are_the_guests() {
    let mut session = start(&at_barrier());
    session.wait_for("# ");
    session.type_in("echo read''y; cat\r");
    session.wait_for("ready\r\n");
    session.type_in("\x03");
    session.wait_for("^C");
    session.wait_for("# ");
    session.type_in("exit\r");
    // The shell reports how its last command ended.
    assert_eq!(session.end().code(), Some(130));
}

/// With `-T` the terminal is the user's, and Ctrl-D means what it means there.
#[test]
fn ctrl_d_ends_the_input_of_a_program_on_three_streams() {
    let mut session = Session::start(prebake().args(["run", "-T"]).arg(at_barrier()));
    session.type_in("echo rea''dy; read line; echo got $line; cat; echo the end; exit 7\n");
    session.wait_for("ready\r\n");
    session.type_in("one\n");
    session.wait_for("got one\r\n");
    // The terminal shows what is typed, and then comes the answer.
    session.type_in("two\n");
    session.wait_for("two\r\ntwo\r\n");
    assert!(!session.is_raw());
    session.type_in("\x04");
    session.wait_for("the end\r\n");
    assert_eq!(session.end().code(), Some(7));
}

#[test]
fn ctrl_a_x_leaves() {
    let mut session = start(&at_prompt());
    session.wait_for("/ # ");
    // One Ctrl-A for the guest: to the start of the line.
    session.type_in("cho a\x01\x01e\r");
    session.wait_for("\r\na\r\n");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

/// A terminal's late answers, and what was typed for the guest, are no commands for the user's shell.
#[test]
fn what_was_not_read_is_not_left_for_the_shell() {
    // The user's shell has the terminal before and after, and counts what it finds there.
    const SHELL: &str = r#""$0" run "$1"; stty -icanon -echo min 0 time 5; echo "found $(cat | wc -c) bytes"; stty sane"#;
    let mut shell = Command::new("setsid");
    shell.args(["--ctty", "sh", "-c", SHELL]).arg(prebake().get_program()).arg(at_prompt());
    let mut session = Session::start(&mut shell);
    session.wait_for("/ # ");
    // More than is read at once, and than the terminal keeps for a reader: the rest waits for room there.
    session.type_in(&format!("\x01x{}", "late; ".repeat(1600)));
    session.wait_for("found ");
    session.wait_for(" bytes");
    assert_eq!(session.before, "0");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_signal_restores_the_terminal() {
    let mut session = start(&at_prompt());
    session.wait_for("/ # ");
    // The shell takes no notice of the first.
    signal(&session.child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    signal(&session.child, Signal::TERM);
    assert_eq!(session.end().code(), Some(128 + 15));
}

#[test]
fn a_terminal_that_goes_away_ends_the_guest() {
    let mut session = start(&at_prompt());
    session.wait_for("/ # ");
    let Session { user, terminal, mut child, .. } = session;
    drop((user, terminal));
    assert_eq!(child.wait().unwrap().code(), Some(128 + 1));
}
