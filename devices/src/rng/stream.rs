//! Random bytes that everyone can know: what a machine gets while it is baked.

use std::convert::Infallible;

use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryRng};

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

impl TryRng for DeterministicStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.generator.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.generator.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.generator.try_fill_bytes(bytes)
    }
}
