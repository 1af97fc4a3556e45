//! The cable between a guest and what is at its other end, and how a machine's module passes frames (ABI.md).

use crate::wire::Frame;
use devices::net::wire::{HEADER_SIZE, Header};
use devices::net::{Offload, Pushed};
use std::time::Duration;

/// A guest's end of the cable.
pub trait Guest {
    /// Why the guest cannot be asked.
    type Error;
    /// What the guest's driver takes, if the guest has a network device.
    fn network(&mut self) -> Result<Option<Offload>, Self::Error>;
    /// Takes the frames that the guest has sent.
    fn take_frames(&mut self) -> Result<Vec<Frame>, Self::Error>;
    /// Gives the guest a frame.
    fn push_frame(&mut self, frame: &Frame) -> Result<Pushed, Self::Error>;
}

/// The other end.
pub trait Outside {
    /// Why it cannot go on.
    type Error;
    /// Takes a frame of the guest.
    fn receive(&mut self, frame: Frame);
    /// Moves all that can be moved at the time `now`, for a driver that takes this. It does not wait.
    fn work(&mut self, offload: Offload, now: Duration) -> Result<(), Self::Error>;
    /// A frame for the guest.
    fn frame(&mut self) -> Option<Frame>;
}

/// A cable. It loses no frame for the guest.
#[derive(Debug, Default)]
pub struct Cable {
    /// The frame that the guest had no buffers for.
    hand: Option<Frame>,
}

impl Cable {
    /// Moves all that can be moved between the guest and the outside. Whether the guest was given any.
    pub fn work<G, O>(&mut self, guest: &mut G, outside: &mut O, now: Duration) -> Result<bool, G::Error>
    where
        G: Guest + ?Sized,
        O: Outside<Error = G::Error>,
    {
        let Some(offload) = guest.network()? else { return Ok(false) };
        guest.take_frames()?.into_iter().for_each(|frame| outside.receive(frame));
        outside.work(offload, now)?;
        let mut stirred = false;
        while let Some(frame) = self.hand.take().or_else(|| outside.frame()) {
            match guest.push_frame(&frame)? {
                Pushed::Delivered => stirred = true,
                Pushed::NoRoom => {
                    self.hand = Some(frame);
                    break;
                }
                Pushed::Refused => {}
            }
        }
        Ok(stirred)
    }
}

/// What a module's driver takes, as `pb_network` says it.
pub fn offload_of(bits: u32) -> Option<Offload> {
    (bits & 1 != 0).then_some(Offload { checksum: bits & 2 != 0, segmentation: bits & 4 != 0 })
}

/// The frames in an answer of `pb_take_frames`.
pub fn frames_of(answer: &[u8]) -> Vec<Frame> {
    let (mut rest, mut frames) = (answer, Vec::new());
    while let Some((&length, tail)) = rest.split_first_chunk()
        && let Some((&header, tail)) = tail.split_first_chunk::<HEADER_SIZE>()
    {
        let (bytes, tail) = tail.split_at((u32::from_le_bytes(length) as usize).min(tail.len()));
        rest = tail;
        frames.extend(Header::parse(header, u64::MAX).map(|header| Frame { header, bytes: bytes.to_vec() }));
    }
    frames
}

/// A frame as `pb_push_frame` takes it.
pub fn message_of(Frame { header, bytes }: &Frame) -> Vec<u8> {
    [&header.to_bytes(bytes, 0)[..], bytes].concat()
}

/// What `pb_push_frame` answers.
pub const fn pushed_of(answer: u32) -> Pushed {
    match answer {
        0 => Pushed::Delivered,
        1 => Pushed::NoRoom,
        _ => Pushed::Refused,
    }
}
