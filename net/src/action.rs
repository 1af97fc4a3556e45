//! What the stack asks of its host.

use crate::flow::{FlowId, Protocol};
use smoltcp::wire::Icmpv4DstUnreachable;
use std::net::SocketAddrV4;

/// Something for the host to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a socket for a flow. Of a stream, the stack hears by [`connected`] or [`failed`] how that went; datagrams may fail at any time.
    ///
    /// [`connected`]: crate::Stack::connected
    /// [`failed`]: crate::Stack::failed
    Open {
        /// The flow.
        flow: FlowId,
        /// What it carries.
        protocol: Protocol,
        /// Where to; a ping's port is 0.
        to: SocketAddrV4,
    },
    /// Send a datagram.
    Datagram {
        /// The flow.
        flow: FlowId,
        /// The datagram; a ping's from its ICMP header on, with an identifier that the host may replace.
        bytes: Vec<u8>,
    },
    /// The guest sends nothing more on this stream, and all that it sent was drained.
    Shutdown {
        /// The flow.
        flow: FlowId,
    },
    /// The flow has ended: close its socket.
    Close {
        /// The flow, whose name means nothing from now on.
        flow: FlowId,
        /// The guest broke it off, so the other side is to see a reset.
        reset: bool,
    },
    /// Ask a resolver; the answer goes to [`resolved`](crate::Stack::resolved).
    Resolve {
        /// Names the query.
        query: QueryId,
        /// The DNS message, as it is sent by UDP.
        message: Vec<u8>,
        /// The guest asked by TCP, so that the answer may be long.
        long: bool,
    },
}

/// Names a question to a resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(crate) u64);

/// Why a flow cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The other side refused, or broke it off.
    Refused,
    /// There is no way to the other side, or it does not answer.
    Unreachable,
    /// The host does not allow it.
    Forbidden,
}

impl Failure {
    pub(crate) const fn reason(self) -> Icmpv4DstUnreachable {
        match self {
            Self::Refused | Self::Unreachable => Icmpv4DstUnreachable::HostUnreachable,
            Self::Forbidden => Icmpv4DstUnreachable::CommProhibited,
        }
    }
}

/// What a host should watch a flow's socket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// The guest has room for what the socket has to read.
    pub read: bool,
    /// The guest has bytes for the socket.
    pub write: bool,
}
