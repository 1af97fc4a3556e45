//! What the module carries, as the table at the start of the payload tells.

use super::error::Failure;
use crate::config::{Config, Root};
use crate::payload::{Place, read};
use payload::{Error, HEADER_LEN, Metadata, PartKind, Table};
use protocol::network::GUEST_MAC;

/// The part of a configuration that the payload decides.
pub fn config() -> Result<Config, Failure> {
    let header = bytes(0, HEADER_LEN as u64)?;
    let header = header.first_chunk().ok_or_else(|| Error::malformed("the payload has no header"))?;
    let count = Table::part_count(header)?;
    let table = Table::decode(&bytes(0, Table::encoded_len(count) as u64)?)?;
    let place = |kind| {
        let part = table.part(kind)?;
        Ok::<_, Failure>(place(part.offset, part.length)?)
    };
    let metadata = place(PartKind::Metadata)?;
    let metadata = Metadata::decode(&bytes(metadata.offset.into(), metadata.length.into())?)?;
    let root = table.parts.iter().find(|part| part.kind == PartKind::Root);
    let root =
        root.map(|part| Ok::<_, Failure>(Root { place: self::place(part.offset, part.length)?, digest: part.digest })).transpose()?;
    let has_initramfs = table.part(PartKind::Initramfs).is_ok();
    Ok(Config {
        append: metadata.append,
        ram: table.size.ram_size,
        kernel: Some(place(PartKind::Kernel)?),
        root,
        upper: metadata.upper,
        network: metadata.network.then_some(GUEST_MAC),
        initramfs: has_initramfs.then(|| place(PartKind::Initramfs)).transpose()?,
        ..Config::default()
    })
}

fn place(offset: u64, length: u64) -> Result<Place, Error> {
    let number = |number| u32::try_from(number).map_err(|_| Error::malformed("a part lies behind 4 GiB"));
    Ok(Place { offset: number(offset)?, length: number(length)? })
}

fn bytes(offset: u64, length: u64) -> Result<Box<[u8]>, Failure> {
    let full = || crate::error::Error::OutOfMemory { what: "the payload's table", bytes: length };
    Ok(read(place(offset, length)?).ok_or_else(full)?)
}
