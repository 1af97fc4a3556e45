//! The entropy device and the published stream.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use devices::rng::{DeterministicStream, EntropyDevice, MAX_BYTES_PER_REQUEST};
use devices::virtio::MmioTransport;
use driver::{Buffer, Guest, reencode};
use proptest::prelude::*;
use rand_core::Rng;

fn started(seed: [u8; 32]) -> Guest<EntropyDevice<DeterministicStream>> {
    let mut guest = Guest::new(EntropyDevice::new(DeterministicStream::new(seed)));
    guest.start();
    guest
}

/// The keystream of RFC 8439's cipher under the zero key (draft-agl-tls-chacha20poly1305, test vector 1; counter and nonce zero).
const ZERO_KEY: [u8; 32] = [
    0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d,
    0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7,
];

#[test]
fn the_stream_is_chacha20() {
    let mut guest = started([0; 32]);
    assert_eq!(guest.request(0, &[Buffer::Writable(5), Buffer::Writable(27)]), ZERO_KEY);
}

#[test]
fn a_request_gets_at_most_a_page() {
    let mut guest = started(DeterministicStream::BAKE_SEED);
    assert_eq!(guest.request(0, &[Buffer::Writable(3 * MAX_BYTES_PER_REQUEST as u32)]).len(), MAX_BYTES_PER_REQUEST);
    assert_eq!(guest.request(0, &[Buffer::Writable(0)]), b"");
    assert_eq!(guest.request(0, &[Buffer::Readable(b"odd")]), b"");
}

#[test]
fn a_restored_device_continues_the_stream() {
    let mut guest = started(DeterministicStream::BAKE_SEED);
    guest.request(0, &[Buffer::Writable(70)]);
    let transport = reencode(&guest.device.save());
    let state = reencode(&guest.device.device().source().save());
    let expected = guest.request(0, &[Buffer::Writable(16)]);

    let mut other = started(DeterministicStream::BAKE_SEED);
    other.request(0, &[Buffer::Writable(70)]);
    other.replace_device(|_| MmioTransport::restore(EntropyDevice::new(DeterministicStream::restore(&state)), &transport).unwrap());
    assert_eq!(other.request(0, &[Buffer::Writable(16)]), expected);
}

proptest! {
    /// The record says exactly where the stream is, however it was drawn from.
    #[test]
    fn any_position_can_be_saved(draws in prop::collection::vec(0..700_usize, 0..20)) {
        let mut stream = DeterministicStream::new([7; 32]);
        let mut bytes = [0; 700];
        for draw in draws {
            stream.fill_bytes(&mut bytes[..draw]);
        }
        let mut restored = DeterministicStream::restore(&reencode(&stream.save()));
        let mut again = [0; 700];
        stream.fill_bytes(&mut bytes);
        restored.fill_bytes(&mut again);
        prop_assert_eq!(bytes, again);
    }
}
