//! The saved record of a network device: what the driver was told of it.

use super::{FrameSink, Mac, Net};
use crate::RestoreError;
use snapshot::{Record, SectionId};

const DEVICE: &str = "network device";

snapshot::saved! {
    /// A network device without its transport. Untrusted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NetState {
        /// Its address.
        pub mac: [u8; 6],
        /// Bytes of the largest IP packet.
        pub mtu: u16,
    }
}

impl Record for NetState {
    const ID: SectionId = SectionId::new(*b"ETHR");
    const VERSION: u16 = 1;
}

impl<S: FrameSink> Net<S> {
    /// The record of this device.
    pub fn save(&self) -> NetState {
        NetState { mac: self.mac, mtu: self.mtu }
    }

    /// The device of `state`, with its frames going to `sink`.
    pub fn restore(sink: S, state: &NetState) -> Result<Self, RestoreError> {
        let mac: Mac = state.mac;
        RestoreError::check(mac[0] & 1 == 0, DEVICE, "address", u64::from(mac[0]), "that of one device")?;
        RestoreError::check(state.mtu >= super::MIN_MTU, DEVICE, "MTU", u64::from(state.mtu), "68 or more")?;
        Ok(Self::new(sink, mac, state.mtu))
    }
}
