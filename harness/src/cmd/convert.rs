//! `prebake convert`: what a machine boots, packed into the machine itself.

use crate::artefact::{MEMORY_PAGE, MachineSize, PartInput, PartKind, link, pack};
use crate::backend::disk::FileSource;
use crate::cli::ConvertArgs;
use crate::code;
use crate::engine::module::RAM_START;
use crate::error::{Error, Result};
use crate::file::HostFile;
use crate::file::atomic::AtomicFile;
use crate::progress::{mebibytes, say};
use emu::machine::check_ram_size;
use payload::Metadata;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(args: &ConvertArgs) -> ExitCode {
    match convert(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("prebake convert: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn convert(args: &ConvertArgs) -> Result<()> {
    let ram_size = u64::from(args.memory) << 20;
    check_ram_size(ram_size)?;
    let upper = u64::from(args.upper) << 20;
    let pages = u32::try_from((RAM_START + ram_size + upper).div_ceil(MEMORY_PAGE)).unwrap_or(u32::MAX);
    let error = |source| Error::Artefact { path: args.output.clone(), source };

    let mut file = AtomicFile::create(&args.output)?;
    let module = code::machine_module()?;
    let code = link(&module).map_err(error)?;
    let metadata = Metadata { append: args.append.clone(), upper }.encode();
    let part = |kind, path| PartInput::file(kind, path).map_err(error);
    let mut parts = vec![part(PartKind::Kernel, &args.kernel)?];
    if let Some(initrd) = &args.initrd {
        parts.push(part(PartKind::Initramfs, initrd)?);
    }
    if let Some(root) = &args.root {
        // What is no disk is told now, not when the machine is run.
        FileSource::whole(HostFile::open("root disk", root)?, root)?;
        parts.push(part(PartKind::Root, root)?);
    }
    parts.push(PartInput::new(PartKind::Metadata, metadata.len() as u64, metadata.as_slice()));
    pack(&code, MachineSize { pages, ram_size }, parts, file.file()).map_err(error)?;
    let written = file.commit()?;
    let length = written.metadata().map_or(0, |metadata| metadata.len());
    say(format_args!("convert: saved {}: {}", args.output.display(), mebibytes(length)));
    Ok(())
}
