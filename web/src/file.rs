//! Files of the host: what is read at any place, and what is written.

use crate::error::message;
use js_sys::Uint8Array;
use snapshot::ReadAt;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// A file that can be read at any place without waiting. What has not come yet is an error.
    pub type HostFile;

    /// Bytes of it.
    #[wasm_bindgen(method, getter)]
    fn size(this: &HostFile) -> f64;

    /// Up to `length` bytes from `offset`: fewer only at the end of the file. Throws if they cannot be read now.
    #[wasm_bindgen(method, catch)]
    fn read(this: &HostFile, offset: f64, length: u32) -> Result<Uint8Array, JsValue>;

    /// A file that is written.
    pub type Sink;

    /// Writes all of `bytes` at `offset`, or throws.
    #[wasm_bindgen(method, catch)]
    fn write(this: &Sink, bytes: &[u8], offset: f64) -> Result<(), JsValue>;
}

/// A file that a snapshot is read from.
pub struct Source(pub HostFile);

impl ReadAt for Source {
    fn byte_len(&self) -> u64 {
        self.0.size() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = u32::try_from(buffer.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let bytes = self.0.read(offset as f64, length).map_err(|thrown| thrown_error(&thrown))?;
        if bytes.length() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_to(buffer);
        Ok(())
    }
}

/// Parts of a file, for JavaScript: of each its start and its end.
pub fn places(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<f64> {
    ranges.into_iter().flat_map(|range| [range.start as f64, range.end as f64]).collect()
}

/// A file that a snapshot is written to, from its start.
pub struct Writing<'a> {
    sink: &'a Sink,
    at: u64,
}

impl<'a> Writing<'a> {
    pub const fn new(sink: &'a Sink) -> Self {
        Self { sink, at: 0 }
    }
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes, self.at as f64).map_err(|thrown| thrown_error(&thrown))?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Writing<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let place = match position {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            SeekFrom::End(_) => None,
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn thrown_error(thrown: &JsValue) -> io::Error {
    io::Error::other(message(thrown))
}
