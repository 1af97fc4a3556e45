//! What the host says to the guest: input on the console and on the serial port, and the size of the terminal.

use devices::console::{Port, WindowSize};
use devices::virtio::{DriverFault, Virtqueues};

use super::Machine;
use super::console::ConsoleDevice;

impl Machine {
    /// Gives the guest input on a console port. Returns how many bytes were taken.
    pub fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize {
        self.with_console(|console, queues| console.push_input(port, bytes, queues)).unwrap_or(0)
    }

    /// Ends the input on a console port.
    pub fn close_input(&mut self, port: Port) {
        self.with_console(|console, queues| console.close_input(port, queues));
    }

    /// Tells the guest the size of its terminal.
    pub fn resize(&mut self, window: WindowSize) {
        self.with_console(|console, queues| console.resize(window, queues));
    }

    /// Whether the guest has a buffer ready for input on a console port.
    pub fn wants_input(&mut self, port: Port) -> bool {
        self.with_console(|console, queues| console.wants_input(port, queues)).unwrap_or(false)
    }

    /// Bytes of input on a console port that the guest has not taken.
    pub fn input_pending(&mut self, port: Port) -> usize {
        self.board_mut().slots.get_mut::<ConsoleDevice>(0).map_or(0, |console| console.device().input_pending(port))
    }

    /// Gives the serial port input. Returns how many bytes were taken.
    pub fn push_serial(&mut self, bytes: &[u8]) -> usize {
        self.board_mut().push_serial(bytes)
    }

    fn with_console<R>(&mut self, work: impl FnOnce(&mut ConsoleDevice, &mut Virtqueues<'_>) -> Result<R, DriverFault>) -> Option<R> {
        self.with_board(|board, memory, now| board.with_device(0, memory, now, work))
    }
}
