//! Random bytes that everyone can know: what a machine gets while it is baked.

use super::EntropySource;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The keystream of ChaCha20 (64-bit counter and nonce, both from zero) under a key that is not secret. Each draw takes whole
/// little-endian words of 32 bits; what is left of the last one is dropped.
#[derive(Debug, Clone)]
pub struct DeterministicStream {
    pub(super) generator: ChaCha20Rng,
}

impl DeterministicStream {
    /// The key that baking uses, published so that anyone can bake the same bytes.
    pub const BAKE_SEED: [u8; 32] = *b"prebake: known to all, no secret";

    /// The stream of `seed` from its start.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { generator: ChaCha20Rng::from_seed(seed) }
    }
}

impl EntropySource for DeterministicStream {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }
}
