//! A network in this process: the stack of the crate `net` on sockets of the host.

use super::options::{NetworkOptions, Publish, Transport};
use super::poller::{Interest, Poller, Ready, Token, Watch};
use super::resolver::{Lookup, Resolvers, Standing};
use super::socket::{self, Moved, Socket};
use crate::error::{Error, Result};
use devices::net::Offload;
use net::{Action, Config, Connection, Failure, FlowId, Frame, QueryId, Stack};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Longest datagram.
const LONGEST: usize = 65_535;
/// Datagrams, or connections, that are taken from one socket before others have their turn.
const BURST: usize = 64;
/// A flow of datagrams that has heard nothing for so long may be on a way that leads nowhere any more: the host has joined another network.
const UNHEARD: Duration = Duration::from_secs(5);
/// Looks at what has happened outside before the guest has its turn.
const LOOKS: usize = 64;

/// A socket that belongs to a flow.
struct Open {
    socket: Socket,
    watch: Watch,
    token: Token,
    /// Something may be there to be read, or may be written; the kernel tells when it has changed.
    readable: bool,
    writable: bool,
    /// The other side sends nothing more.
    ended: bool,
    /// When a datagram came last, or its way was last looked for.
    heard: Duration,
}

/// A port of the host that leads to the guest.
enum Listener {
    Tcp(TcpListener),
    Udp { socket: UdpSocket, peers: BTreeMap<SocketAddr, FlowId> },
}

impl Listener {
    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp { socket, .. } => socket.local_addr(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp { socket, .. } => socket.as_fd(),
        }
    }
}

struct Published {
    listener: Listener,
    guest: u16,
    watch: Watch,
    /// It is beside another one, at the same port.
    beside: bool,
}

/// What a token stands for.
#[derive(Debug, Clone, Copy)]
enum Target {
    Flow(FlowId),
    Published(usize),
    Lookup(QueryId),
}

/// The network of a guest.
pub struct UserNetwork {
    stack: Stack,
    poller: Poller,
    targets: BTreeMap<Token, Target>,
    next_token: Token,
    open: BTreeMap<FlowId, Open>,
    published: Vec<Published>,
    /// Flows of datagrams from outside: where their answers go.
    answers: BTreeMap<FlowId, (usize, SocketAddr)>,
    lookups: BTreeMap<QueryId, (Lookup, Token)>,
    resolvers: Resolvers,
    /// A descriptor that makes room for one more when the process may have no more of them.
    spare: Option<OwnedFd>,
    now: Duration,
}

impl UserNetwork {
    /// A network like `config` and as `options` say, at the time 0. A port that is taken is an error.
    pub fn open(options: &NetworkOptions, mut config: Config, resolvers: Resolvers) -> Result<Self> {
        config.guest_mac = options.mac.unwrap_or(config.guest_mac);
        config.names.extend(options.names.iter().map(|(name, named)| (name.to_ascii_lowercase(), named.address())));
        let poller = Poller::new().map_err(|source| Error::Host { what: "watch sockets", source })?;
        let spare = poller.as_fd().try_clone_to_owned().ok();
        let mut network = Self {
            stack: Stack::new(config, Duration::ZERO),
            poller,
            targets: BTreeMap::new(),
            next_token: 0,
            open: BTreeMap::new(),
            published: Vec::new(),
            answers: BTreeMap::new(),
            lookups: BTreeMap::new(),
            resolvers,
            spare,
            now: Duration::ZERO,
        };
        options.published.iter().try_for_each(|publish| network.publish(publish))?;
        Ok(network)
    }

    fn publish(&mut self, publish: &Publish) -> Result<()> {
        let host = publish.host;
        let port = self.listen(host, publish, false).map_err(|source| Error::Publish { address: host, source })?.port();
        if host.ip() != Ipv4Addr::UNSPECIFIED {
            return Ok(());
        }
        // All addresses of the host are those of IPv6 as well: `localhost` is ::1 first.
        let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        match self.listen(all, publish, true) {
            Err(error) if host.port() != 0 && is_in_use(&error) => Err(Error::Publish { address: all, source: error }),
            // The host may have no IPv6.
            _ => Ok(()),
        }
    }

    /// Takes what comes to a port of the host.
    fn listen(&mut self, host: SocketAddr, publish: &Publish, beside: bool) -> io::Result<SocketAddr> {
        let listener = match publish.protocol {
            Transport::Tcp => Listener::Tcp(socket::listen(host)?),
            Transport::Udp => Listener::Udp { socket: socket::bind(host)?, peers: BTreeMap::new() },
        };
        let token = self.token(Target::Published(self.published.len()));
        let mut published = Published { listener, guest: publish.guest, watch: Watch::default(), beside };
        self.poller.set(&mut published.watch, published.listener.as_fd(), token, Interest { read: true, write: false })?;
        let address = published.listener.address();
        self.published.push(published);
        address
    }

    /// Where the published ports are.
    pub fn addresses(&self) -> Vec<io::Result<SocketAddr>> {
        self.published.iter().filter(|published| !published.beside).map(|published| published.listener.address()).collect()
    }

    /// What is readable when something has happened.
    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// When there is something to do, if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        let lookups = self.lookups.values().map(|(lookup, _)| lookup.deadline()).min();
        [self.stack.deadline(), lookups].into_iter().flatten().min()
    }

    /// Somebody may be waiting for somebody: what comes next may come at any moment.
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty() || !self.answers.is_empty() || !self.lookups.is_empty()
    }

    /// There are ports of the host that lead to the guest.
    pub fn is_published(&self) -> bool {
        !self.published.is_empty()
    }

    /// The guest's open connections.
    pub fn connections(&self) -> Vec<Connection> {
        self.stack.connections()
    }

    /// The guest was restored with these connections, which are gone.
    pub fn reset_connections(&mut self, connections: &[Connection]) {
        self.stack.reset_connections(connections);
    }

    /// A frame of the guest.
    pub fn receive(&mut self, frame: &[u8]) {
        self.stack.receive(frame);
    }

    /// A frame for the guest.
    pub fn frame(&mut self) -> Option<Frame> {
        self.stack.frame()
    }

    /// Looks at what has happened outside, and does what the guest's frames ask for, for a driver that takes this. It does not wait.
    pub fn work(&mut self, offload: Offload, now: Duration) -> Result<()> {
        self.now = now;
        self.stack.set_offload(offload);
        self.stack.advance(now);
        let late: Vec<QueryId> = self.lookups.iter().filter(|(_, (lookup, _))| lookup.deadline() <= now).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.look_up(id, Lookup::ask));
        for _ in 0..LOOKS {
            let ready = self.poller.take().map_err(|source| Error::Host { what: "watch sockets", source })?;
            let more = !ready.is_empty();
            ready.into_iter().for_each(|ready| self.happened(ready));
            self.act();
            self.move_all();
            self.act();
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn token(&mut self, target: Target) -> Token {
        self.next_token += 1;
        self.targets.insert(self.next_token, target);
        self.next_token
    }

    fn happened(&mut self, ready: Ready) {
        match self.targets.get(&ready.token) {
            Some(&Target::Flow(flow)) => self.flow_is_ready(flow, ready),
            Some(&Target::Published(number)) => self.take_from_outside(number),
            Some(&Target::Lookup(id)) => self.look_up(id, Lookup::look),
            None => {}
        }
    }

    fn flow_is_ready(&mut self, flow: FlowId, ready: Ready) {
        let Some(open) = self.open.get_mut(&flow) else { return };
        if let Socket::Connecting(_) = open.socket {
            match open.socket.take_failure() {
                Some(failure) => self.fail(flow, failure),
                None if ready.write => self.connected(flow),
                None => {}
            }
            return;
        }
        open.readable |= ready.read;
        open.writable |= ready.write || ready.failed;
        if ready.failed
            && let Some(failure) = open.socket.take_failure()
        {
            self.fail(flow, failure);
        }
    }

    fn connected(&mut self, flow: FlowId) {
        let Some(mut open) = self.open.remove(&flow) else { return };
        if let Socket::Connecting(stream) = open.socket {
            let _ = stream.set_nodelay(true);
            open.socket = Socket::Stream(stream);
        }
        (open.readable, open.writable) = (true, true);
        self.open.insert(flow, open);
        self.stack.connected(flow);
    }

    fn fail(&mut self, flow: FlowId, failure: Failure) {
        self.forget(flow);
        self.stack.failed(flow, failure);
    }

    /// Lets go of what belongs to a flow; its socket, if it has one, is returned.
    fn forget(&mut self, flow: FlowId) -> Option<Socket> {
        if let Some((number, peer)) = self.answers.remove(&flow)
            && let Some(Listener::Udp { peers, .. }) = self.published.get_mut(number).map(|published| &mut published.listener)
        {
            peers.remove(&peer);
        }
        let open = self.open.remove(&flow)?;
        self.targets.remove(&open.token);
        Some(open.socket)
    }

    fn insert(&mut self, flow: FlowId, socket: Socket) {
        let token = self.token(Target::Flow(flow));
        let open = Open { socket, watch: Watch::default(), token, readable: true, writable: true, ended: false, heard: self.now };
        self.open.insert(flow, open);
    }

    /// Does what the stack asks for.
    fn act(&mut self) {
        while let Some(action) = self.stack.next_action() {
            match action {
                Action::Open { flow, protocol, to } => match Socket::open(protocol, to) {
                    Ok(socket) => self.insert(flow, socket),
                    Err(failure) => self.stack.failed(flow, failure),
                },
                Action::Datagram { flow, bytes } => self.send(flow, &bytes),
                Action::Shutdown { flow } => self.open.get(&flow).into_iter().for_each(|open| open.socket.shut_down()),
                Action::Close { flow, reset } => {
                    if let Some(socket) = self.forget(flow)
                        && reset
                    {
                        socket.reset();
                    }
                }
                Action::Resolve { query, message, long } => {
                    self.resolvers.refresh();
                    let token = self.token(Target::Lookup(query));
                    self.lookups.insert(query, (Lookup::new(message, long), token));
                    self.look_up(query, Lookup::ask);
                }
            }
        }
    }

    fn look_up(&mut self, id: QueryId, step: impl FnOnce(&mut Lookup, &Resolvers, &Poller, Token, Duration) -> Standing) {
        let Some((lookup, token)) = self.lookups.get_mut(&id) else { return };
        let answer = match step(lookup, &self.resolvers, &self.poller, *token, self.now) {
            Standing::Waiting => return,
            Standing::Answer(answer) => Some(answer),
            Standing::Failed => None,
        };
        self.targets.remove(token);
        self.lookups.remove(&id);
        self.stack.resolved(id, answer.as_deref());
    }

    /// Sends a datagram. One that the host has no room for is lost, as datagrams are.
    fn send(&mut self, flow: FlowId, bytes: &[u8]) {
        if let Some((number, peer)) = self.answers.get(&flow) {
            if let Some(Listener::Udp { socket, .. }) = self.published.get(*number).map(|published| &published.listener) {
                let _ = socket.send_to(bytes, *peer);
            }
            return;
        }
        let Some(open) = self.open.get_mut(&flow) else { return };
        if self.now.saturating_sub(open.heard) >= UNHEARD {
            open.heard = self.now;
            if let Some(socket) = open.socket.by_another_way() {
                (open.socket, open.watch) = (socket, Watch::default());
            }
        }
        let Socket::Datagrams(socket) = &open.socket else { return };
        if let Err(error) = socket.send(bytes)
            && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        {
            self.fail(flow, socket::failure(&error));
        }
    }

    /// Takes connections, or datagrams, for the guest.
    fn take_from_outside(&mut self, number: usize) {
        for _ in 0..BURST {
            let Some(Published { listener, guest, .. }) = self.published.get_mut(number) else { return };
            let guest = *guest;
            match listener {
                Listener::Tcp(listener) => {
                    let stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if is_out_of_descriptors(&error) => return self.turn_away(number),
                        Err(_) => return,
                    };
                    let Ok(socket) = Socket::accepted(stream) else { continue };
                    match self.stack.open_stream(guest) {
                        Some(flow) => self.insert(flow, socket),
                        None => socket.reset(),
                    }
                }
                Listener::Udp { socket, peers } => {
                    let mut buffer = [0; LONGEST];
                    let Ok((length, peer)) = socket.recv_from(&mut buffer) else { return };
                    let flow = match peers.get(&peer) {
                        Some(&flow) => flow,
                        None => {
                            let Some(flow) = self.stack.open_datagrams(guest) else { continue };
                            peers.insert(peer, flow);
                            self.answers.insert(flow, (number, peer));
                            flow
                        }
                    };
                    self.stack.datagram(flow, &buffer[..length]);
                }
            }
        }
    }

    /// Refuses the connections that wait at a port while the process may have no more descriptors. They would wait for ever, and wake it for ever.
    fn turn_away(&mut self, number: usize) {
        self.spare = None;
        if let Some(Published { listener: Listener::Tcp(listener), .. }) = self.published.get(number) {
            (0..BURST).map_while(|_| listener.accept().ok()).for_each(|(stream, _)| Socket::Stream(stream).reset());
        }
        self.spare = self.poller.as_fd().try_clone_to_owned().ok();
    }

    /// Moves bytes between all sockets and their flows, and watches for what stopped that.
    fn move_all(&mut self) {
        let flows: Vec<FlowId> = self.open.keys().copied().collect();
        for flow in flows {
            if let Err(failure) = self.move_bytes(flow) {
                self.fail(flow, failure);
            }
            let Some(open) = self.open.get_mut(&flow) else { continue };
            let wanted = self.stack.interest(flow);
            let interest = match open.socket {
                Socket::Connecting(_) => Interest { read: false, write: true },
                _ => Interest { read: wanted.read && !open.ended, write: wanted.write },
            };
            if self.poller.set(&mut open.watch, open.socket.as_fd(), open.token, interest).is_err() {
                self.fail(flow, Failure::Refused);
            }
        }
    }

    fn move_bytes(&mut self, flow: FlowId) -> std::result::Result<(), Failure> {
        let Some(open) = self.open.get_mut(&flow) else { return Ok(()) };
        match &open.socket {
            Socket::Connecting(_) => {}
            Socket::Stream(stream) => {
                while open.writable && self.stack.interest(flow).write {
                    let (mut how, mut count) = (Moved::Nothing, 0);
                    self.stack.drain(flow, |bytes| {
                        how = socket::write(stream, bytes, &mut count);
                        count
                    });
                    match how {
                        Moved::Some => {}
                        Moved::Failed(failure) => return Err(failure),
                        Moved::Nothing | Moved::End => open.writable = false,
                    }
                }
                while open.readable && !open.ended && self.stack.interest(flow).read {
                    let (mut how, mut count) = (Moved::Nothing, 0);
                    self.stack.fill(flow, |room| {
                        how = socket::read(stream, room, &mut count);
                        count
                    });
                    match how {
                        Moved::Some => {}
                        Moved::Nothing => open.readable = false,
                        Moved::End => {
                            open.ended = true;
                            self.stack.ended(flow);
                        }
                        Moved::Failed(failure) => return Err(failure),
                    }
                }
            }
            Socket::Datagrams(socket) => {
                let mut buffer = [0; LONGEST];
                for _ in 0..BURST {
                    if !open.readable || !self.stack.interest(flow).read {
                        break;
                    }
                    match socket.recv(&mut buffer) {
                        Ok(length) => {
                            open.heard = self.now;
                            self.stack.datagram(flow, &buffer[..length]);
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => open.readable = false,
                        Err(error) => return Err(socket::failure(&error)),
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
