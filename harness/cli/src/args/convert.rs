//! The verbs that make machines: `convert`, `aot`.

use super::RegistryArgs;
use super::value::{MemoryArg, TargetArg};
use clap::Args;
use prebake::error::Error;
use prebake::machine::boot::{DEFAULT_APPEND, DEFAULT_MEMORY, IMAGE_MEMORY};
use prebake::make::convert::Conversion;
use std::path::PathBuf;
use wamr::{Baseline, Options};

pub(super) const CONVERT_EXAMPLES: &str = "\
Examples:
  prebake convert alpine:3.20 -o alpine.wasm              from a registry
  prebake convert ./layout -o alpine.wasm                 an OCI layout, or a root folder
  prebake convert oci:images.tar:3.20 -o alpine.wasm      one of several in an archive
  prebake convert docker-archive:saved.tar -o alpine.wasm
  docker save alpine | prebake convert - -o alpine.wasm
  prebake convert --kernel vmlinux --initrd initramfs.cpio -o demo.wasm
  prebake convert --kernel vmlinux --initrd initramfs.cpio --root root.img --upper 1024 -o image.wasm

A name that begins with / or ./ or ends as archives do (.tar, .tar.gz, …) is a path; any other is a reference. The same image gives the same machine,
byte for byte.";

pub(super) const AOT_EXAMPLES: &str = "\
Examples:
  prebake aot demo.wasm -o demo.aot
  prebake aot demo.wasm -o demo-arm.aot --target aarch64

All machines share the same code: it is compiled once for each kind of host and then cached.";

/// `prebake convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A container image: a reference, an OCI layout (a folder or an archive), an archive made by `docker save` (`-` for standard input), or a root folder
    #[arg(value_name = "IMAGE", required_unless_present = "kernel")]
    pub image: Option<String>,
    /// The machine file. It is replaced only when the new one is complete
    #[arg(short, long, value_name = "FILE.wasm")]
    pub output: PathBuf,
    /// The kernel: an uncompressed 64-bit Linux (vmlinux) [default for an image: prebake's own]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initramfs: a cpio archive, preferably uncompressed [default for an image: prebake's init]
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel command line; the machine adds its own parameters
    #[arg(long, value_name = "STRING", default_value = DEFAULT_APPEND)]
    pub append: String,
    /// A file system image, attached read-only as vda
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub root: Option<PathBuf>,
    /// Size in MiB of a writable, initially empty disk, vdb; snapshots include what was written to it [default for an image: 1024]
    #[arg(long, value_name = "MIB")]
    pub upper: Option<u32>,
    /// Memory, such as 512m or 1g; a number alone is MiB. It is fixed in the file [default: 512 for an image, else 128]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<MemoryArg>,
    /// Give the machine of a kernel a network device; machines of images have one
    #[arg(long, conflicts_with = "image")]
    pub network_device: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

impl ConvertArgs {
    /// The same for the library.
    pub fn conversion(&self) -> Conversion {
        Conversion {
            image: self.image.clone(),
            output: self.output.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            append: self.append.clone(),
            root: self.root.clone(),
            upper: self.upper,
            memory: self.memory.map_or(if self.image.is_some() { IMAGE_MEMORY } else { DEFAULT_MEMORY }, |memory| memory.0),
            network: self.network_device || self.image.is_some(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.upper.is_some_and(|upper| upper > 0) && self.image.is_none() && self.root.is_none() {
            return Err("--upper needs a root file system: pass an image, or --root".into());
        }
        let ending = self.output.extension().unwrap_or_default().to_string_lossy();
        match &*ending {
            "aot" => {
                let (output, wasm) = (self.output.display(), self.output.with_extension("wasm"));
                let wasm = wasm.display();
                Err(format!("convert makes WebAssembly, which aot compiles: pass -o {wasm}, then run prebake aot {wasm} -o {output}"))
            }
            "snap" => Err("convert makes a machine; to boot it and save a snapshot, use prebake bake".into()),
            _ => Ok(()),
        }
    }
}

/// `prebake aot`.
#[derive(Debug, Args)]
pub struct AotArgs {
    /// The machine
    #[arg(value_name = "FILE.wasm", required_unless_present = "ship")]
    pub file: Option<PathBuf>,
    /// The compiled machine file
    #[arg(short, long, value_name = "FILE.aot", required_unless_present = "ship")]
    pub output: Option<PathBuf>,
    /// Compile only the code of all machines, into the folder `code` beside the program of an installation
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "output"])]
    pub ship: Option<PathBuf>,
    /// The kind of host
    #[arg(long, value_enum, default_value_t = TargetArg::X86_64)]
    pub target: TargetArg,
    /// The minimum processor: x86-64-v2 (the default) or x86-64-v3; generic for aarch64
    #[arg(long, value_name = "BASELINE")]
    pub host_cpu: Option<String>,
    /// Address memory through the GS segment: faster, but needs x86-64 and Linux 5.9 or later
    #[arg(long)]
    pub segue: bool,
}

impl AotArgs {
    /// The compiler's options.
    pub fn options(&self) -> Result<Options, Error> {
        let arch = match self.target {
            TargetArg::X86_64 => "x86_64",
            TargetArg::Aarch64 => "aarch64",
        };
        let known = Baseline::ALL.into_iter().filter(|baseline| baseline.arch() == arch);
        let mut fitting = known.clone().filter(|baseline| self.host_cpu.as_deref().is_none_or(|name| name == baseline.cpu()));
        let Some(baseline) = fitting.next() else {
            return Err(Error::Baseline {
                name: self.host_cpu.clone().unwrap_or_default(),
                target: arch.into(),
                known: known.map(Baseline::cpu).collect::<Vec<_>>().join(", "),
            });
        };
        Ok(Options { segue: self.segue && self.target == TargetArg::X86_64, ..Options::new(baseline) })
    }
}
