//! The cable between a guest and what is at its other end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use devices::net::wire::{Header, PartialChecksum};
use devices::net::{Offload, Pushed};
use net::{Cable, Frame, Guest, Outside, frames_of, message_of, offload_of, pushed_of};
use std::collections::VecDeque;
use std::time::Duration;

/// A guest with some buffers; it refuses empty frames.
struct Driver {
    offload: Option<Offload>,
    buffers: usize,
    sent: Vec<Frame>,
    received: Vec<Vec<u8>>,
}

/// The other end returns what it gets, with the number of the turn.
#[derive(Default)]
struct Echo {
    turns: Vec<(Offload, Duration, usize)>,
    frames: VecDeque<Frame>,
}

impl Guest for Driver {
    type Error = &'static str;
    fn network(&mut self) -> Result<Option<Offload>, Self::Error> {
        Ok(self.offload)
    }
    fn take_frames(&mut self) -> Result<Vec<Frame>, Self::Error> {
        Ok(std::mem::take(&mut self.sent))
    }
    fn push_frame(&mut self, frame: &Frame) -> Result<Pushed, Self::Error> {
        if frame.bytes.is_empty() {
            return Ok(Pushed::Refused);
        }
        if self.buffers == 0 {
            return Ok(Pushed::NoRoom);
        }
        self.buffers -= 1;
        self.received.push(frame.bytes.clone());
        Ok(Pushed::Delivered)
    }
}

impl Outside for Echo {
    type Error = &'static str;
    fn receive(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }
    fn work(&mut self, offload: Offload, now: Duration) -> Result<(), Self::Error> {
        self.turns.push((offload, now, self.frames.len()));
        if now > Duration::from_secs(9) { Err("late") } else { Ok(()) }
    }
    fn frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }
}

#[test]
fn a_frame_without_room_waits_before_all_later_ones_and_none_is_lost() {
    let offload = Offload { checksum: true, segmentation: false };
    let sent = [&[1][..], &[], &[2], &[3]].map(|bytes| Frame::whole(bytes.to_vec())).to_vec();
    let mut driver = Driver { offload: Some(offload), buffers: 1, sent, received: Vec::new() };
    let (mut cable, mut echo) = (Cable::default(), Echo::default());
    let second = Duration::from_secs(1);
    assert_eq!(cable.work(&mut driver, &mut echo, second), Ok(true));
    assert_eq!((driver.received.clone(), echo.turns.pop()), (vec![vec![1]], Some((offload, second, 4))));
    driver.sent.push(Frame::whole(vec![4]));
    assert_eq!(cable.work(&mut driver, &mut echo, second), Ok(false));
    driver.buffers = 9;
    assert_eq!(cable.work(&mut driver, &mut echo, second), Ok(true));
    assert_eq!(driver.received, [[1], [2], [3], [4]]);
    assert_eq!(cable.work(&mut driver, &mut echo, second), Ok(false));
    assert_eq!(cable.work(&mut driver, &mut echo, Duration::from_secs(10)), Err("late"));
}

#[test]
fn nothing_moves_without_a_network_device() {
    let sent = vec![Frame::whole(vec![1])];
    let mut driver = Driver { offload: None, buffers: 9, sent, received: Vec::new() };
    let mut echo = Echo::default();
    assert_eq!(Cable::default().work(&mut driver, &mut echo, Duration::ZERO), Ok(false));
    assert_eq!((driver.sent.len(), echo.turns.len(), echo.frames.len()), (1, 0, 0));
}

#[test]
fn frames_go_through_a_modules_messages_unchanged() {
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    let frames = [
        Frame::whole(vec![7; 60]),
        Frame { header: Header { checksum, segment: None }, bytes: vec![8; 1514] },
        Frame { header: Header { checksum, segment: Some(1460) }, bytes: vec![9; 30_000] },
    ];
    let answer: Vec<u8> =
        frames.iter().flat_map(|frame| [&(frame.bytes.len() as u32).to_le_bytes()[..], &message_of(frame)].concat()).collect();
    assert_eq!(frames_of(&answer), frames);
    // What is cut off ends the last frame early, and takes nothing else along.
    assert_eq!(frames_of(&answer[..answer.len() - 30_001]), frames[..2]);
    assert_eq!(frames_of(&answer[..answer.len() - 1])[2].bytes.len(), 29_999);
    assert_eq!((offload_of(0), offload_of(6)), (None, None));
    assert_eq!(offload_of(5), Some(Offload { checksum: false, segmentation: true }));
    assert_eq!([0, 1, 2, 9].map(pushed_of), [Pushed::Delivered, Pushed::NoRoom, Pushed::Refused, Pushed::Refused]);
}
