//! Those who start programs beside the machine's own. Each has a connection for one program, on which it speaks as the host speaks to the guest's init:
//! this passes messages on in both directions, and holds no more than one window of them for each.

use crate::error::{Error, Result};
use crate::host::net::poller::{Interest, Poller, Token, Watch};
use crate::session::Door;
use attend::Attendant;
use protocol::{Exec, ExecId, ExecOrder, ExecReport, FrameReader, MAX_EXECS};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Connections at a time: some may just have come, or be about to go.
const MAX_CLIENTS: usize = 2 * MAX_EXECS;
/// Bytes read of one client at a time.
const CHUNK: usize = 16 << 10;
/// How long a client may take to be told that the run has ended.
const FAREWELL: Duration = Duration::from_secs(1);
const DOOR: Token = Token::MAX;

/// Those who start programs.
#[derive(Debug)]
pub struct Clients {
    poller: Poller,
    door: Option<(Door, Watch)>,
    clients: BTreeMap<ExecId, Client>,
    next: ExecId,
    /// There is room for what they say.
    has_room: bool,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    watch: Watch,
    reader: FrameReader<Exec<ExecOrder>>,
    /// Bytes that it has not taken.
    out: VecDeque<u8>,
    /// It has been told of the end.
    told_end: bool,
}

impl Clients {
    /// Those who come through `door`. Programs of earlier runs of the machine had numbers below `first`, or had them long ago.
    pub fn new(door: Option<Door>, first: ExecId) -> Result<Self> {
        let mut clients = Self { poller: Poller::new().map_err(error)?, door: None, clients: BTreeMap::new(), next: first, has_room: true };
        if let Some(door) = door {
            let mut watch = Watch::default();
            clients.poller.set(&mut watch, door.as_fd(), DOOR, Interest { read: true, write: false }).map_err(error)?;
            clients.door = Some((door, watch));
        }
        Ok(clients)
    }

    /// Lets one in.
    pub fn admit(&mut self, stream: UnixStream) {
        let id = self.next;
        // A connection that cannot be used ends, which its other end sees; the same if there are too many.
        if self.clients.len() < MAX_CLIENTS && stream.set_nonblocking(true).is_ok() {
            self.next = self.next.wrapping_add(1);
            let client = Client { stream, watch: Watch::default(), reader: FrameReader::default(), out: VecDeque::new(), told_end: false };
            self.clients.insert(id, client);
        }
    }

    /// Passes on what has come, and what can be sent.
    pub fn work(&mut self, attendant: &mut Attendant) -> Result<()> {
        while let Some(stream) = self.door.as_ref().and_then(|(door, _)| door.accept()) {
            self.admit(stream);
        }
        self.clients.retain(|&id, client| {
            let stays = client.hear(id, attendant) && client.send();
            if !stays && !client.told_end {
                attendant.order(Exec { id, what: ExecOrder::HangUp });
            }
            stays
        });
        self.has_room = attendant.wants_orders();
        let (poller, has_room) = (&self.poller, self.has_room);
        self.clients.iter_mut().try_for_each(|(&id, client)| client.watch(poller, id, has_room))
    }

    /// Tells whoever has started a program what has become of it.
    pub fn tell(&mut self, Exec { id, what }: Exec<ExecReport>) -> Result<()> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        client.told_end |= matches!(what, ExecReport::Exit(_) | ExecReport::Failed(_));
        client.out.extend(Exec { id: 0, what }.encode());
        if !client.send() && client.told_end {
            self.clients.remove(&id);
            return Ok(());
        }
        client.watch(&self.poller, id, self.has_room)
    }

    /// The run is over, for this reason.
    pub fn end(&mut self, reason: &str) {
        for client in self.clients.values_mut() {
            if !client.told_end {
                client.out.extend(Exec { id: 0, what: ExecReport::Failed(reason.into()) }.encode());
            }
            // Who does not listen is not waited for.
            let _ = client.stream.set_nonblocking(false).and_then(|()| client.stream.set_write_timeout(Some(FAREWELL)));
            client.send();
        }
        self.clients.clear();
    }
}

impl AsFd for Clients {
    /// Readable when one wants something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Client {
    /// Waits for what it says, if there is room for it, and until it takes what it is told.
    fn watch(&mut self, poller: &Poller, id: ExecId, has_room: bool) -> Result<()> {
        let interest = Interest { read: has_room && !self.told_end, write: !self.out.is_empty() };
        poller.set(&mut self.watch, self.stream.as_fd(), id.into(), interest).map_err(error)
    }

    /// Passes on what it says, as far as there is room. False if it has gone.
    fn hear(&mut self, id: ExecId, attendant: &mut Attendant) -> bool {
        let mut bytes = [0; CHUNK];
        while !self.told_end && attendant.wants_orders() {
            match recv(&self.stream, &mut bytes, RecvFlags::empty()) {
                Ok((_, 0)) => return false,
                Ok((_, count)) => self.reader.read(&bytes[..count], |order| attendant.order(Exec { id, what: order.what })),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends what it can take. False if it has gone, or there is nothing more to say.
    fn send(&mut self) -> bool {
        while !self.out.is_empty() {
            match send(&self.stream, self.out.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        !self.told_end
    }
}

fn error(source: io::Error) -> Error {
    Error::Host { what: "serve programs beside the machine's own", source }
}
