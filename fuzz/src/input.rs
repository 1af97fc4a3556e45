//! The fuzzer's bytes, taken one value at a time. What is not there is zero, so every input means something.

/// What is left of an input.
#[derive(Debug, Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of an input.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `length` bytes.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.iter_mut().zip(self.bytes(N)).for_each(|(to, from)| *to = *from);
        array
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A bit, for which a byte is taken.
    pub fn bit(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `end`, for which a byte is taken.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end
    }

    /// One of `values`, which are not none.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// A number: mostly small, or at one of the edges where mistakes are made.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            small @ 0..=0x9f => u64::from(small),
            0xa0..=0xbf => u64::from(self.u16()),
            0xc0..=0xcf => u64::from(self.u32()),
            0xd0..=0xdf => self.u64(),
            edge @ 0xe0..=0xef => (1_u64 << (4 * (edge & 15))).wrapping_sub(1),
            edge => 1_u64 << (4 * (edge & 15)),
        }
    }
}
