//! The table of flows: what goes on between a port of the guest and somebody outside.

use crate::datagram::Datagrams;
use crate::stream::Stream;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Names a flow for as long as it lasts. Calls with a name of one that has ended do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    index: u32,
    generation: u32,
}

/// What a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
    /// ICMP echo: messages with their ICMP header, requests out and replies in.
    Echo,
}

/// What packets of one flow have in common, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub protocol: Protocol,
    /// The guest's port, or a ping's identifier.
    pub guest_port: u16,
    pub remote: SocketAddrV4,
}

pub(crate) enum Body {
    Stream(Box<Stream>),
    Datagrams(Datagrams),
}

pub(crate) struct Flow {
    pub key: Key,
    pub body: Body,
    ready: bool,
    timer: Option<Duration>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    flow: Option<Flow>,
}

#[derive(Default)]
pub(crate) struct Flows {
    slots: Vec<Slot>,
    free: Vec<u32>,
    keys: BTreeMap<Key, FlowId>,
    /// Those that may have a frame for the guest, in turn.
    ready: VecDeque<FlowId>,
    timers: BTreeSet<(Duration, FlowId)>,
    /// Of the timers, those of datagrams: the first is the least recently used.
    idle: BTreeSet<(Duration, FlowId)>,
    streams: usize,
}

impl Flows {
    pub fn insert(&mut self, key: Key, body: Body) -> FlowId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        let id = FlowId { index, generation: slot.generation };
        self.streams += usize::from(matches!(body, Body::Stream(_)));
        slot.flow = Some(Flow { key, body, ready: false, timer: None });
        self.keys.insert(key, id);
        id
    }

    pub fn remove(&mut self, id: FlowId) -> Option<Flow> {
        self.set_timer(id, None);
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        let flow = slot.flow.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.keys.remove(&flow.key);
        if flow.ready {
            self.ready.retain(|&other| other != id);
        }
        self.streams -= usize::from(matches!(flow.body, Body::Stream(_)));
        Some(flow)
    }

    pub fn find(&self, key: &Key) -> Option<FlowId> {
        self.keys.get(key).copied()
    }

    pub fn get(&self, id: FlowId) -> Option<&Flow> {
        self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?.flow.as_ref()
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?.flow.as_mut()
    }

    pub fn stream_mut(&mut self, id: FlowId) -> Option<&mut Stream> {
        match &mut self.get_mut(id)?.body {
            Body::Stream(stream) => Some(stream),
            Body::Datagrams(_) => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &Flow)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let flow = slot.flow.as_ref()?;
            Some((FlowId { index: index as u32, generation: slot.generation }, flow))
        })
    }

    pub const fn streams(&self) -> usize {
        self.streams
    }

    pub fn datagrams(&self) -> usize {
        self.idle.len()
    }

    pub fn least_recently_used(&self) -> Option<FlowId> {
        self.idle.first().map(|&(_, id)| id)
    }

    /// It may have a frame for the guest.
    pub fn make_ready(&mut self, id: FlowId) {
        if let Some(flow) = self.get_mut(id)
            && !std::mem::replace(&mut flow.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The one whose turn it is; it is not ready any more.
    pub fn next_ready(&mut self) -> Option<FlowId> {
        let id = self.ready.pop_front()?;
        if let Some(flow) = self.get_mut(id) {
            flow.ready = false;
        }
        Some(id)
    }

    /// Something is to be done about it at a time, or nothing is.
    pub fn set_timer(&mut self, id: FlowId, at: Option<Duration>) {
        let Some(flow) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut flow.timer, at);
        let datagrams = matches!(flow.body, Body::Datagrams(_));
        if before == at {
            return;
        }
        let sets = [Some(&mut self.timers), datagrams.then_some(&mut self.idle)];
        for set in sets.into_iter().flatten() {
            before.map(|before| set.remove(&(before, id)));
            at.map(|at| set.insert((at, id)));
        }
    }

    pub fn first_timer(&self) -> Option<Duration> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// One whose time has come; its timer is off.
    pub fn next_due(&mut self, now: Duration) -> Option<FlowId> {
        let &(at, id) = self.timers.first()?;
        (at <= now).then(|| {
            self.set_timer(id, None);
            id
        })
    }
}
