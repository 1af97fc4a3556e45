//! Names that the guest asks for, asked of the host's resolvers, or of the program that the machine belongs to.

use super::poller::{Interest, Poller, Token, Watch};
use crate::network::{Asker, Resolver};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const PORT: u16 = 53;
/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the program may take, which has resolvers of its own to be patient with.
const PATIENCE_WITH_PROGRAM: Duration = Duration::from_secs(20);
/// Times that each resolver is asked.
const ROUNDS: usize = 2;
/// Resolvers that are asked, as many as the C library asks.
const MAX_RESOLVERS: usize = 3;
/// Longest answer by UDP.
const LONGEST: usize = 65_535;
/// Where the host says who its resolvers are.
const OF_HOST: &str = "/etc/resolv.conf";
/// The response codes SERVFAIL, NOTIMP and REFUSED: another resolver may know better, and the C library asks it, too.
const UNHELPFUL: [u8; 3] = [2, 4, 5];

/// Who looks up names.
pub struct Resolvers {
    /// What is asked in place of all others, and for whom.
    program: Option<(Arc<dyn Resolver>, Asker)>,
    /// In the order in which they are asked.
    addresses: Vec<IpAddr>,
    /// The file that says so, if one does, and which version of it did.
    file: Option<(PathBuf, Option<Version>)>,
}

/// What tells a file from what it was before: device, inode, length, and the time of its last change.
type Version = (u64, u64, u64, i64, i64);

impl Resolvers {
    /// These, or else `program`, or else the host's; and how the host looks up names.
    pub fn open(given: &[IpAddr], program: Option<Arc<dyn Resolver>>) -> (Self, Lookups) {
        let (resolvers, lookups) = Self::of(given, Path::new(OF_HOST));
        let program = program.filter(|_| given.is_empty()).map(|program| (program, Asker::guest()));
        (Self { program, ..resolvers }, lookups)
    }

    fn of(given: &[IpAddr], file: &Path) -> (Self, Lookups) {
        let version = version(file);
        let configuration = Configuration::of(file);
        let resolvers = if given.is_empty() {
            Self { program: None, addresses: configuration.addresses, file: Some((file.to_owned(), version)) }
        } else {
            Self { program: None, addresses: given.to_owned(), file: None }
        };
        (resolvers, configuration.lookups)
    }

    /// The host may have joined another network, and have others by now.
    pub fn refresh(&mut self) {
        if let Some((file, read)) = &mut self.file {
            let present = version(file);
            if present != *read {
                *read = present;
                self.addresses = Configuration::of(file).addresses;
            }
        }
    }
}

fn version(file: &Path) -> Option<Version> {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// How names are looked up besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lookups {
    /// Domains of short names.
    pub search: Vec<String>,
    /// Dots from which on a name is looked up as it is first.
    pub ndots: Option<u8>,
}

/// What is in a resolv.conf(5).
#[derive(Debug, Default)]
struct Configuration {
    addresses: Vec<IpAddr>,
    lookups: Lookups,
}

impl Configuration {
    fn of(file: &Path) -> Self {
        Self::parse(&fs::read_to_string(file).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut resolvers = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // An address may name its interface behind a percent sign.
                Some("nameserver") => {
                    resolvers.addresses.extend(words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok()))
                }
                // The root is no domain of short names.
                Some("search" | "domain") => resolvers.lookups.search = words.filter(|word| *word != ".").map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    resolvers.lookups.ndots = ndots.or(resolvers.lookups.ndots);
                }
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
    /// The answer comes from a thread.
    Program(UnixDatagram),
    Datagram(UdpSocket),
    Stream {
        stream: TcpStream,
        sent: usize,
        received: Vec<u8>,
    },
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
    /// What a resolver said that could not help.
    unhelpful: Option<Vec<u8>>,
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
        Self { message, long, attempts: 0, line: None, watch: Watch::default(), until: Duration::ZERO, unhelpful: None }
    }

    /// When the resolver that was asked last has taken too long.
    pub const fn deadline(&self) -> Duration {
        self.until
    }

    /// Asks the next resolver, until one can be asked.
    pub fn ask(&mut self, resolvers: &Resolvers, poller: &Poller, token: Token, now: Duration) -> Standing {
        if let Some((program, asker)) = &resolvers.program {
            self.attempts += 1;
            if self.attempts > 1 || self.try_program(program.clone(), *asker, poller, token).is_err() {
                return self.unhelpful.take().map_or(Standing::Failed, Standing::Answer);
            }
            self.until = now + PATIENCE_WITH_PROGRAM;
            return Standing::Waiting;
        }
        // What one has said it would say again.
        let rounds = if self.unhelpful.is_none() { ROUNDS } else { 1 };
        while self.attempts < rounds * resolvers.addresses.len() {
            let address = resolvers.addresses[self.attempts % resolvers.addresses.len()];
            self.attempts += 1;
            if self.try_ask(SocketAddr::new(address, PORT), poller, token).is_ok() {
                self.until = now + PATIENCE;
                return Standing::Waiting;
            }
        }
        self.unhelpful.take().map_or(Standing::Failed, Standing::Answer)
    }

    fn try_program(&mut self, program: Arc<dyn Resolver>, asker: Asker, poller: &Poller, token: Token) -> std::io::Result<()> {
        let (ours, theirs) = UnixDatagram::pair()?;
        ours.set_nonblocking(true)?;
        let message = self.message.clone();
        thread::Builder::new().name("lookup".into()).spawn(move || {
            let answer = net::answer_by(&message, |name| program.resolve(name, asker).ok());
            // Nobody may wait for it any more.
            let _ = theirs.send(&answer);
        })?;
        poller.set(&mut self.watch, self.line.insert(Line::Program(ours)).as_fd(), token, Interest { read: true, write: false })
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
            Some(Line::Program(socket)) => answer_in(&self.message, |buffer| socket.recv(buffer)),
            Some(Line::Datagram(socket)) => answer_in(&self.message, |buffer| socket.recv(buffer)),
            Some(Line::Stream { stream, sent, received }) => exchange(stream, &self.message, sent, received),
            None => Ok(None),
        };
        match answer {
            Ok(Some(answer)) if answer.get(3).is_some_and(|flags| UNHELPFUL.contains(&(flags & 15))) => {
                self.unhelpful = Some(answer);
                return self.ask(resolvers, poller, token, now);
            }
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

/// The answer to `message` in one datagram; nothing if that is somebody else's idea of an answer.
fn answer_in(message: &[u8], receive: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> std::io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; LONGEST];
    let length = receive(&mut buffer)?;
    Ok(net::answers(message, &buffer[..length]).then(|| buffer[..length].to_vec()))
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
            Self::Program(socket) => socket.as_fd(),
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
        let text = "# comment\nnameserver 10.0.0.1\nsearch lan . example.org\nnameserver fe80::1%eth0\nnameserver x\n\
                    options edns0 ndots:5 x\nnameserver 10.0.0.2\nnameserver 10.0.0.3\noptions trust-ad\n";
        let found = Configuration::parse(text);
        assert_eq!(found.addresses, ["10.0.0.1", "fe80::1", "10.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap()));
        assert_eq!(found.lookups, Lookups { search: vec!["lan".into(), "example.org".into()], ndots: Some(5) });
        let nothing = Configuration::parse("");
        assert_eq!((nothing.addresses, nothing.lookups), (vec![Ipv4Addr::LOCALHOST.into()], Lookups::default()));
    }

    #[test]
    fn resolvers_change_with_the_host_s_unless_they_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let (mut of_host, _) = Resolvers::of(&[], &file);
        let (mut given, _) = Resolvers::of(&[[10, 0, 0, 9].into()], &file);
        assert_eq!(of_host.addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        // Written in place, replaced, and removed, as the various managers do.
        for (text, address) in [("nameserver 10.0.0.1", [10, 0, 0, 1]), ("nameserver 10.0.0.22", [10, 0, 0, 22])] {
            fs::write(&file, text).unwrap();
            of_host.refresh();
            assert_eq!(of_host.addresses, [IpAddr::from(address)]);
        }
        fs::write(folder.path().join("new"), "nameserver 10.0.0.33").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        of_host.refresh();
        assert_eq!(of_host.addresses, [IpAddr::from([10, 0, 0, 33])]);
        given.refresh();
        assert_eq!(given.addresses, [IpAddr::from([10, 0, 0, 9])]);
        fs::remove_file(&file).unwrap();
        of_host.refresh();
        assert_eq!(of_host.addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
    struct Program;

    impl Resolver for Program {
        fn resolve(&self, name: &str, asker: Asker) -> std::io::Result<Vec<IpAddr>> {
            assert_eq!(asker, Asker::Guest(3));
            match name {
                "known.example" => Ok(vec![[192, 0, 2, 7].into()]),
                "unknown.example" => Ok(Vec::new()),
                _ => Err(std::io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// What becomes of a question for the address of `name`, asked of a program.
    fn asked(name: &str) -> Standing {
        let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
        let message: Vec<u8> = header.into_iter().chain(labels).chain([0, 0, 1, 0, 1]).collect();
        // Nothing is sent to it.
        let resolvers =
            Resolvers { program: Some((Arc::new(Program), Asker::Guest(3))), addresses: vec![[192, 0, 2, 53].into()], file: None };
        let (poller, token) = (Poller::new().unwrap(), 7);
        let mut lookup = Lookup::new(message, false);
        assert_eq!(lookup.ask(&resolvers, &poller, token, Duration::ZERO), Standing::Waiting);
        rustix::event::poll(&mut [rustix::event::PollFd::new(&poller, rustix::event::PollFlags::IN)], None).unwrap();
        assert_eq!(poller.take().unwrap()[0].token, token);
        let standing = lookup.look(&resolvers, &poller, token, Duration::ZERO);
        // It is asked once.
        assert_eq!(lookup.ask(&resolvers, &poller, token, Duration::ZERO), Standing::Failed);
        standing
    }

    #[test]
    fn a_program_is_asked_in_place_of_the_host_s_resolvers() {
        let answer = |name| match asked(name) {
            Standing::Answer(answer) => (answer[3] & 15, answer[answer.len() - 4..].to_vec()),
            standing => panic!("{standing:?}"),
        };
        assert_eq!(answer("known.example"), (0, vec![192, 0, 2, 7]));
        assert_eq!(answer("unknown.example").0, 3);
        assert_eq!(answer("late.example").0, 2);
    }
}
