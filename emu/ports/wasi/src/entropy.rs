//! The host's random bytes, through WASI.

use devices::rng::EntropySource;
use std::ffi::{c_int, c_void};

/// WASI's `random_get`.
pub struct WasiEntropy;

/// Most bytes that one call gives.
const LIMIT: usize = 256;

impl EntropySource for WasiEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        unsafe extern "C" {
            fn getentropy(buffer: *mut c_void, length: usize) -> c_int;
        }
        for piece in bytes.chunks_mut(LIMIT) {
            // SAFETY: the buffer is valid for its length.
            if unsafe { getentropy(piece.as_mut_ptr().cast(), piece.len()) } != 0 {
                // No guest runs on with bytes that are not random.
                std::process::abort();
            }
        }
    }
}
