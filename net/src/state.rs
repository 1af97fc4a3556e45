//! What a snapshot says of a guest's network: the connections that it believes in. All else is made anew.

use crate::config::MAX_STREAMS;
use crate::stack::Connection;
use snapshot::{Record, SectionId};
use std::net::{Ipv4Addr, SocketAddrV4};

snapshot::saved! {
    /// A guest's open connections. Untrusted, but all that comes of a wrong one is a segment that the guest ignores.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ConnectionsState {
        connections: Vec<ConnectionState>,
    }

    /// A connection.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ConnectionState {
        /// The guest's port.
        pub guest_port: u16,
        /// The other end's address.
        pub address: [u8; 4],
        /// The other end's port.
        pub port: u16,
    }
}

impl Record for ConnectionsState {
    const ID: SectionId = SectionId::new(*b"CONN");
    const VERSION: u16 = 1;
    /// Who does not know it has no network, so the guest waits as it would for a host that is gone.
    const CRITICAL: bool = false;
}

impl ConnectionsState {
    /// These, if there are any.
    pub fn of(connections: &[Connection]) -> Option<Self> {
        let state = |connection: &Connection| ConnectionState {
            guest_port: connection.guest_port,
            address: connection.remote.ip().octets(),
            port: connection.remote.port(),
        };
        let connections: Vec<_> = connections.iter().map(state).collect();
        (!connections.is_empty()).then_some(Self { connections })
    }

    /// The connections.
    pub fn connections(&self) -> Vec<Connection> {
        let connection = |state: &ConnectionState| Connection {
            guest_port: state.guest_port,
            remote: SocketAddrV4::new(Ipv4Addr::from(state.address), state.port),
        };
        self.connections.iter().take(MAX_STREAMS).map(connection).collect()
    }
}
