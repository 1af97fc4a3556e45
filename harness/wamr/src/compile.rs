//! The compiler: the program `prebake-wamrc`, started for each module.

use crate::error::{Error, Result};
use crate::options::{Options, SEGUE};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = "prebake-wamrc";

/// Compiles WebAssembly to native code.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
}

impl Compiler {
    /// The compiler at `program`.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// The compiler in the folder of the program that runs.
    pub fn beside_this_program() -> Result<Self> {
        let this = std::env::current_exe().map_err(|source| Error::NoCompiler { program: PROGRAM.into(), source })?;
        Ok(Self::at(this.with_file_name(PROGRAM)))
    }

    /// Compiles the module `wasm` into `aot`, which is replaced as a whole or not at all. The same module, options and compiler give the same bytes.
    pub fn compile(&self, wasm: &Path, aot: &Path, options: &Options) -> Result<()> {
        let write = |source| Error::WriteAot { aot: aot.to_owned(), source };
        let folder = match aot.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut new = tempfile::Builder::new();
        let new = new.prefix(".").suffix(".aot").permissions(Permissions::from_mode(0o666)).tempfile_in(folder).map_err(write)?;

        let failed = |reason| Error::Compile { wasm: wasm.to_owned(), baseline: options.baseline, reason };
        let mut command = Command::new(&self.program);
        command.arg(options.baseline.to_string()).arg(options.opt.level().to_string());
        command.args(options.segue.then_some(SEGUE)).arg(wasm).arg(new.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Output { status, stderr, .. } =
            command.output().map_err(|source: io::Error| Error::NoCompiler { program: self.program.clone(), source })?;
        if !status.success() {
            let words = String::from_utf8_lossy(&stderr);
            let words = words.trim();
            return Err(failed(if words.is_empty() { status.to_string() } else { words.to_owned() }));
        }
        new.as_file().sync_all().map_err(write)?;
        new.persist(aot).map_err(|error| write(error.error))?;
        Ok(())
    }
}
