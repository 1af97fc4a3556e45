//! Frames: how messages and bytes share one stream. `docs/serve.md` has the specification.

use std::io::{self, Read};

/// Longest body.
pub const MAX_BODY: usize = 1 << 20;

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message: JSON.
    Message(Vec<u8>),
    /// Bytes of a machine's console. For the machine: standard input, and none at all for its end. From the machine: standard output or standard error.
    Bytes {
        /// The machine.
        machine: u32,
        /// 0, 1 or 2, as a process numbers its streams.
        stream: u8,
        /// What was read or written.
        bytes: Vec<u8>,
    },
}

const MESSAGE: u8 = 0;
const BYTES: u8 = 1;
/// The length of all that follows.
const LENGTH: usize = 4;
/// Machine and stream, before the bytes.
const PREFIX: usize = 5;
/// Longest frame that more bytes are added to.
const MAX_JOINED: usize = 64 << 10;

/// Why what was read is no frame.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    #[error("the stream cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the stream ended within a frame")]
    Cut,
    #[error("a frame has {0} bytes, but at least 1 and at most {max}", max = MAX_BODY + 1)]
    Length(usize),
    #[error("a frame is of type {0}, which is not known")]
    Type(u8),
    #[error("a frame of bytes has no room for its machine and stream")]
    Prefix,
}

impl Frame {
    /// The frame as it travels.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, prefix, bytes) = match self {
            Self::Message(bytes) => (MESSAGE, Vec::new(), bytes),
            Self::Bytes { machine, stream, bytes } => (BYTES, [&machine.to_be_bytes()[..], &[*stream]].concat(), bytes),
        };
        let length = (1 + prefix.len() + bytes.len()) as u32;
        [&length.to_be_bytes()[..], &[kind], &prefix, bytes].concat()
    }

    /// Adds what a machine has written to a frame that has yet to travel, if that carries what the same stream wrote before. Whether it did.
    pub fn join(travelling: &mut Vec<u8>, machine: u32, stream: u8, bytes: &[u8]) -> bool {
        let [a, b, c, d] = machine.to_be_bytes();
        let is_same = travelling.get(LENGTH..).is_some_and(|frame| frame.starts_with(&[BYTES, a, b, c, d, stream]));
        if !is_same || travelling.len() + bytes.len() > MAX_JOINED {
            return false;
        }
        travelling.extend_from_slice(bytes);
        let length = (travelling.len() - LENGTH) as u32;
        travelling[..LENGTH].copy_from_slice(&length.to_be_bytes());
        true
    }

    /// The next frame of `stream`; nothing at its end.
    pub fn read(stream: &mut impl Read) -> Result<Option<Self>, BadFrame> {
        let mut length = [0; 4];
        if !fill(stream, &mut length)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_BODY + 1 {
            return Err(BadFrame::Length(length));
        }
        // No more is allocated than has come.
        let mut body = Vec::new();
        if stream.take(length as u64).read_to_end(&mut body)? != length {
            return Err(BadFrame::Cut);
        }
        match body.remove(0) {
            MESSAGE => Ok(Some(Self::Message(body))),
            BYTES => {
                let (prefix, bytes) = body.split_first_chunk::<PREFIX>().ok_or(BadFrame::Prefix)?;
                let [a, b, c, d, stream] = *prefix;
                Ok(Some(Self::Bytes { machine: u32::from_be_bytes([a, b, c, d]), stream, bytes: bytes.to_vec() }))
            }
            other => Err(BadFrame::Type(other)),
        }
    }
}

/// Fills `buffer`. Whether there was anything before the end.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<bool, BadFrame> {
    let mut done = 0;
    while done < buffer.len() {
        match stream.read(&mut buffer[done..]) {
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => return Err(BadFrame::Cut),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            bytes().prop_map(Frame::Message),
            (any::<u32>(), any::<u8>(), bytes()).prop_map(|(machine, stream, bytes)| Frame::Bytes { machine, stream, bytes }),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_as_they_were_sent(sent in proptest::collection::vec(frames(), 0..8)) {
            let bytes: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
            let mut stream = &bytes[..];
            for frame in &sent {
                prop_assert_eq!(&Frame::read(&mut stream).unwrap().unwrap(), frame);
            }
            prop_assert!(Frame::read(&mut stream).unwrap().is_none());
        }

        #[test]
        fn joined_frames_carry_the_same_in_the_same_order(pieces in proptest::collection::vec((0..2_u32, 1..3_u8, 0..40_000_usize), 0..12)) {
            let mut sent: Vec<Vec<u8>> = Vec::new();
            let mut wanted = Vec::new();
            for (number, (machine, stream, length)) in pieces.into_iter().enumerate() {
                let bytes = vec![number as u8; length];
                wanted.extend(bytes.iter().map(|byte| (machine, stream, *byte)));
                if !sent.last_mut().is_some_and(|last| Frame::join(last, machine, stream, &bytes)) {
                    sent.push(Frame::Bytes { machine, stream, bytes }.encode());
                }
            }
            let travelled = sent.concat();
            let (mut found, mut read) = (Vec::new(), &travelled[..]);
            while let Some(Frame::Bytes { machine, stream, bytes }) = Frame::read(&mut read).unwrap() {
                found.extend(bytes.iter().map(|byte| (machine, stream, *byte)));
            }
            prop_assert_eq!(found, wanted);
            prop_assert!(sent.iter().all(|frame| frame.len() <= MAX_JOINED));
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut stream = &bytes[..];
            while let Ok(Some(_)) = Frame::read(&mut stream) {}
        }

        #[test]
        fn a_frame_that_is_cut_is_an_error(frame in frames(), at in any::<prop::sample::Index>()) {
            let bytes = frame.encode();
            let cut = 1 + at.index(bytes.len() - 1);
            prop_assert!(matches!(Frame::read(&mut &bytes[..cut]), Err(BadFrame::Cut)));
        }
    }

    #[test]
    fn lengths_and_types_are_checked_before_anything_is_believed() {
        let read = |bytes: &[u8]| Frame::read(&mut &*bytes).unwrap_err().to_string();
        assert!(read(&[0, 0, 0, 0]).contains("0 bytes"));
        assert!(read(&[0xff; 9]).contains("4294967295 bytes"));
        assert!(read(&[0, 0, 0, 1, 7]).contains("type 7"));
        assert!(read(&[0, 0, 0, 5, 1, 0, 0, 0, 1]).contains("no room"));
        let longest = Frame::Message(vec![b' '; MAX_BODY]);
        assert_eq!(Frame::read(&mut &longest.encode()[..]).unwrap(), Some(longest));
    }
}
