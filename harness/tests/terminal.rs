//! A person at a terminal: a pseudo-terminal stands in for theirs.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{at_barrier, at_prompt, prebake, signal};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// The user's side of a terminal, and prebake on the other.
struct Session {
    user: File,
    terminal: OwnedFd,
    child: Child,
    seen: String,
}

fn window(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    fn start(snapshot: &Path) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, window(33, 111)).unwrap();
        let end = || terminal.try_clone().unwrap();
        let mut command = prebake();
        command.arg("run").arg(snapshot).env("TERM", "vt220").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        rustix::io::ioctl_fionbio(&user, true).unwrap();
        Self { user: File::from(user), terminal, child, seen: String::new() }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn type_in(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` has been shown.
    fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            assert!(start.elapsed() < Duration::from_secs(60), "`{text}` was not shown: {:?}", self.seen);
            match self.user.read(&mut bytes) {
                Ok(count) => self.seen += &String::from_utf8_lossy(&bytes[..count]),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert!(!self.is_raw(), "the terminal is still in raw mode");
        status
    }
}

#[test]
fn a_shell_on_the_users_terminal() {
    let mut session = Session::start(&at_barrier());
    session.wait_for("# ");
    assert!(session.is_raw());
    session.type_in("tty; stty size; echo $TERM\r");
    session.wait_for("\r\n/dev/hvc0\r\n33 111\r\nvt220\r\n");
    session.type_in("exit 9\r");
    assert_eq!(session.end().code(), Some(9));
}

#[test]
fn the_window_changes_with_the_users() {
    let mut session = Session::start(&at_prompt());
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
    let mut session = Session::start(&at_barrier());
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

#[test]
fn ctrl_a_x_leaves() {
    let mut session = Session::start(&at_prompt());
    session.wait_for("/ # ");
    // One Ctrl-A for the guest: to the start of the line.
    session.type_in("cho a\x01\x01e\r");
    session.wait_for("\r\na\r\n");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_signal_restores_the_terminal() {
    let mut session = Session::start(&at_prompt());
    session.wait_for("/ # ");
    // The shell takes no notice of the first.
    signal(&session.child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    signal(&session.child, Signal::TERM);
    assert_eq!(session.end().code(), Some(128 + 15));
}

#[test]
fn a_terminal_that_goes_away_ends_the_guest() {
    let mut session = Session::start(&at_prompt());
    session.wait_for("/ # ");
    let Session { user, terminal, mut child, .. } = session;
    drop((user, terminal));
    assert_eq!(child.wait().unwrap().code(), Some(128 + 1));
}
