//! A disk whose contents are one range of memory, byte for byte: what the host maps there is on the disk.

use std::ops::Range;

use devices::blk::{BLOCK_SIZE, BlockBackend, BlockError, BlockSource};
use devices::platform::{GuestMemory, GuestPhysAddr};

use crate::bus::{PAGE_SIZE, Ram};

const _: () = assert!(PAGE_SIZE == BLOCK_SIZE as u64);

/// Memory of the host as a disk. A block that nobody has written, or that was written with zeroes alone, takes none of it.
pub struct MemoryDisk {
    memory: Ram,
    /// It was all zero when it was made, so it still is where it was not written.
    was_zero: bool,
}

impl MemoryDisk {
    /// The disk of a machine at power-on: `memory` is zero.
    pub fn zeroed(memory: Ram) -> Self {
        Self { memory, was_zero: true }
    }

    /// The disk of a snapshot, whose pages `memory` already holds, or will by the time they are read.
    pub fn restored(memory: Ram) -> Self {
        Self { memory, was_zero: false }
    }

    /// What it holds.
    pub fn memory(&self) -> &Ram {
        &self.memory
    }

    /// Whether a range within one block is all zero. Memory that is known to be is not touched for it.
    fn is_zero(&mut self, offset: u64, length: usize) -> Result<bool, BlockError> {
        let written = self.memory.dirty_pages().get((offset / PAGE_SIZE) as usize);
        if self.was_zero && written == Some(&false) {
            return Ok(true);
        }
        let mut block = [0; BLOCK_SIZE];
        let bytes = &mut block[..length];
        self.read_at(offset, bytes)?;
        Ok(bytes.iter().all(|&byte| byte == 0))
    }

    /// Makes whole blocks zero and gives their memory back.
    fn clear(&mut self, mut blocks: Range<u64>) -> Result<(), BlockError> {
        while !blocks.is_empty() {
            let mut end = blocks.start;
            while end < blocks.end && !self.is_zero(end * PAGE_SIZE, BLOCK_SIZE)? {
                end += 1;
            }
            if end > blocks.start {
                self.memory.clear(blocks.start * PAGE_SIZE..end * PAGE_SIZE);
            }
            // The block at `end` is zero already.
            blocks.start = end + 1;
        }
        Ok(())
    }
}

impl BlockSource for MemoryDisk {
    fn size(&self) -> u64 {
        self.memory.size()
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.memory.read(GuestPhysAddr::new(offset), bytes).map_err(|_| BlockError::Host)
    }
}

impl BlockBackend for MemoryDisk {
    fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), BlockError> {
        while !bytes.is_empty() {
            let in_block = (PAGE_SIZE - offset % PAGE_SIZE) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(in_block));
            // File systems clear much that is clear.
            if now.iter().any(|&byte| byte != 0) || !self.is_zero(offset, now.len())? {
                self.memory.write(GuestPhysAddr::new(offset), now).map_err(|_| BlockError::Host)?;
            }
            offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn write_zeroes_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        let zeroes = [0; BLOCK_SIZE];
        let whole = whole_blocks(offset, length);
        if whole.is_empty() {
            // At most the end of one block and the start of the next.
            let first = length.min(PAGE_SIZE - offset % PAGE_SIZE);
            self.write_at(offset, &zeroes[..first as usize])?;
            return self.write_at(offset + first, &zeroes[..(length - first) as usize]);
        }
        let (start, end) = (whole.start * PAGE_SIZE, whole.end * PAGE_SIZE);
        self.write_at(offset, &zeroes[..(start - offset) as usize])?;
        self.clear(whole)?;
        self.write_at(end, &zeroes[..(offset + length - end) as usize])
    }

    /// Whole blocks read as zero afterwards and take no memory; what is discarded of others stays.
    fn discard_at(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.clear(whole_blocks(offset, length))
    }

    /// A snapshot is what makes it durable.
    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// The blocks that lie within a range.
fn whole_blocks(offset: u64, length: u64) -> Range<u64> {
    offset.div_ceil(PAGE_SIZE)..(offset + length) / PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::VecBacking;
    use proptest::prelude::*;

    const BLOCKS: u64 = 16;
    const SIZE: usize = BLOCKS as usize * BLOCK_SIZE;

    fn memory() -> Ram {
        Ram::new(Box::new(VecBacking::new(SIZE).unwrap()))
    }

    fn written(disk: &MemoryDisk) -> Vec<u64> {
        (0..BLOCKS).filter(|&block| disk.memory().dirty_pages()[block as usize]).collect()
    }

    #[test]
    fn zeroes_over_zeroes_are_not_written() {
        let mut fresh = MemoryDisk::zeroed(memory());
        let mut restored = MemoryDisk::restored(memory());
        for disk in [&mut fresh, &mut restored] {
            disk.write_at(100, &vec![0; SIZE - 200]).unwrap();
            disk.write_zeroes_at(0, SIZE as u64).unwrap();
            disk.discard_at(0, SIZE as u64).unwrap();
            assert_eq!(written(disk), [0; 0]);
            disk.write_at(3 * PAGE_SIZE + 5, &[1]).unwrap();
            disk.write_at(3 * PAGE_SIZE, &[0; 5]).unwrap();
            assert_eq!(written(disk), [3]);
        }
    }

    #[test]
    fn what_a_snapshot_holds_is_cleared_though_it_was_not_written_since() {
        let mut memory = memory();
        memory.bytes_mut().fill(7);
        let mut disk = MemoryDisk::restored(memory);
        disk.write_at(PAGE_SIZE, &[0; BLOCK_SIZE]).unwrap();
        disk.discard_at(2 * PAGE_SIZE - 1, PAGE_SIZE + 2).unwrap();
        assert_eq!(written(&disk), [1, 2]);
        let bytes = disk.memory().bytes();
        assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == if (1..3).contains(&(at / BLOCK_SIZE)) { 0 } else { 7 }));
    }

    #[test]
    fn nothing_is_behind_its_end() {
        let mut disk = MemoryDisk::zeroed(memory());
        assert_eq!(disk.size(), SIZE as u64);
        assert_eq!(disk.read_at(SIZE as u64 - 1, &mut [0; 2]), Err(BlockError::Host));
        assert_eq!(disk.write_at(SIZE as u64, &[1; 2]), Err(BlockError::Host));
        assert_eq!(disk.write_at(SIZE as u64, &[0; 2]), Err(BlockError::Host));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_disk_is_an_array_of_bytes(
            steps in prop::collection::vec((0..3_u8, 0..SIZE as u64 / 512, 1..40_u64, any::<bool>()), 1..30),
            was_zero in any::<bool>(),
        ) {
            let mut model = vec![if was_zero { 0 } else { 9 }; SIZE];
            let mut memory = memory();
            memory.bytes_mut().copy_from_slice(&model);
            let mut disk = if was_zero { MemoryDisk::zeroed(memory) } else { MemoryDisk::restored(memory) };
            for (step, sector, sectors, zeroes) in steps {
                let start = sector as usize * 512;
                let end = SIZE.min(start + sectors as usize * 512);
                let (offset, length) = (start as u64, (end - start) as u64);
                match step {
                    0 => {
                        model[start..end].fill(u8::from(!zeroes));
                        disk.write_at(offset, &vec![u8::from(!zeroes); end - start]).unwrap();
                    }
                    1 => {
                        model[start..end].fill(0);
                        disk.write_zeroes_at(offset, length).unwrap();
                    }
                    _ => {
                        let (first, last) = (start.next_multiple_of(BLOCK_SIZE), end / BLOCK_SIZE * BLOCK_SIZE);
                        if first < last {
                            model[first..last].fill(0);
                        }
                        disk.discard_at(offset, length).unwrap();
                    }
                }
                let mut bytes = vec![1; SIZE];
                disk.read_at(0, &mut bytes).unwrap();
                prop_assert!(bytes == model);
            }
        }
    }
}
