//! Shares: 9P mounts of the guest.

use devices::p9::{Access, FileSystem, P9, P9State};
use snapshot::{Sections, Writer};

use super::error::MachineError;
use super::model::{self, SlotRange};
use super::plug::Pluggable;

/// A host directory or another file system for the guest.
pub struct Share {
    /// Tag that the guest mounts it by.
    pub tag: String,
    /// Its contents.
    pub filesystem: Box<dyn FileSystem>,
    /// What the guest may do.
    pub access: Access,
}

/// A share as the guest sees it.
pub type ShareDevice = P9<Box<dyn FileSystem>>;

impl Pluggable for ShareDevice {
    const SLOTS: SlotRange = model::SHARES;
    type Part = Share;

    fn boot(share: Share, _: u16) -> Result<Self, MachineError> {
        Ok(Self::new(&share.tag, share.filesystem, share.access)?)
    }

    fn restore(share: Share, number: u16, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        let state = sections.take::<P9State>(number)?;
        if state.tag != share.tag {
            return Err(MachineError::WrongShare { number: number.into(), found: share.tag, wanted: state.tag });
        }
        Ok(Self::restore(share.filesystem, share.access, &state)?)
    }

    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError> {
        Ok(writer.add(number, &P9::save(self))?)
    }
}
