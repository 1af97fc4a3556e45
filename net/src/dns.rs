//! Names: the network's own are answered, all others are the host's to look up.

use crate::config::Config;
use smoltcp::wire::{DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode};
use std::net::{IpAddr, Ipv4Addr};

const HEADER: usize = 12;
const PTR: u16 = 12;
const ANY: u16 = 255;
const IN: u16 = 1;
/// Bytes of a name (RFC 1035, section 2.3.4). Messages have room for longer ones, which others are not to be bothered with.
const LONGEST_NAME: usize = 255;
/// How long an answer of ours may be kept, in seconds.
const TIME_TO_LIVE: u32 = 60;
/// Addresses in an answer: as many as a datagram of 512 bytes has room for, if all are IPv6 and the name is the longest.
const MAX_ADDRESSES: usize = 8;
/// The name in an answer: it is that of the question, behind the header.
const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, HEADER as u8];

/// Whether `answer` is one to `query`: an answer, with its number, about its question. A resolver's answers can be forged by anyone who
/// guesses the number, so what fits less is not passed on.
pub fn answers(query: &[u8], answer: &[u8]) -> bool {
    let (Some(asked), Some(told)) = (Question::of(query), Question::of(answer)) else { return false };
    query[..2] == answer[..2] && is_answer(answer) && asked.name == told.name && asked.kind == told.kind
}

/// What is to be answered to `query`, a guest's, where all that can be looked up are the addresses of a name. `look_up` gives none if there is no such
/// name, and `None` if nobody can tell. A message that is too short for a question has an empty answer.
pub fn answer_by(query: &[u8], look_up: impl FnOnce(&str) -> Option<Vec<IpAddr>>) -> Vec<u8> {
    if query.len() < HEADER {
        return Vec::new();
    }
    let Some(question) = Question::of(query) else { return failure(query, DnsRcode::NotImp) };
    let (v4, v6) = (u16::from(DnsQueryType::A), u16::from(DnsQueryType::Aaaa));
    if question.kind != v4 && question.kind != v6 {
        return failure(query, DnsRcode::NotImp);
    }
    match look_up(&question.name) {
        None => failure(query, DnsRcode::ServFail),
        Some(found) if found.is_empty() => failure(query, DnsRcode::NXDomain),
        Some(found) => {
            let record = |address: &IpAddr| match address {
                IpAddr::V4(address) => (v4, address.octets().to_vec()),
                IpAddr::V6(address) => (v6, address.octets().to_vec()),
            };
            let records = found.iter().map(record).filter(|(kind, _)| *kind == question.kind);
            answer(query, &question, records.take(MAX_ADDRESSES).collect())
        }
    }
}

fn is_answer(message: &[u8]) -> bool {
    DnsPacket::new_unchecked(message).flags().contains(DnsFlags::RESPONSE)
}

/// The one question of a message.
struct Question {
    name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

impl Question {
    fn of(message: &[u8]) -> Option<Self> {
        let packet = DnsPacket::new_checked(message).ok()?;
        if packet.question_count() != 1 || packet.opcode() != DnsOpcode::Query {
            return None;
        }
        let (rest, question) = DnsQuestion::parse(packet.payload()).ok()?;
        let mut name = String::new();
        // Bytes that the name takes, with the length of each label and the end.
        let mut length = 1;
        for label in packet.parse_name(question.name) {
            let label = label.ok()?;
            length += 1 + label.len();
            if length > LONGEST_NAME {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|&byte| char::from(byte.to_ascii_lowercase())));
        }
        Some(Self { name, kind: question.type_.into(), end: message.len() - rest.len() })
    }
}

/// What becomes of a guest's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is no question.
    Ignored,
    /// This is the answer.
    Answer(Vec<u8>),
    /// The host is to look it up.
    Foreign,
}

/// Judges a message of the guest.
pub(crate) fn judge(config: &Config, message: &[u8]) -> Verdict {
    let names = &config.names;
    if message.len() < HEADER || is_answer(message) {
        return Verdict::Ignored;
    }
    let Some(question) = Question::of(message) else { return Verdict::Answer(failure(message, DnsRcode::NotImp)) };
    let addresses: Vec<&Ipv4Addr> = names.iter().filter(|(name, _)| *name == question.name).map(|(_, address)| address).collect();
    if !addresses.is_empty() {
        let wanted = question.kind == u16::from(DnsQueryType::A) || question.kind == ANY;
        let records = addresses.iter().filter(|_| wanted).map(|address| (u16::from(DnsQueryType::A), address.octets().to_vec()));
        return Verdict::Answer(answer(message, &question, records.collect()));
    }
    let reverse = question.name.strip_suffix(".in-addr.arpa").and_then(|digits| digits.parse::<Ipv4Addr>().ok());
    let reverse = reverse.map(|address| Ipv4Addr::from_bits(address.to_bits().swap_bytes()));
    let known: Vec<&String> = names.iter().filter(|(_, address)| Some(*address) == reverse).map(|(name, _)| name).collect();
    if known.is_empty() {
        // Nobody else knows this network (RFC 6303): who looks up an address of it is not to wait for the world's answer.
        let local = reverse.is_some_and(|address| config.is_local(address));
        return if local { Verdict::Answer(failure(message, DnsRcode::NXDomain)) } else { Verdict::Foreign };
    }
    let records = known.into_iter().filter(|_| question.kind == PTR || question.kind == ANY).map(|name| (PTR, encode(name)));
    Verdict::Answer(answer(message, &question, records.collect()))
}

/// Answers a question about a host with the one address that `address` has for its name. Nothing else can be a name of a host.
pub(crate) fn answer_with(message: &[u8], address: impl FnOnce(&str) -> Ipv4Addr) -> Vec<u8> {
    let Some(question) = Question::of(message) else { return failure(message, DnsRcode::NotImp) };
    let is_host = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_host(&question.name) || question.name.ends_with(".arpa") {
        return failure(message, DnsRcode::NXDomain);
    }
    let wanted = question.kind == u16::from(DnsQueryType::A) || question.kind == ANY;
    let records = wanted.then(|| (u16::from(DnsQueryType::A), address(&question.name).octets().to_vec()));
    answer(message, &question, records.into_iter().collect())
}

pub(crate) fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// The header and question of `message`, as an answer without records.
fn reply(message: &[u8], end: usize, code: DnsRcode) -> Vec<u8> {
    let mut reply = message[..end].to_vec();
    let mut packet = DnsPacket::new_unchecked(&mut reply[..]);
    packet.set_flags(packet.flags() & DnsFlags::RECURSION_DESIRED | DnsFlags::RESPONSE | DnsFlags::RECURSION_AVAILABLE);
    packet.set_question_count(u16::from(end > HEADER));
    packet.set_answer_record_count(0);
    packet.set_authority_record_count(0);
    packet.set_additional_record_count(0);
    reply[3] = reply[3] & 0xf0 | u8::from(code);
    reply
}

fn answer(message: &[u8], question: &Question, records: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = reply(message, question.end, DnsRcode::NoError);
    DnsPacket::new_unchecked(&mut bytes[..]).set_answer_record_count(records.len() as u16);
    for (kind, data) in records {
        bytes.extend(NAME_OF_THE_QUESTION);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes.extend(TIME_TO_LIVE.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// Tells that `message` cannot be answered.
pub(crate) fn failure(message: &[u8], code: DnsRcode) -> Vec<u8> {
    reply(message, Question::of(message).map_or(HEADER, |question| question.end), code)
}

/// Tells that an answer is too long for a datagram: the guest asks again by TCP.
pub(crate) fn truncated(answer: &[u8]) -> Vec<u8> {
    let code = DnsPacket::new_unchecked(answer).rcode();
    let mut bytes = reply(answer, Question::of(answer).map_or(HEADER, |question| question.end), code);
    let mut packet = DnsPacket::new_unchecked(&mut bytes[..]);
    packet.set_flags(packet.flags() | DnsFlags::TRUNCATED);
    bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A question with the number 0x1234.
    pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
        let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&header[..], &encode(name), &kind.to_be_bytes(), &IN.to_be_bytes()].concat()
    }

    fn config() -> Config {
        let names = [("host.docker.internal", 254), ("db", 77), ("db", 78)];
        Config { names: names.map(|(name, last)| (name.into(), Ipv4Addr::new(192, 168, 127, last))).into(), ..Config::default() }
    }

    fn answered(message: &[u8]) -> Vec<u8> {
        match judge(&config(), message) {
            Verdict::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_that_is_longer_than_any_can_be_is_nobody_asked() {
        let label = "x".repeat(63);
        let longest = [label.as_str(), &label, &label, &label[..61]].join(".");
        assert_eq!(judge(&config(), &query(&longest, 1)), Verdict::Foreign);
        for name in [format!("{longest}x"), vec![label.as_str(); 1000].join(".")] {
            let message = query(&name, 1);
            assert_eq!(answered(&message), failure(&message, DnsRcode::NotImp));
            answer_by(&message, |name| panic!("it asks for {name}"));
            assert!(!answers(&message, &answer_by(&message, |_| None)));
        }
    }

    fn any_message() -> impl Strategy<Value = Vec<u8>> {
        // Labels, pointers to anywhere, and the ends of names, behind a header with a question.
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            (0xc0..=0xff_u8, 0..40_u8).prop_map(|(high, low)| vec![high, low]),
            (0..64_u8).prop_map(|length| [vec![length], vec![b'a'; length.into()]].concat()),
            Just(vec![0, 0, 1, 0, 1]),
        ];
        let header =
            (any::<[u8; 2]>(), any::<[u8; 8]>()).prop_map(|(flags, counts)| [&[0x12, 0x34][..], &flags, &[0, 1], &counts[2..]].concat());
        (header, prop::collection::vec(piece, 0..12)).prop_map(|(header, pieces)| [header, pieces.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn any_message_has_an_end(message in any_message(), answer in any_message(), at in any::<prop::sample::Index>()) {
            if answers(&message, &answer) {
                let _ = truncated(&answer);
            }
            let _ = answers(&message, &message);
            let cut = &message[..at.index(message.len())];
            for message in [&message[..], cut] {
                let mut asked = 0;
                let answer = answer_by(message, |name| {
                    asked = name.chars().count();
                    Some(vec![[192, 0, 2, 1].into(); 1000])
                });
                prop_assert!(asked < LONGEST_NAME && answer.len() <= message.len() + MAX_ADDRESSES * 28);
                if judge(&config(), message) == Verdict::Foreign {
                    let _ = answer_with(message, |_| Ipv4Addr::LOCALHOST);
                }
            }
        }
    }

    #[test]
    fn own_names_have_addresses_in_any_case() {
        let question = query("Host.DOCKER.internal", 1);
        let answer = answered(&question);
        assert!(answers(&question, &answer));
        assert_eq!(answer[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[HEADER..question.len()], question[HEADER..]);
        assert_eq!(answer[question.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 168, 127, 254]);
        assert_eq!(answered(&query("db", ANY))[6..8], [0, 2]);
    }

    #[test]
    fn own_names_have_nothing_else() {
        // No IPv6 address is no error: the name exists.
        assert_eq!(answered(&query("db", 28))[2..8], [0x81, 0x80, 0, 1, 0, 0]);
    }

    #[test]
    fn own_addresses_have_names() {
        let question = query("254.127.168.192.in-addr.arpa", PTR);
        assert!(answered(&question).ends_with(b"\x04host\x06docker\x08internal\0"));
        let nameless = answered(&query("3.127.168.192.in-addr.arpa", PTR));
        assert_eq!(nameless[2..8], [0x81, 0x83, 0, 1, 0, 0]);
    }

    #[test]
    fn other_names_are_the_host_s_to_look_up() {
        for (name, kind) in [("example.org", 1), ("4.3.2.1.in-addr.arpa", PTR), ("", 2), ("docker.internal", 1)] {
            assert_eq!(judge(&config(), &query(name, kind)), Verdict::Foreign, "{name}");
        }
    }

    #[test]
    fn a_name_may_be_answered_with_an_address_that_stands_for_it() {
        let answer = |name, kind| answer_with(&query(name, kind), |name| Ipv4Addr::new(198, 18, 0, name.len() as u8));
        assert!(answer("Example.org", 1).ends_with(&[0, 4, 198, 18, 0, 11]));
        // No IPv6 address is no error: the name exists.
        assert_eq!(answer("example.org", 28)[2..8], [0x81, 0x80, 0, 1, 0, 0]);
        for (name, kind) in [("4.3.2.1.in-addr.arpa", PTR), ("a b", 1), ("", 1)] {
            assert_eq!(answer(name, kind)[3] & 15, 3, "{name}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer_or_a_refusal() {
        assert_eq!(judge(&config(), b"short"), Verdict::Ignored);
        let mut answer = query("db", 1);
        answer[2] |= 0x80;
        assert_eq!(judge(&config(), &answer), Verdict::Ignored);
        let mut two = query("db", 1);
        two[5] = 2;
        assert_eq!(answered(&two), [0x12, 0x34, 0x81, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut cut = query("db", 1);
        cut.truncate(15);
        assert_eq!(answered(&cut)[3] & 15, 4);
    }

    #[test]
    fn addresses_that_were_looked_up_are_an_answer() {
        let found = || Some(vec![IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])]);
        for (kind, end) in [(1, vec![0, 4, 192, 0, 2, 1]), (28, vec![0, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])] {
            let question = query("Example.org", kind);
            let answer = answer_by(&question, |name| {
                assert_eq!(name, "example.org");
                found()
            });
            assert!(answers(&question, &answer) && answer.ends_with(&end), "{answer:?}");
            assert_eq!(answer[6..8], [0, 1]);
        }
    }

    #[test]
    fn what_was_not_found_is_told_from_what_could_not_be_looked_up() {
        let question = query("example.org", 1);
        let code = |answer: Vec<u8>| (answers(&question, &answer), answer[3] & 15, answer[7]);
        assert_eq!(code(answer_by(&question, |_| Some(vec![]))), (true, 3, 0));
        assert_eq!(code(answer_by(&question, |_| None)), (true, 2, 0));
        // The name exists: no address of this kind is no error.
        assert_eq!(code(answer_by(&question, |_| Some(vec![std::net::Ipv6Addr::LOCALHOST.into()]))), (true, 0, 0));
        let many = answer_by(&question, |_| Some(vec![Ipv4Addr::LOCALHOST.into(); 1000]));
        assert!(many.len() <= 512 && many[7] == 8);
        // Other records than addresses are not looked up at all.
        let mail = query("example.org", 15);
        let answer = answer_by(&mail, |_| unreachable!("nobody knows"));
        assert_eq!((answers(&mail, &answer), answer[3] & 15), (true, 4));
        assert_eq!(answer_by(b"short", |_| unreachable!("it is no question")), []);
    }

    #[test]
    fn an_answer_must_be_to_the_question() {
        let question = query("example.org", 1);
        let mut good = question.clone();
        good[2] |= 0x80;
        assert!(answers(&question, &good));
        assert!(!answers(&question, &question));
        for (at, bit) in [(0, 1), (1, 128), (2, 0x80), (14, 1), (question.len() - 3, 2)] {
            let mut forged = good.clone();
            forged[at] ^= bit;
            assert!(!answers(&question, &forged), "byte {at}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_to_its_question() {
        let question = query("example.org", 16);
        let mut long = question.clone();
        long[2] |= 0x80;
        long[7] = 1;
        long.extend([0; 3000]);
        let cut = truncated(&long);
        assert_eq!(cut.len(), question.len());
        assert_eq!(cut[2..8], [0x83, 0x80, 0, 1, 0, 0]);
        assert!(answers(&question, &cut));
    }
}
