//! What network a guest is to have.

use devices::net::Mac;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Least MTU that IPv4 hosts must take.
pub const MIN_MTU: u16 = 576;
/// Greatest MTU: a guest may have no room for longer frames.
pub const MAX_MTU: u16 = 32 << 10;

const _: () = assert!(14 + MAX_MTU as usize <= devices::net::MAX_AWAITED_FRAME);

/// A guest's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The other end of the cable.
    pub link: Link,
    /// The guest's Ethernet address, if it is not to be the usual one.
    pub mac: Option<Mac>,
    /// Ports of the host that lead to ports of the guest.
    pub published: Vec<Publish>,
    /// Publish all ports that the image exposes, on free ports of the host.
    pub publish_all: bool,
    /// Resolvers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Domains in which the guest looks for short names, in place of the host's.
    pub search: Vec<String>,
    /// Names that the guest finds.
    pub names: Vec<(String, NamedHost)>,
}

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedHost {
    /// To this address.
    Address(Ipv4Addr),
    /// To the host.
    Host,
}

impl NamedHost {
    /// The address that the guest is told.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Address(address) => address,
            Self::Host => protocol::network::HOST,
        }
    }
}

/// The other end of the cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    None,
    /// A network in this process: no rights are needed.
    User {
        /// The guest may reach the host's loopback interface.
        host: bool,
        /// Bytes of an IP packet.
        mtu: u16,
    },
    /// Another process that takes and sends frames, each behind its length in 32 bits, big-endian.
    Socket(SocketPlace),
}

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketPlace {
    /// At a path.
    Path(PathBuf),
    /// At an address.
    Address(SocketAddr),
}

impl fmt::Display for SocketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// The host's address and port; port 0 is any that is free.
    pub host: SocketAddr,
    /// The guest's port.
    pub guest: u16,
    /// What it takes.
    pub protocol: Transport,
}

impl Publish {
    /// A port that an image exposes (`80`, `80/tcp`, `53/udp`), on a free port of the host.
    pub fn exposed(text: &str) -> Option<Self> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return None,
        };
        let guest = port.parse().ok().filter(|port| *port != 0)?;
        Some(Self { host: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), guest, protocol })
    }
}

/// What a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// As docker writes it behind a port's number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl NetworkOptions {
    /// The usual network: the world, and nothing of the host's loopback interface.
    pub fn user() -> Self {
        Self { link: Link::User { host: false, mtu: protocol::network::MTU }, ..Self::default() }
    }
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            link: Link::None,
            mac: None,
            published: Vec::new(),
            publish_all: false,
            dns: Vec::new(),
            search: Vec::new(),
            names: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_exposes_is_published() {
        let exposed = |text| Publish::exposed(text).map(|publish| (publish.guest, publish.protocol));
        assert_eq!(exposed("80"), Some((80, Transport::Tcp)));
        assert_eq!(exposed("80/tcp"), Some((80, Transport::Tcp)));
        assert_eq!(exposed("53/udp"), Some((53, Transport::Udp)));
        for other in ["", "0", "80/sctp", "x/tcp", "65536"] {
            assert_eq!(exposed(other), None, "{other}");
        }
    }
}
