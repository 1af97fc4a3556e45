//! Frames of the guest until its host takes them.

use super::wire::Header;
use super::{FrameSink, MAX_FRAME};

/// Bytes of frames at a time. A host that takes them between runs of a few million instructions never sees so many from a driver that has
/// something to say.
pub const QUEUE_CAPACITY: usize = 4 << 20;

/// A queue of frames. What does not fit is lost, as on any wire; the guest cannot tell.
#[derive(Debug, Default)]
pub struct FrameQueue {
    frames: Vec<(Header, Vec<u8>)>,
    bytes: usize,
}

impl FrameQueue {
    /// Takes all frames.
    pub fn take(&mut self) -> Vec<(Header, Vec<u8>)> {
        std::mem::take(self).frames
    }
}

impl FrameSink for FrameQueue {
    fn send(&mut self, header: Header, frame: &[u8]) {
        if self.bytes + frame.len() <= QUEUE_CAPACITY {
            self.bytes += frame.len();
            self.frames.push((header, frame.to_vec()));
        }
    }
}

const _: () = assert!(QUEUE_CAPACITY > MAX_FRAME);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_holds_what_it_may_and_is_empty_after_that() {
        let mut queue = FrameQueue::default();
        for _ in 0..100_000 {
            queue.send(Header::default(), &[7; 1000]);
        }
        assert_eq!(queue.take().len(), QUEUE_CAPACITY / 1000);
        assert!(queue.take().is_empty());
        queue.send(Header::default(), &[7; 1000]);
        assert_eq!(queue.take(), [(Header::default(), vec![7; 1000])]);
    }
}
