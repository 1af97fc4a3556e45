//! The guest's network. JavaScript has no sockets: what it has carries either the streams of a network stack that is here, or bare frames.

use crate::error::Result;
use crate::module::Module;
use devices::net::Offload;
use net::{Action, Cable, Config, Connection, Failure, FlowId, Frame, Outside, Protocol, Stack};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasm_bindgen::prelude::*;

/// Bytes from outside that wait for the guest. A carrier that cannot be told to wait loses the flow that goes beyond.
const MAX_WAITING: usize = 64 << 20;
/// Bytes of a stream that are given to the carrier at a time.
const PIECE: usize = 16 << 10;
/// Frames from outside that wait for the guest. More are lost, as on any wire.
const MAX_FRAMES: usize = 4096;

#[wasm_bindgen]
extern "C" {
    /// Carries what the guest sends. It answers later, never during one of these calls.
    pub type Carrier;

    /// Whether it carries frames rather than streams.
    #[wasm_bindgen(method, getter, js_name = carriesFrames)]
    fn carries_frames(this: &Carrier) -> bool;

    /// Sends a frame.
    #[wasm_bindgen(method, js_name = sendFrame)]
    fn send_frame(this: &Carrier, frame: &[u8]);

    /// Opens a stream (`tcp`) or a flow of datagrams (`udp`) to a port of a host, which is a name or an address: [`Vm::flow_opened`](crate::Vm) or
    /// `flow_failed` follows.
    #[wasm_bindgen(method)]
    fn open(this: &Carrier, flow: u32, protocol: &str, host: &str, port: u16);

    /// Bytes that it takes for a flow now.
    #[wasm_bindgen(method)]
    fn room(this: &Carrier, flow: u32) -> usize;

    /// Sends bytes of a stream, or a datagram.
    #[wasm_bindgen(method)]
    fn send(this: &Carrier, flow: u32, bytes: &[u8]);

    /// The guest sends nothing more on a stream.
    #[wasm_bindgen(method)]
    fn finish(this: &Carrier, flow: u32);

    /// A flow has ended; with `reset`, the guest broke it off.
    #[wasm_bindgen(method)]
    fn close(this: &Carrier, flow: u32, reset: bool);
}

/// A network.
pub struct Network {
    outside: Carried,
    cable: Cable,
}

/// The other end of the guest's cable, and who carries on what comes there.
struct Carried {
    carrier: Carrier,
    end: End,
}

enum End {
    Streams(Box<Streams>),
    Frames(VecDeque<Vec<u8>>),
}

/// The stack, and its flows by the numbers that the carrier knows.
struct Streams {
    stack: Stack,
    flows: BTreeMap<u32, Flow>,
    numbers: BTreeMap<FlowId, u32>,
    last: u32,
    /// Bytes that wait for the guest.
    waiting: usize,
}

struct Flow {
    id: FlowId,
    protocol: Protocol,
    /// The carrier has opened it.
    open: bool,
    /// What came, in pieces, and how many bytes of the first the guest has.
    came: VecDeque<Vec<u8>>,
    taken: usize,
    /// Nothing comes behind that.
    ended: bool,
}

impl Network {
    /// A network at the time `now`, with the bytes of `seed` for its sequence numbers.
    pub fn new(carrier: Carrier, seed: &[u8], now: Duration) -> Self {
        let end = if carrier.carries_frames() {
            End::Frames(VecDeque::new())
        } else {
            let seed = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            End::Streams(Box::new(Streams {
                stack: Stack::new(Config { aliases: true, seed, ..Config::default() }, now),
                flows: BTreeMap::new(),
                numbers: BTreeMap::new(),
                last: 0,
                waiting: 0,
            }))
        };
        Self { outside: Carried { carrier, end }, cable: Cable::default() }
    }

    /// The guest was restored with these connections, which are gone.
    pub fn reset_connections(&mut self, connections: &[Connection]) {
        if let End::Streams(streams) = &mut self.outside.end {
            streams.stack.reset_connections(connections);
        }
    }

    /// The guest's open connections.
    pub fn connections(&self) -> Vec<Connection> {
        match &self.outside.end {
            End::Streams(streams) => streams.stack.connections(),
            End::Frames(_) => Vec::new(),
        }
    }

    /// Moves all that can be moved between guest and carrier. Whether the guest was given any.
    pub fn work(&mut self, module: &mut Module, now: Duration) -> Result<bool> {
        self.cable.work(module, &mut self.outside, now)
    }

    /// When there is something to do, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.outside.end {
            End::Streams(streams) => streams.stack.deadline(),
            End::Frames(_) => None,
        }
    }

    /// Somebody may be waiting for the guest, or the guest for somebody.
    pub fn is_busy(&self) -> bool {
        match &self.outside.end {
            End::Streams(streams) => !streams.flows.is_empty(),
            End::Frames(_) => true,
        }
    }

    /// A frame from outside.
    pub fn frame(&mut self, bytes: Vec<u8>) {
        if let End::Frames(frames) = &mut self.outside.end
            && frames.len() < MAX_FRAMES
            && (devices::net::MIN_FRAME..=devices::net::MAX_FRAME).contains(&bytes.len())
        {
            frames.push_back(bytes);
        }
    }

    fn streams(&mut self) -> Option<&mut Streams> {
        match &mut self.outside.end {
            End::Streams(streams) => Some(streams),
            End::Frames(_) => None,
        }
    }

    /// The carrier has opened a flow.
    pub fn opened(&mut self, number: u32) {
        let Some(streams) = self.streams() else { return };
        if let Some(flow) = streams.flows.get_mut(&number) {
            flow.open = true;
            streams.stack.connected(flow.id);
        }
    }

    /// A flow cannot be, or has broken off.
    pub fn failed(&mut self, number: u32, failure: Failure) {
        let Some(streams) = self.streams() else { return };
        if let Some(flow) = streams.forget(number) {
            streams.stack.failed(flow.id, failure);
        }
    }

    /// Something has come on a flow.
    pub fn came(&mut self, number: u32, bytes: Vec<u8>) {
        let Some(streams) = self.streams() else { return };
        let Some(flow) = streams.flows.get_mut(&number) else { return };
        if flow.protocol == Protocol::Udp {
            if streams.stack.interest(flow.id).read {
                streams.stack.datagram(flow.id, &bytes);
            }
        } else if streams.waiting + bytes.len() > MAX_WAITING {
            self.outside.carrier.close(number, true);
            self.failed(number, Failure::Refused);
        } else if !bytes.is_empty() {
            streams.waiting += bytes.len();
            flow.came.push_back(bytes);
        }
    }

    /// Nothing more comes on a flow.
    pub fn ended(&mut self, number: u32) {
        if let Some(flow) = self.streams().and_then(|streams| streams.flows.get_mut(&number)) {
            flow.ended = true;
        }
    }

    /// Bytes of a flow that the guest has not taken yet.
    pub fn waiting(&self, number: u32) -> usize {
        let End::Streams(streams) = &self.outside.end else { return 0 };
        streams.flows.get(&number).map_or(0, |flow| flow.came.iter().map(Vec::len).sum::<usize>() - flow.taken)
    }
}

impl Outside for Carried {
    type Error = JsValue;

    fn receive(&mut self, frame: Frame) {
        match &mut self.end {
            End::Streams(streams) => streams.stack.receive(&frame.bytes),
            End::Frames(_) => frame.into_plain().iter().for_each(|frame| self.carrier.send_frame(frame)),
        }
    }

    fn work(&mut self, offload: Offload, now: Duration) -> Result<()> {
        if let End::Streams(streams) = &mut self.end {
            streams.stack.set_offload(offload);
            streams.stack.advance(now);
            streams.act(&self.carrier);
            streams.move_all(&self.carrier);
            streams.act(&self.carrier);
        }
        Ok(())
    }

    fn frame(&mut self) -> Option<Frame> {
        match &mut self.end {
            End::Streams(streams) => streams.stack.frame(),
            End::Frames(frames) => frames.pop_front().map(Frame::whole),
        }
    }
}

impl Streams {
    /// Does what the stack asks for.
    fn act(&mut self, carrier: &Carrier) {
        while let Some(action) = self.stack.next_action() {
            match action {
                Action::Open { flow, protocol, to } => {
                    let name = match protocol {
                        Protocol::Tcp => Some("tcp"),
                        Protocol::Udp => Some("udp"),
                        // No carrier takes pings.
                        Protocol::Echo => None,
                    };
                    match name.zip(self.stack.outside(*to.ip())) {
                        Some((name, host)) => carrier.open(self.insert(flow, protocol), name, &host, to.port()),
                        None => self.stack.failed(flow, Failure::Unreachable),
                    }
                }
                Action::Datagram { flow, bytes } => self.numbers.get(&flow).into_iter().for_each(|&number| carrier.send(number, &bytes)),
                Action::Shutdown { flow } => self.numbers.get(&flow).into_iter().for_each(|&number| carrier.finish(number)),
                Action::Close { flow, reset } => {
                    if let Some(&number) = self.numbers.get(&flow) {
                        self.forget(number);
                        carrier.close(number, reset);
                    }
                }
                // All names have addresses.
                Action::Resolve { query, .. } => self.stack.resolved(query, None),
            }
        }
    }

    fn insert(&mut self, id: FlowId, protocol: Protocol) -> u32 {
        // Wisp has 0 for itself.
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.numbers.insert(id, self.last);
        let flow = Flow { id, protocol, open: protocol == Protocol::Udp, came: VecDeque::new(), taken: 0, ended: false };
        self.flows.insert(self.last, flow);
        self.last
    }

    fn forget(&mut self, number: u32) -> Option<Flow> {
        let flow = self.flows.remove(&number)?;
        self.numbers.remove(&flow.id);
        self.waiting -= flow.came.iter().map(Vec::len).sum::<usize>() - flow.taken;
        Some(flow)
    }

    /// Moves bytes between flows and carrier, as far as either side takes them.
    fn move_all(&mut self, carrier: &Carrier) {
        let Self { stack, flows, waiting, .. } = self;
        for (&number, flow) in flows.iter_mut().filter(|(_, flow)| flow.open && flow.protocol == Protocol::Tcp) {
            while stack.interest(flow.id).write {
                let room = carrier.room(number).min(PIECE);
                let sent = stack.drain(flow.id, |bytes| {
                    let piece = &bytes[..bytes.len().min(room)];
                    if !piece.is_empty() {
                        carrier.send(number, piece);
                    }
                    piece.len()
                });
                if sent == 0 {
                    break;
                }
            }
            while let Some(first) = flow.came.front()
                && stack.interest(flow.id).read
            {
                let rest = &first[flow.taken..];
                let moved = stack.fill(flow.id, |room| {
                    let length = rest.len().min(room.len());
                    room[..length].copy_from_slice(&rest[..length]);
                    length
                });
                if moved == 0 {
                    break;
                }
                flow.taken += moved;
                *waiting -= moved;
                if flow.taken == first.len() {
                    flow.came.pop_front();
                    flow.taken = 0;
                }
            }
            if flow.ended && flow.came.is_empty() {
                flow.ended = false;
                stack.ended(flow.id);
            }
        }
    }
}
