//! The host's random bytes, through WASI.

use std::convert::Infallible;
use std::ffi::{c_int, c_void};

use rand_core::TryRng;
use rand_core::utils::next_word_via_fill;

/// WASI's `random_get`.
pub struct WasiEntropy;

/// Most bytes that one call gives.
const LIMIT: usize = 256;

impl TryRng for WasiEntropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
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
        Ok(())
    }
}
