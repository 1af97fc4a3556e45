//! The network of a guest, for a Linux on this host instead of a guest: `guest/tests/peers` compares the two.
//!
//! `tap [host] [offload]`: standard input is a TAP device with headers of 12 bytes, as `guest/tests/peers.py tap` opens it. With `host`, the loopback
//! interface can be reached; with `offload`, frames may have partial checksums and be longer than the MTU. It ends when it is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a part of a test")]

use devices::net::wire::{HEADER_SIZE, Header, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4};
use devices::net::{MAX_FRAME, Offload, Pushed};
use net::{Frame, Guest};
use prebake::error::Error;
use prebake::host::backend::entropy::OsEntropy;
use prebake::host::net::{Link, Network, NetworkOptions};
use protocol::network::MTU;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::time::Timespec;
use std::io::{Stdin, stdin};
use std::os::fd::AsFd;

/// Frames that are taken before the stack has its turn.
const BURST: usize = 64;

struct Tap {
    device: Stdin,
    offload: bool,
    buffer: Vec<u8>,
}

impl Guest for Tap {
    type Error = Error;

    fn take_frames(&mut self) -> Result<Vec<Frame>, Error> {
        let mut frames = Vec::new();
        while frames.len() < BURST {
            let length = match read(&self.device, &mut self.buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => break,
                Err(error) => panic!("the TAP cannot be read: {error}"),
            };
            let (header, frame) = self.buffer[..length].split_first_chunk::<HEADER_SIZE>().unwrap();
            frames.extend(
                Header::parse(*header, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4).map(|header| Frame { header, bytes: frame.to_vec() }),
            );
        }
        Ok(frames)
    }

    fn push_frame(&mut self, Frame { header, bytes }: &Frame) -> Result<Pushed, Error> {
        match write(&self.device, &[&header.to_bytes(bytes, 1)[..], bytes].concat()) {
            Ok(_) => Ok(Pushed::Delivered),
            Err(Errno::AGAIN) => Ok(Pushed::NoRoom),
            Err(error) => panic!("the TAP does not take a frame of {} bytes, {header:?}: {error}", bytes.len()),
        }
    }

    fn network(&mut self) -> Result<Option<Offload>, Error> {
        Ok(Some(Offload { checksum: self.offload, segmentation: self.offload }))
    }
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let asks = |word: &str| asked.iter().any(|argument| argument == word);
    let options = NetworkOptions { link: Link::User { host: asks("host"), mtu: MTU }, ..NetworkOptions::default() };
    let mut network = Network::open(&options, None, &mut OsEntropy::open().unwrap()).unwrap().unwrap();
    let mut tap = Tap { device: stdin(), offload: asks("offload"), buffer: vec![0; HEADER_SIZE + MAX_FRAME] };
    let flags = fcntl_getfl(&tap.device).unwrap();
    fcntl_setfl(&tap.device, flags | OFlags::NONBLOCK).unwrap();
    loop {
        while network.work(&mut tap).unwrap() {}
        let timeout = network.timeout().map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        let mut watched =
            [PollFd::from_borrowed_fd(tap.device.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(network.as_fd(), PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
