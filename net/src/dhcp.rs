//! Leases, for guests whose init is their own: there is one address, and it is always free.

use crate::config::Config;
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr};
use std::net::Ipv4Addr;

/// Seconds for which the address is lent. Nobody else will ever want it.
const LEASE: u32 = 24 * 60 * 60;
const INTERFACE_MTU: u8 = 26;
const DOMAIN_NAME: u8 = 15;
/// RFC 3397, names as DNS writes them.
const DOMAIN_SEARCH: u8 = 119;
/// Bytes of an option.
const MAX_OPTION: usize = 255;

/// What is said to a message of the guest, if anything.
pub(crate) fn respond(config: &Config, message: &[u8]) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    let asked = DhcpRepr::parse(&packet).ok()?;
    let ours = asked.server_identifier.is_none_or(|server| server == config.gateway);
    let wanted = asked.requested_ip.unwrap_or(asked.client_ip);
    let message_type = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request if !ours => return None,
        DhcpMessageType::Request if wanted == config.guest => DhcpMessageType::Ack,
        DhcpMessageType::Request => DhcpMessageType::Nak,
        DhcpMessageType::Inform => DhcpMessageType::Ack,
        _ => return None,
    };
    let granted = message_type != DhcpMessageType::Nak;
    let leased = granted && asked.message_type != DhcpMessageType::Inform;
    let mtu = config.mtu.to_be_bytes();
    let domain = config.search.first().map(|domain| domain.as_bytes()).unwrap_or_default();
    let search: Vec<u8> = config.search.iter().flat_map(|domain| crate::dns::encode(domain)).collect();
    let options =
        [(INTERFACE_MTU, &mtu[..]), (DOMAIN_NAME, domain), (DOMAIN_SEARCH, &search)].map(|(kind, data)| DhcpOption { kind, data });
    let options: Vec<DhcpOption<'_>> =
        options.into_iter().filter(|option| granted && !option.data.is_empty() && option.data.len() <= MAX_OPTION).collect();
    let reply = DhcpRepr {
        message_type,
        transaction_id: asked.transaction_id,
        secs: 0,
        client_hardware_address: asked.client_hardware_address,
        client_ip: if granted { asked.client_ip } else { Ipv4Addr::UNSPECIFIED },
        your_ip: if leased { config.guest } else { Ipv4Addr::UNSPECIFIED },
        server_ip: config.gateway,
        router: granted.then_some(config.gateway),
        subnet_mask: granted.then_some(config.mask()),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: asked.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(config.gateway),
        parameter_request_list: None,
        dns_servers: granted.then(|| [config.gateway].into_iter().collect()),
        max_size: None,
        lease_duration: leased.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::EthernetAddress;

    fn request(message_type: DhcpMessageType, edit: impl FnOnce(&mut DhcpRepr<'_>)) -> Vec<u8> {
        let mut repr = DhcpRepr {
            message_type,
            transaction_id: 0x0102_0304,
            secs: 0,
            client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, 1]),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        edit(&mut repr);
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        bytes
    }

    fn kind(reply: &Option<Vec<u8>>) -> Option<DhcpMessageType> {
        let reply = reply.as_ref()?;
        Some(DhcpRepr::parse(&DhcpPacket::new_checked(&reply[..]).unwrap()).unwrap().message_type)
    }

    #[test]
    fn the_guest_gets_its_address() {
        let config = Config { search: vec!["lan".into(), "example.org".into()], ..Config::default() };
        let reply = respond(&config, &request(DhcpMessageType::Discover, |_| {})).unwrap();
        let packet = DhcpPacket::new_checked(&reply[..]).unwrap();
        let offer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(offer.message_type, DhcpMessageType::Offer);
        assert_eq!((offer.your_ip, offer.router, offer.subnet_mask), (config.guest, Some(config.gateway), Some([255, 255, 255, 0].into())));
        assert_eq!(offer.dns_servers.unwrap()[..], [config.gateway]);
        let option = |kind| packet.options().find(|option| option.kind == kind).map(|option| option.data);
        assert_eq!(option(INTERFACE_MTU), Some(&[5, 220][..]));
        assert_eq!(option(DOMAIN_NAME), Some(&b"lan"[..]));
        assert_eq!(option(DOMAIN_SEARCH), Some(&b"\x03lan\0\x07example\x03org\0"[..]));
        let ack = respond(&config, &request(DhcpMessageType::Request, |repr| repr.requested_ip = Some(config.guest)));
        assert_eq!(kind(&ack), Some(DhcpMessageType::Ack));
        let renewed = respond(&config, &request(DhcpMessageType::Request, |repr| repr.client_ip = config.guest));
        assert_eq!(kind(&renewed), Some(DhcpMessageType::Ack));
    }

    #[test]
    fn another_address_is_refused_and_another_server_s_business_is_not_ours() {
        let config = Config::default();
        let other = respond(&config, &request(DhcpMessageType::Request, |repr| repr.requested_ip = Some(Ipv4Addr::new(10, 0, 0, 9))));
        assert_eq!(kind(&other), Some(DhcpMessageType::Nak));
        let foreign = request(DhcpMessageType::Request, |repr| {
            repr.requested_ip = Some(config.guest);
            repr.server_identifier = Some(Ipv4Addr::new(10, 0, 0, 1));
        });
        assert_eq!(respond(&config, &foreign), None);
        assert_eq!(respond(&config, &request(DhcpMessageType::Release, |_| {})), None);
        assert_eq!(respond(&config, &request(DhcpMessageType::Offer, |_| {})), None);
        assert_eq!(respond(&config, &[0; 300]), None);
    }
}
