//! The user's terminal.

mod raw;
mod signals;

pub use raw::{RawMode, restore_on_panic};
pub use signals::Signals;

use devices::console::WindowSize;
use rustix::termios::{Winsize, tcgetwinsize};
use std::io;

/// The size of the window that standard input is in, if it is a terminal and says so.
pub fn window() -> Option<WindowSize> {
    let stdin = io::stdin();
    let Winsize { ws_col, ws_row, .. } = tcgetwinsize(&stdin).ok()?;
    (ws_col != 0 && ws_row != 0).then_some(WindowSize { cols: ws_col, rows: ws_row })
}
