//! The file system for what is written to a container's root, made on a disk that arrives all zero.
//!
//! It is ext4 with the least that Linux is content with: no journal, for what is on the disk lasts from checkpoint to checkpoint only; no copies
//! of the superblock; and all groups but the first are said to be unused instead of being written (`uninit_bg`), so that making 16 GiB costs
//! no more than making one. The same size always gives the same bytes.
//!
//! Names and offsets are those of fs/ext4/ext4.h.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{Context, Error, Result};

const BLOCK: u64 = 4096;
/// A group's bitmap of blocks is one block.
const BLOCKS_PER_GROUP: u64 = BLOCK * 8;
const INODE: u64 = 256;
const INODES_PER_BLOCK: u64 = BLOCK / INODE;
/// Bytes of the disk for each inode.
const BYTES_PER_INODE: u64 = 16 << 10;
const DESCRIPTOR: usize = 32;
const DESCRIPTORS_PER_BLOCK: u64 = BLOCK / DESCRIPTOR as u64;
/// Smallest and largest disk in bytes. The numbers of blocks have 32 bits, and group 0 has to hold all descriptors.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=8 << 40;
/// A last group with less than this to itself is left out.
const LEAST_GROUP: u64 = 64;

const MAGIC: u16 = 0xef53;
const MAGIC_OFFSET: usize = 0x38;
const SUPERBLOCK_OFFSET: u64 = 1024;
const ROOT_INODE: u64 = 2;
const FIRST_INODE: u64 = 11;
/// Mounting needs no such folder, but checking asks for it.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// ext_attr, dir_index, sparse_super2.
const COMPATIBLE: u32 = 0x8 | 0x20 | 0x200;
/// filetype, extents.
const INCOMPATIBLE: u32 = 0x2 | 0x40;
/// large_file, huge_file, uninit_bg, dir_nlink, extra_isize.
const READ_ONLY_COMPATIBLE: u32 = 0x2 | 0x8 | 0x10 | 0x20 | 0x40;
/// Bits of a group's flags: the inode table, the block bitmap are unused; the inode table is zero.
const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
const INODE_ZEROED: u16 = 4;
const EXTENTS_FLAG: u32 = 0x8_0000;

/// All that is random elsewhere.
const UUID: [u8; 16] = *b"prebake: changes";
const HASH_SEED: [u8; 16] = *b"prebake: folders";
/// When the file system was made: the start of 2025.
const EPOCH: u32 = 1_735_689_600;

/// Makes the file system on `device`, unless it has one. Anything else than a file system and zeros is left alone and an error.
pub fn ensure(device: &str) -> Result<()> {
    let disk = OpenOptions::new().read(true).write(true).open(device).context("open", device)?;
    let mut head = [0; BLOCK as usize];
    disk.read_exact_at(&mut head, 0).context("read", device)?;
    let magic = SUPERBLOCK_OFFSET as usize + MAGIC_OFFSET;
    if head[magic..magic + 2] == MAGIC.to_le_bytes() {
        return Ok(());
    }
    if head.iter().any(|byte| *byte != 0) {
        return Err(Error::ForeignUpper(device.to_owned()));
    }
    let size = io::Seek::seek(&mut &disk, io::SeekFrom::End(0)).context("find the size of", device)?;
    let geometry = Geometry::of(size).ok_or_else(|| Error::UpperSize { device: device.to_owned(), size })?;
    geometry.write(&disk).context("make a file system on", device)
}

/// Where everything is, in blocks.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    blocks: u64,
    groups: u64,
    inodes_per_group: u64,
    /// Blocks of group descriptors, which are behind the superblock's.
    descriptors: u64,
}

impl Geometry {
    fn of(size: u64) -> Option<Self> {
        if !SIZES.contains(&size) {
            return None;
        }
        let mut blocks = size / BLOCK;
        // Every group has as many inodes, so a disk of a single small one has fewer.
        let group_bytes = (blocks * BLOCK).min(BLOCKS_PER_GROUP * BLOCK);
        let inodes_per_group = (group_bytes / BYTES_PER_INODE).next_multiple_of(INODES_PER_BLOCK).max(2 * INODES_PER_BLOCK);
        let tail = blocks % BLOCKS_PER_GROUP;
        if blocks > BLOCKS_PER_GROUP && tail < inodes_per_group / INODES_PER_BLOCK + 2 + LEAST_GROUP {
            blocks -= tail;
        }
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let geometry = Self { blocks, groups, inodes_per_group, descriptors: groups.div_ceil(DESCRIPTORS_PER_BLOCK) };
        (geometry.overhead(0) + 2 < geometry.group_blocks(0)).then_some(geometry)
    }

    fn inode_table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    fn group_blocks(&self, group: u64) -> u64 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// The first block of a group's block bitmap, which its inode bitmap and its inode table follow.
    fn bitmaps(&self, group: u64) -> u64 {
        group * BLOCKS_PER_GROUP + if group == 0 { 1 + self.descriptors } else { 0 }
    }

    /// Blocks of a group that are not for files.
    fn overhead(&self, group: u64) -> u64 {
        self.bitmaps(group) - group * BLOCKS_PER_GROUP + 2 + self.inode_table_blocks()
    }

    /// The block of the root folder; that of `lost+found` follows.
    fn root(&self) -> u64 {
        self.overhead(0)
    }

    fn used_blocks(&self, group: u64) -> u64 {
        self.overhead(group) + if group == 0 { 2 } else { 0 }
    }

    /// The last group's bitmap has an end to it that the kernel is not asked to find.
    fn is_written(&self, group: u64) -> bool {
        group == 0 || group == self.groups - 1
    }

    fn write(&self, disk: &File) -> io::Result<()> {
        let at = |block: u64, bytes: &[u8]| disk.write_all_at(bytes, block * BLOCK);
        for group in (0..self.groups).filter(|group| self.is_written(*group)) {
            at(self.bitmaps(group), &bitmap(self.used_blocks(group), self.group_blocks(group)))?;
        }
        at(self.bitmaps(0) + 1, &bitmap(FIRST_INODE, self.inodes_per_group))?;
        let mut inodes = [0; BLOCK as usize];
        for (number, links, block) in [(ROOT_INODE, 3, self.root()), (FIRST_INODE, 2, self.root() + 1)] {
            let start = ((number - 1) * INODE) as usize;
            folder_inode(&mut inodes[start..start + INODE as usize], links, block);
        }
        at(self.bitmaps(0) + 2, &inodes)?;
        at(self.root(), &folder(&[(ROOT_INODE, b"."), (ROOT_INODE, b".."), (FIRST_INODE, LOST_AND_FOUND)]))?;
        at(self.root() + 1, &folder(&[(FIRST_INODE, b"."), (ROOT_INODE, b"..")]))?;
        at(1, &self.descriptor_table())?;
        // Last, since it is what makes this a file system.
        disk.write_all_at(&self.superblock(), SUPERBLOCK_OFFSET)
    }

    fn descriptor_table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity((self.descriptors * BLOCK) as usize);
        for group in 0..self.groups {
            let mut fields = Fields([0; DESCRIPTOR]);
            let is_first = group == 0;
            let free_inodes = self.inodes_per_group - if is_first { FIRST_INODE } else { 0 };
            let flags = INODE_ZEROED | if is_first { 0 } else { INODE_UNINIT } | if self.is_written(group) { 0 } else { BLOCK_UNINIT };
            fields.put(0x00, &(self.bitmaps(group) as u32).to_le_bytes());
            fields.put(0x04, &((self.bitmaps(group) + 1) as u32).to_le_bytes());
            fields.put(0x08, &((self.bitmaps(group) + 2) as u32).to_le_bytes());
            fields.put(0x0c, &((self.group_blocks(group) - self.used_blocks(group)) as u16).to_le_bytes());
            fields.put(0x0e, &(free_inodes as u16).to_le_bytes());
            fields.put(0x10, &(if is_first { 2_u16 } else { 0 }).to_le_bytes());
            fields.put(0x12, &flags.to_le_bytes());
            fields.put(0x1c, &(free_inodes as u16).to_le_bytes());
            let checksum = [&UUID[..], &(group as u32).to_le_bytes(), &fields.0[..0x1e]].into_iter().fold(!0, crc16);
            fields.put(0x1e, &checksum.to_le_bytes());
            table.extend(fields.0);
        }
        table
    }

    fn superblock(&self) -> [u8; 1024] {
        let used: u64 = (0..self.groups).map(|group| self.used_blocks(group)).sum();
        let inodes = self.groups * self.inodes_per_group;
        let words: [(usize, u32); 25] = [
            (0x00, inodes as u32),
            (0x04, self.blocks as u32),
            (0x0c, (self.blocks - used) as u32),
            (0x10, (inodes - FIRST_INODE) as u32),
            (0x18, 2), // blocks of 1024 << 2 bytes
            (0x1c, 2), // clusters as well
            (0x20, BLOCKS_PER_GROUP as u32),
            (0x24, BLOCKS_PER_GROUP as u32),
            (0x28, self.inodes_per_group as u32),
            (0x30, EPOCH),
            (0x34, 0xffff_0000),                        // no limit on mounts without a check
            (MAGIC_OFFSET, u32::from(MAGIC) | 1 << 16), // clean
            (0x3c, 1),                                  // go on after an error
            (0x40, EPOCH),
            (0x4c, 1), // with inodes of any size
            (0x54, FIRST_INODE as u32),
            (0x58, INODE as u32),
            (0x5c, COMPATIBLE),
            (0x60, INCOMPATIBLE),
            (0x64, READ_ONLY_COMPATIBLE),
            (0xfc, 1), // names are hashed by half MD4
            (0x108, EPOCH),
            (0x15c, 32 | 32 << 16), // bytes of an inode beyond the first 128
            (0x160, 1),             // signed characters in the hash
            (0x164, 0),
        ];
        let mut fields = Fields([0; 1024]);
        words.iter().for_each(|(offset, word)| fields.put(*offset, &word.to_le_bytes()));
        fields.put(0x68, &UUID);
        fields.put(0xec, &HASH_SEED);
        fields.0
    }
}

/// Bytes with fields in them.
struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Fields<N> {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// A bitmap of `count` things of which the first `used` are; what is behind the last is, too.
fn bitmap(used: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    bytes[..(used / 8) as usize].fill(0xff);
    bytes[count.div_ceil(8) as usize..].fill(0xff);
    for bit in (used & !7..used).chain(count..count.next_multiple_of(8)) {
        bytes[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    bytes
}

/// The inode of a folder that has one block.
fn folder_inode(inode: &mut [u8], links: u16, block: u64) {
    let mut put = |offset: usize, bytes: &[u8]| inode[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0x00, &0o40755_u16.to_le_bytes());
    put(0x04, &(BLOCK as u32).to_le_bytes());
    [0x08, 0x0c, 0x10, 0x90].iter().for_each(|offset| put(*offset, &EPOCH.to_le_bytes()));
    put(0x1a, &links.to_le_bytes());
    put(0x1c, &((BLOCK / 512) as u32).to_le_bytes());
    put(0x20, &EXTENTS_FLAG.to_le_bytes());
    // The head of an extent tree (magic, entries, room for four, depth 0), and an extent of one block.
    let head: [u16; 4] = [0xf30a, 1, 4, 0];
    head.iter().enumerate().for_each(|(index, word)| put(0x28 + 2 * index, &word.to_le_bytes()));
    put(0x38, &1_u16.to_le_bytes());
    put(0x3c, &(block as u32).to_le_bytes());
    put(0x80, &32_u16.to_le_bytes());
}

/// The block of a folder. The last entry takes what is left of it.
fn folder(entries: &[(u64, &[u8])]) -> [u8; BLOCK as usize] {
    const HEAD: usize = 8;
    const FOLDER_TYPE: u8 = 2;
    let mut block = Fields([0; BLOCK as usize]);
    let mut offset = 0;
    for (index, (inode, name)) in entries.iter().enumerate() {
        let is_last = index + 1 == entries.len();
        let length = if is_last { block.0.len() - offset } else { (HEAD + name.len()).next_multiple_of(4) };
        block.put(offset, &(*inode as u32).to_le_bytes());
        block.put(offset + 4, &(length as u16).to_le_bytes());
        block.put(offset + 6, &[name.len() as u8, FOLDER_TYPE]);
        block.put(offset + HEAD, name);
        offset += length;
    }
    block.0
}

/// The checksum of group descriptors: CRC-16 with the polynomial x¹⁶ + x¹⁵ + x² + 1, bits reversed.
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xa001 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn made(folder: &Path, name: &str, size: u64) -> std::path::PathBuf {
        let path = folder.join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        ensure(path.to_str().unwrap()).unwrap();
        path
    }

    /// What the file system's own checker says of it. It is in Debian's package e2fsprogs.
    fn check(path: &Path) -> (bool, String) {
        let output = Command::new("e2fsck").args(["-fn"]).arg(path).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    #[test]
    fn disks_of_every_size_are_sound_when_made() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = [1 << 20, 16 << 20, 100 << 20, (128 << 20) + 4096, (130 << 20) + 512, 1 << 30, 16 << 30, 20 << 30];
        for size in sizes {
            let path = made(folder.path(), &size.to_string(), size);
            let (sound, said) = check(&path);
            assert!(sound, "{size} bytes: {said}");
        }
    }

    #[test]
    fn the_checker_would_see_a_wrong_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "disk", 64 << 20);
        let geometry = Geometry::of(64 << 20).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xfe], geometry.bitmaps(0) * BLOCK).unwrap();
        assert!(!check(&path).0);
    }

    #[test]
    fn the_same_size_gives_the_same_bytes_and_few_of_them() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| made(folder.path(), name, 256 << 20));
        assert!(std::fs::read(&first).unwrap() == std::fs::read(second).unwrap());
        assert!(std::fs::metadata(first).unwrap().blocks() * 512 < 256 << 10);
    }

    #[test]
    fn what_is_on_a_disk_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), "disk", 16 << 20);
        let before = std::fs::read(&path).unwrap();
        ensure(path.to_str().unwrap()).unwrap();
        assert!(std::fs::read(&path).unwrap() == before);

        let foreign = folder.path().join("foreign");
        let content = vec![b'x'; 16 << 20];
        std::fs::write(&foreign, &content).unwrap();
        assert!(matches!(ensure(foreign.to_str().unwrap()), Err(Error::ForeignUpper(_))));
        assert!(std::fs::read(&foreign).unwrap() == content);
    }

    #[test]
    fn sizes_that_cannot_be_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        File::create(&path).unwrap().set_len(512 << 10).unwrap();
        let error = ensure(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("524288"), "{error}");
    }
}
