//! Makes a restored machine's random numbers its own.
//!
//! Every clone of a snapshot starts with the same generator. A write to `/dev/urandom`, and a credit too, only reach the input pool; what
//! programs get changes when the generator is rekeyed from it. So both are done, in this order (drivers/char/random.c, Linux 5.18 and later).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::sys::{self, PoolInfo};

/// Bytes that a host has to give at the least.
const SEED_MIN: usize = 32;
/// Bytes that are used at the most.
const SEED_MAX: usize = protocol::SEED_LEN;

/// Takes the host's seed from `file`, which is gone afterwards, and rekeys the kernel's generator with it.
pub fn rekey_from(file: &Path) -> Result<()> {
    let mut pool = PoolInfo { entropy_count: 0, buffer_size: 0, buffer: [0; SEED_MAX] };
    let outcome = take_seed(file, &mut pool).and_then(|()| rekey(&pool));
    pool.buffer.fill(0);
    // The seed must not stay in the memory of a machine that is checkpointed later; this keeps the compiler from dropping the fill.
    std::hint::black_box(&pool);
    outcome
}

/// Reads the seed into `pool` and removes its file, whatever was in it.
fn take_seed(file: &Path, pool: &mut PoolInfo<SEED_MAX>) -> Result<()> {
    let name = || file.display().to_string();
    let length = File::open(file).and_then(|source| read_up_to(source, &mut pool.buffer)).context("read the host's seed from", name())?;
    fs::remove_file(file).context("remove", name())?;
    if length < SEED_MIN {
        return Err(Error::ShortSeed { found: length, needed: SEED_MIN });
    }
    pool.buffer_size = length as i32;
    pool.entropy_count = pool.buffer_size * 8;
    Ok(())
}

/// Fills `buffer` as far as `source` goes. In place: no other copy of a seed is left in memory.
fn read_up_to(mut source: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

fn rekey(pool: &PoolInfo<SEED_MAX>) -> Result<()> {
    const DEVICE: &str = "/dev/urandom";
    let device = OpenOptions::new().write(true).open(DEVICE).context("open", DEVICE)?;
    sys::add_entropy(&device, pool).context("credit the host's seed to", DEVICE)?;
    sys::reseed_generator(&device).context("rekey", DEVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(content: &[u8]) -> (Result<()>, PoolInfo<SEED_MAX>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(protocol::SEED_FILE);
        fs::write(&file, content).unwrap();
        let mut pool = PoolInfo { entropy_count: 0, buffer_size: 0, buffer: [0; SEED_MAX] };
        (take_seed(&file, &mut pool), pool, file.exists())
    }

    #[test]
    fn a_seed_is_read_once() {
        let content: Vec<u8> = (1..=70).collect();
        let (outcome, pool, left) = take(&content);
        assert!(outcome.is_ok());
        assert_eq!((pool.buffer_size, pool.entropy_count), (64, 512));
        assert_eq!(pool.buffer[..], content[..SEED_MAX]);
        assert!(!left);
        assert_eq!(take(&content[..SEED_MIN]).1.entropy_count, 256);
    }

    #[test]
    fn a_short_seed_is_an_error_and_is_gone_too() {
        let (outcome, pool, left) = take(&[7; SEED_MIN - 1]);
        assert!(matches!(outcome, Err(Error::ShortSeed { found: 31, needed: 32 })));
        assert_eq!(pool.entropy_count, 0);
        assert!(!left);
    }

    #[test]
    fn no_seed_is_an_error() {
        let error = rekey_from(Path::new("/nonexistent/entropy")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/entropy"), "{error}");
    }
}
