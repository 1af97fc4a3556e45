//! The console of this process.

use crate::terminal;
use devices::console::WindowSize;
use prebake::error::{Error, Result};
use prebake::run::console::{Console, InputSource, Terminal};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

/// The standard streams, and the terminal if standard input is one.
pub fn of_process() -> Result<Console> {
    let own = |stream: BorrowedFd<'_>| stream.try_clone_to_owned();
    let streams = || Ok((own(io::stdin().as_fd())?, own(io::stdout().as_fd())?, own(io::stderr().as_fd())?));
    let streams: io::Result<_> = streams();
    let (stdin, stdout, stderr) = streams.map_err(|source| Error::Host { what: "use the standard streams", source })?;
    let window: Option<WindowSize> = terminal::window();
    let (source, terminal) = match io::stdin().is_terminal() {
        true => (InputSource::LocalTerminal, Terminal { name: name(), window }),
        false => (InputSource::Pipe, Terminal::default()),
    };
    Ok(Console { stdin, stdout, stderr, source, terminal })
}

/// What the user calls the terminal, if that can be passed on.
fn name() -> Option<String> {
    let name = std::env::var("TERM").ok()?;
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(name)
}
