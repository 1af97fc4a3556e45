//! How layers and archives are compressed. What they begin with says so: media types and file names have been known to be wrong.

use super::error::ImageError;
use std::io::{self, BufRead, Read};

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Streams of LZMA2.
    Xz,
    /// Burrows and Wheeler's.
    Bzip2,
    /// One that is known by name only.
    Other(&'static str),
}

/// Bytes that zstd may look back by, as a power of two: as much as its own program takes unasked.
const ZSTD_WINDOW: u32 = 27;
/// KiB of memory for xz: enough for what its own program makes at its highest level.
const XZ_MEMORY: u32 = 128 << 10;

/// First bytes of each form.
const MAGIC: [(&[u8], Compression); 10] = [
    (&[0x1f, 0x8b], Compression::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    (b"BZh", Compression::Bzip2),
    (&[0x04, 0x22, 0x4d, 0x18], Compression::Other("lz4")),
    (b"LZIP", Compression::Other("lzip")),
    (&[0x5d, 0, 0], Compression::Other("lzma")),
    (&[0x89, b'L', b'Z', b'O', 0], Compression::Other("lzop")),
    (&[0x1f, 0x9d], Compression::Other("compress")),
    (&[0xff, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y'], Compression::Other("snappy")),
];

impl Compression {
    /// That of what begins with these bytes; some ten are enough.
    pub fn of(start: &[u8]) -> Self {
        // A zstd file may begin with frames that its readers skip: four bytes, the first of which has 16 values.
        if let [first, 0x2a, 0x4d, 0x18, ..] = start
            && first & 0xf0 == 0x50
        {
            return Self::Zstd;
        }
        MAGIC.into_iter().find(|(magic, _)| start.starts_with(magic)).map_or(Self::None, |(_, form)| form)
    }
}

/// Decompresses `blob`, which errors call `what`.
pub fn decompressed<'a>(mut blob: impl BufRead + 'a, what: &str) -> io::Result<Box<dyn Read + 'a>> {
    let what = what.to_owned();
    match Compression::of(blob.fill_buf()?) {
        Compression::None => Ok(Box::new(blob)),
        Compression::Gzip => Ok(Box::new(Named { inner: flate2::bufread::MultiGzDecoder::new(blob), what })),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(blob)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Ok(Box::new(Named { inner: decoder, what }))
        }
        Compression::Xz => Ok(Box::new(Named { inner: lzma_rust2::XzReader::new_mem_limit(blob, true, XZ_MEMORY), what })),
        Compression::Bzip2 => Ok(Box::new(Named { inner: bzip2::bufread::MultiBzDecoder::new(blob), what })),
        Compression::Other(form) => Err(ImageError::UnknownCompression { what, form }.into()),
    }
}

/// Says in a decompressor's errors what was decompressed.
struct Named<R> {
    inner: R,
    what: String,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.downcast::<ImageError>() {
            Ok(error) => error.into(),
            Err(source) if source.kind() == io::ErrorKind::Interrupted => source,
            Err(source) => ImageError::Compression { what: self.what.clone(), source }.into(),
        })
    }
}

/// Passes on no more than what is left of what all layers may have.
pub struct Bounded<R> {
    /// What is read.
    pub inner: R,
    /// Bytes that may still come.
    pub left: u64,
    /// Bytes that may come in all, for the message.
    pub limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or(ImageError::TooMuch { what: "bytes in layers", limit: self.limit })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_told_by_its_first_bytes() {
        assert_eq!(Compression::of(b"./\0\0"), Compression::None);
        assert_eq!(Compression::of(b""), Compression::None);
        assert_eq!(Compression::of(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), Compression::Zstd);
        assert_eq!(Compression::of(&[0x5f, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::of(&[0x60, 0x2a, 0x4d, 0x18]), Compression::None);
        assert_eq!(Compression::of(&[0x04, 0x22, 0x4d, 0x18]), Compression::Other("lz4"));
    }

    #[test]
    fn xz_takes_no_more_memory_than_it_may() {
        // A stream whose block asks for a dictionary of 1.5 GiB: header, then a block header with one filter, and their sums.
        let mut stream = vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0, 0xff, 0x12, 0xd9, 0x41];
        let block = [2, 0, 0x21, 1, 37, 0, 0, 0];
        stream.extend(block);
        let mut sum = flate2::Crc::new();
        sum.update(&block);
        stream.extend(sum.sum().to_le_bytes());
        stream.extend([1; 64]);
        let error = decompressed(stream.as_slice(), "x").unwrap().read(&mut [0; 10]).unwrap_err();
        assert!(error.to_string().contains("mem_limit"), "{error}");
    }
}
