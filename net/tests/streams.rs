//! Streams between a guest and everybody else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{ANYWHERE, Bench, ECHO, FORBIDDEN, REFUSED, SILENT, SINK, SOURCE, SOURCE_LENGTH, UNREACHABLE, pattern};
use devices::net::Offload;
use net::{Config, Failure, MAX_HALF_OPEN, MAX_STREAMS, Protocol, Stack};
use smoltcp::socket::tcp::State;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

fn bench() -> Bench {
    Bench::new(Config::default())
}

/// Type and code of ICMP messages among the frames, without pings.
fn icmp(bench: &Bench) -> Vec<(u8, u8)> {
    bench.frames.iter().filter(|frame| frame.bytes[23] == 1).map(|frame| (frame.bytes[34], frame.bytes[35])).collect()
}

#[test]
fn bytes_go_there_and_back() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    assert_eq!(bench.host.opened, [(Protocol::Tcp, SocketAddrV4::new(ANYWHERE, ECHO))]);
    bench.guest.stream(handle).send_slice(b"hello").unwrap();
    bench.until("echoed", |bench| bench.guest.stream(handle).can_recv());
    assert_eq!(bench.read(handle), b"hello");
    bench.guest.stream(handle).close();
    bench.until("closed", |bench| bench.host.sockets.is_empty());
    assert!(!bench.host.closed[0].1, "no reset");
    bench.until("closed for the guest", |bench| matches!(bench.guest.stream(handle).state(), State::Closed | State::TimeWait));
    assert!(bench.stack.connections().is_empty());
}

#[test]
fn the_guest_is_not_connected_before_the_host_is() {
    let mut bench = bench();
    bench.host.dials_wait = true;
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40001);
    // The guest's SYN comes again a few times.
    bench.rounds(5000);
    assert_eq!(bench.guest.stream(handle).state(), State::SynSent);
    assert_eq!(bench.host.opened.len(), 1);
    let flow = *bench.host.sockets.keys().next().unwrap();
    bench.stack.connected(flow);
    bench.rounds(3);
    assert_eq!(bench.guest.stream(handle).state(), State::Established);
}

#[test]
fn a_refusal_is_one_for_the_guest_at_once() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, REFUSED, 40001);
    bench.rounds(4);
    assert_eq!(bench.guest.stream(handle).state(), State::Closed);
    // Nothing listens on the gateway either.
    let handle = bench.guest.connect(bench.stack.config().gateway, 80, 40002);
    bench.rounds(4);
    assert_eq!(bench.guest.stream(handle).state(), State::Closed);
    assert_eq!(bench.host.opened.len(), 1);
}

#[test]
fn who_cannot_be_reached_is_told_so() {
    for (to, port, code) in [
        (ANYWHERE, UNREACHABLE, 1),
        (ANYWHERE, FORBIDDEN, 13),
        (Ipv4Addr::new(192, 168, 127, 77), 80, 1),
        (Ipv4Addr::new(192, 168, 127, 254), ECHO, 13),
        (Ipv4Addr::new(169, 254, 169, 254), ECHO, 13),
        (Ipv4Addr::new(127, 0, 0, 1), ECHO, 13),
        (Ipv4Addr::new(0, 0, 0, 1), ECHO, 13),
    ] {
        let mut bench = bench();
        // The guest's own stack refuses some of these: its routes are not ours.
        bench.guest.interface.update_ip_addrs(|_| {});
        syn(&mut bench, to, port, 40001);
        bench.rounds(3);
        assert_eq!(icmp(&bench), [(3, code)], "{to}:{port}");
        assert_eq!(bench.host.opened.len(), usize::from(to == ANYWHERE), "{to}:{port}");
    }
}

/// Gives the stack a SYN that the guest did not send.
fn syn(bench: &mut Bench, to: Ipv4Addr, port: u16, from: u16) {
    bench.stack.receive(&frame(bench.stack.config(), to, port, from, 2, 7, 0));
}

/// A TCP segment of the guest's without data.
fn frame(config: &Config, to: Ipv4Addr, port: u16, from: u16, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut bytes = vec![0; 54];
    bytes[..6].copy_from_slice(&config.gateway_mac);
    bytes[6..12].copy_from_slice(&config.guest_mac);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    bytes[26..30].copy_from_slice(&config.guest.octets());
    bytes[30..34].copy_from_slice(&to.octets());
    bytes[34..36].copy_from_slice(&from.to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    bytes[38..42].copy_from_slice(&sequence.to_be_bytes());
    bytes[42..46].copy_from_slice(&acknowledged.to_be_bytes());
    bytes[46..50].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    bytes
}

#[test]
fn loopback_is_reached_if_it_may_be() {
    let mut bench = Bench::new(Config { host_reachable: true, ..Config::default() });
    let host = bench.stack.config().host;
    let handle = bench.guest.connect(host, ECHO, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    assert_eq!(bench.host.opened, [(Protocol::Tcp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, ECHO))]);
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, SINK, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    bench.guest.stream(handle).send_slice(&[1; 5000]).unwrap();
    bench.guest.stream(handle).close();
    bench.until("answered", |bench| bench.guest.stream(handle).can_recv());
    assert_eq!(bench.read(handle), 5000_usize.to_le_bytes());
    bench.until("over", |bench| bench.host.closed.len() == 1);
    assert!(!bench.host.closed[0].1);
}

/// The other way round: the host ends first, and the guest goes on sending.
#[test]
fn the_host_may_end_first() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, SOURCE, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    let mut read = Vec::new();
    bench.until("all read", |bench| {
        read.extend(bench.read(handle));
        !bench.guest.stream(handle).may_recv()
    });
    assert_eq!(read.len(), SOURCE_LENGTH);
    bench.guest.stream(handle).send_slice(b"thanks").unwrap();
    bench.guest.stream(handle).close();
    let flow = *bench.host.sockets.keys().next().unwrap();
    bench.until("heard", |bench| bench.host.sockets.get(&flow).is_none_or(|socket| socket.received == b"thanks"));
    bench.until("over", |bench| bench.host.closed == [(flow, false)]);
}

/// What the guest said last is delivered even when the host, which has long ended, is slow to take it.
#[test]
fn last_words_wait_for_a_slow_host() {
    let mut bench = bench();
    bench.host.room = Some(0);
    let handle = bench.guest.connect(ANYWHERE, SOURCE, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    bench.until("all read", |bench| {
        bench.read(handle);
        !bench.guest.stream(handle).may_recv()
    });
    bench.guest.stream(handle).send_slice(b"thanks").unwrap();
    bench.guest.stream(handle).close();
    bench.rounds(500);
    let flow = *bench.host.sockets.keys().next().expect("not over");
    assert!(bench.host.closed.is_empty());
    assert!(bench.stack.interest(flow).write);
    let mut heard = Vec::new();
    bench.stack.drain(flow, |bytes| {
        heard.extend_from_slice(bytes);
        bytes.len()
    });
    assert_eq!(heard, b"thanks");
    bench.until("over", |bench| bench.host.closed == [(flow, false)]);
}

#[test]
fn a_slow_guest_is_waited_for_and_gets_every_byte() {
    let mut bench = bench();
    bench.buffers = 1;
    let handle = bench.guest.connect(ANYWHERE, SOURCE, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    // Nobody reads, so the window closes; probes keep it known.
    bench.rounds(9000);
    assert_eq!(bench.guest.stream(handle).recv_queue(), 1 << 16);
    let mut read = Vec::new();
    bench.until("all read", |bench| {
        read.extend(bench.read(handle));
        read.len() == SOURCE_LENGTH
    });
    assert!(read.iter().enumerate().all(|(at, &byte)| byte == pattern(at)));
}

#[test]
fn a_slow_host_holds_the_guest_back() {
    let mut bench = bench();
    bench.host.room = Some(1000);
    let handle = bench.guest.connect(ANYWHERE, SINK, 40001);
    let mut sent = 0;
    for _ in 0..3000 {
        bench.round();
        let socket = bench.guest.stream(handle);
        if socket.can_send() {
            let bytes: Vec<u8> = (sent..sent + 4096).map(pattern).collect();
            sent += socket.send_slice(&bytes).unwrap();
        }
    }
    let buffers = 1000 + bench.stack.config().buffer + (1 << 16);
    assert!(sent <= buffers, "{sent} bytes of at most {buffers}");
    bench.host.sockets.values_mut().for_each(|socket| socket.room = usize::MAX);
    bench.until("all there", |bench| bench.host.sockets.values().all(|socket| socket.received.len() == sent));
    let socket = bench.host.sockets.values().next().unwrap();
    assert!(socket.received.iter().enumerate().all(|(at, &byte)| byte == pattern(at)));
}

#[test]
fn a_reset_goes_through_both_ways() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    bench.guest.stream(handle).abort();
    bench.until("reset", |bench| bench.host.closed.len() == 1);
    assert!(bench.host.closed[0].1);
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40002);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    let flow = *bench.host.sockets.keys().next().unwrap();
    bench.host.sockets.clear();
    bench.stack.failed(flow, Failure::Refused);
    bench.rounds(2);
    assert_eq!(bench.guest.stream(handle).state(), State::Closed);
    assert_eq!(bench.host.closed.len(), 1);
}

#[test]
fn five_hundred_streams_are_served_at_once() {
    let mut bench = bench();
    let handles: Vec<_> = (0..500)
        .map(|number| {
            let to = Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8);
            bench.guest.connect(to, ECHO, 42_000 + number)
        })
        .collect();
    bench.until("all connected", |bench| handles.iter().all(|&handle| bench.guest.stream(handle).may_send()));
    assert_eq!(bench.stack.connections().len(), 500);
    for (number, &handle) in handles.iter().enumerate() {
        bench.guest.stream(handle).send_slice(format!("hello {number}").as_bytes()).unwrap();
        bench.guest.stream(handle).close();
    }
    bench.until("all answered", |bench| bench.host.closed.len() == 500);
    for (number, &handle) in handles.iter().enumerate() {
        assert_eq!(bench.read(handle), format!("hello {number}").as_bytes());
    }
}

#[test]
fn a_forwarded_port_reaches_a_server_of_the_guest() {
    let mut bench = bench();
    let server = bench.guest.add_stream(1 << 16);
    bench.guest.stream(server).listen(80).unwrap();
    let flow = bench.stack.open_stream(80).unwrap();
    bench.host.sockets.insert(flow, common::socket(Protocol::Tcp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5), None));
    bench.until("accepted", |bench| bench.guest.stream(server).may_send());
    assert_eq!(bench.guest.stream(server).remote_endpoint().unwrap().addr, bench.stack.config().gateway.into());
    bench.host.sockets.get_mut(&flow).unwrap().sending = b"GET /".to_vec();
    bench.until("asked", |bench| bench.guest.stream(server).can_recv());
    assert_eq!(bench.read(server), b"GET /");
    bench.guest.stream(server).send_slice(b"hello").unwrap();
    bench.guest.stream(server).close();
    bench.until("answered", |bench| bench.host.sockets[&flow].guest_ended);
    assert_eq!(bench.host.sockets[&flow].received, b"hello");
    bench.host.sockets.get_mut(&flow).unwrap().ends = true;
    bench.until("over", |bench| bench.host.closed == [(flow, false)]);
}

#[test]
fn a_forwarded_port_without_a_server_is_a_reset() {
    let mut bench = bench();
    let flow = bench.stack.open_stream(80).unwrap();
    bench.host.sockets.insert(flow, common::socket(Protocol::Tcp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5), None));
    // The guest asks who the gateway is before it answers, and drops its first answer.
    bench.until("refused", |bench| bench.host.closed == [(flow, true)]);
}

/// A restored guest believes in connections that nobody else remembers.
#[test]
fn connections_of_before_a_snapshot_are_reset() {
    let mut bench = bench();
    let reader = bench.guest.connect(ANYWHERE, SILENT + 100, 40001);
    bench.until("connected", |bench| bench.guest.stream(reader).may_send());
    let connections = bench.stack.connections();
    assert_eq!(connections.len(), 1);
    bench.stack = Stack::new(Config::default(), bench.now);
    bench.rounds(2000);
    assert_eq!(bench.guest.stream(reader).state(), State::Established, "nobody has told it");
    bench.stack.reset_connections(&connections);
    bench.rounds(3);
    assert_eq!(bench.guest.stream(reader).state(), State::Closed);
    assert_eq!(bench.stack.connections(), []);
}

#[test]
fn long_segments_are_made_for_a_guest_that_takes_them() {
    let mut bench = bench();
    bench.stack.set_offload(Offload { checksum: true, segmentation: true });
    let handle = bench.guest.connect(ANYWHERE, SOURCE, 40001);
    let mut read = Vec::new();
    bench.until("all read", |bench| {
        read.extend(bench.read(handle));
        read.len() == SOURCE_LENGTH
    });
    assert!(read.iter().enumerate().all(|(at, &byte)| byte == pattern(at)));
    let longest = bench.frames.iter().max_by_key(|frame| frame.bytes.len()).unwrap();
    assert!((20_000..=14 + (32 << 10)).contains(&longest.bytes.len()), "{} bytes", longest.bytes.len());
    assert_eq!(longest.header.segment, Some(1460));
    // And those that are short enough are said to be so.
    assert!(bench.frames.iter().all(|frame| frame.header.segment.is_some() == (frame.bytes.len() > 1514)));
}

/// SYNs of which nothing comes, and more than there may be.
#[test]
fn a_flood_of_syns_opens_no_more_than_it_may() {
    let mut bench = bench();
    bench.host.dials_wait = true;
    for number in 0..100_000_u32 {
        let to = Ipv4Addr::from_bits(0x0a00_0000 | number);
        bench.stack.receive(&frame(&Config::default(), to, 80, (number % 60_000) as u16 + 1, 2, number, 0));
        if number % 1000 == 0 {
            bench.run_host();
        }
    }
    bench.run_host();
    assert_eq!(bench.host.opened.len(), MAX_HALF_OPEN);
    // The host answers, the guest does not: these go when their time has come, and then there is room again.
    for flow in bench.host.sockets.keys().copied().collect::<Vec<_>>() {
        bench.stack.connected(flow);
    }
    bench.take_frames();
    bench.guest.cable.received.clear();
    bench.now += Duration::from_secs(61);
    bench.stack.advance(bench.now);
    bench.run_host();
    assert_eq!(bench.host.closed.len(), MAX_HALF_OPEN);
    // Those that waited for their turn all this time are given up, too.
    assert_eq!(bench.host.opened.len(), 2 * MAX_HALF_OPEN);
    for _ in 0..2 {
        while bench.stack.frame().is_some() {}
        bench.now += Duration::from_secs(131);
        bench.stack.advance(bench.now);
        bench.run_host();
    }
    assert!(bench.host.sockets.is_empty());
    bench.host.dials_wait = false;
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
}

#[test]
fn streams_beyond_the_most_are_refused_at_once() {
    let mut bench = bench();
    let handles: Vec<_> = (0..MAX_STREAMS as u16).map(|number| bench.guest.connect(ANYWHERE, ECHO, 42_000 + number)).collect();
    bench.until("all connected", |bench| handles.iter().all(|&handle| bench.guest.stream(handle).may_send()));
    let beyond = bench.guest.connect(ANYWHERE, ECHO, 50_000);
    bench.rounds(3);
    assert_eq!(bench.guest.stream(beyond).state(), State::Closed);
    assert!(bench.stack.open_stream(80).is_none());
    bench.guest.stream(handles[0]).abort();
    bench.rounds(3);
    let again = bench.guest.connect(ANYWHERE, ECHO, 50_001);
    bench.until("connected", |bench| bench.guest.stream(again).may_send());
}

#[test]
fn a_hundred_thousand_streams_leave_nothing_behind() {
    let config = Config { buffer: 4096, ..Config::default() };
    let mut bench = Bench::new(config.clone());
    for number in 0..100_000_u32 {
        let from = (number % 60_000) as u16 + 1;
        let to = Ipv4Addr::from_bits(0x0a00_0000 | number);
        bench.stack.receive(&frame(&config, to, ECHO, from, 2, 100, 0));
        bench.run_host();
        let answer = bench.stack.frame().unwrap().bytes;
        assert_eq!(answer[47], 0x12, "SYN and ACK");
        let theirs = u32::from_be_bytes(answer[38..42].try_into().unwrap()).wrapping_add(1);
        bench.stack.receive(&frame(&config, to, ECHO, from, 0x10, 101, theirs));
        assert_eq!(bench.stack.connections().len(), 1);
        bench.stack.receive(&frame(&config, to, ECHO, from, 0x14, 101, theirs));
        bench.run_host();
        assert!(bench.host.sockets.is_empty());
    }
    assert_eq!(bench.host.closed.len(), 100_000);
    assert_eq!((bench.stack.deadline(), bench.stack.has_frame()), (None, false));
}

#[test]
fn an_idle_stream_costs_no_time() {
    let mut bench = bench();
    let handle = bench.guest.connect(ANYWHERE, ECHO, 40001);
    bench.until("connected", |bench| bench.guest.stream(handle).may_send());
    bench.rounds(20);
    assert_eq!(bench.stack.deadline(), None);
    assert!(!bench.stack.has_frame());
    let frames = bench.frames.len();
    bench.rounds(1000);
    assert_eq!(bench.frames.len(), frames);
}
