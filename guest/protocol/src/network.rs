//! The guest's network: the addresses that hosts and guests agree on, which are container2wasm's, and what `info` says of it.

use crate::info::escape;
use std::fmt;
use std::net::Ipv4Addr;

/// The guest's address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 3);
/// The Ethernet address of a guest's network device. No two guests share a network.
pub const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The way to everywhere, and the server of names.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 1);
/// The host's loopback interface.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 254);
/// Bits of these addresses that are the network's.
pub const PREFIX: u8 = 24;
/// Bytes of an IP packet, if nothing else is said.
pub const MTU: u16 = 1500;
/// Names of the host.
pub const HOST_NAMES: [&str; 2] = ["host.docker.internal", "host.containers.internal"];
/// Name of the gateway.
pub const GATEWAY_NAME: &str = "gateway.containers.internal";

/// What a guest is told of its network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkInfo {
    /// The Ethernet address that it is to take, if not the device's.
    pub mac: Option<[u8; 6]>,
    /// Bytes of an IP packet, if not [`MTU`].
    pub mtu: Option<u16>,
    /// Domains of short names.
    pub search: Vec<String>,
    /// Dots from which on a name is looked up as it is first, if not resolv.conf(5)'s one.
    pub ndots: Option<u8>,
    /// Names with addresses, besides the host's.
    pub names: Vec<(String, Ipv4Addr)>,
}

impl fmt::Display for NetworkInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            None => f.write_str("n:\n")?,
            Some([a, b, c, d, e, g]) => writeln!(f, "n: {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?,
        }
        if let Some(mtu) = self.mtu {
            writeln!(f, "mtu: {mtu}")?;
        }
        if !self.search.is_empty() {
            writeln!(f, "search: {}", escape(&self.search.join(" "), &['\n']))?;
        }
        if let Some(ndots) = self.ndots {
            writeln!(f, "ndots: {ndots}")?;
        }
        self.names.iter().try_for_each(|(name, address)| writeln!(f, "host: {address} {}", escape(name, &['\n'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_few_lines() {
        assert_eq!(NetworkInfo::default().to_string(), "n:\n");
        let info = NetworkInfo {
            mac: Some([2, 0, 0, 0xab, 0, 1]),
            mtu: Some(9000),
            search: vec!["lan".into(), "example.org".into()],
            ndots: Some(5),
            names: vec![("db".into(), Ipv4Addr::new(10, 0, 0, 7))],
        };
        assert_eq!(info.to_string(), "n: 02:00:00:ab:00:01\nmtu: 9000\nsearch: lan example.org\nndots: 5\nhost: 10.0.0.7 db\n");
    }
}
