//! What a machine boots, packed into the machine itself.

use super::shipped;
use crate::artifact::{MAX_FILE_LEN, MEMORY_PAGE, MachineSize, PartInput, PartKind, link, pack};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::disk::FileSource;
use crate::host::file::atomic::AtomicFile;
use crate::host::file::{self, HostFile};
use crate::machine::boot::{DEFAULT_APPEND, IMAGE_MEMORY};
use crate::make::image::{self, ContainerImage, Name, cpio, erofs, for_init, limits::Limits};
use crate::observer::{Notice, Task, Tracked};
use emu::machine::check_ram_size;
use payload::{Metadata, RAM_START};
use snapshot::ReadAt;
use std::path::{Path, PathBuf};

/// Where the guest finds what the image says of its program.
const IMAGE_FILE: &str = "image";
/// What tells init of the disk that the image is on …
const ROOT_WORD: &str = "prebake.root=/dev/vda";
/// … and of the one for what is written.
const UPPER_WORD: &str = "prebake.upper=/dev/vdb";
const DEFAULT_UPPER: u32 = 1024;
/// Bytes of a machine's file besides its code and the parts of its payload, at most.
const FRAME: u64 = 1 << 20;

/// A machine that is to be made.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// A container image.
    pub image: Option<String>,
    /// Where to save the machine. A file of that name stays as it is until the new one is complete.
    pub output: PathBuf,
    /// The kernel; an image has a usual one.
    pub kernel: Option<PathBuf>,
    /// The initramfs; an image has a usual one.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, besides what the machine itself adds.
    pub append: String,
    /// A read-only disk for the guest, if there is no image.
    pub root: Option<PathBuf>,
    /// MiB of the upper disk; an image has a usual one.
    pub upper: Option<u32>,
    /// Memory in MiB, which is fixed in the machine.
    pub memory: u32,
    /// The machine has a network device.
    pub network: bool,
}

impl Conversion {
    /// For an image, with what is usual for the rest.
    pub fn of_image(name: &str, output: &Path) -> Self {
        Self {
            image: Some(name.into()),
            output: output.into(),
            kernel: None,
            initrd: None,
            append: DEFAULT_APPEND.into(),
            root: None,
            upper: None,
            memory: IMAGE_MEMORY,
            network: true,
        }
    }

    /// MiB of the upper disk.
    pub fn upper(&self) -> u32 {
        self.upper.unwrap_or(if self.image.is_some() { DEFAULT_UPPER } else { 0 })
    }
}

/// What a machine is packed with.
struct Contents {
    kernel: PathBuf,
    initramfs: Option<Vec<u8>>,
    root: Option<Root>,
    metadata: Metadata,
}

/// A machine's first disk.
enum Root {
    File(PathBuf),
    Image(Box<ContainerImage>, erofs::Filesystem),
}

/// Makes it. Returns the bytes of its file.
pub fn convert(context: &Context, args: &Conversion) -> Result<u64> {
    context.outcome(pack_machine(context, args))
}

/// The size of a machine with `memory` MiB of memory and an upper disk of `upper` bytes.
pub(super) fn machine_size(memory: u32, upper: u64) -> Result<MachineSize> {
    let ram_size = u64::from(memory) << 20;
    check_ram_size(ram_size)?;
    let pages = u32::try_from(RAM_START.saturating_add(ram_size).saturating_add(upper).div_ceil(MEMORY_PAGE)).unwrap_or(u32::MAX);
    Ok(MachineSize { pages, ram_size })
}

fn pack_machine(context: &Context, args: &Conversion) -> Result<u64> {
    let upper = u64::from(args.upper()) << 20;
    let size = machine_size(args.memory, upper)?;
    let error = |source| Error::Artifact { path: args.output.clone(), source };

    let mut file = AtomicFile::create(&args.output)?;
    let module = shipped::machine_module(context.folders())?;
    let code = link(&module).map_err(error)?;
    let contents = contents(args, upper, code.len() as u64, context)?;
    let metadata = contents.metadata.encode();
    let part = |kind, path| PartInput::file(kind, path).map_err(error);

    let mut parts = vec![part(PartKind::Kernel, &contents.kernel)?];
    if let Some(initramfs) = &contents.initramfs {
        parts.push(PartInput::new(PartKind::Initramfs, initramfs.len() as u64, initramfs.as_slice()));
    }
    match &contents.root {
        None => {}
        Some(Root::File(path)) => parts.push(part(PartKind::Root, path)?),
        Some(Root::Image(image, root)) => {
            let content = Tracked::new(root.reader(&image.tree, &image.spool), context.observer(), Task::PackRoot, root.length());
            parts.push(PartInput::new(PartKind::Root, root.length(), content));
        }
    }
    parts.push(PartInput::new(PartKind::Metadata, metadata.len() as u64, metadata.as_slice()));
    pack(&code, size, parts, file.file()).map_err(error)?;
    let written = file.commit()?;
    Ok(written.metadata().map_or(0, |metadata| metadata.len()))
}

/// Gathers what is to be packed with `code` bytes of code and an upper disk of `upper` bytes.
fn contents(args: &Conversion, upper: u64, code: u64, context: &Context) -> Result<Contents> {
    match &args.image {
        Some(name) => contents_of_image(args, name, (upper, code), context),
        None => {
            if let Some(root) = &args.root {
                // What is no disk is told now, not when the machine is run.
                FileSource::whole(HostFile::open("root disk", root)?, root)?;
            }
            Ok(Contents {
                // Without an image it is required.
                kernel: args.kernel.clone().unwrap_or_default(),
                initramfs: args.initrd.as_deref().map(read_initramfs).transpose()?,
                root: args.root.clone().map(Root::File),
                metadata: Metadata { append: args.append.clone(), upper, network: args.network, image: None },
            })
        }
    }
}

fn contents_of_image(args: &Conversion, name: &str, (upper, code): (u64, u64), context: &Context) -> Result<Contents> {
    let kernel = args.kernel.clone().unwrap_or_else(|| shipped::kernel(context.folders()));
    let mut initramfs = read_initramfs(&args.initrd.clone().unwrap_or_else(|| shipped::initramfs(context.folders())))?;
    let kernel_len = HostFile::open("kernel", &kernel)?.byte_len();

    let folder = args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let source = Name::parse(name)?;
    if let Some(doubt) = source.doubt(name) {
        context.notice(Notice::TakenForReference { name, reference: &doubt.reference, exists: doubt.exists });
    }
    let image = image::read(&source, folder, Limits::default(), context)?;
    initramfs.extend(cpio::segment(IMAGE_FILE, for_init(&image.origin).to_string().as_bytes()));
    let words = if upper > 0 { [ROOT_WORD, UPPER_WORD].join(" ") } else { ROOT_WORD.into() };
    let metadata = Metadata { append: format!("{} {words}", args.append), upper, network: args.network, image: Some(image.origin.clone()) };

    let others = code + kernel_len + initramfs.len() as u64 + metadata.encode().len() as u64 + FRAME;
    let root = erofs::Filesystem::of(&image.tree, MAX_FILE_LEN.saturating_sub(others))?;
    if image.dropped > 0 {
        context.notice(Notice::AttributesLeftOut { count: image.dropped });
    }
    context.notice(Notice::ImageRead { name, files: root.inodes as u64, bytes: root.length() });
    Ok(Contents { kernel, initramfs: Some(initramfs), root: Some(Root::Image(Box::new(image), root)), metadata })
}

fn read_initramfs(path: &Path) -> Result<Vec<u8>> {
    file::read("initramfs", path)
}
