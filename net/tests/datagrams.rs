//! Datagrams, pings, names and leases.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{ANYWHERE, Bench, ECHO, REFUSED};
use net::{Config, Frame, MAX_DATAGRAM_FLOWS, MAX_FRAMES, MAX_OUTGOING, MAX_QUERIES, MAX_QUESTIONS, Protocol};
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{dhcpv4, icmp, udp};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpEndpoint};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

fn bench() -> Bench {
    Bench::new(Config::default())
}

fn bind(bench: &mut Bench, port: u16) -> SocketHandle {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 1 << 16]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).unwrap();
    bench.guest.sockets.add(socket)
}

fn send(bench: &mut Bench, handle: SocketHandle, to: Ipv4Addr, port: u16, bytes: &[u8]) {
    bench.guest.sockets.get_mut::<udp::Socket<'_>>(handle).send_slice(bytes, (to, port)).unwrap();
}

fn received(bench: &mut Bench, handle: SocketHandle) -> Option<(Vec<u8>, IpEndpoint)> {
    let socket = bench.guest.sockets.get_mut::<udp::Socket<'_>>(handle);
    socket.recv().ok().map(|(bytes, metadata)| (bytes.to_vec(), metadata.endpoint))
}

/// A UDP datagram of the guest's that its stack did not send.
fn frame(to: Ipv4Addr, port: u16, from: u16, data: &[u8]) -> Vec<u8> {
    let config = Config::default();
    let mut bytes = vec![0; 42];
    bytes[..6].copy_from_slice(&config.gateway_mac);
    bytes[6..12].copy_from_slice(&config.guest_mac);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&(28 + data.len() as u16).to_be_bytes());
    bytes[22..24].copy_from_slice(&[64, 17]);
    bytes[26..30].copy_from_slice(&config.guest.octets());
    bytes[30..34].copy_from_slice(&to.octets());
    bytes[34..36].copy_from_slice(&from.to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    bytes[38..40].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// Type and code of an ICMP message.
fn icmp_kind(frame: &Frame) -> Option<(u8, u8)> {
    (frame.bytes[23] == 1).then(|| (frame.bytes[34], frame.bytes[35]))
}

#[test]
fn datagrams_go_there_and_back_and_their_flow_ends() {
    let mut bench = bench();
    let handle = bind(&mut bench, 5000);
    send(&mut bench, handle, ANYWHERE, ECHO, b"one");
    bench.rounds(5);
    assert_eq!(received(&mut bench, handle), Some((b"one".to_vec(), (ANYWHERE, ECHO).into())));
    send(&mut bench, handle, ANYWHERE, ECHO, b"two");
    bench.rounds(3);
    assert!(received(&mut bench, handle).is_some());
    assert_eq!(bench.host.opened, [(Protocol::Udp, SocketAddrV4::new(ANYWHERE, ECHO))]);
    bench.now += Duration::from_secs(61);
    bench.round();
    bench.round();
    assert!(bench.host.sockets.is_empty());
    assert_eq!(bench.stack.deadline(), None);
}

#[test]
fn a_port_that_is_not_there_is_an_error_for_the_guest() {
    let mut bench = bench();
    bench.stack.receive(&frame(ANYWHERE, REFUSED, 5000, b"anybody?"));
    bench.rounds(2);
    let message = bench.frames.iter().find(|frame| icmp_kind(frame) == Some((3, 3))).unwrap();
    // From the host that was asked, about the datagram.
    assert_eq!(message.bytes[26..30], ANYWHERE.octets());
    assert_eq!(message.bytes[62..66], [19, 136, 0, 1]);
}

#[test]
fn datagrams_do_not_reach_what_streams_do_not() {
    for (to, told) in [
        (Ipv4Addr::new(127, 0, 0, 1), Some((3, 13))),
        (Ipv4Addr::new(169, 254, 169, 254), Some((3, 13))),
        (Ipv4Addr::new(192, 168, 127, 254), Some((3, 13))),
        (Ipv4Addr::new(192, 168, 127, 1), Some((3, 3))),
        (Ipv4Addr::new(192, 168, 127, 9), Some((3, 1))),
        (Ipv4Addr::new(224, 0, 0, 251), None),
        (Ipv4Addr::BROADCAST, None),
    ] {
        let mut bench = bench();
        bench.stack.receive(&frame(to, ECHO, 5000, b"x"));
        bench.rounds(2);
        assert_eq!(bench.frames.iter().find_map(icmp_kind), told, "{to}");
        assert!(bench.host.opened.is_empty(), "{to}");
    }
}

#[test]
fn only_the_guest_s_own_address_may_send() {
    let mut bench = bench();
    let mut forged = frame(ANYWHERE, ECHO, 5000, b"x");
    forged[29] = 4;
    bench.stack.receive(&forged);
    bench.rounds(2);
    assert!(bench.host.opened.is_empty() && bench.frames.is_empty());
}

#[test]
fn the_least_recently_used_flow_makes_room() {
    let mut bench = bench();
    for number in 0..MAX_DATAGRAM_FLOWS as u16 {
        bench.stack.receive(&frame(ANYWHERE, ECHO, 1000 + number, b"x"));
        bench.round();
    }
    bench.stack.receive(&frame(ANYWHERE, ECHO, 1000, b"again"));
    bench.round();
    assert!(bench.host.closed.is_empty());
    bench.stack.receive(&frame(ANYWHERE, ECHO, 9999, b"x"));
    bench.round();
    assert_eq!(bench.host.closed.len(), 1);
    // The first was used since, so it was the second that went.
    let opened = bench.host.opened.len();
    bench.stack.receive(&frame(ANYWHERE, ECHO, 1000, b"x"));
    bench.round();
    assert_eq!(bench.host.opened.len(), opened);
    bench.stack.receive(&frame(ANYWHERE, ECHO, 1001, b"x"));
    bench.round();
    assert_eq!(bench.host.opened.len(), opened + 1);
}

#[test]
fn a_host_that_does_not_keep_up_gets_less_and_one_that_does_waits_for_room() {
    let mut bench = bench();
    for _ in 0..5000 {
        bench.stack.receive(&frame(ANYWHERE, 99, 5000, &[0; 1400]));
    }
    bench.run_host();
    let received = bench.host.sockets.values().next().unwrap().received.len();
    assert!((MAX_OUTGOING - 1400..=MAX_OUTGOING).contains(&received), "{received}");
    let flow = *bench.host.sockets.keys().next().unwrap();
    let mut brought = 0;
    while bench.stack.interest(flow).read {
        bench.stack.datagram(flow, b"x");
        brought += 1;
    }
    assert_eq!(brought, MAX_FRAMES);
    let mut taken = 0;
    while bench.stack.frame().is_some() {
        taken += 1;
    }
    assert_eq!(taken, brought);
}

#[test]
fn long_datagrams_are_cut_and_put_together() {
    let mut bench = bench();
    let whole = frame(ANYWHERE, ECHO, 5000, &(0..4000_u32).map(|at| at as u8).collect::<Vec<_>>());
    let (headers, data) = whole.split_at(34);
    for (number, piece) in data.chunks(1480).enumerate() {
        let mut bytes = [headers, piece].concat();
        let more = (number + 1) * 1480 < data.len();
        bytes[16..18].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        bytes[20..22].copy_from_slice(&((number * 185) as u16 | u16::from(more) << 13).to_be_bytes());
        bench.stack.receive(&bytes);
    }
    bench.run_host();
    let frames: Vec<Frame> = std::iter::from_fn(|| bench.stack.frame()).collect();
    assert_eq!(frames.len(), 3);
    let answer: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes[34..].to_vec()).collect();
    assert_eq!(answer[8..], whole[42..]);
}

#[test]
fn a_forwarded_port_takes_datagrams() {
    let mut bench = bench();
    let handle = bind(&mut bench, 53);
    let flow = bench.stack.open_datagrams(53).unwrap();
    bench.host.sockets.insert(flow, common::socket(Protocol::Udp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 99), None));
    bench.stack.datagram(flow, b"question");
    bench.rounds(2);
    let (question, from) = received(&mut bench, handle).unwrap();
    assert_eq!((&question[..], from.addr), (&b"question"[..], bench.stack.config().gateway.into()));
    bench.guest.sockets.get_mut::<udp::Socket<'_>>(handle).send_slice(b"answer", from).unwrap();
    bench.rounds(4);
    assert_eq!(bench.host.sockets[&flow].received, b"answer");
    assert!(bench.host.opened.is_empty());
}

fn ping(bench: &mut Bench, to: Ipv4Addr) -> Option<Vec<u8>> {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x1234)).unwrap();
    let request = Icmpv4Repr::EchoRequest { ident: 0x1234, seq_no: 7, data: b"abcdefgh" };
    let bytes = socket.send(request.buffer_len(), to.into()).unwrap();
    request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    let handle = bench.guest.sockets.add(socket);
    bench.rounds(6);
    let socket = bench.guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
    let reply = socket.recv().ok().map(|(bytes, from)| {
        assert_eq!(from, to.into());
        let message = Icmpv4Packet::new_checked(bytes).unwrap();
        assert!(message.verify_checksum());
        assert_eq!((message.msg_type().into(), message.echo_ident(), message.echo_seq_no()), (0_u8, 0x1234, 7));
        message.data().to_vec()
    });
    bench.guest.sockets.remove(handle);
    reply
}

#[test]
fn pings_are_answered_by_whom_they_are_for() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    assert_eq!(ping(&mut bench, gateway).as_deref(), Some(&b"abcdefgh"[..]));
    assert!(bench.host.opened.is_empty());
    assert_eq!(ping(&mut bench, ANYWHERE).as_deref(), Some(&b"abcdefgh"[..]));
    assert_eq!(bench.host.opened, [(Protocol::Echo, SocketAddrV4::new(ANYWHERE, 0))]);
    let host = bench.stack.config().host;
    assert_eq!(ping(&mut bench, host), None);
    let mut bench = Bench::new(Config { host_reachable: true, ..Config::default() });
    assert!(ping(&mut bench, host).is_some());
    assert!(bench.host.opened.is_empty());
}

#[test]
fn a_packet_that_may_not_go_further_is_told_so() {
    let mut bench = bench();
    let mut last = frame(ANYWHERE, 33434, 5000, b"trace");
    last[22] = 1;
    bench.stack.receive(&last);
    bench.rounds(2);
    assert_eq!(bench.frames.iter().find_map(icmp_kind), Some((11, 0)));
    assert!(bench.host.opened.is_empty());
}

/// A question with the number 0x1234.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn answer(question: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    bytes.resize(bytes.len() + data, 7);
    bytes
}

#[test]
fn names_are_looked_up() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    let handle = bind(&mut bench, 5000);
    send(&mut bench, handle, gateway, 53, &question("host.docker.internal"));
    bench.rounds(5);
    assert!(received(&mut bench, handle).unwrap().0.ends_with(&[192, 168, 127, 254]));
    assert!(bench.host.queries.is_empty());
    // Others are the host's.
    let foreign = question("example.org");
    send(&mut bench, handle, gateway, 53, &foreign);
    bench.rounds(3);
    let (id, asked, long) = bench.host.queries.pop().unwrap();
    assert_eq!((&asked, long), (&foreign, false));
    bench.stack.resolved(id, Some(&answer(&foreign, 16)));
    bench.rounds(3);
    assert_eq!(received(&mut bench, handle).unwrap().0, answer(&foreign, 16));
    // What does not fit into a packet is to be asked for by TCP.
    send(&mut bench, handle, gateway, 53, &foreign);
    bench.rounds(3);
    let (id, ..) = bench.host.queries.pop().unwrap();
    bench.stack.resolved(id, Some(&answer(&foreign, 1460)));
    bench.rounds(3);
    let cut = received(&mut bench, handle).unwrap().0;
    assert_eq!((cut.len(), cut[2] & 2), (foreign.len(), 2));
}

#[test]
fn a_host_that_knows_names_alone_is_told_them() {
    let mut bench = Bench::new(Config { aliases: true, ..Config::default() });
    let gateway = bench.stack.config().gateway;
    let handle = bind(&mut bench, 5000);
    let asked = question("Example.org");
    send(&mut bench, handle, gateway, 53, &asked);
    bench.rounds(3);
    assert!(bench.host.queries.is_empty());
    let answer = received(&mut bench, handle).unwrap().0;
    let address = Ipv4Addr::from(*answer.last_chunk::<4>().unwrap());
    assert_eq!(bench.stack.outside(address).as_deref(), Some("example.org"));
    send(&mut bench, handle, address, 80, b"to it");
    bench.rounds(3);
    assert_eq!(bench.host.sockets.values().next().unwrap().to, SocketAddrV4::new(address, 80));
    // The network's own names are its own.
    send(&mut bench, handle, gateway, 53, &question("host.docker.internal"));
    bench.rounds(3);
    assert!(received(&mut bench, handle).unwrap().0.ends_with(&bench.stack.config().host.octets()));
}

#[test]
fn a_forged_answer_or_none_is_a_failure() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    let handle = bind(&mut bench, 5000);
    let asked = question("example.org");
    for forged in [None, Some(answer(&question("example.com"), 16)), Some(b"nonsense".to_vec())] {
        send(&mut bench, handle, gateway, 53, &asked);
        bench.until("asked", |bench| !bench.host.queries.is_empty());
        let (id, ..) = bench.host.queries.pop().unwrap();
        bench.stack.resolved(id, forged.as_deref());
        // It counts once.
        bench.stack.resolved(id, Some(&answer(&asked, 16)));
        bench.rounds(3);
        assert_eq!(received(&mut bench, handle).unwrap().0[3] & 15, 2);
        assert_eq!(received(&mut bench, handle), None);
    }
}

#[test]
fn many_questions_wait_their_turn() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    let questions: Vec<Vec<u8>> = (0..5 * MAX_QUERIES).map(|number| question(&format!("n{number}.example.org"))).collect();
    for asked in &questions {
        bench.stack.receive(&frame(gateway, 53, 5000, asked));
    }
    let mut answered = Vec::new();
    while answered.len() < questions.len() {
        bench.run_host();
        assert!((1..=MAX_QUERIES).contains(&bench.host.queries.len()));
        let (id, asked, _) = bench.host.queries.remove(0);
        bench.stack.resolved(id, Some(&answer(&asked, 16)));
        answered.push(asked);
    }
    assert_eq!(answered, questions);
    assert!(std::iter::from_fn(|| bench.stack.frame()).all(|frame| frame.bytes[45] & 15 == 0));
}

#[test]
fn names_that_nobody_looks_up_are_failures_in_the_end_and_few_wait() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    for number in 0..1000 {
        bench.stack.receive(&frame(gateway, 53, 5000, &question(&format!("n{number}.example.org"))));
    }
    bench.run_host();
    assert_eq!(bench.host.queries.len(), MAX_QUERIES);
    let busy = std::iter::from_fn(|| bench.stack.frame()).count();
    assert_eq!(busy, 1000 - MAX_QUESTIONS);
    bench.now += Duration::from_secs(31);
    bench.stack.advance(bench.now);
    let late: Vec<Frame> = std::iter::from_fn(|| bench.stack.frame()).collect();
    assert_eq!(late.len(), MAX_QUESTIONS);
    assert!(late.iter().all(|frame| frame.bytes[45] & 15 == 2));
}

#[test]
fn names_are_looked_up_by_tcp_too() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    let handle = bench.guest.connect(gateway, 53, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    let (own, foreign) = (question("gateway.containers.internal"), question("example.org"));
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    // Two in one segment, the second in pieces.
    let both = [framed(&foreign), framed(&own)].concat();
    bench.guest.stream(handle).send_slice(&both[..both.len() - 5]).unwrap();
    bench.rounds(3);
    bench.guest.stream(handle).send_slice(&both[both.len() - 5..]).unwrap();
    bench.until("answered", |bench| bench.guest.stream(handle).can_recv());
    let first = bench.read(handle);
    assert!(first.ends_with(&gateway.octets()));
    let (id, asked, long) = bench.host.queries.pop().unwrap();
    assert_eq!((asked, long), (foreign.clone(), true));
    bench.guest.stream(handle).close();
    bench.rounds(3);
    bench.stack.resolved(id, Some(&answer(&foreign, 60_000)));
    let mut read = Vec::new();
    bench.until("all of it", |bench| {
        read.extend(bench.read(handle));
        !bench.guest.stream(handle).may_recv()
    });
    assert_eq!(read, framed(&answer(&foreign, 60_000)));
    bench.rounds(20);
    assert!(bench.stack.connections().is_empty());
    assert!(bench.host.closed.is_empty() && bench.host.opened.is_empty());
}

#[test]
fn a_stream_to_the_server_of_names_does_not_stay() {
    let mut bench = bench();
    let gateway = bench.stack.config().gateway;
    let idle = bench.guest.connect(gateway, 53, 40001);
    let endless = bench.guest.connect(gateway, 53, 40002);
    bench.until("connected", |bench| bench.guest.stream(idle).may_send() && bench.guest.stream(endless).may_send());
    bench.guest.stream(endless).send_slice(&[0xff; 3]).unwrap();
    bench.rounds(4);
    assert!(!bench.guest.stream(endless).is_open());
    bench.now += Duration::from_secs(61);
    bench.rounds(4);
    assert!(!bench.guest.stream(idle).is_open());
    assert!(bench.host.closed.is_empty());
}

#[test]
fn a_guest_may_ask_for_its_address() {
    let config = Config { mtu: 1400, ..Config::default() };
    let mut bench = Bench::new(config.clone());
    bench.guest.interface.update_ip_addrs(|addresses| addresses.clear());
    bench.guest.interface.routes_mut().remove_default_ipv4_route();
    let handle = bench.guest.sockets.add(dhcpv4::Socket::new());
    let mut given = None;
    bench.until("configured", |bench| {
        if let Some(dhcpv4::Event::Configured(lease)) = bench.guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            given = Some((lease.address.address(), lease.address.prefix_len(), lease.router, lease.dns_servers.to_vec()));
        }
        given.is_some()
    });
    assert_eq!(given, Some((config.guest, 24, Some(config.gateway), vec![config.gateway])));
}

#[test]
fn arp_is_answered_for_all_addresses_but_the_guest_s() {
    let ask = |wanted: [u8; 4], from: [u8; 4]| {
        let mut bench = bench();
        let mut bytes = [0xff; 42];
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        bytes[12..28].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9]);
        bytes[28..32].copy_from_slice(&from);
        bytes[32..38].fill(0);
        bytes[38..42].copy_from_slice(&wanted);
        bench.stack.receive(&bytes);
        bench.stack.frame().map(|frame| {
            // To whoever asked.
            assert_eq!(frame.bytes[..6], [2, 0, 0, 0, 0, 9]);
            assert_eq!(frame.bytes[28..32], wanted);
        })
    };
    let guest = [192, 168, 127, 3];
    for wanted in [[192, 168, 127, 1], [192, 168, 127, 254], [192, 168, 127, 77]] {
        assert!(ask(wanted, guest).is_some());
    }
    assert!(ask(guest, guest).is_none());
    assert!(ask(guest, [0; 4]).is_none());
    assert!(ask([10, 0, 0, 1], guest).is_none());
    // Is it free?
    assert!(ask([192, 168, 127, 77], [0; 4]).is_none());
    assert!(ask([192, 168, 127, 1], [0; 4]).is_some());
}
