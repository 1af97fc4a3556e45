//! Starting the program anew after its end, for a host that has saved the machine in between.
//!
//! The container is made again from the start, on the disk as the program left it. Forking it takes a process with a single thread, so init
//! executes itself, which ends its threads and closes everything that it has open; what is mounted for the machine stays.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::termios::Termios;

use crate::control::{HostMessage, Start};
use crate::error::{Context, Error, Result};
use crate::terminal::Terminal;

/// This program, whatever has become of its name.
const SELF: &str = "/proc/self/exe";
/// Its name, for those who list processes.
const NAME: (&str, &CStr) = ("/init", c"init");
/// The variable that carries the order.
const VARIABLE: &str = "PREBAKE_START";

/// The order with which init has executed itself; `None` if the kernel has.
pub fn order() -> Result<Option<Start>> {
    let Some(line) = std::env::var_os(VARIABLE) else { return Ok(None) };
    // The file's name is that of a link.
    rustix::thread::set_name(NAME.1).context("name", NAME.0)?;
    parse(line.into_string().unwrap_or_default()).map(Some)
}

fn parse(line: String) -> Result<Start> {
    match HostMessage::parse(&line) {
        Some(HostMessage::Start(start)) => Ok(start),
        _ => Err(Error::NotAStart(line)),
    }
}

/// An order to start the program anew.
#[derive(Debug)]
pub struct Order {
    /// How to start it.
    pub start: Start,
    line: String,
}

impl Order {
    /// Executes this program to obey the order. Returns only if that fails.
    pub fn obey(self) -> Error {
        let source = Command::new(SELF).arg0(NAME.0).env(VARIABLE, self.line).exec();
        Error::System { action: "execute", object: SELF.to_owned(), source }
    }
}

#[derive(Debug)]
struct State {
    /// The host may want the program started anew when it has ended.
    is_wanted: AtomicBool,
    /// The program has ended.
    has_ended: AtomicBool,
}

/// The end of the thread that listens to the host.
#[derive(Debug)]
pub struct Listener {
    state: Arc<State>,
    orders: Sender<String>,
}

/// The end of the thread that waits for the program.
#[derive(Debug)]
pub struct Again {
    state: Arc<State>,
    orders: Receiver<String>,
    terminal: Termios,
}

/// Both ends. `terminal` are the settings that a program is to find.
pub fn both_ends(is_wanted: bool, terminal: Termios) -> (Listener, Again) {
    let state = Arc::new(State { is_wanted: is_wanted.into(), has_ended: false.into() });
    let (sender, orders) = channel();
    (Listener { state: state.clone(), orders: sender }, Again { state, orders, terminal })
}

impl Listener {
    /// The host has said whether it may want the program started anew.
    pub fn set_wanted(&self, is_wanted: bool) {
        self.state.is_wanted.store(is_wanted, Ordering::Relaxed);
    }

    /// The host has sent a `start`, which means nothing while the program runs.
    pub fn order(&self, line: String) {
        if self.state.has_ended.load(Ordering::Relaxed) {
            // The other end waits until the machine ends.
            let _ = self.orders.send(line);
        }
    }
}

impl Again {
    /// Whether the host may want the program started anew.
    pub fn is_wanted(&self) -> bool {
        self.state.is_wanted.load(Ordering::Relaxed)
    }

    /// Tells the host through `port` that the program has ended with `status`, and waits for the order to start it anew.
    pub fn wait(self, port: &mut File, status: u8) -> Result<Order> {
        let told = |outcome: std::io::Result<()>| outcome.context("write to", "the control port");
        told(writeln!(port, "exit {status}"))?;
        Terminal::reset(self.terminal)?;
        // The machine may be lost before it is saved; what is on its disk need not be.
        rustix::fs::sync();
        self.state.has_ended.store(true, Ordering::Relaxed);
        told(port.write_all(b"waiting\n"))?;
        let line = self.orders.recv().map_err(|_| Error::NoStart)?;
        Ok(Order { start: parse(line.clone())?, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_count_once_the_program_has_ended() {
        let pty = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        let (listener, again) = both_ends(false, rustix::termios::tcgetattr(&pty).unwrap());
        listener.order("start tty".into());
        assert!(again.orders.try_recv().is_err() && !again.is_wanted());
        listener.set_wanted(true);
        again.state.has_ended.store(true, Ordering::Relaxed);
        listener.order("start streams".into());
        assert_eq!(again.orders.try_recv().as_deref(), Ok("start streams"));
        assert!(again.is_wanted());
    }
}
