//! The guest's network.

use clap::Args;
use devices::net::Mac;
use prebake::host::net::{Link, MAX_MTU, MIN_MTU, NamedHost, NetworkOptions, Publish, SocketPlace, Transport};
use protocol::network::MTU;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The network.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// The guest's network: `none`, `user`, or `socket=ADDR`. `user` opens sockets of this process for the guest and needs no privileges; add `,host=on`
    /// to let the guest reach this host's loopback interface as 192.168.127.254, and `,mtu=N` to set the MTU. `socket=ADDR` exchanges frames with the
    /// process that listens at a path or at HOST:PORT, as QEMU's `-netdev socket` does [default: user if the machine has a network device, else none]
    #[arg(long = "net", visible_alias = "network", value_name = "NETWORK")]
    pub link: Option<LinkArg>,
    /// Publish a port of the guest on this host: [ADDRESS:]HOST:GUEST[/udp]
    #[arg(short = 'p', long = "publish", value_name = "[ADDRESS:]HOST:GUEST[/udp]")]
    pub published: Vec<PublishArg>,
    /// Publish all ports that the image exposes on free ports of this host
    #[arg(short = 'P', long = "publish-all")]
    pub publish_all: bool,
    /// The guest's Ethernet address
    #[arg(long = "mac", visible_alias = "mac-address", value_name = "MAC", value_parser = mac)]
    pub mac: Option<Mac>,
    /// Ask this name server instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,
    /// Look up short names in this domain instead of the host's
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Add a name that the guest can look up; `host-gateway` is this host
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub names: Vec<NameArg>,
}

/// The other end of the cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkArg(Link);

impl FromStr for LinkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Docker's and podman's names.
        match text {
            "none" => return Ok(Self(Link::None)),
            "bridge" | "default" | "slirp4netns" | "pasta" => return "user".parse(),
            "host" => {
                let instead = "the guest has a network of its own; publish its ports with -p, and use --net user,host=on to let it reach this host's \
                               loopback interface";
                return Err(instead.into());
            }
            _ if text.starts_with("container:") => return Err("each guest has a network of its own; publish ports with -p".into()),
            _ => {}
        }
        if let Some(place) = text.strip_prefix("socket=") {
            let place = match place.parse() {
                Ok(address) => SocketPlace::Address(address),
                Err(_) if place.contains('/') => SocketPlace::Path(place.into()),
                Err(_) => SocketPlace::Address(resolve(place)?),
            };
            return Ok(Self(Link::Socket(place)));
        }
        let mut words = text.split(',');
        if words.next() != Some("user") {
            return Err("expected none, user or socket=ADDR; there are no networks with names".into());
        }
        let (mut host, mut mtu) = (false, MTU);
        for word in words {
            match word.split_once('=') {
                Some(("host", "on")) => host = true,
                Some(("host", "off")) => host = false,
                Some(("mtu", number)) => {
                    let wanted = number.parse().ok().filter(|number| (MIN_MTU..=MAX_MTU).contains(number));
                    mtu = wanted.ok_or_else(|| format!("the MTU must be from {MIN_MTU} to {MAX_MTU}"))?;
                }
                _ => return Err(format!("`{word}` is none of host=on, host=off and mtu=N")),
            }
        }
        Ok(Self(Link::User { host, mtu }))
    }
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishArg(Publish);

impl FromStr for PublishArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, protocol) = match text.rsplit_once('/') {
            Some((text, "tcp")) => (text, Transport::Tcp),
            Some((text, "udp")) => (text, Transport::Udp),
            Some((_, other)) => return Err(format!("`{other}` is neither tcp nor udp")),
            None => (text, Transport::Tcp),
        };
        let (host, guest) = text.rsplit_once(':').unwrap_or(("0", text));
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port"));
        let guest = port(guest)?;
        if guest == 0 {
            return Err("the guest's port cannot be 0".into());
        }
        let host = match host.rsplit_once(':') {
            Some((address, host)) => {
                port(host)?;
                resolve(&format!("{address}:{host}"))?
            }
            None => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port(host)?),
        };
        Ok(Self(Publish { host, guest, protocol }))
    }
}

/// A name and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameArg(String, NamedHost);

impl FromStr for NameArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once([':', '=']).ok_or("expected NAME:ADDRESS")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
            return Err(format!("`{name}` is not a host name"));
        }
        let host = match address {
            "host-gateway" => NamedHost::Host,
            address => NamedHost::Address(address.parse().map_err(|_| format!("`{address}` is neither an IPv4 address nor host-gateway"))?),
        };
        Ok(Self(name.to_owned(), host))
    }
}

/// The address that `text`, `NAME:PORT`, means: an IPv4 address, if the name has one.
fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|error| format!("`{text}` is not an address: {error}"))?.collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(|| format!("`{text}` has no address"))
}

fn mac(text: &str) -> Result<Mac, String> {
    let byte = |digits: &str| (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten();
    let bytes: Option<Vec<u8>> = text.split([':', '-']).map(byte).collect();
    match bytes.and_then(|bytes| Mac::try_from(bytes).ok()) {
        Some(mac) if mac[0] & 1 == 0 => Ok(mac),
        Some(_) => Err("this is the address of a group, not of one interface".into()),
        None => Err("expected six bytes, as 02:00:00:00:00:01".into()),
    }
}

impl NetworkArgs {
    /// The same for the library, if anything was asked for.
    pub fn options(&self) -> Option<NetworkOptions> {
        let given = self.link.is_some()
            || self.mac.is_some()
            || self.publish_all
            || !(self.published.is_empty() && self.dns.is_empty() && self.dns_search.is_empty() && self.names.is_empty());
        given.then(|| NetworkOptions {
            link: self.link.as_ref().map_or(NetworkOptions::user().link, |link| link.0.clone()),
            mac: self.mac,
            published: self.published.iter().map(|publish| publish.0).collect(),
            publish_all: self.publish_all,
            dns: self.dns.clone(),
            search: self.dns_search.clone(),
            names: self.names.iter().map(|NameArg(name, host)| (name.clone(), *host)).collect(),
        })
    }

    /// Refuses what cannot be combined.
    pub fn check(&self) -> Result<(), String> {
        match &self.link {
            Some(LinkArg(Link::None)) if self.publish_all || !self.published.is_empty() => {
                Err("-p and -P need a network; omit --net none".into())
            }
            Some(LinkArg(Link::Socket(_))) if self.publish_all || !(self.published.is_empty() && self.dns.is_empty()) => {
                Err("-p, -P and --dns need --net user; publish ports and set name servers in the process at the socket".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Result<Link, String> {
        text.parse().map(|LinkArg(link)| link)
    }

    #[test]
    fn networks_are_understood() {
        assert_eq!(link("none"), Ok(Link::None));
        assert_eq!(link("user"), Ok(Link::User { host: false, mtu: 1500 }));
        assert_eq!(link("user,host=on,mtu=9000"), Ok(Link::User { host: true, mtu: 9000 }));
        assert_eq!(link("socket=/run/net"), Ok(Link::Socket(SocketPlace::Path("/run/net".into()))));
        assert_eq!(link("socket=127.0.0.1:9"), Ok(Link::Socket(SocketPlace::Address(([127, 0, 0, 1], 9).into()))));
        assert_eq!(link("bridge"), link("user"));
        for (wrong, instead) in [("host", "host=on"), ("container:x", "-p"), ("mine", "no networks with names")] {
            assert!(link(wrong).is_err_and(|error| error.contains(instead)), "{wrong}");
        }
        for wrong in ["", "tap", "user,mtu=575", "user,mtu=32769", "user,host", "user,mtu=x", "socket=nowhere"] {
            assert!(link(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ports_are_published_as_docker_does() {
        let publish = |text: &str| text.parse().map(|PublishArg(publish)| publish);
        let is = |host: &str, guest, protocol| Ok(Publish { host: host.parse().unwrap(), guest, protocol });
        assert_eq!(publish("8080:80"), is("0.0.0.0:8080", 80, Transport::Tcp));
        assert_eq!(publish("127.0.0.1:8080:80/udp"), is("127.0.0.1:8080", 80, Transport::Udp));
        assert_eq!(publish("localhost:8080:80/tcp"), is("127.0.0.1:8080", 80, Transport::Tcp));
        assert_eq!(publish("[::1]:8080:80"), is("[::1]:8080", 80, Transport::Tcp));
        assert_eq!(publish("80"), is("0.0.0.0:0", 80, Transport::Tcp));
        for wrong in ["", "80:", "a:80", "80:0", "1:65536", "80:80/sctp", "256.0.0.1:1:1"] {
            assert!(publish(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_and_addresses_are_checked() {
        assert_eq!("db:10.0.0.7".parse(), Ok(NameArg("db".into(), NamedHost::Address([10, 0, 0, 7].into()))));
        assert_eq!("h:host-gateway".parse(), Ok(NameArg("h".into(), NamedHost::Host)));
        for wrong in ["db", ":10.0.0.7", "a b:10.0.0.7", "db:x"] {
            assert!(wrong.parse::<NameArg>().is_err(), "{wrong:?}");
        }
        assert_eq!(mac("02:00:00:00:aB:01"), Ok([2, 0, 0, 0, 0xab, 1]));
        for wrong in ["", "02:00", "03:00:00:00:00:01", "2:0:0:0:0:1", "02:00:00:00:00:0g"] {
            assert!(mac(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_said_is_what_is_usual() {
        assert_eq!(NetworkArgs::default().options(), None);
        let ports = NetworkArgs { published: vec!["8080:80".parse().unwrap()], ..NetworkArgs::default() };
        assert_eq!(ports.options().map(|options| options.link), Some(Link::User { host: false, mtu: 1500 }));
        let none = NetworkArgs { link: Some("none".parse().unwrap()), ..ports };
        assert!(none.check().is_err());
    }
}
