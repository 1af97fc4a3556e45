//! The network device: frames leave and enter it between two runs.

use devices::net::wire::Header;
use devices::net::{FrameQueue, Mac, Net, NetState, Offload, Pushed};
use devices::platform::{GuestMemory, Presence};
use devices::virtio::{DriverFault, Virtqueues};
use snapshot::{Sections, Writer};

use super::Machine;
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

impl Machine {
    /// What the guest's driver takes, if there is a network device.
    pub fn network(&mut self) -> Option<Offload> {
        self.with_network(|_, queues| Ok(NetworkDevice::offload(queues)))
    }

    /// Takes the frames that the guest has sent, from their Ethernet headers on.
    pub fn take_frames(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.board_mut().slots.get_mut::<NetworkDevice>(0).map(|network| network.device_mut().sink_mut().take()).unwrap_or_default()
    }

    /// Gives the guest a frame, from its Ethernet header on. A machine without a network device refuses it.
    pub fn push_frame(&mut self, header: Header, frame: &[u8]) -> Pushed {
        let pushed = self.with_network(|network, queues| network.push_frame(header, frame, queues));
        match self.cpu.mmu.ram().presence() {
            // Its buffers are somewhere in memory that could not be brought in, which the next run tries again.
            Presence::Stalled => Pushed::NoRoom,
            _ => pushed.unwrap_or(Pushed::Refused),
        }
    }

    fn with_network<R>(&mut self, work: impl FnOnce(&mut NetworkDevice, &mut Virtqueues<'_>) -> Result<R, DriverFault>) -> Option<R> {
        self.with_board(|board, memory, now| board.with_device(0, memory, now, work))
    }
}
