//! Records to bytes and back. The serialisation library is named in this file alone, so that it can be replaced:
//! the golden files pin the bytes.

use crate::{Error, SectionId};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::{DecoderImpl, read::Reader};
use bincode::error::DecodeError;

/// What [`saved!`](crate::saved) needs in scope; not for use by name.
#[doc(hidden)]
pub use bincode as __codec;
pub use bincode::{Decode, Encode};

/// State that has a section of its own in a snapshot.
///
/// A record is plain data. Whoever restores it validates it: its bytes may come from anyone.
pub trait Record: Encode + Decode<()> {
    /// Four letters that name the section.
    const ID: SectionId;
    /// Version of this record's fields. Any change of a field, its type or their order raises it.
    const VERSION: u16;
    /// Whether a reader that does not know the section must refuse the snapshot.
    const CRITICAL: bool = true;
}

/// Bytes that all the sections of a snapshot may have together.
pub const MAX_SECTIONS_LEN: usize = 64 << 20;

/// Decoding may ask for this many bytes of memory for each byte of the body …
const MEMORY_PER_BODY_BYTE: usize = 16;
/// … and this many more, for records whose values are larger in memory than encoded.
const MEMORY_SLACK: usize = 1 << 20;
const MEMORY_LIMIT: usize = MEMORY_PER_BODY_BYTE * MAX_SECTIONS_LEN + MEMORY_SLACK;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MEMORY_LIMIT>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MEMORY_LIMIT>();

/// The body of a section. Fails if the record is larger than [`MAX_SECTIONS_LEN`] or a value in it cannot be encoded.
pub fn encode_record<R: Record>(record: &R) -> Result<Vec<u8>, Error> {
    let body =
        bincode::encode_to_vec(record, CONFIG).map_err(|error| Error::RecordNotEncodable { id: R::ID, problem: error.to_string() })?;
    if body.len() > MAX_SECTIONS_LEN {
        return Err(Error::SectionsTooLong { found: body.len() as u64 });
    }
    Ok(body)
}

/// The record that a section's body holds, all of it: bytes left over are an error.
///
/// Memory asked for while decoding is bounded by the length of the body (16 bytes for each, and 1 MiB), whatever the
/// lengths inside it claim.
pub fn decode_record<R: Record>(body: &[u8]) -> Result<R, Error> {
    let invalid = |error: DecodeError| Error::invalid_record::<R>(error.to_string());
    let budget = body.len().saturating_mul(MEMORY_PER_BODY_BYTE).saturating_add(MEMORY_SLACK).min(MEMORY_LIMIT);
    let mut decoder = DecoderImpl::new(Body(body), CONFIG, ());
    // The library's limit is a constant; claiming the rest beforehand makes it this body's.
    bincode::de::Decoder::claim_bytes_read(&mut decoder, MEMORY_LIMIT - budget).map_err(invalid)?;
    let record = R::decode(&mut decoder).map_err(invalid)?;
    match bincode::de::Decoder::reader(&mut decoder).0.len() {
        0 => Ok(record),
        unconsumed => Err(Error::RecordNotConsumed { id: R::ID, unconsumed: unconsumed as u64, length: body.len() as u64 }),
    }
}

/// The part of a section's body that is still to be decoded.
struct Body<'a>(&'a [u8]);

impl Reader for Body<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let Some((head, tail)) = self.0.split_at_checked(bytes.len()) else {
            return Err(DecodeError::UnexpectedEnd { additional: bytes.len() - self.0.len() });
        };
        bytes.copy_from_slice(head);
        self.0 = tail;
        Ok(())
    }
}

/// Makes types fit to be in a [`Record`]: derives `Encode` and `Decode` for each item.
///
/// Encoded are the fields in order, integers at their full width in little-endian order, `bool` as one byte 0 or 1, an
/// array as its elements, a `Vec`, `String` or map as a `u64` count and its elements, an `Option` as one byte 0 or 1
/// and the value. So:
///
/// - integers have explicit widths, never `usize`;
/// - an enum has no fields and gives every variant its number (encoded as `u32`);
/// - maps are ordered (`BTreeMap`);
/// - no `Vec` of a type without bytes.
///
/// ```
/// use snapshot::{Record, SectionId, decode_record, encode_record};
///
/// snapshot::saved! {
///     /// The serial port.
///     #[derive(Debug, Clone, PartialEq, Eq)]
///     pub struct SerialState {
///         /// Line control register.
///         pub lcr: u8,
///         /// Bytes received and not yet read by the guest.
///         pub received: Vec<u8>,
///         /// Who waits.
///         pub irq: Irq,
///     }
///
///     /// The interrupt line.
///     #[derive(Debug, Clone, Copy, PartialEq, Eq)]
///     pub enum Irq {
///         /// Nothing to say.
///         Low = 0,
///         /// Waiting to be served.
///         High = 1,
///     }
/// }
///
/// impl Record for SerialState {
///     const ID: SectionId = SectionId::new(*b"UART");
///     const VERSION: u16 = 1;
/// }
///
/// # fn main() -> Result<(), snapshot::Error> {
/// let state = SerialState { lcr: 3, received: b"ok".to_vec(), irq: Irq::High };
/// let body = encode_record(&state)?;
/// assert_eq!(body, *b"\x03\x02\0\0\0\0\0\0\0ok\x01\0\0\0");
/// assert_eq!(decode_record::<SerialState>(&body)?, state);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! saved {
    ($($item:item)+) => {$(
        #[derive($crate::__codec::Encode, $crate::__codec::Decode)]
        #[bincode(crate = "::snapshot::__codec")]
        $item
    )+};
}
