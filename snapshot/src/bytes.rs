//! The fields of a fixed layout, in order.

/// Takes little-endian fields off the front of an encoded structure. It holds as many bytes as its fields have, so
/// taking one too many is a mistake in the decoder, and panics.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub const fn new<const N: usize>(bytes: &'a [u8; N]) -> Self {
        Self(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self.0.split_at(N);
        self.0 = tail;
        let mut field = [0; N];
        field.copy_from_slice(head);
        field
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
