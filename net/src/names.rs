//! The server of names: by UDP and by TCP, on the gateway.

use crate::action::{Action, QueryId};
use crate::config::{LOOKUP, MAX_QUERIES, MAX_QUESTIONS};
use crate::dns::{self, Verdict};
use crate::flow::FlowId;
use crate::stack::Stack;
use crate::stream::{Peer, Phase};
use crate::wire::{self, IPV4, UDP};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::DnsRcode;
use std::net::SocketAddrV4;
use std::time::Duration;

/// The server's port.
pub(crate) const PORT: u16 = 53;
/// Longest question by TCP.
const LONGEST: usize = 4096;
/// Questions at a time on one stream whose answers it has not had.
const MAX_WAITING: usize = 16;

/// A stream on which names are asked for: messages with their length in front, both ways.
#[derive(Default)]
pub(crate) struct NameStream {
    input: Vec<u8>,
    output: Vec<u8>,
    waiting: usize,
}

impl NameStream {
    fn put(&mut self, answer: &[u8]) {
        self.output.extend((answer.len() as u16).to_be_bytes());
        self.output.extend(answer);
    }
}

/// Who asked.
#[derive(Clone, Copy)]
enum Asker {
    Port(u16),
    Stream(FlowId),
}

struct Query {
    id: QueryId,
    asker: Asker,
    message: Vec<u8>,
    until: Duration,
}

/// The questions that have no answer yet.
#[derive(Default)]
pub(crate) struct Queries {
    waiting: Vec<Query>,
    /// So many of the first of them the host looks into.
    asked: usize,
    last: u64,
}

impl Queries {
    pub fn first_timer(&self) -> Option<Duration> {
        self.waiting.first().map(|query| query.until)
    }
}

impl Stack {
    fn judge(&mut self, message: &[u8]) -> Verdict {
        match dns::judge(&self.config, message) {
            Verdict::Foreign if self.config.aliases => Verdict::Answer(dns::answer_with(message, |name| self.aliases.address(name))),
            verdict => verdict,
        }
    }

    /// A question by UDP.
    pub(crate) fn name_datagram(&mut self, guest_port: u16, message: &[u8]) {
        match self.judge(message) {
            Verdict::Ignored => {}
            Verdict::Answer(answer) => self.answer_datagram(guest_port, &answer),
            Verdict::Foreign => {
                if !self.ask(Asker::Port(guest_port), message) {
                    self.answer_datagram(guest_port, &dns::failure(message, DnsRcode::ServFail));
                }
            }
        }
    }

    fn answer_datagram(&mut self, guest_port: u16, answer: &[u8]) {
        let (from, to) = (SocketAddrV4::new(self.config.gateway, PORT), SocketAddrV4::new(self.config.guest, guest_port));
        let packet = if IPV4 + UDP + answer.len() > usize::from(self.config.mtu) {
            wire::udp(from, to, &dns::truncated(answer))
        } else {
            wire::udp(from, to, answer)
        };
        self.send_packet(packet);
    }

    /// Whether the host will look into it.
    fn ask(&mut self, asker: Asker, message: &[u8]) -> bool {
        if self.queries.waiting.len() >= MAX_QUESTIONS || !self.may_act() {
            return false;
        }
        self.queries.last += 1;
        let id = QueryId(self.queries.last);
        self.queries.waiting.push(Query { id, asker, message: message.to_vec(), until: self.now + LOOKUP });
        self.ask_host();
        true
    }

    /// Has the host look into as many questions as it may, in turn.
    fn ask_host(&mut self) {
        while self.queries.asked < MAX_QUERIES
            && let Some(Query { id, asker, message, .. }) = self.queries.waiting.get(self.queries.asked)
        {
            let action = Action::Resolve { query: *id, message: message.clone(), long: matches!(asker, Asker::Stream(_)) };
            self.queries.asked += 1;
            self.act(action);
        }
    }

    /// What a resolver says to a question; nothing if none could be asked. What is no answer to it counts as nothing.
    pub fn resolved(&mut self, id: QueryId, answer: Option<&[u8]>) {
        if let Some(at) = self.queries.waiting.iter().position(|query| query.id == id) {
            self.finish(at, answer);
            self.ask_host();
        }
    }

    fn finish(&mut self, at: usize, answer: Option<&[u8]>) {
        let query = self.queries.waiting.remove(at);
        self.queries.asked -= usize::from(at < self.queries.asked);
        let fits = |answer: &&[u8]| dns::answers(&query.message, answer) && answer.len() <= usize::from(u16::MAX);
        let failure;
        let answer = match answer.filter(fits) {
            Some(answer) => answer,
            None => {
                failure = dns::failure(&query.message, DnsRcode::ServFail);
                &failure
            }
        };
        match query.asker {
            Asker::Port(port) => self.answer_datagram(port, answer),
            Asker::Stream(flow) => {
                if let Some(Peer::Names(names)) = self.flows.stream_mut(flow).map(|stream| &mut stream.peer) {
                    names.waiting -= 1;
                    names.put(answer);
                    self.settle(flow, false);
                }
            }
        }
    }

    /// Questions that the host has not answered in time.
    pub(crate) fn expire_queries(&mut self) {
        while self.queries.waiting.first().is_some_and(|query| query.until <= self.now) {
            self.finish(0, None);
        }
        self.ask_host();
    }

    /// Moves what can be moved on a stream to the server of names.
    pub(crate) fn serve_names(&mut self, id: FlowId) {
        while let Some(message) = self.next_question(id) {
            let answer = match self.judge(&message) {
                Verdict::Answer(answer) => answer,
                Verdict::Foreign if self.ask(Asker::Stream(id), &message) => {
                    if let Some(Peer::Names(names)) = self.flows.stream_mut(id).map(|stream| &mut stream.peer) {
                        names.waiting += 1;
                    }
                    continue;
                }
                Verdict::Foreign => dns::failure(&message, DnsRcode::ServFail),
                Verdict::Ignored => {
                    if let Some(live) = self.flows.stream_mut(id).and_then(|stream| stream.live_mut()) {
                        live.socket_mut().abort();
                    }
                    return;
                }
            };
            if let Some(Peer::Names(names)) = self.flows.stream_mut(id).map(|stream| &mut stream.peer) {
                names.put(&answer);
            }
        }
    }

    /// Sends what is to be sent, and takes a question.
    fn next_question(&mut self, id: FlowId) -> Option<Vec<u8>> {
        let stream = self.flows.stream_mut(id)?;
        let (Peer::Names(names), Phase::Live(live)) = (&mut stream.peer, &mut stream.phase) else { return None };
        let socket = live.sockets.get_mut::<Socket<'_>>(live.handle);
        if socket.can_send() && !names.output.is_empty() {
            let sent = socket.send_slice(&names.output).unwrap_or(0);
            names.output.drain(..sent);
        }
        let busy = names.waiting >= MAX_WAITING || !names.output.is_empty();
        while !busy && socket.can_recv() {
            let wanted = names.wanted();
            let taken = socket.recv(|bytes| {
                let taken = &bytes[..bytes.len().min(wanted)];
                names.input.extend(taken);
                (taken.len(), taken.len())
            });
            match names.length() {
                Some(length) if length > LONGEST => {
                    socket.abort();
                    return None;
                }
                Some(length) if names.input.len() == 2 + length => return Some(std::mem::take(&mut names.input).split_off(2)),
                _ if taken.unwrap_or(0) == 0 => break,
                _ => {}
            }
        }
        if socket.state() == State::CloseWait && !socket.can_recv() && names.waiting == 0 && names.output.is_empty() {
            socket.close();
        }
        None
    }
}

impl NameStream {
    fn length(&self) -> Option<usize> {
        self.input.first_chunk().map(|&length| usize::from(u16::from_be_bytes(length)))
    }

    /// Bytes that are missing of the length, or of the message.
    fn wanted(&self) -> usize {
        self.length().map_or(2, |length| 2 + length) - self.input.len()
    }
}
