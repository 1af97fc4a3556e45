//! Making a machine of a configuration, for whoever drives it.

use crate::clock::WasiClock;
use crate::config::{BoundFolder, Config, Root, SharedFolder, SnapshotPlace, Upper};
use crate::entropy::WasiEntropy;
use crate::error::Error;
#[cfg(target_os = "wasi")]
use crate::folder::SnapshotFile;
use crate::payload::{self as segment, PayloadDisk};
use crate::ram::LinearMemory;
use crate::save::Head;
use crate::sink::Output;
use crate::translated;
use devices::p9::{Access, Bounded, Branch, FileSystem, MemoryFs, Tree};
use emu::bus::{Ram, RamBacking};
use emu::cache::Limits;
use emu::machine::{self, Disk, DiskContent, Entropy, Machine, MemoryDisk, Share};
use emu::vcpu::Clock;
use protocol::{FILES_TAG, INFO_FILE, RESERVED_TAG, SEED_FILE};
use snapshot::{Digest, GROUP_SIZE, ReadAt, SectionName, Snapshot, Space};
use std::rc::Rc;

/// What the reserved share holds at the most, besides `info`.
const RESERVED_CAPACITY: u64 = 64 << 10;

/// What is behind RAM, and everything else that a machine is made of. `disk` makes the upper disk, by its number, of its memory.
///
/// # Safety
/// No machine that was made before is still used.
pub unsafe fn parts(
    config: &mut Config,
    output: &Output,
    disk: impl FnOnce(u32, Ram) -> Result<MemoryDisk, Error>,
) -> Result<(machine::Config, Box<LinearMemory>), Error> {
    // SAFETY: no other machine is used, so no other RAM.
    let memory = unsafe { LinearMemory::new(0, config.ram) }.ok_or(Error::NoRam { bytes: config.ram })?;
    // SAFETY: as above, so no other disks.
    let disks = unsafe { disks(config, disk) }?;
    let mut reserved = MemoryFs::new(RESERVED_CAPACITY + config.info.len() as u64);
    let mut put = |name, bytes: &[u8]| {
        reserved.write_file(name, bytes).map_err(|_| Error::OutOfMemory { what: "a file for the guest", bytes: bytes.len() as u64 })
    };
    if let Some(seed) = &config.seed {
        put(SEED_FILE, seed)?;
    }
    if !config.info.is_empty() {
        put(INFO_FILE, &config.info)?;
    }
    let reserved = Share { tag: RESERVED_TAG.into(), filesystem: Box::new(reserved), access: Access::ReadWrite };
    let mut folders = std::mem::take(&mut config.folders);
    // A share under this tag takes the place of the folders that are bound.
    let files = match folders.iter().position(|folder| folder.tag == FILES_TAG) {
        Some(number) => open(folders.remove(number)),
        None => Some(Share { tag: FILES_TAG.into(), filesystem: bound(std::mem::take(&mut config.binds))?, access: Access::ReadWrite }),
    };
    let parts = machine::Config {
        disks,
        shares: std::iter::once(reserved).chain(files).chain(folders.into_iter().filter_map(open)).collect(),
        network: config.network,
        entropy: if config.host_entropy { Entropy::Host(Box::new(WasiEntropy)) } else { Entropy::Published },
        console: Box::new(output.clone()),
        serial: Box::new(output.clone()),
        clock: if config.host_clock { Clock::Host(Box::new(WasiClock::new())) } else { Clock::Virtual },
        epoch: config.epoch,
        limits: Limits::default(),
    };
    Ok((parts, Box::new(memory)))
}

/// The root, and the upper disk.
///
/// # Safety
/// As for [`parts`].
unsafe fn disks(config: &Config, disk: impl FnOnce(u32, Ram) -> Result<MemoryDisk, Error>) -> Result<Vec<Disk>, Error> {
    let mut disks = Vec::new();
    if let Some(Root { place, digest }) = config.root {
        let source = PayloadDisk::new(place).ok_or(Error::NoRoot { offset: place.offset, length: place.length })?;
        disks.push(Disk { digest, content: DiskContent::ReadOnly(Box::new(source)) });
    }
    if let Some(Upper { number, offset, size }) = config.upper() {
        // SAFETY: no other machine is used, and this one's RAM ends where the disk begins.
        let memory = unsafe { LinearMemory::new(offset, size) }.filter(|_| size.is_multiple_of(GROUP_SIZE as u64));
        let memory = memory.ok_or(Error::NoUpper { bytes: size })?;
        disks.push(Disk { digest: Digest::NONE, content: DiskContent::Memory(disk(number, Ram::new(Box::new(memory)))?) });
    }
    Ok(disks)
}

/// The file system of folders that are bound. On a target without WASI there are none.
fn bound(binds: Vec<BoundFolder>) -> Result<Box<dyn FileSystem>, Error> {
    #[cfg(target_os = "wasi")]
    let open = crate::folder::Folder::of_descriptor;
    #[cfg(not(target_os = "wasi"))]
    let open = |_| MemoryFs::new(0);
    let branch = |BoundFolder { descriptor, file, read_only, room, path }| {
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        Branch { path, filesystem: Bounded::new(open(descriptor), room), file, access }
    };
    Ok(Box::new(Tree::new(binds.into_iter().map(branch).collect()).map_err(|_| Error::Binds)?))
}

/// The file system in a folder of the host. On a target without WASI there are no folders.
fn open(folder: SharedFolder) -> Option<Share> {
    #[cfg(target_os = "wasi")]
    let filesystem: Option<Box<dyn FileSystem>> = Some(Box::new(crate::folder::Folder::of_descriptor(folder.descriptor)));
    #[cfg(not(target_os = "wasi"))]
    let filesystem: Option<Box<dyn FileSystem>> = None;
    let access = if folder.read_only { Access::ReadOnly } else { Access::ReadWrite };
    filesystem.map(|filesystem| Share { tag: folder.tag, filesystem, access })
}

/// The machine, with Linux loaded. Guest RAM and the upper disk must be untouched.
///
/// # Safety
/// As for [`parts`].
pub unsafe fn boot(mut config: Config, output: &Output) -> Result<Machine, Error> {
    // SAFETY: the caller vouches for it.
    let (parts, memory) = unsafe { parts(&mut config, output, |_, memory| Ok(MemoryDisk::zeroed(memory))) }?;
    let read = |what, place: segment::Place| segment::read(place).ok_or(Error::OutOfMemory { what, bytes: u64::from(place.length) });
    let kernel = read("the kernel", config.kernel.ok_or(Error::NoKernel)?)?;
    let initramfs = config.initramfs.map(|place| read("the initramfs", place)).transpose()?;
    let mut machine = Machine::boot(parts, Ram::new(memory), &kernel, initramfs.as_deref(), &config.append)?;
    machine.set_translated(translated::linked());
    Ok(machine)
}

/// The machine of a snapshot, whose pages are in memory. `head` is the snapshot without them. If the configuration says where the snapshot is,
/// `head` is empty, memory is all zero, the pages of the disk are read here and those of RAM as they are touched. Gives the names of the
/// critical sections that are left, too.
///
/// # Safety
/// As for [`parts`].
pub unsafe fn restore(mut config: Config, head: Head, output: &Output) -> Result<(Machine, Vec<SectionName>), Error> {
    let Some(place) = config.snapshot.take() else {
        // SAFETY: the caller vouches for it.
        return unsafe { restore_from(config, &Snapshot::open(head)?, |_, disk| Ok(MemoryDisk::restored(disk)), Ram::new, output) };
    };
    if head.file_length != 0 {
        return Err(Error::Order { call: "pb_restore", problem: "with bytes of a snapshot that the module is to read itself" });
    }
    let snapshot = Rc::new(Snapshot::open(snapshot_file(&place)?)?);
    let pages = Box::new(snapshot.clone());
    let disk = |number, memory| read_disk(&snapshot, number, memory);
    // SAFETY: the caller vouches for it.
    unsafe { restore_from(config, &snapshot, disk, |memory| Ram::of_pages(memory, pages), output) }
}

/// The machine of `snapshot`.
///
/// # Safety
/// As for [`parts`].
unsafe fn restore_from<S: ReadAt>(
    mut config: Config,
    snapshot: &Snapshot<S>,
    disk: impl FnOnce(u32, Ram) -> Result<MemoryDisk, Error>,
    ram: impl FnOnce(Box<dyn RamBacking>) -> Ram,
    output: &Output,
) -> Result<(Machine, Vec<SectionName>), Error> {
    // SAFETY: the caller vouches for it.
    let (parts, memory) = unsafe { parts(&mut config, output, disk) }?;
    let mut sections = snapshot.sections();
    let mut machine = Machine::restore(parts, ram(memory), &mut sections)?;
    machine.set_translated(translated::linked());
    machine.id().require(snapshot.machine())?;
    snapshot.require_disks(|number| machine.disk_memory(number.into()).map(Ram::size))?;
    Ok((machine, sections.left().filter(|entry| entry.critical).map(|entry| entry.name).collect()))
}

/// The disk with this number, with its pages. What does not fit is refused once there is a machine to compare with.
fn read_disk<S: ReadAt>(snapshot: &Snapshot<S>, number: u32, mut memory: Ram) -> Result<MemoryDisk, Error> {
    let space = Space::Disk(number as u16);
    let mut buffer = Box::new([0; GROUP_SIZE]);
    for group in snapshot.group_numbers(space) {
        snapshot.read_group(space, group, &mut buffer)?;
        let start = group as usize * GROUP_SIZE;
        if let Some(bytes) = memory.bytes_mut().get_mut(start..start + GROUP_SIZE) {
            bytes.copy_from_slice(&buffer[..]);
        }
    }
    Ok(MemoryDisk::restored(memory))
}

#[cfg(target_os = "wasi")]
fn snapshot_file(place: &SnapshotPlace) -> Result<SnapshotFile, Error> {
    SnapshotFile::open(place).map_err(|source| Error::SnapshotFile { place: place.clone(), source })
}

/// On a target without WASI there are no files.
#[cfg(not(target_os = "wasi"))]
fn snapshot_file(place: &SnapshotPlace) -> Result<Head, Error> {
    Err(Error::SnapshotFile { place: place.clone(), source: std::io::ErrorKind::Unsupported.into() })
}
