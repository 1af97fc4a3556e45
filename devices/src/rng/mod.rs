//! virtio-rng (section 5.4) over an [`EntropySource`].

mod state;
mod stream;

pub use state::StreamState;
pub use stream::DeterministicStream;

use crate::virtio::spec::device_id;
use crate::virtio::{DriverFault, VirtioDevice, Virtqueues};

/// Where random bytes come from.
pub trait EntropySource {
    /// Fills `bytes`, all of them.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<E: EntropySource + ?Sized> EntropySource for Box<E> {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

const REQUEST_QUEUE_SIZE: u16 = 8;

/// Most bytes that one request gets. The driver may ask for more, and the used length tells it (section 5.4.6.1).
pub const MAX_BYTES_PER_REQUEST: usize = 4096;

/// The entropy device. Between requests it has no state of its own: what is saved is its transport, and its source where that is a
/// [`DeterministicStream`].
#[derive(Debug)]
pub struct Rng<E> {
    source: E,
}

impl<E: EntropySource> Rng<E> {
    /// A device that hands out the bytes of `source`.
    pub fn new(source: E) -> Self {
        Self { source }
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &E {
        &self.source
    }

    /// Where the bytes come from.
    pub fn source_mut(&mut self) -> &mut E {
        &mut self.source
    }
}

impl<E: EntropySource> VirtioDevice for Rng<E> {
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
            self.source.fill(&mut buffer[..wanted]);
            chain.write(queues.memory, &buffer[..wanted])?;
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}
