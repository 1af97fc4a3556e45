//! What a machine is put together from on this host.

use super::record::{DiskKind, DiskRecord, ShareRecord};
use crate::context::Context;
use crate::error::{Error, Result, Setting};
use crate::host::backend::clock::MonotonicClock;
use crate::host::backend::disk::{self, Verify};
use crate::host::backend::entropy::OsEntropy;
use crate::host::backend::hostdir::HostDir;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::{ClockSource, Devices, SharedDirectory};
use devices::p9::{Access, Bounded, MemoryFs, Tree};
use devices::rng::DeterministicStream;
use emu::cache::Limits;
use emu::machine::{Config, Disk, Entropy, Share};
use emu::vcpu::Clock;
use protocol::network::{GUEST_MAC, NetworkInfo};
use protocol::{FILES_TAG, INFO_FILE, RESERVED_TAG, SEED_FILE, SEED_LEN};
use rand_core::Rng;
use std::sync::Arc;

/// What the CMOS clock of every baked machine shows at power-on, in nanoseconds since 1970: the start of 2025.
pub const BAKE_EPOCH: u64 = 1_735_689_600_000_000_000;

/// Key of the stream from which a guest is seeded that everyone can bake.
const BAKE_SEED: [u8; 32] = *b"prebake: seed known to everyone!";

/// What init seeds the random generator from.
pub type Seed = [u8; SEED_LEN];
/// The reserved share never holds more than these files. This is for what is not the info.
const RESERVED_CAPACITY: u64 = 64 << 10;

/// Where randomness comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Randomness {
    /// The host: nobody else knows it.
    Host,
    /// The published stream: anyone can have the same.
    Published,
}

impl Randomness {
    /// For a cold boot: under the virtual clock everything repeats, random numbers too.
    pub fn of_boot(clock: ClockSource) -> Self {
        match clock {
            ClockSource::Host => Self::Host,
            ClockSource::Virtual => Self::Published,
        }
    }
}

/// Disks and shares, and what a snapshot says of them.
pub struct ConfigBuilder {
    disks: Vec<Disk>,
    shares: Vec<Share>,
    files: Tree<Bounded<HostDir>>,
    info: String,
    /// There is a network device.
    pub network: bool,
    /// The disks, for a snapshot.
    pub disk_records: Vec<DiskRecord>,
    /// The shares, for a snapshot, without the two that every machine has.
    pub share_records: Vec<ShareRecord>,
}

impl ConfigBuilder {
    /// Opens what was asked for: devices, and what the guest's program gets, with this network.
    pub fn open(context: &Context, devices: &Devices, verify: Verify, program: &Program, network: Option<&NetworkInfo>) -> Result<Self> {
        let (disks, shares, disk_records, share_records) = Default::default();
        let grants = Arc::new(program.grants(&devices.shares, context.folders())?);
        let (files, info) = (program.files(&grants)?, program.info(network));
        let mut parts = Self { disks, shares, files, info, network: devices.network, disk_records, share_records };
        for arg in &devices.disks {
            let changes = if arg.read_only { None } else { Some(context.temporary()?) };
            let disk = disk::open(&arg.path, changes, (&context.ledger(), verify))?;
            parts.disk_records.push(DiskRecord {
                kind: DiskKind::File,
                name: arg.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                size: disk.content.size(),
                digest: *disk.digest.as_bytes(),
                read_only: arg.read_only,
            });
            parts.disks.push(disk);
        }
        for arg in &devices.shares {
            SharedDirectory::check_tag(&arg.tag)?;
            let error = |source| Error::Read { what: "directory", path: arg.path.clone(), source };
            let directory = HostDir::open(&arg.path, grants.clone()).map_err(error)?;
            let access = arg.access();
            parts.share_records.push(ShareRecord { tag: arg.tag.clone(), read_only: arg.read_only });
            parts.shares.push(Share { tag: arg.tag.clone(), filesystem: Box::new(directory), access });
        }
        Ok(parts)
    }

    /// No disks, for a module, which has its own alone.
    pub fn require_no_disks(&self) -> Result<()> {
        if self.disks.is_empty() { Ok(()) } else { Err(Error::NotInModule { setting: Setting::Disks }) }
    }

    /// Puts the disks of a machine's file in front. A module has them itself; then there are records alone.
    pub fn put_first(&mut self, records: Vec<DiskRecord>, disks: Vec<Disk>) {
        self.disk_records.splice(..0, records);
        self.disks.splice(..0, disks);
    }

    /// Everything but CPU and RAM of a machine whose output goes to `output`. `seed`, if it is given, is there for init to take. What is left are
    /// the records.
    pub fn take_config(&mut self, output: &HostOutput, clock: ClockSource, randomness: Randomness, seed: Option<Seed>) -> Result<Config> {
        let mut reserved = MemoryFs::new(RESERVED_CAPACITY + self.info.len() as u64);
        let full = |_| Error::Host { what: "pass the guest its configuration", source: std::io::ErrorKind::StorageFull.into() };
        if let Some(seed) = seed {
            reserved.write_file(SEED_FILE, &seed).map_err(full)?;
        }
        if !self.info.is_empty() {
            reserved.write_file(INFO_FILE, self.info.as_bytes()).map_err(full)?;
        }
        let reserved = Share { tag: RESERVED_TAG.into(), filesystem: Box::new(reserved), access: Access::ReadWrite };
        let mut shares = std::mem::take(&mut self.shares);
        // A share that was asked for under this tag takes the place of the program's.
        let files = match shares.iter().position(|share| share.tag == FILES_TAG) {
            Some(number) => shares.remove(number),
            None => Share { tag: FILES_TAG.into(), filesystem: Box::new(std::mem::take(&mut self.files)), access: Access::ReadWrite },
        };
        Ok(Config {
            disks: std::mem::take(&mut self.disks),
            shares: [reserved, files].into_iter().chain(shares).collect(),
            network: self.network.then_some(GUEST_MAC),
            entropy: match randomness {
                Randomness::Host => Entropy::Host(Box::new(OsEntropy::open()?)),
                Randomness::Published => Entropy::Published,
            },
            console: Box::new(output.clone()),
            serial: Box::new(output.clone()),
            clock: match clock {
                ClockSource::Virtual => Clock::Virtual,
                ClockSource::Host => Clock::Host(Box::new(MonotonicClock::new())),
            },
            epoch: clock.epoch(),
            limits: Limits::default(),
        })
    }
}

/// A seed for the guest's random generator.
pub fn seed(randomness: Randomness) -> Result<Seed> {
    let mut seed = [0; SEED_LEN];
    match randomness {
        Randomness::Host => OsEntropy::open()?.fill_bytes(&mut seed),
        Randomness::Published => DeterministicStream::new(BAKE_SEED).fill_bytes(&mut seed),
    }
    Ok(seed)
}

/// A seed for a guest that is restored: the host's, mixed with what the caller has, which so can only add to it. A caller who gives the same twice does
/// not make two guests alike.
pub fn fresh_seed(given: Option<&Seed>) -> Result<Seed> {
    let mut fresh = seed(Randomness::Host)?;
    mix(&mut fresh, given);
    Ok(fresh)
}

fn mix(fresh: &mut Seed, given: Option<&Seed>) {
    fresh.iter_mut().zip(given.into_iter().flatten()).for_each(|(own, given)| *own ^= given);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_is_given_counts_and_does_not_make_guests_alike() {
        let mut seed = [0x55; SEED_LEN];
        mix(&mut seed, None);
        assert_eq!(seed, [0x55; SEED_LEN]);
        mix(&mut seed, Some(&[0x0f; SEED_LEN]));
        assert_eq!(seed, [0x5a; SEED_LEN]);
        assert_ne!(fresh_seed(Some(&seed)).unwrap(), fresh_seed(Some(&seed)).unwrap());
    }
}
