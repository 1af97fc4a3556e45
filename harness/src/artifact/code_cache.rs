//! Code that was compiled on this host.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::atomic;
use snapshot::Digest;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Instant;
use tracing::debug;
use wamr::{Baseline, Compiler, Options};

/// The compiler.
const COMPILER: &str = "prebake-wamrc";
/// The folder of compiled code in the user's cache.
const FOLDER: &str = "code";

/// Code that was compiled on this host: an `.aot` for each code file, compiler and options, and a mark for each `.aot` that may be run.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    compiler: PathBuf,
}

impl CodeCache {
    /// That of `context`.
    pub fn open(context: &Context) -> Result<Self> {
        let folder = context.folders().cache(FOLDER).ok_or(Error::NoCache)?;
        Ok(Self { folder, compiler: context.folders().shipped.join(COMPILER) })
    }

    /// The compiled form of `code`, a linked module. `compiling` is called first if it has yet to be made.
    pub fn compiled(&self, code: &[u8], options: &Options, compiling: impl FnOnce()) -> Result<Vec<u8>> {
        let compiler = self.compiler.clone();
        let program = fs::read(&compiler).map_err(|source| Error::Read { what: "compiler", path: compiler.clone(), source })?;
        let place = self.folder.join(format!("{}.aot", key(code, &program, options)));
        match fs::read(&place) {
            Ok(bytes) if self.trusts(Digest::of(&bytes)) => {
                debug!(target: "prebake::compile", file = %place.display(), "compiled before");
                self.mark_as(Digest::of(&bytes), options.baseline)?;
                return Ok(bytes);
            }
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(Error::Read { what: "compiled code", path: place, source }),
            // What is there is not what was put there.
            Ok(_) | Err(_) => {}
        }
        compiling();
        let start = Instant::now();
        let module = place.with_extension("wasm");
        atomic::write(&module, code)?;
        let compiled = Compiler::at(compiler).compile(&module, &place, options);
        let _ = fs::remove_file(&module);
        compiled.map_err(|error| Error::Compile(Box::new(error)))?;
        debug!(target: "prebake::compile", file = %place.display(), baseline = %options.baseline, elapsed = ?start.elapsed(), "compiled");
        let bytes = fs::read(&place).map_err(|source| Error::Read { what: "compiled code", path: place, source })?;
        self.mark_as(Digest::of(&bytes), options.baseline)?;
        Ok(bytes)
    }

    fn mark_as(&self, digest: Digest, baseline: Baseline) -> Result<()> {
        if self.baseline(digest) == Some(baseline) { Ok(()) } else { atomic::write(&self.mark(digest), baseline.to_string().as_bytes()) }
    }

    /// The least processor for code with this digest, if it was compiled here.
    pub fn baseline(&self, digest: Digest) -> Option<Baseline> {
        fs::read_to_string(self.mark(digest)).ok()?.parse().ok()
    }

    /// Whether code with this digest was compiled here, so that it may be run.
    pub fn trusts(&self, digest: Digest) -> bool {
        self.mark(digest).exists()
    }

    fn mark(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{}.trusted", hex(digest)))
    }
}

fn key(code: &[u8], compiler: &[u8], options: &Options) -> String {
    let names = format!("{} {} {:?} {}", hex(Digest::of(code)), hex(Digest::of(compiler)), options.opt, options.segue);
    let baseline = options.baseline.to_string().replace(':', "-");
    format!("{baseline}-{}", &hex(Digest::of(names.as_bytes()))[..32])
}

fn hex(digest: Digest) -> String {
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_compiled_here_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache { folder: folder.path().into(), compiler: PathBuf::new() };
        let (known, forged) = (Digest::of(b"known"), Digest::of(b"forged"));
        cache.mark_as(known, Baseline::X86_64V3).unwrap();
        assert!(cache.trusts(known));
        assert!(!cache.trusts(forged));
        assert_eq!((cache.baseline(known), cache.baseline(forged)), (Some(Baseline::X86_64V3), None));
    }

    #[test]
    fn code_compiler_and_options_each_make_another_file() {
        let options = Options::new(Baseline::X86_64V2);
        let keys = [
            key(b"code", b"compiler", &options),
            key(b"other", b"compiler", &options),
            key(b"code", b"newer", &options),
            key(b"code", b"compiler", &Options { segue: true, ..options }),
            key(b"code", b"compiler", &Options::new(Baseline::Aarch64)),
        ];
        assert!((0..keys.len()).all(|i| !keys[..i].contains(&keys[i])), "{keys:?}");
    }
}
