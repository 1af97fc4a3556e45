//! Names that the guest asks for, asked of the host's resolvers.

use super::poller::{Interest, Poller, Token, Watch};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const PORT: u16 = 53;
/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times that each resolver is asked.
const ROUNDS: usize = 2;
/// Resolvers that are asked, as many as the C library asks.
const MAX_RESOLVERS: usize = 3;
/// Longest answer by UDP.
const LONGEST: usize = 65_535;

/// The host's resolvers and search domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolvers {
    /// The resolvers, in the order in which they are asked.
    pub addresses: Vec<IpAddr>,
    /// Domains of short names.
    pub search: Vec<String>,
}

impl Resolvers {
    /// Those that the host is configured with.
    pub fn of_host() -> Self {
        Self::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut resolvers = Self { addresses: Vec::new(), search: Vec::new() };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // An address may name its interface behind a percent sign.
                Some("nameserver") => {
                    resolvers.addresses.extend(words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => resolvers.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolvers.addresses.truncate(MAX_RESOLVERS);
        if resolvers.addresses.is_empty() {
            // As the C library does.
            resolvers.addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        resolvers
    }
}

#[derive(Debug)]
enum Line {
    Datagram(UdpSocket),
    Stream { stream: TcpStream, sent: usize, received: Vec<u8> },
}

/// A question that is looked into.
#[derive(Debug)]
pub struct Lookup {
    message: Vec<u8>,
    long: bool,
    attempts: usize,
    line: Option<Line>,
    watch: Watch,
    until: Duration,
}

/// How a lookup stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has answered yet.
    Waiting,
    /// This is the answer.
    Answer(Vec<u8>),
    /// Nobody answers.
    Failed,
}

impl Lookup {
    /// Looks into a question, whose answer may be `long` if it was asked by TCP.
    pub fn new(message: Vec<u8>, long: bool) -> Self {
        Self { message, long, attempts: 0, line: None, watch: Watch::default(), until: Duration::ZERO }
    }

    /// When the resolver that was asked last has taken too long.
    pub const fn deadline(&self) -> Duration {
        self.until
    }

    /// Asks the next resolver, until one can be asked.
    pub fn ask(&mut self, resolvers: &Resolvers, poller: &Poller, token: Token, now: Duration) -> Standing {
        while self.attempts < ROUNDS * resolvers.addresses.len() {
            let address = resolvers.addresses[self.attempts % resolvers.addresses.len()];
            self.attempts += 1;
            if self.try_ask(SocketAddr::new(address, PORT), poller, token).is_ok() {
                self.until = now + PATIENCE;
                return Standing::Waiting;
            }
        }
        Standing::Failed
    }

    fn try_ask(&mut self, resolver: SocketAddr, poller: &Poller, token: Token) -> std::io::Result<()> {
        // Dropping the socket ends the watching of it.
        (self.line, self.watch) = (None, Watch::default());
        let family = if resolver.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if self.long { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        match connect(&socket, &resolver) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let line = if self.long {
            Line::Stream { stream: socket.into(), sent: 0, received: Vec::new() }
        } else {
            let socket = UdpSocket::from(socket);
            socket.send(&self.message)?;
            Line::Datagram(socket)
        };
        let interest = Interest { read: true, write: self.long };
        let line = self.line.insert(line);
        poller.set(&mut self.watch, line.as_fd(), token, interest)
    }

    /// Something has happened to its socket.
    pub fn look(&mut self, resolvers: &Resolvers, poller: &Poller, token: Token, now: Duration) -> Standing {
        let answer = match &mut self.line {
            Some(Line::Datagram(socket)) => {
                let mut buffer = [0; LONGEST];
                match socket.recv(&mut buffer) {
                    Ok(length) if net::answers(&self.message, &buffer[..length]) => Ok(Some(buffer[..length].to_vec())),
                    // Somebody else's idea of an answer.
                    Ok(_) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Some(Line::Stream { stream, sent, received }) => exchange(stream, &self.message, sent, received),
            None => Ok(None),
        };
        match answer {
            Ok(Some(answer)) => return Standing::Answer(answer),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return self.ask(resolvers, poller, token, now),
            _ => {}
        }
        if let Some(line @ Line::Stream { sent, .. }) = &self.line {
            let write = *sent < 2 + self.message.len();
            if poller.set(&mut self.watch, line.as_fd(), token, Interest { read: true, write }).is_err() {
                return Standing::Failed;
            }
        }
        Standing::Waiting
    }
}

/// Sends what is left of a question, and receives what there is of its answer.
fn exchange(stream: &mut TcpStream, message: &[u8], sent: &mut usize, received: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    let framed = [&(message.len() as u16).to_be_bytes()[..], message].concat();
    while *sent < framed.len() {
        *sent += stream.write(&framed[*sent..])?;
    }
    let mut buffer = [0; 4096];
    loop {
        if let Some((&length, rest)) = received.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(length));
            if let Some(answer) = rest.get(..length) {
                let fits = net::answers(message, answer);
                return if fits { Ok(Some(answer.to_vec())) } else { Err(std::io::ErrorKind::InvalidData.into()) };
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => received.extend(&buffer[..count]),
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagram(socket) => socket.as_fd(),
            Self::Stream { stream, .. } => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_of_the_host() {
        let text = "# comment\nnameserver 10.0.0.1\nsearch lan example.org\nnameserver fe80::1%eth0\nnameserver x\noptions ndots:1\n\
                    nameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let resolvers = Resolvers::parse(text);
        assert_eq!(resolvers.addresses, ["10.0.0.1", "fe80::1", "10.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap()));
        assert_eq!(resolvers.search, ["lan", "example.org"]);
        assert_eq!(Resolvers::parse("").addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
}
