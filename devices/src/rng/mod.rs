//! virtio-rng (section 5.4) over any random generator of `rand_core`.

mod state;
mod stream;

pub use state::StreamState;
pub use stream::DeterministicStream;

use rand_core::Rng;

use crate::virtio::spec::device_id;
use crate::virtio::{DriverFault, VirtioDevice, Virtqueues};

const REQUEST_QUEUE_SIZE: u16 = 8;

/// Most bytes that one request gets. The driver may ask for more, and the used length tells it (section 5.4.6.1).
pub const MAX_BYTES_PER_REQUEST: usize = 4096;

/// The entropy device. Between requests it has no state of its own: what is saved is its transport, and its source where that is a
/// [`DeterministicStream`].
#[derive(Debug)]
pub struct EntropyDevice<R> {
    source: R,
}

impl<R: Rng> EntropyDevice<R> {
    /// A device that hands out the bytes of `source`.
    pub fn new(source: R) -> Self {
        Self { source }
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &R {
        &self.source
    }
}

impl<R: Rng> VirtioDevice for EntropyDevice<R> {
    fn device_id(&self) -> u32 {
        device_id::ENTROPY
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[REQUEST_QUEUE_SIZE]
    }

    fn read_config(&self, _offset: u64, _bytes: &mut [u8]) {}

    fn notify(&mut self, queue: u16, queues: &mut Virtqueues<'_>) -> Result<(), DriverFault> {
        let mut buffer = [0; MAX_BYTES_PER_REQUEST];
        while let Some(mut chain) = queues.next(queue)? {
            let wanted = usize::try_from(chain.writable()).unwrap_or(usize::MAX).min(MAX_BYTES_PER_REQUEST);
            self.source.fill_bytes(&mut buffer[..wanted]);
            chain.write(queues.memory, &buffer[..wanted])?;
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}
