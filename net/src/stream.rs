//! Streams. The host is dialled first, and only then is the guest's SYN answered, so that a guest learns what the host learns: connected,
//! refused, unreachable.

use crate::action::{Action, Failure, Interest};
use crate::config::{ACKNOWLEDGE, HANDSHAKE, MAX_HALF_OPEN, MAX_STREAMS};
use crate::flow::{Body, FlowId, Key, Protocol};
use crate::names::NameStream;
use crate::stack::{Connection, Stack};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{IpListenEndpoint, Ipv4Packet, TcpPacket};
use std::net::SocketAddrV4;
use std::time::Duration;

/// After that a socket is asked again that said it had something to say, and said nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Who is at the other end.
pub(crate) enum Peer {
    Host,
    Names(NameStream),
}

/// A socket, alone in its set: a packet costs as much with many streams as with one.
pub(crate) struct Live {
    pub sockets: SocketSet<'static>,
    pub handle: SocketHandle,
}

impl Live {
    fn new(buffer: usize) -> Self {
        let buffer = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        // What is waited for is the guest, which has the processor in turns with the stack: every delay is one for nothing.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self { sockets, handle }
    }

    pub fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    pub fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

pub(crate) enum Phase {
    /// The guest's SYN waits until the host may dial one more.
    Waiting {
        syn: Vec<u8>,
        to: SocketAddrV4,
    },
    /// The host is dialling; the guest's SYN waits.
    Dialling {
        syn: Vec<u8>,
    },
    Live(Live),
}

pub(crate) struct Stream {
    pub phase: Phase,
    pub peer: Peer,
    /// The guest has not taken part yet.
    half_open: bool,
    /// The guest has ended its direction, and the host knows.
    guest_ended: bool,
    /// The host has nothing more to do with it.
    forgotten: bool,
    /// It ends then, whatever happens.
    until: Option<Duration>,
    /// The state that the socket was last seen in.
    last: State,
}

impl Stream {
    pub fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.phase {
            Phase::Live(live) => Some(live),
            Phase::Waiting { .. } | Phase::Dialling { .. } => None,
        }
    }

    pub fn live(&self) -> Option<&Live> {
        match &self.phase {
            Phase::Live(live) => Some(live),
            Phase::Waiting { .. } | Phase::Dialling { .. } => None,
        }
    }

    pub fn interest(&self) -> Interest {
        match (&self.phase, &self.peer, self.forgotten) {
            (Phase::Live(live), Peer::Host, false) => Interest { read: live.socket().can_send(), write: live.socket().can_recv() },
            _ => Interest::default(),
        }
    }

    /// The host has a socket for it.
    fn is_the_host_s(&self) -> bool {
        !self.forgotten && matches!(self.peer, Peer::Host) && !matches!(self.phase, Phase::Waiting { .. })
    }

    /// Both sides have agreed on it.
    fn is_established(&self) -> bool {
        self.live().is_some() && !self.half_open
    }
}

impl Stack {
    /// A TCP packet of the guest for a flow that may be there.
    pub(crate) fn stream_in(&mut self, key: Key, packet: &[u8], segment: &TcpPacket<&[u8]>) -> bool {
        let Some(id) = self.flows.find(&key) else { return false };
        let Some(stream) = self.flows.stream_mut(id) else { return false };
        match &mut stream.phase {
            Phase::Waiting { syn, .. } | Phase::Dialling { syn } => {
                if segment.rst() {
                    self.end(id, true);
                } else if is_opening(segment) {
                    *syn = without_data(packet);
                }
            }
            Phase::Live(live) => {
                let answer = self.link.input(self.now, &mut live.sockets, packet);
                answer.into_iter().for_each(|frame| self.reply(frame));
                self.settle(id, false);
            }
        }
        true
    }

    /// The guest's SYN to somebody outside.
    pub(crate) fn stream_out(&mut self, key: Key, to: SocketAddrV4, packet: &[u8]) {
        if self.flows.streams() >= MAX_STREAMS {
            return self.refuse(packet);
        }
        let id = self.insert_stream(key, Phase::Waiting { syn: without_data(packet), to }, Peer::Host, HANDSHAKE);
        self.waiting.push_back(id);
    }

    /// Has the host dial, for as many streams at a time as may be half open. A guest that opens hundreds at once would otherwise have to send
    /// most of its SYNs again, seconds later.
    pub(crate) fn dial(&mut self) {
        while self.half_open < MAX_HALF_OPEN
            && let Some(id) = self.waiting.pop_front()
        {
            if let Some(stream) = self.flows.stream_mut(id)
                && let Phase::Waiting { syn, to } = &mut stream.phase
            {
                let (syn, to) = (std::mem::take(syn), *to);
                stream.phase = Phase::Dialling { syn };
                stream.half_open = true;
                self.half_open += 1;
                self.act(Action::Open { flow: id, protocol: Protocol::Tcp, to });
            }
        }
    }

    /// The guest's SYN to the server of names.
    pub(crate) fn stream_to_names(&mut self, key: Key, packet: &[u8]) {
        if self.flows.streams() >= MAX_STREAMS {
            self.refuse(packet);
        } else {
            let phase = Phase::Dialling { syn: without_data(packet) };
            let id = self.insert_stream(key, phase, Peer::Names(NameStream::default()), ACKNOWLEDGE);
            self.connected(id);
        }
    }

    fn insert_stream(&mut self, key: Key, phase: Phase, peer: Peer, patience: Duration) -> FlowId {
        let until = Some(self.now + patience);
        let stream = Stream { phase, peer, half_open: false, guest_ended: false, forgotten: false, until, last: State::Closed };
        let id = self.flows.insert(key, Body::Stream(Box::new(stream)));
        self.flows.set_timer(id, until);
        id
    }

    /// A host's port is forwarded to the guest's, and somebody has connected to it: the stream to the guest. None if there are too many.
    pub fn open_stream(&mut self, guest_port: u16) -> Option<FlowId> {
        if self.flows.streams() >= MAX_STREAMS || self.half_open >= MAX_HALF_OPEN {
            return None;
        }
        let remote = self.ephemeral(Protocol::Tcp, guest_port)?;
        let mut live = Live::new(self.config.buffer);
        let guest = (self.config.guest, guest_port);
        live.socket_mut().connect(self.link.context(), guest, (*remote.ip(), remote.port())).ok()?;
        let id = self.insert_stream(Key { protocol: Protocol::Tcp, guest_port, remote }, Phase::Live(live), Peer::Host, ACKNOWLEDGE);
        if let Some(stream) = self.flows.stream_mut(id) {
            stream.half_open = true;
            self.half_open += 1;
        }
        self.settle(id, false);
        Some(id)
    }

    /// The host has connected a stream.
    pub fn connected(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (key, Body::Stream(stream)) = (flow.key, &mut flow.body) else { return };
        let Phase::Dialling { syn } = &mut stream.phase else { return };
        let syn = std::mem::take(syn);
        let mut live = Live::new(self.config.buffer);
        let here = IpListenEndpoint { addr: Some((*key.remote.ip()).into()), port: key.remote.port() };
        // It fails for port 0 only, which no TCP packet that parses has.
        let listening = live.socket_mut().listen(here).is_ok();
        let answer = self.link.input(self.now, &mut live.sockets, &syn);
        let accepted = live.socket().state() == State::SynReceived;
        stream.phase = Phase::Live(live);
        stream.until = Some(self.now + ACKNOWLEDGE);
        answer.into_iter().for_each(|frame| self.reply(frame));
        if listening && accepted {
            self.settle(id, false);
        } else {
            self.end(id, true);
        }
    }

    /// A flow cannot be, or has broken off. Its name means nothing from now on.
    pub fn failed(&mut self, id: FlowId, failure: Failure) {
        let Some(stream) = self.flows.stream_mut(id) else { return self.datagrams_failed(id, failure) };
        match &mut stream.phase {
            Phase::Waiting { syn, .. } | Phase::Dialling { syn } => {
                let syn = std::mem::take(syn);
                self.forget(id);
                match failure {
                    Failure::Refused => self.refuse(&syn),
                    _ => self.tell_unreachable(failure.reason(), &syn),
                }
            }
            Phase::Live(live) => {
                live.socket_mut().abort();
                stream.forgotten = true;
                stream.until = Some(self.now + ACKNOWLEDGE);
                self.settle(id, false);
            }
        }
    }

    /// What the guest sent, to be written to the socket: `write` gets some of it and returns how many bytes it took. How many these were;
    /// with 0 there is nothing, or the socket takes nothing now.
    pub fn drain(&mut self, id: FlowId, write: impl FnOnce(&[u8]) -> usize) -> usize {
        let Some(live) = self.flows.stream_mut(id).and_then(Stream::live_mut) else { return 0 };
        let mut taken = 0;
        let _ = live.socket_mut().recv(|bytes| {
            taken = if bytes.is_empty() { 0 } else { write(bytes).min(bytes.len()) };
            (taken, ())
        });
        self.settle(id, false);
        taken
    }

    /// What was read from the socket: `read` gets room for it and returns how many bytes it put there. How many these were.
    pub fn fill(&mut self, id: FlowId, read: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let Some(live) = self.flows.stream_mut(id).and_then(Stream::live_mut) else { return 0 };
        let mut put = 0;
        let _ = live.socket_mut().send(|room| {
            put = if room.is_empty() {
                0
            } else {
                let length = room.len();
                read(room).min(length)
            };
            (put, ())
        });
        self.settle(id, false);
        put
    }

    /// The other side sends nothing more on this stream.
    pub fn ended(&mut self, id: FlowId) {
        if let Some(live) = self.flows.stream_mut(id).and_then(Stream::live_mut) {
            live.socket_mut().close();
            self.settle(id, false);
        }
    }

    /// Looks at what has become of a stream's socket. It has just had nothing to send if it was `asked`.
    pub(crate) fn settle(&mut self, id: FlowId, asked: bool) {
        self.serve_names(id);
        let Some(stream) = self.flows.stream_mut(id) else { return };
        let Phase::Live(live) = &mut stream.phase else { return };
        let socket = live.sockets.get_mut::<Socket<'_>>(live.handle);
        let state = socket.state();
        let before = std::mem::replace(&mut stream.last, state);
        if stream.half_open && !matches!(state, State::Listen | State::SynSent | State::SynReceived) {
            stream.half_open = false;
            self.half_open -= 1;
            if matches!(stream.peer, Peer::Host) && !stream.forgotten {
                stream.until = None;
            }
        }
        let unread = socket.can_recv();
        let clean = matches!(before, State::LastAck | State::Closing | State::TimeWait);
        let hung_up = match state {
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => true,
            State::Closed => clean,
            _ => false,
        };
        let mut shutdown = false;
        if hung_up && !unread && !stream.guest_ended {
            stream.guest_ended = true;
            shutdown = !stream.forgotten && matches!(stream.peer, Peer::Host);
        }
        if matches!(state, State::LastAck | State::Closing) && before != state {
            stream.until = Some(self.now + ACKNOWLEDGE);
        }
        let poll_at = self.link.poll_at(self.now, &live.sockets);
        let pending = poll_at.is_some_and(|at| at <= self.now);
        let socket = live.socket();
        let over = match state {
            // A RST to what was a SYN|ACK.
            State::Listen => true,
            // Broken off by the guest, or at its end; what was aborted here has a RST to send.
            State::Closed => socket.remote_endpoint().is_none() && !(clean && unread),
            State::TimeWait => !unread && !pending,
            _ => false,
        };
        if state == State::Closed && clean && unread {
            stream.last = before;
        }
        let until = stream.until;
        if shutdown {
            self.act(Action::Shutdown { flow: id });
        }
        if over {
            return self.end(id, !clean);
        }
        let timer = if pending && asked { Some(self.now + PAUSE) } else { poll_at.filter(|_| !pending) };
        self.flows.set_timer(id, [timer, until].into_iter().flatten().min());
        if pending && !asked {
            self.flows.make_ready(id);
        }
    }

    /// A stream's time has come.
    pub(crate) fn stream_due(&mut self, id: FlowId) {
        let now = self.now;
        let Some(stream) = self.flows.stream_mut(id) else { return };
        if stream.until.is_none_or(|until| until > now) {
            self.flows.make_ready(id);
        } else if stream.forgotten {
            self.forget(id);
        } else {
            if stream.is_the_host_s() {
                self.act(Action::Close { flow: id, reset: true });
            }
            self.failed(id, Failure::Unreachable);
        }
    }

    /// It is over, for the guest too.
    fn end(&mut self, id: FlowId, reset: bool) {
        let Some(stream) = self.forget(id) else { return };
        if stream.is_the_host_s() {
            self.act(Action::Close { flow: id, reset });
        }
    }

    fn forget(&mut self, id: FlowId) -> Option<Box<Stream>> {
        let Body::Stream(stream) = self.flows.remove(id)?.body else { return None };
        self.half_open -= usize::from(stream.half_open);
        if matches!(stream.phase, Phase::Waiting { .. }) {
            self.waiting.retain(|&other| other != id);
        }
        Some(stream)
    }

    /// Answers a packet that no socket takes: by RST, unless it is one.
    pub(crate) fn refuse(&mut self, packet: &[u8]) {
        let answer = self.link.input(self.now, &mut SocketSet::new(Vec::new()), packet);
        answer.into_iter().for_each(|frame| self.reply(frame));
    }

    /// What of the streams a snapshot of the guest must tell, so that it can be [told](Self::reset_connections) that they are gone.
    pub fn connections(&self) -> Vec<Connection> {
        let of = |(_, flow): (FlowId, &crate::flow::Flow)| match &flow.body {
            Body::Stream(stream) if stream.is_established() => {
                Some(Connection { guest_port: flow.key.guest_port, remote: flow.key.remote })
            }
            _ => None,
        };
        self.flows.iter().filter_map(of).collect()
    }
}

pub(crate) fn is_opening(segment: &TcpPacket<&[u8]>) -> bool {
    segment.syn() && !segment.ack() && !segment.rst() && !segment.fin()
}

/// A packet's headers: data that comes with a SYN will be sent again.
fn without_data(packet: &[u8]) -> Vec<u8> {
    let header = Ipv4Packet::new_unchecked(packet);
    let start = usize::from(header.header_len());
    let length = packet.get(start..).map_or(0, |segment| usize::from(TcpPacket::new_unchecked(segment).header_len()));
    let mut bytes = packet[..(start + length).min(packet.len())].to_vec();
    let length = bytes.len() as u16;
    Ipv4Packet::new_unchecked(&mut bytes[..]).set_total_len(length);
    bytes
}
