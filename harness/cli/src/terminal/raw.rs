//! Raw mode, and the way out of it.

use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use std::io;
use std::sync::{Mutex, PoisonError};

/// The settings to go back to, while standard input is in raw mode.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in raw mode: every key goes to the guest. Ends when dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts standard input, which is a terminal, into raw mode.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let mode = Self(());
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Goes back to the settings before raw mode, if it is on. What has come and was not read is dropped: it was meant for the guest, or is the
/// terminal's answer to it, and the user's shell would take it for a command.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no settings. Changing them drops what waits for a reader, and not what still waits for room there.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    }
}

/// Makes a panic leave raw mode before it prints its message.
pub fn restore_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        print(info);
    }));
}
