//! What this prebake is shipped with: the machine's module, the guest's kernel and init. They lie in one folder, [`Folders::shipped`].

use crate::artifact::code_cache::CodeCache;
use crate::artifact::link;
use crate::context::{Context, Folders};
use crate::error::{Error, Result};
use crate::host::file::ledger::Stamp;
use crate::host::processor::has_baseline;
use crate::machine::EngineKind;
use crate::machine::file::{MachineFile, Runnable, Unfit};
use crate::observer::{Instead, Notice};
use snapshot::Digest;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use tracing::debug;
use wamr::{Baseline, Options};

/// The module's file, in the folder of the program.
const MODULE: &str = "machine.wasm";
/// The guest's kernel …
const KERNEL: &str = "vmlinux";
/// … and its first file system, with init alone.
const INITRAMFS: &str = "initramfs.cpio";
/// The machine's module that this program is shipped with.
pub fn machine_module(folders: &Folders) -> Result<Vec<u8>> {
    let path = folders.shipped.join(MODULE);
    fs::read(&path).map_err(|source| Error::Read { what: "machine module", path, source })
}

/// The kernel for machines that are made of container images.
pub fn kernel(folders: &Folders) -> PathBuf {
    folders.shipped.join(KERNEL)
}

/// The initramfs for them.
pub fn initramfs(folders: &Folders) -> PathBuf {
    folders.shipped.join(INITRAMFS)
}

/// The module of `machine` for WAMR. If its own code may not be run, it gets the shipped machine's, but only if WAMR was asked for: most programs run
/// faster on the native engine than with that. The user is told what runs instead. `verify` checks every byte of what is to run.
pub fn runnable(context: &Context, machine: &MachineFile, asked: Option<EngineKind>, verify: bool) -> Result<Option<Runnable>> {
    let unfit = match machine.runnable(verify)? {
        Ok(module) => return Ok(Some(module)),
        Err(unfit) => unfit,
    };
    let (module, instead) = match asked {
        Some(EngineKind::Wamr) => match compiled(context) {
            Ok(Some(code)) => (Some(machine.with_code(&code, verify)?), Instead::ShippedCode),
            missing => {
                debug!(target: "prebake::engine", error = ?missing.err(), "no shipped code");
                (None, Instead::NoShippedCode)
            }
        },
        _ => (None, Instead::NativeEngine),
    };
    let path = machine.path();
    context.notice(match &unfit {
        Unfit::OtherProcessor(cpu) => Notice::OtherProcessor { path, cpu, instead },
        Unfit::NotTrusted => Notice::NotTrusted { path, instead },
    });
    Ok(module)
}

/// The shipped machine's code for this processor, if it came with the program or was compiled here.
fn compiled(context: &Context) -> Result<Option<Vec<u8>>> {
    let baseline = Baseline::default_for(std::env::consts::ARCH).filter(|baseline| has_baseline(baseline.cpu()) == Some(true));
    match baseline {
        Some(baseline) => CodeCache::open(context).kept(linked(context)?, &Options::new(baseline)),
        None => Ok(None),
    }
}

/// The digest of the shipped module, linked: that is what was compiled. It is computed once.
fn linked(context: &Context) -> Result<Digest> {
    let path = context.folders().shipped.join(MODULE);
    let unreadable = |source| Error::Read { what: "machine module", path: path.clone(), source };
    let mut file = File::open(&path).map_err(unreadable)?;
    let (ledger, before) = (context.link_ledger(), Stamp::of(&file));
    if let Some(digest) = ledger.recall(&file) {
        return Ok(digest);
    }
    let mut module = Vec::new();
    file.read_to_end(&mut module).map_err(unreadable)?;
    let digest = Digest::of(&link(&module).map_err(|source| Error::Artifact { path: path.clone(), source })?);
    ledger.remember(&file, before, digest);
    Ok(digest)
}
