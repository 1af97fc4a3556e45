//! The other end of a guest's cable on this host: a network in this process, or a socket to another one. Nothing here waits: what is to be
//! waited for is one descriptor and one deadline.

mod options;
pub(crate) mod poller;
mod relay;
mod resolver;
mod socket;
mod user;

pub use options::{Link, MAX_MTU, MIN_MTU, NamedHost, NetworkOptions, Publish, SocketPlace, Transport};

use crate::error::{Error, Result};
use crate::network::Resolver;
use devices::net::Offload;
use net::{Cable, Config, Connection, Frame, Guest, Outside};
use protocol::network::{MTU, NetworkInfo};
use rand_core::Rng;
use relay::Relay;
use resolver::{Lookups, Resolvers};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use user::UserNetwork;

enum End {
    User(Box<UserNetwork>),
    Relay(Relay),
}

/// A guest's network.
pub struct Network {
    end: End,
    info: NetworkInfo,
    started: Instant,
    cable: Cable,
}

impl Outside for End {
    type Error = Error;

    fn receive(&mut self, frame: Frame) {
        match self {
            Self::User(network) => network.receive(&frame.bytes),
            Self::Relay(relay) => frame.into_plain().iter().for_each(|frame| relay.send(frame)),
        }
    }

    fn work(&mut self, offload: Offload, now: Duration) -> Result<()> {
        match self {
            Self::User(network) => network.work(offload, now),
            Self::Relay(relay) => relay.work(),
        }
    }

    fn frame(&mut self) -> Option<Frame> {
        match self {
            Self::User(network) => network.frame(),
            Self::Relay(relay) => relay.frame().map(Frame::whole),
        }
    }
}

impl Network {
    /// The network that is asked for, if one is. Its ports are open when this returns. Names that the guest asks for are looked up by `resolver`, if
    /// there is one, unless the options have resolvers.
    pub fn open(options: &NetworkOptions, resolver: Option<Arc<dyn Resolver>>, random: &mut dyn Rng) -> Result<Option<Self>> {
        let mut lookups = Lookups::default();
        let (end, mtu) = match &options.link {
            Link::None => return Ok(None),
            Link::User { host, mtu } => {
                let resolvers;
                (resolvers, lookups) = Resolvers::open(&options.dns, resolver);
                let search = if options.search.is_empty() { &lookups.search } else { &options.search };
                let config =
                    Config { mtu: *mtu, host_reachable: *host, search: search.clone(), seed: random.next_u64(), ..Config::default() };
                (End::User(Box::new(UserNetwork::open(options, config, resolvers)?)), *mtu)
            }
            Link::Socket(place) => (End::Relay(Relay::connect(place)?), MTU),
        };
        let info = NetworkInfo {
            mac: options.mac,
            mtu: Some(mtu).filter(|mtu| *mtu != MTU),
            search: if options.search.is_empty() { lookups.search } else { options.search.clone() },
            ndots: lookups.ndots,
            names: options.names.iter().map(|(name, named)| (name.clone(), named.address())).collect(),
        };
        Ok(Some(Self { end, info, started: Instant::now(), cable: Cable::default() }))
    }

    /// What the guest is told.
    pub fn info(&self) -> NetworkInfo {
        self.info.clone()
    }

    /// Where the published ports are.
    pub fn addresses(&self) -> Vec<io::Result<SocketAddr>> {
        match &self.end {
            End::User(network) => network.addresses(),
            End::Relay(_) => Vec::new(),
        }
    }

    /// Moves all that can be moved between the guest and the outside. Whether the guest was given any.
    pub fn work<G: Guest<Error = Error> + ?Sized>(&mut self, guest: &mut G) -> Result<bool> {
        self.cable.work(guest, &mut self.end, self.started.elapsed())
    }

    /// What wakes whoever waits for something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.end {
            End::User(network) => network.poller().as_fd(),
            End::Relay(relay) => relay.poller().as_fd(),
        }
    }

    /// Waits until there is something to do, or the time is over.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        let time = self.timeout().map_or(time, |timeout| timeout.min(time));
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How long there is nothing to do, if nothing happens.
    pub fn timeout(&self) -> Option<Duration> {
        match &self.end {
            End::User(network) => network.deadline().map(|deadline| deadline.saturating_sub(self.started.elapsed())),
            End::Relay(_) => None,
        }
    }

    /// Somebody may be waiting for the guest, or the guest for somebody.
    pub fn is_busy(&self) -> bool {
        match &self.end {
            End::User(network) => network.is_busy(),
            End::Relay(relay) => !relay.has_ended(),
        }
    }

    /// Something may come from outside although nobody inside asked for it, or because somebody did.
    pub fn may_wake(&self) -> bool {
        match &self.end {
            End::User(network) => network.is_busy() || network.is_published(),
            End::Relay(relay) => !relay.has_ended(),
        }
    }

    /// The guest's open connections, which a restored guest must be told are gone.
    pub fn connections(&self) -> Vec<Connection> {
        match &self.end {
            End::User(network) => network.connections(),
            End::Relay(_) => Vec::new(),
        }
    }

    /// The guest was restored with these connections.
    pub fn reset_connections(&mut self, connections: &[Connection]) {
        if let End::User(network) = &mut self.end {
            network.reset_connections(connections);
        }
    }
}
