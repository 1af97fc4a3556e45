//! The saved record of the console.

use super::port::{Announcement, PortStatus};
use super::{Console, ConsoleSink, INPUT_CAPACITY, PORTS, WindowSize};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "console";

snapshot::saved! {
    /// The console without its transport. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ConsoleState {
        /// Columns of the window; 0 if unknown.
        pub cols: u16,
        /// Rows of the window; 0 if unknown.
        pub rows: u16,
        /// The ports, in the order of their numbers.
        pub ports: Vec<PortState>,
    }

    /// One port of the console. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PortState {
        /// Input that the guest has not taken yet.
        pub input: Vec<u8>,
        /// The host has no more input.
        pub input_closed: bool,
        /// The driver has set the port up.
        pub ready: bool,
        /// A program in the guest has the port open.
        pub guest_open: bool,
        /// Control messages that the driver is still to be sent: bit 0 that there is the port, 1 that it is a console,
        /// 2 whether it is open, 3 its name, 4 its size.
        pub announcements: u8,
    }
}

impl Record for ConsoleState {
    const ID: SectionId = SectionId::new(*b"CONS");
    const VERSION: u16 = 1;
}

impl<S: ConsoleSink> Console<S> {
    /// The record of this console.
    pub fn save(&self) -> ConsoleState {
        let save = |port: &PortStatus| PortState {
            input: port.input.iter().copied().collect(),
            input_closed: port.input_closed,
            ready: port.ready,
            guest_open: port.guest_open,
            announcements: port.announcements,
        };
        ConsoleState { cols: self.window.cols, rows: self.window.rows, ports: self.ports.iter().map(save).collect() }
    }

    /// The console of `state`, with its output going to `sink`.
    pub fn restore(sink: S, state: &ConsoleState) -> Result<Self, RestoreError> {
        let mut console = Self::new(sink);
        console.window = WindowSize { cols: state.cols, rows: state.rows };
        RestoreError::check_equal(DEVICE, "number of ports", state.ports.len() as u64, PORTS as u64)?;
        let known = Announcement::ALL.into_iter().fold(0, |bits, announcement| bits | announcement.bit());
        for (port, saved) in console.ports.iter_mut().zip(&state.ports) {
            let length = saved.input.len();
            RestoreError::check(length <= INPUT_CAPACITY, DEVICE, "length of queued input", length as u64, "64 KiB or less")?;
            RestoreError::check(saved.announcements & !known == 0, DEVICE, "announcements", saved.announcements, "five bits")?;
            *port = PortStatus {
                input: saved.input.iter().copied().collect(),
                input_closed: saved.input_closed,
                ready: saved.ready,
                guest_open: saved.guest_open,
                announcements: saved.announcements,
            };
        }
        Ok(console)
    }
}
