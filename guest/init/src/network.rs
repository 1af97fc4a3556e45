//! The network: eth0 gets the addresses that the host and the guest agree on, by netlink (rtnetlink(7)). There is no lease to wait for.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use protocol::network::{GATEWAY, GUEST, HOST, HOST_NAMES, MTU, PREFIX};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::error::{Context, Error, Result};

const INTERFACE: &str = "eth0";

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;

const INET: u8 = 2;
const UP: u32 = 1;
const LINK_ADDRESS: u16 = 1;
const LINK_MTU: u16 = 4;
const LINK_FAMILIES: u16 = 26;
const INET6: u16 = 10;
const ADDRESS_MODE: u16 = 8;
const ADDRESS_MODE_NONE: u8 = 1;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;

/// What the host says of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The Ethernet address that eth0 is to have.
    pub mac: Option<[u8; 6]>,
    /// Bytes of an IP packet.
    pub mtu: Option<u16>,
    /// Domains of short names.
    pub search: Vec<String>,
    /// Dots from which on a name is looked up as it is first.
    pub ndots: Option<u8>,
    /// Names with addresses, besides the host's.
    pub names: Vec<(String, Ipv4Addr)>,
}

/// Takes the network down, which is there. It may be down already.
pub fn take_down() -> Result<()> {
    let mut netlink = Netlink::open().context("open", "netlink")?;
    let index = netlink.index()?;
    netlink.request(NEW_LINK, 0, &link(index, 0, UP)).context("take down", INTERFACE)?;
    // It may have none.
    let _ = netlink.request(DELETE_ADDRESS, 0, &address(index));
    Ok(())
}

impl Network {
    /// Brings the network up. It may be up already.
    pub fn set_up(&self) -> Result<()> {
        let mut netlink = Netlink::open().context("open", "netlink")?;
        let index = netlink.index()?;
        netlink.bring_up(index, self.mac, self.mtu.unwrap_or(MTU)).context("bring up", INTERFACE)?;
        netlink.request(NEW_ADDRESS, CREATE | REPLACE, &address(index)).context("give an address to", INTERFACE)?;
        let body = [INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, SCOPE_UNIVERSE, TYPE_UNICAST, 0, 0, 0, 0];
        let attributes = [attribute(ROUTE_GATEWAY, &GATEWAY.octets()), attribute(ROUTE_OUT, &index.to_ne_bytes())].concat();
        netlink.request(NEW_ROUTE, CREATE | REPLACE, &[&body[..], &attributes].concat()).context("give a route to", INTERFACE)
    }

    /// Its interface is as hosts mostly want it.
    pub fn has_usual_link(&self) -> bool {
        self.mac.is_none() && self.mtu.is_none()
    }

    /// Its names are the host's alone.
    pub fn has_usual_names(&self) -> bool {
        self.search.is_empty() && self.ndots.is_none() && self.names.is_empty()
    }

    /// The file that says where names are looked up.
    pub fn resolver_file(&self) -> String {
        let search = if self.search.is_empty() { String::new() } else { format!("search {}\n", self.search.join(" ")) };
        let options = self.ndots.map_or(String::new(), |ndots| format!("options ndots:{ndots}\n"));
        format!("nameserver {GATEWAY}\n{search}{options}")
    }

    /// Lines of `/etc/hosts`.
    pub fn hosts(&self) -> String {
        let own = HOST_NAMES.iter().map(|name| (*name, HOST));
        let others = self.names.iter().map(|(name, address)| (name.as_str(), *address));
        own.chain(others).map(|(name, address)| format!("{address}\t{name}\n")).collect()
    }
}

/// An attribute: its length and type, its value, padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = [&(length as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// A request about the interface `index`: which of its flags are to change, and what to.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &change.to_ne_bytes()].concat()
}

/// A request about the guest's address.
fn address(index: u32) -> Vec<u8> {
    let guest = GUEST.octets();
    let body = [&[INET, PREFIX, 0, SCOPE_UNIVERSE][..], &index.to_ne_bytes()].concat();
    [body, attribute(LOCAL, &guest), attribute(ADDRESS, &guest)].concat()
}

/// A conversation with the kernel.
struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface's number.
    fn index(&self) -> Result<u32> {
        match name_to_index(&self.socket, INTERFACE) {
            Err(Errno::NODEV) => Err(Error::NoNetwork),
            index => index.context("find", INTERFACE),
        }
    }

    fn bring_up(&mut self, index: u32, mac: Option<[u8; 6]>, mtu: u16) -> io::Result<()> {
        // The network has no IPv6: without an address, the kernel does not look for its routers. A kernel without IPv6 refuses this.
        let no_address = attribute(INET6, &attribute(ADDRESS_MODE, &[ADDRESS_MODE_NONE]));
        let _ = self.request(NEW_LINK, 0, &[link(index, 0, 0), attribute(LINK_FAMILIES, &no_address)].concat());
        let mut attributes = attribute(LINK_MTU, &u32::from(mtu).to_ne_bytes());
        attributes.extend(mac.iter().flat_map(|mac| attribute(LINK_ADDRESS, mac)));
        self.request(NEW_LINK, 0, &[link(index, UP, UP), attributes].concat())
    }

    /// Asks for something, and waits until it is done.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = (16 + body.len()) as u32;
        let flags = REQUEST | ACKNOWLEDGE | flags;
        let message =
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &self.sequence.to_ne_bytes(), &[0; 4], body].concat();
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0; 4096];
        let (length, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        answered(&answer[..length])
    }
}

/// What the kernel's answer means: the negative error number is behind the header.
fn answered(answer: &[u8]) -> io::Result<()> {
    let (Some(kind), Some(code)) = (answer.get(4..6), answer.get(16..20)) else { return Err(ErrorKind::InvalidData.into()) };
    match code.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) if *kind == ERROR.to_ne_bytes() => Ok(()),
        Some(code) if *kind == ERROR.to_ne_bytes() => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded() {
        assert_eq!(attribute(1, &[1, 2, 3, 4, 5, 6]), [10, 0, 1, 0, 1, 2, 3, 4, 5, 6, 0, 0]);
        assert_eq!(attribute(4, &9_u32.to_ne_bytes()), [8, 0, 4, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn the_kernel_s_answer_is_understood() {
        let answer = |code: i32| [&[36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &code.to_ne_bytes(), &[0; 16]].concat();
        assert!(answered(&answer(0)).is_ok());
        assert_eq!(answered(&answer(-17)).unwrap_err().raw_os_error(), Some(17));
        assert!(answered(&answer(0)[..18]).is_err());
        assert!(answered(&[0; 40]).is_err());
    }

    #[test]
    fn names_are_found() {
        let network =
            Network { search: vec!["lan".into()], ndots: Some(5), names: vec![("db".into(), [10, 0, 0, 7].into())], ..Network::default() };
        assert_eq!(network.resolver_file(), "nameserver 192.168.127.1\nsearch lan\noptions ndots:5\n");
        assert!(!network.has_usual_names() && Network::default().has_usual_names());
        assert_eq!(network.hosts(), "192.168.127.254\thost.docker.internal\n192.168.127.254\thost.containers.internal\n10.0.0.7\tdb\n");
    }
}
