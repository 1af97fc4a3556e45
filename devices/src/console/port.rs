//! The ports of the console, and what the device remembers of each.

use super::wire::{CONTROL_RECEIVEQ, RECEIVEQ_PORT0};
use std::collections::VecDeque;

/// The ports that every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// The terminal: hvc0 in the guest.
    Tty,
    /// Standard input of the program, host to guest.
    Stdin,
    /// Its standard output, guest to host.
    Stdout,
    /// Its standard error, guest to host.
    Stderr,
    /// Messages between the host and the guest's init.
    Control,
}

impl Port {
    /// All ports, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Tty, Self::Stdin, Self::Stdout, Self::Stderr, Self::Control];

    /// Number of the port.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name by which the guest finds a generic port; the terminal has none.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Tty => None,
            Self::Stdin => Some("prebake.stdin"),
            Self::Stdout => Some("prebake.stdout"),
            Self::Stderr => Some("prebake.stderr"),
            Self::Control => Some("prebake.control"),
        }
    }

    /// Receive queue of the port; its transmit queue is the next one (section 5.3.2: port 0, control, the other ports).
    pub(super) const fn receive_queue(self) -> u16 {
        match self {
            Self::Tty => RECEIVEQ_PORT0,
            _ => CONTROL_RECEIVEQ + 2 * self as u16,
        }
    }
}

/// Input that the guest has no room for yet is kept up to this many bytes per port.
pub const INPUT_CAPACITY: usize = 64 << 10;

/// A control message that the driver is still to be sent. What it says is decided when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    Add,
    Console,
    Open,
    Name,
    Resize,
}

impl Announcement {
    /// In the order of sending. The name comes behind the open message: a guest that finds a port by its name must not take it for
    /// closed, and Linux reports end of file on a port that the host has not opened.
    pub(super) const ALL: [Self; 5] = [Self::Add, Self::Console, Self::Open, Self::Name, Self::Resize];

    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What the device remembers of one port.
#[derive(Debug, Default)]
pub(super) struct PortStatus {
    /// Bytes from the host that the driver has no buffer for yet.
    pub(super) input: VecDeque<u8>,
    /// The host has no more input.
    pub(super) input_closed: bool,
    /// The driver has set the port up.
    pub(super) ready: bool,
    /// A program in the guest has the port open.
    pub(super) guest_open: bool,
    /// Set of [`Announcement`] bits.
    pub(super) announcements: u8,
}

impl PortStatus {
    /// The host's end counts as open until the last byte of input is in the guest: Linux then still delivers what it has, and only
    /// after that end of file.
    pub(super) fn host_open(&self) -> bool {
        !(self.input_closed && self.input.is_empty())
    }

    /// Both ends are closed. The host's is open again, without what was not taken.
    pub(super) fn reopen(&mut self) {
        self.input_closed = false;
        self.input.clear();
        self.announce(Announcement::Open);
    }

    pub(super) fn announce(&mut self, what: Announcement) {
        self.announcements |= what.bit();
    }

    /// What the driver did is undone; what the host did stays.
    pub(super) fn reset(&mut self) {
        *self = Self { input: std::mem::take(&mut self.input), input_closed: self.input_closed, ..Self::default() };
    }
}
