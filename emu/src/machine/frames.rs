//! Frames of the network, which the host and the guest exchange between two runs.

use devices::net::wire::Header;
use devices::net::{Offload, Pushed};
use devices::platform::{GuestMemory, Presence};
use devices::virtio::{DriverFault, Virtqueues};

use super::Machine;
use super::network::NetworkDevice;

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
