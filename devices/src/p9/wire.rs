//! 9P2000.L messages: little-endian integers, strings behind a `u16` length. Each request stands once, in the table at
//! the end; the reply's type is the request's plus one.

use super::Errno;

/// Bytes of `size[4] type[1] tag[2]`, with which every message begins.
pub(super) const HEADER: usize = 7;
/// The version that is spoken here.
pub(super) const VERSION: &[u8] = b"9P2000.L";
/// The answer to a version that is not.
pub(super) const VERSION_UNKNOWN: &[u8] = b"unknown";
/// Tag of a reply to a message whose own could not be read.
pub(super) const NO_TAG: u16 = u16::MAX;
/// The fid that stands for none.
pub(super) const NO_FID: u32 = u32::MAX;
/// Most names in a `Twalk`.
pub(super) const MAX_WALK: usize = 16;

const RLERROR: u8 = 7;
/// Bytes of an `Rlerror`.
const RLERROR_SIZE: usize = HEADER + 4;

/// A message that is not as the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is left of a message's body.
pub(super) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }
}

/// A field of a request.
pub(super) trait Field<'a>: Sized {
    fn decode(body: &mut Body<'a>) -> Result<Self, Malformed>;
    #[cfg(test)]
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! integer_fields {
    ($($integer:ty)+) => {$(
        impl<'a> Field<'a> for $integer {
            fn decode(body: &mut Body<'a>) -> Result<Self, Malformed> {
                let (bytes, tail) = body.0.split_first_chunk().ok_or(Malformed)?;
                body.0 = tail;
                Ok(Self::from_le_bytes(*bytes))
            }
            #[cfg(test)]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )+};
}
integer_fields!(u8 u16 u32 u64);

/// A string: `length[2]` and so many bytes, of no particular encoding.
impl<'a> Field<'a> for &'a [u8] {
    fn decode(body: &mut Body<'a>) -> Result<Self, Malformed> {
        let length = u16::decode(body)?;
        body.take(usize::from(length))
    }
    #[cfg(test)]
    fn encode(&self, out: &mut Vec<u8>) {
        u16::try_from(self.len()).unwrap().encode(out);
        out.extend_from_slice(self);
    }
}

/// The names of a `Twalk`: `count[2]` and so many strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names<'a>(pub Vec<&'a [u8]>);

impl<'a> Field<'a> for Names<'a> {
    fn decode(body: &mut Body<'a>) -> Result<Self, Malformed> {
        let count = usize::from(u16::decode(body)?);
        if count > MAX_WALK {
            return Err(Malformed);
        }
        (0..count).map(|_| Field::decode(body)).collect::<Result<_, _>>().map(Self)
    }
    #[cfg(test)]
    fn encode(&self, out: &mut Vec<u8>) {
        u16::try_from(self.0.len()).unwrap().encode(out);
        self.0.iter().for_each(|name| name.encode(out));
    }
}

/// The data of a `Twrite`: `count[4]` and so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Data<'a> {
    fn decode(body: &mut Body<'a>) -> Result<Self, Malformed> {
        let length = u32::decode(body)?;
        body.take(usize::try_from(length).map_err(|_| Malformed)?).map(Self)
    }
    #[cfg(test)]
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.0.len()).unwrap().encode(out);
        out.extend_from_slice(self.0);
    }
}

macro_rules! structure_field {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub(super) struct $name {
            $(pub $field: $type,)*
        }

        impl<'a> Field<'a> for $name {
            fn decode(body: &mut Body<'a>) -> Result<Self, Malformed> {
                Ok(Self { $($field: Field::decode(body)?),* })
            }
            #[cfg(test)]
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
        }
    };
}

structure_field! {
    /// What a `Tsetattr` changes: `valid` says which of the others count.
    Changes {
        valid: u32, mode: u32, uid: u32, gid: u32, size: u64,
        atime_sec: u64, atime_nsec: u64, mtime_sec: u64, mtime_nsec: u64,
    }
}

/// A file as the client knows it: same `path`, same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qid {
    /// [`FileKind::qid_type`](super::FileKind::qid_type).
    pub kind: u8,
    /// Changes with the content.
    pub version: u32,
    /// The file's number.
    pub path: u64,
}

impl Qid {
    /// Bytes on the wire.
    pub const SIZE: usize = 13;
}

/// A reply in the making, at the end of a buffer.
///
/// Replies of a fixed size are simply written; one of a variable size first asks how much [`room`](Self::room) there is.
pub(super) struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
    /// Where this reply, or this part of one, begins.
    start: usize,
    /// How long the buffer may become.
    limit: usize,
}

impl<'a> Reply<'a> {
    /// Begins a reply of at most `limit` bytes; the buffer is emptied.
    pub fn new(buffer: &'a mut Vec<u8>, limit: usize) -> Self {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Self { buffer, start: HEADER, limit }
    }
    /// Bytes that can still be written.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.buffer.len())
    }
    /// Lowers the limit to what client and server agreed on.
    pub fn restrict(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
    }
    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
    pub fn u8(&mut self, value: u8) {
        self.buffer.push(value);
    }
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
    /// A string; `ERANGE` if it does not fit.
    pub fn string(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let length = u16::try_from(bytes.len()).map_err(|_| Errno::ERANGE)?;
        if bytes.len() + 2 > self.room() {
            return Err(Errno::ERANGE);
        }
        self.u16(length);
        self.bytes(bytes);
        Ok(())
    }
    pub fn qid(&mut self, qid: Qid) {
        self.u8(qid.kind);
        self.u32(qid.version);
        self.u64(qid.path);
    }
    /// `count[4]` and then what `write` writes, which is given room for at most `count` bytes.
    pub fn counted<E>(&mut self, count: u32, write: impl FnOnce(&mut Reply<'_>) -> Result<(), E>) -> Result<(), E> {
        self.u32(0);
        let start = self.buffer.len();
        let end = start.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        write(&mut Reply { limit: self.limit.min(end), start, buffer: self.buffer })?;
        let length = size_field(self.buffer.len() - start);
        self.buffer[start - length.len()..start].copy_from_slice(&length);
        Ok(())
    }
    /// The bytes that `fill` puts into a slice of all the room there is: it returns how many.
    pub fn fill(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        let (start, room) = (self.buffer.len(), self.room());
        self.buffer.resize(start + room, 0);
        let length = fill(&mut self.buffer[start..])?;
        self.buffer.truncate(start + length);
        Ok(())
    }
    /// Completes the reply to a request of type `request`, or makes it an `Rlerror` if `outcome` is one. A reply that
    /// the client left no room for is an `Rlerror` too, or empty if not even that fits.
    pub fn finish(self, request: u8, tag: u16, outcome: Result<(), Errno>) {
        let fits = self.buffer.len() <= self.limit;
        let kind = match outcome.and(if fits { Ok(()) } else { Err(Errno::ERANGE) }) {
            Ok(()) => request.wrapping_add(1),
            Err(_) if self.limit < RLERROR_SIZE => return self.buffer.clear(),
            Err(errno) => {
                self.buffer.truncate(HEADER);
                self.buffer.extend_from_slice(&errno.get().to_le_bytes());
                RLERROR
            }
        };
        let size = size_field(self.buffer.len());
        self.buffer[..4].copy_from_slice(&size);
        self.buffer[4] = kind;
        self.buffer[5..HEADER].copy_from_slice(&tag.to_le_bytes());
    }
}

/// A length as the protocol writes it. Replies are far below 4 GiB.
fn size_field(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// The header of a message: type and tag. `None` if there is not even that.
pub(super) fn header(message: &[u8]) -> Option<(u8, u16)> {
    match *message {
        [_, _, _, _, kind, low, high, ..] => Some((kind, u16::from_le_bytes([low, high]))),
        _ => None,
    }
}

macro_rules! requests {
    ($($number:literal $name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        /// A request, decoded. The names and fields are those of the protocol.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) enum TMessage<'a> {
            $($name { $($field: $type),* },)+
        }

        impl<'a> TMessage<'a> {
            /// Decodes a whole message: as long as it says, without a byte left over. `Ok(None)` is a type that is not known.
            pub fn decode(message: &'a [u8]) -> Result<Option<Self>, Malformed> {
                let mut body = Body(message);
                let size = u32::decode(&mut body)?;
                if usize::try_from(size) != Ok(message.len()) {
                    return Err(Malformed);
                }
                let kind = u8::decode(&mut body)?;
                u16::decode(&mut body)?;
                let request = match kind {
                    $($number => Self::$name { $($field: Field::decode(&mut body)?),* },)+
                    _ => return Ok(None),
                };
                if body.0.is_empty() { Ok(Some(request)) } else { Err(Malformed) }
            }

            /// The message, as a client sends it.
            #[cfg(test)]
            pub fn encode(&self, tag: u16) -> Vec<u8> {
                let mut out = vec![0; HEADER];
                match self {
                    $(Self::$name { $($field),* } => {
                        out[4] = $number;
                        $($field.encode(&mut out);)*
                    })+
                }
                out[5..HEADER].copy_from_slice(&tag.to_le_bytes());
                let size = size_field(out.len());
                out[..4].copy_from_slice(&size);
                out
            }
        }
    };
}

requests! {
    8 Statfs { fid: u32 }
    12 Lopen { fid: u32, flags: u32 }
    14 Lcreate { fid: u32, name: &'a [u8], flags: u32, mode: u32, gid: u32 }
    16 Symlink { fid: u32, name: &'a [u8], text: &'a [u8], gid: u32 }
    18 Mknod { dfid: u32, name: &'a [u8], mode: u32, major: u32, minor: u32, gid: u32 }
    20 Rename { fid: u32, dfid: u32, name: &'a [u8] }
    22 Readlink { fid: u32 }
    24 Getattr { fid: u32, request_mask: u64 }
    26 Setattr { fid: u32, changes: Changes }
    30 Xattrwalk { fid: u32, newfid: u32, name: &'a [u8] }
    32 Xattrcreate { fid: u32, name: &'a [u8], size: u64, flags: u32 }
    40 Readdir { fid: u32, offset: u64, count: u32 }
    50 Fsync { fid: u32, datasync: u32 }
    52 Lock { fid: u32, kind: u8, flags: u32, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
    54 Getlock { fid: u32, kind: u8, start: u64, length: u64, proc_id: u32, client_id: &'a [u8] }
    70 Link { dfid: u32, fid: u32, name: &'a [u8] }
    72 Mkdir { dfid: u32, name: &'a [u8], mode: u32, gid: u32 }
    74 Renameat { olddirfid: u32, oldname: &'a [u8], newdirfid: u32, newname: &'a [u8] }
    76 Unlinkat { dfid: u32, name: &'a [u8], flags: u32 }
    100 Version { msize: u32, version: &'a [u8] }
    102 Auth { afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: u32 }
    104 Attach { fid: u32, afid: u32, uname: &'a [u8], aname: &'a [u8], n_uname: u32 }
    108 Flush { oldtag: u16 }
    110 Walk { fid: u32, newfid: u32, names: Names<'a> }
    116 Read { fid: u32, offset: u64, count: u32 }
    118 Write { fid: u32, offset: u64, data: Data<'a> }
    120 Clunk { fid: u32 }
    122 Remove { fid: u32 }
}
