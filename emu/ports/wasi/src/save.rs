//! A snapshot without its pages, which the host reads from and writes to guest RAM itself.

use crate::error::Error;
use emu::machine::Machine;
use snapshot::{ReadAt, Writer};
use std::io;

/// The start of a snapshot: everything in front of its pages.
pub struct Head {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How long the whole file is.
    pub file_length: u64,
}

impl ReadAt for Head {
    fn byte_len(&self) -> u64 {
        self.file_length
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.as_slice().read_exact_at(buffer, offset)
    }
}

/// The machine's records, as a snapshot of a machine whose memory is all zero, disks included.
pub fn records(machine: &mut Machine) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(machine.id());
    machine.save(&mut writer)?;
    Ok(writer.records()?)
}
