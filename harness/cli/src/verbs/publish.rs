//! `prebake bake --push`: a machine for every kind of host, and the snapshot that was baked of it, sent to a registry.
//!
//! What is sent depends on the image and on this prebake alone: files are named after the image, wherever they lie meanwhile.

use super::push;
use crate::args::{BakeArgs, BakeTargetArg};
use crate::shell::Shell;
use crate::wording::mebibytes;
use prebake::artifact::is_machine;
use prebake::distribution::oci::Destination;
use prebake::distribution::trust::SigningKey;
use prebake::error::{Error, Result};
use prebake::make::compile::compile;
use prebake::make::image::Name;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wamr::{Baseline, Options};

/// What is to be sent, and where.
pub struct Publication<'a> {
    reference: &'a str,
    destination: Destination,
    key: Option<SigningKey>,
    targets: Vec<BakeTargetArg>,
    /// What files are called, without endings.
    name: String,
    folder: TempDir,
}

impl<'a> Publication<'a> {
    /// Whatever can fail before there is any work, fails here: key, reference, registry, credentials.
    pub fn begin(shell: &Shell, args: &'a BakeArgs, reference: &'a str, source: &str) -> Result<Self> {
        let key = args.sign.as_deref().map(|key| shell.signing_key(key)).transpose()?;
        let name = match is_machine(Path::new(source)) {
            true => Path::new(source).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            false => Name::parse(source)?.short(),
        };
        let destination = Destination::of(&shell.context, reference)?;
        // Large files: they belong beside what is kept.
        let beside = args.output.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let place = beside.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = tempfile::Builder::new().prefix(".prebake-").tempdir_in(&place);
        let folder = folder.map_err(|source| Error::Write { path: place, source })?;
        Ok(Self { reference, destination, key, targets: args.targets(), name, folder })
    }

    /// Where the snapshot goes if nobody wants to keep it.
    pub fn snapshot(&self) -> PathBuf {
        self.folder.path().join(format!("{}.snap", self.name))
    }

    /// Sends it all.
    pub fn send(&self, shell: &Shell, machine: &Path, snapshot: &Path) -> Result<()> {
        let mut files = Vec::new();
        if machine.extension().is_some_and(|ending| ending == "aot") {
            files.push(self.link("machine", machine)?);
        } else {
            for target in &self.targets {
                files.push(match target {
                    BakeTargetArg::X86_64 => self.compile(shell, machine, Baseline::X86_64V2)?,
                    BakeTargetArg::Aarch64 => self.compile(shell, machine, Baseline::Aarch64)?,
                    BakeTargetArg::Wasm => self.link("machine", machine)?,
                });
            }
        }
        files.push(self.link("snapshot", snapshot)?);
        let pushed = self.destination.push(&files, None, self.key.as_ref())?;
        push::say(shell, self.reference, &pushed, self.key.as_ref());
        Ok(())
    }

    fn compile(&self, shell: &Shell, machine: &Path, baseline: Baseline) -> Result<PathBuf> {
        let output = self.place(baseline.arch(), "aot")?;
        let length = compile(&shell.context, machine, &output, &Options::new(baseline))?;
        shell.say(format_args!("compiled for {baseline}: {}", mebibytes(length)));
        Ok(output)
    }

    /// The file at `path`, by the name that it is to have.
    fn link(&self, folder: &str, path: &Path) -> Result<PathBuf> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let link = self.place(folder, &ending)?;
        let make = || symlink(fs::canonicalize(path)?, &link);
        make().map_err(|source| Error::Write { path: link.clone(), source })?;
        Ok(link)
    }

    /// A place in a folder of its own, since all machines have one name.
    fn place(&self, folder: &str, ending: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(folder);
        fs::create_dir(&folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        // The name may have dots.
        Ok(folder.join(format!("{}.{ending}", self.name)))
    }
}
