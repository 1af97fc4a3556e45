//! `prebake boot`.

use super::{ColdArgs, ConsoleArgs, DebugArgs, NetworkArgs, ReportArgs};
use clap::Args;
use std::path::PathBuf;

pub(super) const BOOT_EXAMPLES: &str = "\
Examples:
  prebake boot --kernel vmlinux --initrd initramfs.cpio
  prebake boot --kernel vmlinux --disk root.img:ro --append 'root=/dev/vda ro init=/bin/sh' -t
  echo 'ls /mnt/wasi0' | prebake boot --kernel vmlinux --initrd initramfs.cpio --share wasi0=.";

/// `prebake boot`.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// The kernel: an uncompressed 64-bit Linux (vmlinux)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub kernel: PathBuf,
    /// The machine to boot.
    #[command(flatten)]
    pub cold: ColdArgs,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
    /// Limits and figures.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Debugging.
    #[command(flatten)]
    pub debug: DebugArgs,
}
