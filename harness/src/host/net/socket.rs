//! Sockets of the host, none of which ever waits.

use net::{Failure, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

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
