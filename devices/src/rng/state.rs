//! The saved record of a deterministic stream. The entropy device itself has none: between requests it is all transport.

use super::DeterministicStream;
use snapshot::{Record, SectionId};

snapshot::saved! {
    /// Where a [`DeterministicStream`] stands. Untrusted, but every value of it is a stream.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StreamState {
        /// Key of the stream.
        pub seed: [u8; 32],
        /// Words of 32 bits drawn so far.
        pub words_drawn: u64,
    }
}

impl Record for StreamState {
    const ID: SectionId = SectionId::new(*b"RAND");
    const VERSION: u16 = 1;
}

impl DeterministicStream {
    /// The record of this stream.
    pub fn save(&self) -> StreamState {
        // The period, 2^68 words, is never reached, and neither is 2^64.
        let words_drawn = u64::try_from(self.generator.get_word_pos()).unwrap_or(u64::MAX);
        StreamState { seed: self.generator.get_seed(), words_drawn }
    }

    /// The stream of `state`.
    pub fn restore(state: &StreamState) -> Self {
        let mut stream = Self::new(state.seed);
        stream.generator.set_word_pos(u128::from(state.words_drawn));
        stream
    }
}
