//! Frames of zstd, of which each is checked before it is unpacked.

use crate::Error;
use crate::error::Part;

/// How far back a frame may refer, as a power of two: what whoever unpacks it must hold.
pub(crate) const WINDOW_LOG: u32 = 23;

/// Unpacks frames: by zstd's own library if the program has it for packing, else by one that compiles for pages, too.
pub(crate) struct Unpacker(backend::Decoder);

impl Unpacker {
    pub fn new() -> Result<Self, Error> {
        backend::Decoder::new().map(Self)
    }

    /// What is in a frame of `part`: `length` bytes. Its window has at most `window` bytes.
    pub fn unpack(&mut self, part: Part, frame: &[u8], length: usize, window: u64) -> Result<Vec<u8>, Error> {
        self.content(frame, length, window).map_err(|problem| Error::malformed(part, problem))
    }

    fn content(&mut self, frame: &[u8], length: usize, window: u64) -> Result<Vec<u8>, String> {
        check_frame(frame, length, window)?;
        let mut content = vec![0; length];
        match self.0.unpack(frame, &mut content) {
            Ok(found) if found == length => Ok(content),
            Ok(found) => Err(format!("its frame holds {found} bytes, {length} were wanted")),
            Err(problem) => Err(format!("its frame cannot be decompressed: {problem}")),
        }
    }
}

/// What is in `frame`, which is all of a file: `length` bytes. The problem, if that is not so.
pub fn unpack_frame(frame: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut unpacker = Unpacker::new().map_err(|error| error.to_string())?;
    unpacker.content(frame, length, 1 << WINDOW_LOG)
}

#[cfg(feature = "pack")]
mod backend {
    use crate::Error;
    use zstd::bulk::Decompressor;

    pub struct Decoder(Decompressor<'static>);

    impl Decoder {
        pub fn new() -> Result<Self, Error> {
            Decompressor::new().map(Self).map_err(Error::reading)
        }

        pub fn unpack(&mut self, frame: &[u8], content: &mut [u8]) -> Result<usize, String> {
            self.0.decompress_to_buffer(frame, content).map_err(|error| error.to_string())
        }
    }
}

#[cfg(not(feature = "pack"))]
use portable as backend;

#[cfg(any(not(feature = "pack"), test))]
mod portable {
    use crate::Error;
    use ruzstd::decoding::FrameDecoder;

    pub struct Decoder(FrameDecoder);

    impl Decoder {
        #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
        pub fn new() -> Result<Self, Error> {
            Ok(Self(FrameDecoder::new()))
        }

        pub fn unpack(&mut self, frame: &[u8], content: &mut [u8]) -> Result<usize, String> {
            self.0.decode_all(frame, content).map_err(|error| error.to_string())
        }
    }
}

/// Bytes of the longest frame that zstd makes of `length` bytes.
pub(crate) const fn compress_bound(length: usize) -> usize {
    const SMALL: usize = 128 << 10;
    length.saturating_add(length >> 8).saturating_add(SMALL.saturating_sub(length) >> 11)
}

/// First bytes of a frame of zstd; other frames are for other programs to skip.
const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The frame's content tells the window: it has no field of its own.
const SINGLE_SEGMENT: u8 = 1 << 5;
const CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 0b11;
/// Bytes of a block's header, and kinds of blocks.
const BLOCK_HEADER_LEN: usize = 3;
const RLE: u32 = 1;
const RESERVED: u32 = 3;

/// Checks that `frame` is one frame as FORMAT.md wants it, of `length` bytes and with a window of at most `limit`, before the decompressor sees it (RFC 8878, section 3.1.1).
fn check_frame(frame: &[u8], length: usize, limit: u64) -> Result<(), String> {
    let (Some(MAGIC), Some(descriptor)) = (frame.get(..MAGIC.len()), frame.get(MAGIC.len())) else {
        return Err("its frame does not begin as one of zstd does".into());
    };
    if descriptor & (CHECKSUM | DICTIONARY) != 0 {
        return Err("its frame has a checksum or a dictionary".into());
    }
    let mut at = MAGIC.len() + 1;
    let is_single = descriptor & SINGLE_SEGMENT != 0;
    if !is_single {
        let window = frame.get(at).map_or(0, |byte| {
            let base = 1_u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        });
        if window > limit {
            return Err(format!("its frame has a window of {window} bytes, at most {limit} are allowed"));
        }
        at += 1;
    }
    let (size, base) = match descriptor >> 6 {
        0 if is_single => (1, 0),
        0 => (0, 0),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    match frame.get(at..at + size) {
        Some(field) if size > 0 => {
            let found = field.iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)).saturating_add(base);
            if found != length as u64 {
                return Err(format!("its frame says that it holds {found} bytes, {length} were wanted"));
            }
        }
        _ => return Err("its frame does not say how much it holds".into()),
    }
    if blocks_end(frame, at + size) == Some(frame.len()) {
        Ok(())
    } else {
        Err(format!("there is not one whole frame in its {} bytes", frame.len()))
    }
}

/// Where the last of the blocks ends that begin at `at`; `None` if there is none.
fn blocks_end(frame: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let [a, b, c] = *frame.get(at..)?.first_chunk::<BLOCK_HEADER_LEN>()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let (is_last, kind, size) = (header & 1 != 0, header >> 1 & 3, (header >> 3) as usize);
        at += BLOCK_HEADER_LEN;
        at += match kind {
            RLE => 1,
            RESERVED => return None,
            _ => size,
        };
        if is_last {
            return Some(at);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;
    use crate::GROUP_SIZE;
    use zstd::bulk::Compressor;

    fn frame(content: &[u8], set: impl FnOnce(&mut Compressor<'_>)) -> Vec<u8> {
        let mut compressor = Compressor::new(1).unwrap();
        set(&mut compressor);
        compressor.compress(content).unwrap()
    }

    #[test]
    fn a_frame_is_one_frame_as_specified() {
        use zstd::zstd_safe::CParameter::{ChecksumFlag, ContentSizeFlag};
        let content: Vec<u8> = (0..8192_u32).map(|n| ((n * n) >> 7) as u8).collect();
        let good = frame(&content, |_| ());
        assert_eq!(check_frame(&good, content.len(), GROUP_SIZE as u64), Ok(()));

        let refused = |frame: &[u8], words: &str| {
            let problem = check_frame(frame, content.len(), GROUP_SIZE as u64).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        };
        refused(&[], "does not begin");
        refused(&good[..4], "does not begin");
        refused(&[&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0][..], &good].concat(), "does not begin"); // to be skipped
        refused(&good[..good.len() - 1], "not one whole frame");
        refused(&[&good[..], &good].concat(), "not one whole frame");
        refused(&frame(&content[..4096], |_| ()), "4096 bytes, 8192 were wanted");
        refused(&frame(&content, |compressor| compressor.set_parameter(ChecksumFlag(true)).unwrap()), "checksum");
        refused(&frame(&content, |compressor| compressor.set_parameter(ContentSizeFlag(false)).unwrap()), "how much");
        // As the first, but with a window of its own: 64 KiB, and the next larger.
        let windowed = |window: u8| [&good[..4], &[good[4] & !SINGLE_SEGMENT, window], &good[5..]].concat();
        assert_eq!(check_frame(&windowed(6 << 3), content.len(), GROUP_SIZE as u64), Ok(()));
        refused(&windowed(6 << 3 | 1), "a window of 73728 bytes");
        refused(&windowed(0xff), "a window of");
    }

    #[test]
    fn no_frame_is_longer_than_zstd_says() {
        for length in [0, 1, 4096, 8192, 131_071, 131_072, 1 << 20, 64 << 20] {
            assert_eq!(compress_bound(length), zstd::zstd_safe::compress_bound(length), "{length}");
        }
    }

    #[test]
    fn both_libraries_unpack_the_same() {
        let text = "what a registry has is compressed ".repeat(4000).into_bytes();
        let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for content in [&text[..], &noise, &text[..1], &[0; 70_000], &[]] {
            for level in [1, 9, 19] {
                let frame = Compressor::new(level).unwrap().compress(content).unwrap();
                assert_eq!(check_frame(&frame, content.len(), 1 << WINDOW_LOG), Ok(()));
                let mut found = vec![0; content.len()];
                let mut decoder = portable::Decoder::new().unwrap();
                assert_eq!(decoder.unpack(&frame, &mut found), Ok(content.len()));
                assert_eq!(found, content);
                assert_eq!(unpack_frame(&frame, content.len()).unwrap(), content);
                let mut damaged = frame.clone();
                let middle = damaged.len() / 2;
                damaged[middle] ^= 0x10;
                // Whatever it makes of it, it does not panic.
                let _ = decoder.unpack(&damaged, &mut found);
            }
        }
    }
}
