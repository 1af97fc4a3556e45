//! virtio-console (section 5.3): a terminal and four named streams.
//!
//! Port 0 is a tty with a window size; the generic ports carry bytes exactly. Linux offers their names in
//! `/sys/class/virtio-ports/*/name`. Input waits in a bounded queue per port until the guest has opened the port and posted a
//! buffer, since Linux drops what arrives on a closed one. Output goes to the [`ConsoleSink`] at once.

mod port;
mod state;
pub mod wire;

pub use port::{INPUT_CAPACITY, Port};
pub use state::{ConsoleState, PortState};

use crate::virtio::spec::device_id;
use crate::virtio::{DriverFault, VirtioDevice, Virtqueues, copy_config};
use port::{Announcement, PortStatus};
use wire::{
    CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, ControlMessage, TRANSMITQ_PORT0, VIRTIO_CONSOLE_CONSOLE_PORT, VIRTIO_CONSOLE_DEVICE_ADD,
    VIRTIO_CONSOLE_DEVICE_READY, VIRTIO_CONSOLE_F_MULTIPORT, VIRTIO_CONSOLE_F_SIZE, VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN,
    VIRTIO_CONSOLE_PORT_READY, VIRTIO_CONSOLE_RESIZE,
};

/// Where the guest's output goes.
pub trait ConsoleSink {
    /// Takes bytes that the guest wrote to `port`, all of them.
    fn write(&mut self, port: Port, bytes: &[u8]);
}

impl<S: ConsoleSink + ?Sized> ConsoleSink for Box<S> {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        (**self).write(port, bytes);
    }
}

/// Size of a terminal in characters; 0x0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

const PORTS: usize = Port::ALL.len();

/// Linux fills a receive queue with one page per descriptor, so short queues save guest memory.
const RECEIVE_QUEUE_SIZE: u16 = 8;
const TRANSMIT_QUEUE_SIZE: u16 = 16;
const CONTROL_QUEUE_SIZE: u16 = 16;

const QUEUE_SIZES: [u16; 2 * PORTS + 2] = {
    let mut sizes = [RECEIVE_QUEUE_SIZE; 2 * PORTS + 2];
    let mut queue = 0;
    while queue < sizes.len() {
        sizes[queue + 1] = TRANSMIT_QUEUE_SIZE;
        queue += 2;
    }
    sizes[CONTROL_RECEIVEQ as usize] = CONTROL_QUEUE_SIZE;
    sizes[CONTROL_TRANSMITQ as usize] = CONTROL_QUEUE_SIZE;
    sizes
};

/// Bytes that move between guest memory and the host in one step.
const CHUNK: usize = 4096;

/// The console device.
#[derive(Debug)]
pub struct Console<S> {
    sink: S,
    window: WindowSize,
    ports: [PortStatus; PORTS],
}

impl<S: ConsoleSink> Console<S> {
    /// A console whose output goes to `sink`, with a window of unknown size.
    pub fn new(sink: S) -> Self {
        Self { sink, window: WindowSize::default(), ports: Default::default() }
    }

    /// Where the output goes.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Gives the guest input on `port`. Returns how many bytes were taken: fewer than all if the queue is full, none after
    /// [`Self::close_input`].
    pub fn push_input(&mut self, port: Port, bytes: &[u8], queues: &mut Virtqueues<'_>) -> Result<usize, DriverFault> {
        let status = &mut self.ports[port.index()];
        let room = if status.input_closed { 0 } else { INPUT_CAPACITY - status.input.len() };
        let taken = bytes.len().min(room);
        status.input.extend(&bytes[..taken]);
        self.deliver(port, queues)?;
        Ok(taken)
    }

    /// There will be no more input on `port`: the guest reads end of file once it has read what is queued. When it closes its end, too, the
    /// host's is open again, for the next program. A terminal has no end of file of this kind; there a control-D in the input does it.
    pub fn close_input(&mut self, port: Port, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let status = &mut self.ports[port.index()];
        if !status.input_closed {
            status.input_closed = true;
            self.announce_end_of_input(port);
            self.announce(queues)?;
        }
        Ok(())
    }

    /// Tells the guest the size of its terminal.
    pub fn resize(&mut self, window: WindowSize, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        if window == self.window {
            return Ok(());
        }
        self.window = window;
        if queues.features() & VIRTIO_CONSOLE_F_MULTIPORT == 0 {
            queues.config_changed();
            return Ok(());
        }
        let tty = &mut self.ports[Port::Tty.index()];
        if tty.ready {
            tty.announce(Announcement::Resize);
        }
        self.announce(queues)
    }

    /// Size that the guest was told last.
    pub fn window(&self) -> WindowSize {
        self.window
    }

    /// Bytes of input on `port` that the guest has no room for yet.
    pub fn input_pending(&self, port: Port) -> usize {
        self.ports[port.index()].input.len()
    }

    /// The host has closed its end of `port`.
    pub fn input_closed(&self, port: Port) -> bool {
        self.ports[port.index()].input_closed
    }

    /// A program in the guest has `port` open.
    pub fn guest_open(&self, port: Port) -> bool {
        self.ports[port.index()].guest_open
    }

    /// The guest would take input on `port` now.
    pub fn wants_input(&self, port: Port, queues: &mut Virtqueues<'_>) -> Result<bool, DriverFault> {
        Ok(self.takes_input(port, queues) && queues.has_available(port.receive_queue())?)
    }

    /// Without MULTIPORT there are no messages to say so, and port 0 is always open.
    fn takes_input(&self, port: Port, queues: &Virtqueues<'_>) -> bool {
        self.guest_open(port) || (port == Port::Tty && queues.features() & VIRTIO_CONSOLE_F_MULTIPORT == 0)
    }

    fn announce_end_of_input(&mut self, port: Port) {
        let status = &mut self.ports[port.index()];
        if status.ready && !status.host_open() {
            status.announce(Announcement::Open);
        }
    }

    /// Moves queued input of `port` to the buffers that the driver has posted.
    fn deliver(&mut self, port: Port, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        if !self.takes_input(port, queues) {
            return Ok(());
        }
        let queue = port.receive_queue();
        while !self.ports[port.index()].input.is_empty() {
            let Some(mut chain) = queues.next(queue)? else { return Ok(()) };
            let input = &mut self.ports[port.index()].input;
            while chain.writable() > 0 && !input.is_empty() {
                let (bytes, _) = input.as_slices();
                let written = chain.write(queues.memory, bytes)?;
                input.drain(..written);
            }
            queues.complete(queue, chain)?;
            if self.ports[port.index()].input_closed {
                self.announce_end_of_input(port);
                self.announce(queues)?;
            }
        }
        Ok(())
    }

    /// Sends control messages while there are any to send and buffers for them.
    fn announce(&mut self, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        for port in Port::ALL {
            for announcement in Announcement::ALL {
                let bit = announcement.bit();
                if self.ports[port.index()].announcements & bit == 0 {
                    continue;
                }
                let Some(mut chain) = queues.next(CONTROL_RECEIVEQ)? else { return Ok(()) };
                let message = self.message(port, announcement);
                let (needed, available) = (message.len() as u64, chain.writable());
                if available < needed {
                    return Err(DriverFault::RequestTooShort { needed, available });
                }
                chain.write(queues.memory, &message)?;
                queues.complete(CONTROL_RECEIVEQ, chain)?;
                self.ports[port.index()].announcements &= !bit;
            }
        }
        Ok(())
    }

    fn message(&self, port: Port, announcement: Announcement) -> Vec<u8> {
        let host_open = u16::from(self.ports[port.index()].host_open());
        let (event, value) = match announcement {
            Announcement::Add => (VIRTIO_CONSOLE_DEVICE_ADD, 1),
            Announcement::Console => (VIRTIO_CONSOLE_CONSOLE_PORT, 1),
            Announcement::Open => (VIRTIO_CONSOLE_PORT_OPEN, host_open),
            Announcement::Name => (VIRTIO_CONSOLE_PORT_NAME, 1),
            Announcement::Resize => (VIRTIO_CONSOLE_RESIZE, 0),
        };
        let mut bytes = ControlMessage { id: port as u32, event, value }.to_bytes().to_vec();
        match announcement {
            Announcement::Name => bytes.extend(port.name().unwrap_or_default().as_bytes()),
            Announcement::Resize => {
                bytes.extend(self.window.cols.to_le_bytes());
                bytes.extend(self.window.rows.to_le_bytes());
            }
            _ => {}
        }
        bytes
    }

    /// Handles messages of the driver.
    fn receive_control(&mut self, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        while let Some(mut chain) = queues.next(CONTROL_TRANSMITQ)? {
            let mut bytes = [0; ControlMessage::SIZE];
            let whole = chain.read(queues.memory, &mut bytes)? == bytes.len();
            queues.complete(CONTROL_TRANSMITQ, chain)?;
            if !whole || !self.handle_control(ControlMessage::from_bytes(bytes)) {
                queues.count_rejected();
            }
        }
        // A port that has just been opened may have input waiting.
        self.catch_up(queues)
    }

    /// Returns whether the message made sense.
    fn handle_control(&mut self, message: ControlMessage) -> bool {
        if message.event == VIRTIO_CONSOLE_DEVICE_READY {
            if message.value == 1 {
                self.ports.iter_mut().for_each(|port| port.announce(Announcement::Add));
            }
            return true;
        }
        let Some(&port) = usize::try_from(message.id).ok().and_then(|id| Port::ALL.get(id)) else { return false };
        let window_is_known = self.window != WindowSize::default();
        let status = &mut self.ports[port.index()];
        match message.event {
            VIRTIO_CONSOLE_PORT_READY => {
                status.ready = message.value == 1;
                if status.ready {
                    status.announce(Announcement::Open);
                    status.announce(if port.name().is_some() { Announcement::Name } else { Announcement::Console });
                    if port == Port::Tty && window_is_known {
                        status.announce(Announcement::Resize);
                    }
                }
            }
            VIRTIO_CONSOLE_PORT_OPEN => {
                status.guest_open = message.value == 1;
                if !status.guest_open && status.input_closed {
                    status.reopen();
                }
            }
            _ => return false,
        }
        true
    }

    /// Passes output of `port` on.
    fn transmit(&mut self, port: Port, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let mut bytes = [0; CHUNK];
        while let Some(mut chain) = queues.next(queue)? {
            while chain.readable() > 0 {
                let read = chain.read(queues.memory, &mut bytes)?;
                self.sink.write(port, &bytes[..read]);
            }
            queues.complete(queue, chain)?;
        }
        Ok(())
    }
}

impl<S: ConsoleSink> VirtioDevice for Console<S> {
    fn device_id(&self) -> u32 {
        device_id::CONSOLE
    }

    fn features(&self) -> u64 {
        VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// Section 5.3.4: `cols: le16, rows: le16, max_nr_ports: le32`.
    fn read_config(&self, offset: u64, bytes: &mut [u8]) {
        let config = u64::from(self.window.cols) | u64::from(self.window.rows) << 16 | (PORTS as u64) << 32;
        copy_config(&config.to_le_bytes(), offset, bytes);
    }

    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        match queue {
            CONTROL_RECEIVEQ => self.announce(queues),
            CONTROL_TRANSMITQ => self.receive_control(queues),
            _ => {
                let Some(port) = Port::ALL.into_iter().find(|port| port.receive_queue() == queue & !TRANSMITQ_PORT0) else {
                    return Ok(());
                };
                if queue == port.receive_queue() { self.deliver(port, queues) } else { self.transmit(port, queue, queues) }
            }
        }
    }

    /// Tells the guest everything that waits to be told, as far as there are buffers.
    fn catch_up(&mut self, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        self.announce(queues)?;
        Port::ALL.into_iter().try_for_each(|port| self.deliver(port, queues))
    }

    fn reset(&mut self) {
        self.ports.iter_mut().for_each(PortStatus::reset);
    }
}
