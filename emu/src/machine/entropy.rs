//! The guest's random bytes.

use std::convert::Infallible;

use devices::rng::{DeterministicStream, EntropyDevice, StreamState};
use rand_core::{Rng, TryRng};
use snapshot::{Sections, Writer};

use super::error::MachineError;
use super::model::{self, SlotRange};
use super::plug::Pluggable;

/// Where the guest's random bytes come from.
pub enum Entropy {
    /// The published stream: what baking uses. A restored machine goes on where the stream was.
    Published,
    /// The host.
    Host(Box<dyn Rng>),
}

/// The entropy device's source, which is saved if it is the published stream.
pub enum EntropyPort {
    /// The published stream.
    Published(Box<DeterministicStream>),
    /// The host.
    Host(Box<dyn Rng>),
}

impl TryRng for EntropyPort {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            Self::Published(stream) => stream.try_next_u32(),
            Self::Host(source) => source.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            Self::Published(stream) => stream.try_next_u64(),
            Self::Host(source) => source.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self {
            Self::Published(stream) => stream.try_fill_bytes(bytes),
            Self::Host(source) => source.try_fill_bytes(bytes),
        }
    }
}

impl Entropy {
    /// The source at power-on.
    pub(super) fn at_power_on(self) -> EntropyPort {
        match self {
            Self::Published => EntropyPort::Published(Box::new(DeterministicStream::new(DeterministicStream::BAKE_SEED))),
            Self::Host(source) => EntropyPort::Host(source),
        }
    }

    /// The source of a restored machine.
    pub(super) fn restored(self, sections: &mut Sections<'_>) -> Result<EntropyPort, MachineError> {
        let saved = sections.take_if_present::<StreamState>(0)?;
        Ok(match (self, saved) {
            (Self::Published, Some(state)) => EntropyPort::Published(Box::new(DeterministicStream::restore(&state))),
            (entropy, _) => entropy.at_power_on(),
        })
    }
}

impl Pluggable for EntropyDevice<EntropyPort> {
    const SLOTS: SlotRange = model::ENTROPY;
    /// Linux draws from it on its own, now and then, for ever.
    const IS_WORK: bool = false;
    type Part = EntropyPort;

    fn boot(source: EntropyPort, _: u16) -> Result<Self, MachineError> {
        Ok(Self::new(source))
    }

    fn restore(source: EntropyPort, _: u16, _: &mut Sections<'_>) -> Result<Self, MachineError> {
        Ok(Self::new(source))
    }

    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError> {
        match self.source() {
            EntropyPort::Published(stream) => Ok(writer.add(number, &stream.save())?),
            EntropyPort::Host(_) => Ok(()),
        }
    }
}
