//! Sockets of the host, none of which ever waits.

use net::{Failure, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a connection may rest before its other end is asked whether it is still there: the routers on the way forget one that rests for
/// long, and neither end would ever know.
const REST: Duration = Duration::from_secs(60);
/// Unanswered questions after which it is gone.
const QUESTIONS: u32 = 5;
/// Connections that may wait at a port.
const BACKLOG: i32 = 128;

/// A socket of a flow.
#[derive(Debug)]
pub enum Socket {
    /// It is being connected.
    Connecting(TcpStream),
    /// A stream.
    Stream(TcpStream),
    /// Datagrams; a ping's are sent and received the same way.
    Datagrams(UdpSocket),
}

impl Socket {
    /// Begins to connect a socket.
    pub fn open(protocol: Protocol, to: SocketAddrV4) -> Result<Self, Failure> {
        Self::try_open(protocol, to).map_err(|error| failure(&error.into()))
    }

    fn try_open(protocol: Protocol, to: SocketAddrV4) -> Result<Self, Errno> {
        let (kind, number) = match protocol {
            Protocol::Tcp => (SocketType::STREAM, None),
            Protocol::Udp => (SocketType::DGRAM, None),
            // Linux lets everyone ping through such a socket, if the administrator agrees (net.ipv4.ping_group_range).
            Protocol::Echo => (SocketType::DGRAM, Some(ipproto::ICMP)),
        };
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, number)?;
        if protocol == Protocol::Tcp {
            keep_alive(socket.as_fd())?;
        }
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(if protocol == Protocol::Tcp { Self::Connecting(socket.into()) } else { Self::Datagrams(socket.into()) })
    }

    /// A stream that was accepted.
    pub fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let _ = stream.set_nodelay(true);
        keep_alive(stream.as_fd())?;
        Ok(Self::Stream(stream))
    }

    /// The error that has come, if one has.
    pub fn take_failure(&self) -> Option<Failure> {
        match sockopt::socket_error(self.as_fd()) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(failure(&error.into())),
        }
    }

    /// Closes it so that the other side sees a reset.
    pub fn reset(self) {
        let _ = sockopt::set_socket_linger(self.as_fd(), Some(Duration::ZERO));
    }

    /// The same flow of datagrams by the way on which they would go to the other side by now, if that begins at another address of the host.
    pub fn by_another_way(&self) -> Option<Self> {
        let Self::Datagrams(socket) = self else { return None };
        let SocketAddr::V4(to) = socket.peer_addr().ok()? else { return None };
        // A ping's other side has no port.
        let Self::Datagrams(other) = Self::open(Protocol::Udp, to).ok().filter(|_| to.port() != 0)? else { return None };
        (other.local_addr().ok()?.ip() != socket.local_addr().ok()?.ip()).then_some(Self::Datagrams(other))
    }

    /// Nothing more will be written.
    pub fn shut_down(&self) {
        if let Self::Stream(stream) = self {
            // It fails if the other side has gone, which reading tells.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Connecting(stream) | Self::Stream(stream) => stream.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
        }
    }
}

fn keep_alive(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    sockopt::set_tcp_keepidle(socket, REST)?;
    sockopt::set_tcp_keepintvl(socket, REST)?;
    sockopt::set_tcp_keepcnt(socket, QUESTIONS)?;
    sockopt::set_socket_keepalive(socket, true)
}

/// A port of the host that takes connections.
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(at, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A port of the host that takes datagrams.
pub fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    Ok(bound(at, SocketType::DGRAM)?.into())
}

/// A socket for one version of IP: the other one has another.
fn bound(at: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of before do not keep the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

/// What an error means for the guest.
pub fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::Forbidden,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::TimedOut => Failure::Unreachable,
        _ => Failure::Refused,
    }
}

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Some bytes were moved; there may be more.
    Some,
    /// Nothing can be moved now.
    Nothing,
    /// The other side has ended.
    End,
    /// It is broken.
    Failed(Failure),
}

fn moved(result: io::Result<usize>, count: &mut usize) -> Moved {
    match result {
        Ok(0) => Moved::End,
        Ok(moved) => {
            *count = moved;
            Moved::Some
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Moved::Nothing,
        Err(error) => Moved::Failed(failure(&error)),
    }
}

/// Reads from a stream into `room`. How many bytes these are is put into `count`.
pub fn read(mut stream: &TcpStream, room: &mut [u8], count: &mut usize) -> Moved {
    moved(stream.read(room), count)
}

/// Writes `bytes` to a stream. How many of them it took is put into `count`.
pub fn write(mut stream: &TcpStream, bytes: &[u8], count: &mut usize) -> Moved {
    moved(stream.write(bytes), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn connections_that_rest_are_looked_after() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!() };
        let out = Socket::open(Protocol::Tcp, at).unwrap();
        let into = loop {
            match listener.accept() {
                Ok((stream, _)) => break Socket::accepted(stream).unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        for socket in [out, into] {
            assert!(sockopt::socket_keepalive(socket.as_fd()).unwrap());
            assert_eq!(sockopt::tcp_keepidle(socket.as_fd()).unwrap(), REST);
        }
    }

    #[test]
    fn both_versions_of_ip_can_have_the_same_port() {
        let first = listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = first.local_addr().unwrap().port();
        match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(second) => assert_eq!(second.local_addr().unwrap().port(), port),
            Err(error) => assert_ne!(error.kind(), ErrorKind::AddrInUse),
        }
        assert_eq!(listen((Ipv4Addr::UNSPECIFIED, port).into()).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
