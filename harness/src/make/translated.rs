//! Translates the hot code of a machine's guest, and links it behind the machine's own code.

use super::compile::{open, with_code};
use super::shipped;
use crate::artifact::link;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file;
use std::path::{Path, PathBuf};
pub use translate::Chosen;
use translate::{Linked, Linker, Profile, translated_in};

/// Instructions that are translated if nothing else is said.
pub const INSTRUCTIONS: usize = 20_000;

/// What is to be translated.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The machine: WebAssembly.
    pub machine: PathBuf,
    /// What its guest has run.
    pub profiles: Vec<PathBuf>,
    /// Most instructions.
    pub instructions: usize,
    /// Where to save the machine with its translated code. It may be the same file.
    pub output: PathBuf,
}

/// What was translated.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// What was chosen of the profiles.
    pub chosen: Chosen,
    /// What it became.
    pub linked: Linked,
    /// Bytes of the machine's file.
    pub length: u64,
}

/// Reads profiles, and adds them up.
pub fn read_profiles(paths: &[PathBuf]) -> Result<Profile> {
    let mut sum = Profile::default();
    for path in paths {
        let bytes = file::read("profile", path)?;
        sum.add(&Profile::decode(&bytes).map_err(|source| Error::Profile { path: path.clone(), source })?);
    }
    Ok(sum)
}

/// Translates, besides what the shipped machine has. What the machine boots, and how much memory it has, stays as it was.
pub fn translate(context: &Context, translation: &Translation) -> Result<Done> {
    let path = &translation.machine;
    let error = |source| Error::Artifact { path: path.clone(), source };
    let profile = read_profiles(&translation.profiles)?;
    let shipped = shipped::machine_module(context.folders())?;
    let linker = Linker::new(&shipped).map_err(|source| Error::Translate(Box::new(source)))?;
    let (pages, chosen) = profile.hottest(translation.instructions, |page, offset| linker.has(page, offset));
    let (module, linked) = linker.link(&pages).map_err(|source| Error::Translate(Box::new(source)))?;
    let length = with_code(path, &translation.output, |code| {
        let is_ours = code == link(&shipped).map_err(error)?;
        if is_ours { link(&module).map_err(error) } else { Err(Error::OtherCode { path: path.clone() }) }
    })?;
    Ok(Done { chosen, linked, length })
}

/// How much of a profile the translated code in a machine covers: WebAssembly, of this version.
pub fn covered(machine: &Path, profile: &Profile) -> Result<Chosen> {
    let code = open(machine)?.code().map_err(|source| Error::Artifact { path: machine.into(), source })?;
    let there = translated_in(&code).map_err(|source| Error::Translate(Box::new(source)))?;
    Ok(profile.hottest(0, there).1)
}
