//! The console: ports as Linux's driver sets them up, byte-exact streams, end of file, window size.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::console::wire::{
    CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, ControlMessage, VIRTIO_CONSOLE_CONSOLE_PORT, VIRTIO_CONSOLE_DEVICE_ADD,
    VIRTIO_CONSOLE_DEVICE_READY, VIRTIO_CONSOLE_F_SIZE, VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN, VIRTIO_CONSOLE_PORT_READY,
    VIRTIO_CONSOLE_RESIZE,
};
use devices::console::{Console, ConsoleSink, ConsoleState, INPUT_CAPACITY, Port, WindowSize};
use devices::virtio::spec::{feature, mmio};
use devices::virtio::{DriverFault, MmioTransport};
use driver::{Buffer, Guest, Submitted};
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Debug, Default)]
struct Output([Vec<u8>; 5]);

impl ConsoleSink for Output {
    fn write(&mut self, port: Port, bytes: &[u8]) {
        self.0[port.index()].extend(bytes);
    }
}

const PAGE: u32 = 4096;

/// A guest that behaves as Linux's driver does.
struct Linux {
    guest: Guest<Console<Output>>,
    control: VecDeque<Submitted>,
    receive: [VecDeque<Submitted>; 5],
    log: Vec<(u32, u16, u16, Vec<u8>)>,
}

fn receive_queue(port: Port) -> u16 {
    [0, 4, 6, 8, 10][port.index()]
}

impl Linux {
    /// Up to the point where the driver is ready for control messages.
    fn probe() -> Self {
        let mut guest = Guest::new(Console::new(Output::default()));
        guest.start();
        let mut linux = Self { guest, control: VecDeque::new(), receive: Default::default(), log: Vec::new() };
        for _ in 0..4 {
            linux.post_control();
        }
        linux
    }

    /// With all ports set up, and those of the programs open.
    fn running() -> Self {
        let mut linux = Self::probe();
        linux.send(u32::MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
        linux.take_control();
        for port in Port::ALL {
            linux.send(port.index() as u32, VIRTIO_CONSOLE_PORT_READY, 1);
            linux.take_control();
            linux.send(port.index() as u32, VIRTIO_CONSOLE_PORT_OPEN, 1);
        }
        linux.log.clear();
        linux
    }

    fn post_control(&mut self) {
        let chain = self.guest.submit(CONTROL_RECEIVEQ, &[Buffer::Writable(256)]);
        self.guest.notify(CONTROL_RECEIVEQ);
        self.control.push_back(chain);
    }

    fn send(&mut self, id: u32, event: u16, value: u16) {
        self.guest.request(CONTROL_TRANSMITQ, &[Buffer::Readable(&ControlMessage { id, event, value }.to_bytes())]);
    }

    /// Reads all control messages and posts their buffers again.
    fn take_control(&mut self) {
        while let Some((head, len)) = self.guest.used(CONTROL_RECEIVEQ) {
            let chain = self.control.pop_front().unwrap();
            assert_eq!(chain.head, head);
            let bytes = self.guest.written(&chain, len);
            let message = ControlMessage::from_bytes(bytes[..8].try_into().unwrap());
            self.log.push((message.id, message.event, message.value, bytes[8..].to_vec()));
            self.post_control();
        }
    }

    fn post(&mut self, port: Port, len: u32) {
        let chain = self.guest.submit(receive_queue(port), &[Buffer::Writable(len)]);
        self.guest.notify(receive_queue(port));
        self.receive[port.index()].push_back(chain);
    }

    fn take_input(&mut self, port: Port) -> Vec<u8> {
        let mut input = Vec::new();
        while let Some((_, len)) = self.guest.used(receive_queue(port)) {
            let chain = self.receive[port.index()].pop_front().unwrap();
            input.extend(self.guest.written(&chain, len));
        }
        input
    }

    fn push(&mut self, port: Port, bytes: &[u8]) -> usize {
        self.guest.with_device(|console, queues| console.push_input(port, bytes, queues)).unwrap()
    }

    fn close(&mut self, port: Port) {
        self.guest.with_device(|console, queues| console.close_input(port, queues)).unwrap();
    }

    fn resize(&mut self, cols: u16, rows: u16) {
        self.guest.with_device(|console, queues| console.resize(WindowSize { cols, rows }, queues)).unwrap();
    }

    fn wants_input(&mut self, port: Port) -> bool {
        self.guest.with_device(|console, queues| console.wants_input(port, queues)).unwrap()
    }

    fn output(&mut self, port: Port) -> Vec<u8> {
        self.guest.with_device(|console, _| Ok(std::mem::take(&mut console.sink_mut().0[port.index()]))).unwrap()
    }

    /// Saves, encodes, decodes and restores the device under the running guest.
    fn save_and_restore(&mut self) {
        self.guest.replace_device(|device| {
            let (transport, state) = (device.save(), device.device().save());
            let state: ConsoleState = driver::reencode(&state);
            let console = Console::restore(Output::default(), &state).unwrap();
            let restored = MmioTransport::restore(console, &driver::reencode(&transport)).unwrap();
            assert_eq!((restored.save(), restored.device().save()), (transport, state));
            restored
        });
    }
}

#[test]
fn ports_are_announced_opened_and_named() {
    let mut linux = Linux::probe();
    assert_eq!(linux.guest.reg(mmio::CONFIG + 4), 5);
    linux.resize(80, 25);
    linux.send(u32::MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    linux.take_control();
    let added: Vec<_> = (0..5).map(|port| (port, VIRTIO_CONSOLE_DEVICE_ADD, 1, vec![])).collect();
    assert_eq!(std::mem::take(&mut linux.log), added);

    linux.send(0, VIRTIO_CONSOLE_PORT_READY, 1);
    linux.take_control();
    let size = vec![80, 0, 25, 0];
    let tty = [(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, vec![]), (0, VIRTIO_CONSOLE_PORT_OPEN, 1, vec![]), (0, VIRTIO_CONSOLE_RESIZE, 0, size)];
    assert_eq!(std::mem::take(&mut linux.log), tty);

    linux.send(2, VIRTIO_CONSOLE_PORT_READY, 1);
    linux.take_control();
    let stdout = [(2, VIRTIO_CONSOLE_PORT_OPEN, 1, vec![]), (2, VIRTIO_CONSOLE_PORT_NAME, 1, b"prebake.stdout".to_vec())];
    assert_eq!(linux.log, stdout);
}

#[test]
fn an_unknown_size_is_not_announced() {
    let mut linux = Linux::probe();
    linux.send(0, VIRTIO_CONSOLE_PORT_READY, 1);
    linux.take_control();
    assert!(linux.log.iter().all(|message| message.1 != VIRTIO_CONSOLE_RESIZE));
}

#[test]
fn a_resize_reaches_the_guest_once() {
    let mut linux = Linux::running();
    linux.resize(132, 43);
    linux.resize(132, 43);
    linux.take_control();
    assert_eq!(linux.log, [(0, VIRTIO_CONSOLE_RESIZE, 0, vec![132, 0, 43, 0])]);
    assert_eq!(linux.guest.reg(mmio::CONFIG), 43 << 16 | 132);
}

#[test]
fn without_multiport_there_is_a_terminal_with_a_size() {
    let mut linux = Linux::probe();
    linux.guest.start_with(feature::VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_SIZE);
    linux.post(Port::Tty, PAGE);
    assert!(linux.wants_input(Port::Tty));
    assert_eq!(linux.push(Port::Tty, b"ls\n"), 3);
    assert_eq!(linux.take_input(Port::Tty), b"ls\n");
    let generation = linux.guest.reg(mmio::CONFIG_GENERATION);
    linux.resize(100, 30);
    assert_ne!(linux.guest.reg(mmio::CONFIG_GENERATION), generation);
    assert_eq!(linux.guest.reg(mmio::CONFIG), 30 << 16 | 100);
}

#[test]
fn output_arrives_apart_and_exact() {
    let mut linux = Linux::running();
    let bytes: Vec<u8> = (0..10_000_u32).map(|index| (index * 7 % 256) as u8).collect();
    linux.guest.request(7, &[Buffer::Readable(&bytes[..1]), Buffer::Readable(&bytes[1..])]);
    linux.guest.request(9, &[Buffer::Readable(b"warning")]);
    assert_eq!(linux.output(Port::Stdout), bytes);
    assert_eq!(linux.output(Port::Stderr), b"warning");
    assert_eq!(linux.output(Port::Tty), b"");
}

#[test]
fn input_waits_for_the_guest_to_open_the_port() {
    let mut linux = Linux::running();
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    linux.post(Port::Stdin, PAGE);
    assert!(!linux.wants_input(Port::Stdin));
    assert_eq!(linux.push(Port::Stdin, b"early"), 5);
    assert_eq!(linux.take_input(Port::Stdin), b"");
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_eq!(linux.take_input(Port::Stdin), b"early");
    assert!(!linux.wants_input(Port::Stdin), "the only buffer is used");
    linux.post(Port::Stdin, PAGE);
    assert!(linux.wants_input(Port::Stdin));
}

#[test]
fn input_is_bounded_and_flows_as_buffers_are_posted() {
    let mut linux = Linux::running();
    let bytes: Vec<u8> = (0..INPUT_CAPACITY + 1000).map(|index| (index * 31 % 251) as u8).collect();
    let mut pushed = linux.push(Port::Stdin, &bytes);
    assert_eq!(pushed, INPUT_CAPACITY);
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        linux.post(Port::Stdin, 1000);
        received.extend(linux.take_input(Port::Stdin));
        pushed += linux.push(Port::Stdin, &bytes[pushed..]);
        linux.save_and_restore();
    }
    assert_eq!(received, bytes);
    assert_eq!(linux.guest.device.device().input_pending(Port::Stdin), 0);
}

#[test]
fn end_of_file_comes_after_the_last_byte() {
    let mut linux = Linux::running();
    linux.push(Port::Stdin, b"last words");
    linux.close(Port::Stdin);
    linux.close(Port::Stdin);
    linux.take_control();
    assert_eq!(linux.log, []);
    assert_eq!(linux.push(Port::Stdin, b"too late"), 0);
    linux.post(Port::Stdin, 4);
    linux.take_control();
    assert_eq!(linux.log, []);
    linux.save_and_restore();
    linux.post(Port::Stdin, PAGE);
    assert_eq!(linux.take_input(Port::Stdin), b"last words");
    linux.take_control();
    assert_eq!(linux.log, [(1, VIRTIO_CONSOLE_PORT_OPEN, 0, vec![])]);
}

#[test]
fn a_port_closed_before_the_driver_came_is_announced_as_closed() {
    let mut linux = Linux::probe();
    linux.close(Port::Stdin);
    linux.send(1, VIRTIO_CONSOLE_PORT_READY, 1);
    linux.take_control();
    assert_eq!(linux.log[0], (1, VIRTIO_CONSOLE_PORT_OPEN, 0, vec![]));
}

#[test]
fn control_messages_wait_for_buffers() {
    let mut linux = Linux::running();
    for _ in 0..100 {
        linux.send(3, VIRTIO_CONSOLE_PORT_READY, 1);
        linux.send(4, VIRTIO_CONSOLE_PORT_READY, 1);
    }
    linux.take_control();
    linux.take_control();
    let names: Vec<_> = linux.log.iter().filter(|message| message.1 == VIRTIO_CONSOLE_PORT_NAME).map(|message| message.0).collect();
    assert!(names.contains(&3) && names.contains(&4));
    assert!(!linux.guest.needs_reset());
}

#[test]
fn nonsense_from_the_driver_is_counted() {
    let mut linux = Linux::running();
    linux.send(5, VIRTIO_CONSOLE_PORT_READY, 1);
    linux.send(0, 99, 1);
    linux.guest.request(CONTROL_TRANSMITQ, &[Buffer::Readable(b"short")]);
    assert_eq!(linux.guest.device.rejected(), 3);
    assert!(!linux.guest.needs_reset());
}

#[test]
fn a_control_buffer_without_room_needs_a_reset() {
    let mut guest = Guest::new(Console::new(Output::default()));
    guest.start();
    guest.submit(CONTROL_RECEIVEQ, &[Buffer::Writable(7)]);
    let ready = ControlMessage { id: 0, event: VIRTIO_CONSOLE_DEVICE_READY, value: 1 };
    guest.submit(CONTROL_TRANSMITQ, &[Buffer::Readable(&ready.to_bytes())]);
    guest.notify(CONTROL_TRANSMITQ);
    assert_eq!(guest.device.last_fault(), Some(DriverFault::RequestTooShort { needed: 8, available: 7 }));
}

#[test]
fn a_reset_keeps_what_the_host_has_said() {
    let mut linux = Linux::running();
    linux.push(Port::Control, b"exec sh");
    linux.close(Port::Stdin);
    linux.guest.start();
    let console = linux.guest.device.device();
    assert!(!console.guest_open(Port::Tty));
    assert!(console.input_closed(Port::Stdin));
    assert_eq!(console.input_pending(Port::Control), 7);
}

#[test]
fn a_port_that_both_ends_have_closed_is_open_for_the_next_program() {
    let mut linux = Linux::running();
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    linux.push(Port::Stdin, b"early");
    linux.close(Port::Stdin);
    // The end that the host has closed meanwhile is there for a guest that opens its own.
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    linux.post(Port::Stdin, 4);
    assert_eq!(linux.take_input(Port::Stdin), b"earl");
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    linux.take_control();
    assert_eq!(linux.log, [(1, VIRTIO_CONSOLE_PORT_OPEN, 1, vec![])]);
    linux.save_and_restore();
    assert_eq!(linux.push(Port::Stdin, b"for the next"), 12);
    linux.send(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    linux.post(Port::Stdin, PAGE);
    assert_eq!(linux.take_input(Port::Stdin), b"for the next");
}

#[test]
fn impossible_records_are_refused() {
    let good = Linux::running().guest.device.device().save();
    let damages: [fn(&mut ConsoleState); 3] = [
        |state| state.ports.truncate(4),
        |state| state.ports[0].announcements = 0x20,
        |state| state.ports[1].input = vec![0; INPUT_CAPACITY + 1],
    ];
    for damage in damages {
        let mut state = good.clone();
        damage(&mut state);
        assert!(Console::restore(Output::default(), &state).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the driver says and posts, and whatever the host does meanwhile, the queues stay bounded and nothing panics.
    #[test]
    fn any_conversation_is_survived(steps in prop::collection::vec((0..6_u8, 0..7_u32, 0..9_u16, 0..3_u16, 0..5000_u32), 0..120)) {
        let mut linux = Linux::probe();
        for (step, id, event, value, len) in steps {
            let port = Port::ALL[id as usize % 5];
            match step {
                0 => { linux.guest.submit(CONTROL_TRANSMITQ, &[Buffer::Readable(&ControlMessage { id, event, value }.to_bytes())]); linux.guest.notify(CONTROL_TRANSMITQ); }
                1 => { linux.guest.submit(receive_queue(port), &[Buffer::Writable(len)]); linux.guest.notify(receive_queue(port)); }
                2 => { linux.guest.submit(receive_queue(port) + 1, &[Buffer::Readable(&vec![1; len as usize])]); linux.guest.notify(event); }
                3 => { linux.guest.with_device(|console, queues| console.push_input(port, &vec![2; 20 * len as usize], queues)); }
                4 => { linux.guest.with_device(|console, queues| console.resize(WindowSize { cols: event, rows: value }, queues)); }
                _ => { linux.guest.with_device(|console, queues| console.close_input(port, queues)); }
            }
            prop_assert!(linux.guest.device.device().input_pending(port) <= INPUT_CAPACITY);
        }
        linux.save_and_restore();
    }
}
