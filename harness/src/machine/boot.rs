//! Machines that boot: a kernel, or what a machine's file carries.

use super::config::{ConfigBuilder, Randomness, Seed};
use super::file::{MachineFile, Runnable};
use super::{DebugAid, Engine, native};
use crate::context::Context;
use crate::error::Result;
use crate::host::backend::ram::MappedRam;
use crate::host::file;
use crate::machine::output::HostOutput;
use crate::machine::program::Program;
use crate::machine::{ClockSource, SharedDirectory};
use emu::bus::Ram;
use emu::machine::{Config, Machine, check_ram_size};
use protocol::network::NetworkInfo;
use std::path::{Path, PathBuf};

/// What a kernel boots with.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// The initramfs: a cpio archive.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, besides what the machine itself adds.
    pub append: String,
    /// Memory in MiB.
    pub memory: u32,
}

/// The kernel's command line, if nothing else is said.
pub const DEFAULT_APPEND: &str = "console=ttyS0 quiet panic=-1";
/// Memory in MiB, if nothing else is said.
pub const DEFAULT_MEMORY: u32 = 128;
/// The same for a machine that is made of a container image.
pub const IMAGE_MEMORY: u32 = 512;

impl Default for KernelOptions {
    fn default() -> Self {
        Self { initrd: None, append: DEFAULT_APPEND.into(), memory: DEFAULT_MEMORY }
    }
}

/// A machine with this kernel loaded.
pub fn kernel(kernel: &Path, given: &KernelOptions, config: Config) -> Result<Machine> {
    let ram_size = u64::from(given.memory) << 20;
    check_ram_size(ram_size)?;
    let kernel = file::read("kernel", kernel)?;
    let initrd = given.initrd.as_ref().map(|path| file::read("initramfs", path)).transpose()?;
    let ram = Ram::new(Box::new(MappedRam::zeroed(ram_size)?));
    Ok(Machine::boot(config, ram, &kernel, initrd.as_deref(), &given.append)?)
}

/// What a machine boots with, besides what it carries.
pub struct BootOptions<'a> {
    /// Folders and observer.
    pub context: &'a Context,
    /// Where its consoles go.
    pub output: &'a HostOutput,
    /// Where its time comes from.
    pub clock: ClockSource,
    /// Where its randomness comes from.
    pub randomness: Randomness,
    /// The seed for its random generator.
    pub seed: Option<Seed>,
    /// Its shares.
    pub shares: &'a [SharedDirectory],
    /// What its program gets.
    pub program: &'a Program,
    /// The network that its init is to bring up.
    pub network: Option<&'a NetworkInfo>,
    /// What observes each instruction.
    pub aid: Option<&'a DebugAid>,
}

/// A machine's file, booted: its `module` if that is given, else what it carries. `parts` get its disks.
pub fn file(
    machine: &MachineFile,
    module: Option<Runnable>,
    parts: &mut ConfigBuilder,
    options: &BootOptions<'_>,
) -> Result<Box<dyn Engine>> {
    let BootOptions { context, output, clock, randomness, seed, shares, program, network, aid } = *options;
    parts.network = machine.has_network();
    if let Some(module) = module {
        parts.require_no_disks()?;
        parts.put_first(machine.disks(), Vec::new());
        let config = machine.config(&module, clock, randomness, seed, shares, (program, network))?;
        return Ok(Box::new(machine.load(module, shares, program, None)?.boot(&config, output.clone())?));
    }
    parts.put_first(machine.disks(), machine.open_disks(None)?);
    native(context, machine.boot_natively(parts.take_config(output, clock, randomness, seed)?)?, aid)
}
