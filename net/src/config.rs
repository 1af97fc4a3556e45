//! What a network is like: its addresses, its names, what a guest may reach, and the bounds on what it may take.

use protocol::network::{GATEWAY, GATEWAY_NAME, GUEST, GUEST_MAC, HOST, HOST_NAMES, MTU, PREFIX};
use std::net::Ipv4Addr;
use std::time::Duration;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Streams at a time, whichever side opened them.
pub const MAX_STREAMS: usize = 512;
/// Streams at a time whose other side has not answered yet.
pub const MAX_HALF_OPEN: usize = 64;
/// Pairs of ports that exchange datagrams, and pings, at a time. The least recently used one makes room.
pub const MAX_DATAGRAM_FLOWS: usize = 256;
/// Names that the host looks up at a time.
pub const MAX_QUERIES: usize = 64;
/// Questions at a time that have no answer yet. Those that the host does not look into yet wait their turn.
pub const MAX_QUESTIONS: usize = 512;
/// Frames at a time that wait for a buffer of the guest, other than those of streams, which are made when there is one.
pub const MAX_FRAMES: usize = 256;
/// Bytes of datagrams at a time that wait for the host.
pub const MAX_OUTGOING: usize = 1 << 20;

/// How long a connection may take to be answered, by the host or by the guest.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(130);
/// How long a guest may take to acknowledge what it asked for, and both sides' end.
pub(crate) const ACKNOWLEDGE: Duration = Duration::from_secs(60);
/// How long ports are remembered that exchange no datagrams.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long a host may look for a name.
pub(crate) const LOOKUP: Duration = Duration::from_secs(30);

/// A network of one guest.
#[derive(Debug, Clone)]
pub struct Config {
    /// The guest's Ethernet address, until a frame of it says otherwise.
    pub guest_mac: Mac,
    /// The Ethernet address of everything else.
    pub gateway_mac: Mac,
    /// The guest's address, the only one that it may send from.
    pub guest: Ipv4Addr,
    /// Where names are served, and leases.
    pub gateway: Ipv4Addr,
    /// The address that stands for the host's loopback interface.
    pub host: Ipv4Addr,
    /// Bits of these addresses that are the network's.
    pub prefix: u8,
    /// Bytes of an IP packet, 576 to 65,535.
    pub mtu: u16,
    /// The guest may reach the host's loopback interface.
    pub host_reachable: bool,
    /// Names with an address of their own, in lower case, without a dot at the end.
    pub names: Vec<(String, Ipv4Addr)>,
    /// The host knows no addresses, but is told the names of who the guest connects to: all names but the network's own get addresses that stand
    /// for them, and [`Stack::outside`](crate::Stack::outside) has the name of such an address.
    pub aliases: bool,
    /// Domains in which a guest is to look for short names.
    pub search: Vec<String>,
    /// Bytes of a stream that are kept in each direction.
    pub buffer: usize,
    /// Where sequence numbers begin.
    pub seed: u64,
}

impl Default for Config {
    /// container2wasm's addresses.
    fn default() -> Self {
        let own = HOST_NAMES.map(|name| (name.to_owned(), HOST));
        Self {
            guest_mac: GUEST_MAC,
            gateway_mac: [0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xdd],
            guest: GUEST,
            gateway: GATEWAY,
            host: HOST,
            prefix: PREFIX,
            mtu: MTU,
            host_reachable: false,
            names: own.into_iter().chain([(GATEWAY_NAME.into(), GATEWAY)]).collect(),
            aliases: false,
            search: Vec::new(),
            buffer: 128 << 10,
            seed: 0,
        }
    }
}

/// Where a packet of the guest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the stack itself.
    Gateway,
    /// To this address of the host's, or of the world.
    To(Ipv4Addr),
    /// Nowhere: the guest must not reach it.
    Denied,
    /// Nowhere: nothing has this address.
    Nobody,
    /// To many at once, which is not answered at all.
    Many,
}

impl Config {
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        (address.to_bits() ^ self.gateway.to_bits()) & mask == 0
    }

    pub(crate) fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0))
    }

    /// Addresses that name the host itself, its own link or many at once are not for a guest: "this network" (which Linux takes for
    /// loopback), loopback, link-local with the clouds' metadata servers, multicast, and what is reserved, with broadcast.
    pub(crate) fn route(&self, to: Ipv4Addr) -> Route {
        let broadcast = Ipv4Addr::from_bits(self.gateway.to_bits() | !self.mask().to_bits());
        if to == self.gateway {
            Route::Gateway
        } else if to == self.host {
            if self.host_reachable { Route::To(Ipv4Addr::LOCALHOST) } else { Route::Denied }
        } else if to.is_multicast() || to.is_broadcast() || to == broadcast {
            Route::Many
        } else if self.is_local(to) {
            Route::Nobody
        } else if to.octets()[0] == 0 || to.is_loopback() || to.is_link_local() || to.octets()[0] >= 240 {
            Route::Denied
        } else {
            Route::To(to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_its_link_and_crowds_are_out_of_reach() {
        let mut config = Config::default();
        let route = |config: &Config, address: &str| config.route(address.parse().unwrap());
        for denied in ["127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "240.0.0.1", "255.0.0.1"] {
            assert_eq!(route(&config, denied), Route::Denied, "{denied}");
        }
        for many in ["224.0.0.1", "239.255.255.250", "255.255.255.255", "192.168.127.255"] {
            assert_eq!(route(&config, many), Route::Many, "{many}");
        }
        for outside in ["1.1.1.1", "10.0.0.1", "192.168.126.1", "192.168.128.1", "128.0.0.1", "169.253.1.1", "223.255.255.255"] {
            assert_eq!(route(&config, outside), Route::To(outside.parse().unwrap()), "{outside}");
        }
        assert_eq!(route(&config, "192.168.127.1"), Route::Gateway);
        assert_eq!(route(&config, "192.168.127.3"), Route::Nobody);
        assert_eq!(route(&config, "192.168.127.254"), Route::Denied);
        config.host_reachable = true;
        assert_eq!(route(&config, "192.168.127.254"), Route::To(Ipv4Addr::LOCALHOST));
        assert_eq!(route(&config, "127.0.0.1"), Route::Denied);
    }
}
