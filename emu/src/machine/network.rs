//! The network device.

use devices::net::{FrameQueue, Mac, Net, NetState};
use snapshot::{Sections, Writer};

use super::error::MachineError;
use super::model::{self, SlotRange};
use super::plug::Pluggable;

/// The network device as the guest sees it.
pub type NetworkDevice = Net<FrameQueue>;

impl Pluggable for NetworkDevice {
    const SLOTS: SlotRange = model::NETWORK;
    type Part = Mac;

    fn boot(mac: Mac, _: u16) -> Result<Self, MachineError> {
        Ok(Self::new(FrameQueue::default(), mac, model::MAX_MTU))
    }

    fn restore(_: Mac, number: u16, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        Ok(Self::restore(FrameQueue::default(), &sections.take::<NetState>(number)?)?)
    }

    /// What the guest has sent and the host has not taken is lost, like all that is under way on a wire.
    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError> {
        Ok(writer.add(number, &Net::save(self))?)
    }
}
