//! Code that was compiled on this host.

use super::with_cpu;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::{atomic, is_writable};
use snapshot::Digest;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
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
    /// None where the user has no private cache: then nothing is known, and what is compiled is not kept.
    folder: Option<PathBuf>,
    compiler: PathBuf,
    context: Context,
}

impl CodeCache {
    /// That of `context`.
    pub fn open(context: &Context) -> Self {
        Self { folder: context.cache(FOLDER), compiler: context.folders().shipped.join(COMPILER), context: context.clone() }
    }

    /// The compiled form of `code`, a linked module, with a record of the processor that it is for. `compiling` is called first if it has yet to be
    /// made.
    pub fn compiled(&self, code: &[u8], options: &Options, compiling: impl FnOnce()) -> Result<Vec<u8>> {
        let compiler = self.compiler.clone();
        let program = fs::read(&compiler).map_err(|source| Error::Read { what: "compiler", path: compiler.clone(), source })?;
        let name = format!("{}.aot", key(code, &program, options));
        if let Some(place) = self.folder.as_ref().map(|folder| folder.join(&name)) {
            match fs::read(&place) {
                Ok(bytes) if self.trusts(Digest::of(&bytes)) => {
                    debug!(target: "prebake::compile", file = %place.display(), "compiled before");
                    return self.recorded(bytes, options.baseline);
                }
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(Error::Read { what: "compiled code", path: place, source });
                }
                // What is there is not what was put there.
                Ok(_) | Err(_) => {}
            }
        }
        compiling();
        let scratch;
        let folder = match self.writable() {
            Some(folder) => folder,
            None => {
                let temporary = self.context.temporary()?;
                scratch = tempfile::tempdir_in(temporary).map_err(|source| Error::Write { path: temporary.into(), source })?;
                scratch.path()
            }
        };
        let place = folder.join(name);
        let start = Instant::now();
        let module = place.with_extension("wasm");
        atomic::write(&module, code)?;
        let compiled = Compiler::at(compiler).compile(&module, &place, options);
        let _ = fs::remove_file(&module);
        compiled.map_err(|error| Error::Compile(Box::new(error)))?;
        debug!(target: "prebake::compile", file = %place.display(), baseline = %options.baseline, elapsed = ?start.elapsed(), "compiled");
        let bytes = fs::read(&place).map_err(|source| Error::Read { what: "compiled code", path: place, source })?;
        self.mark_as(Digest::of(&bytes), options.baseline)?;
        self.recorded(bytes, options.baseline)
    }

    /// Code that was compiled here, with the record of its processor. It may be run as well.
    fn recorded(&self, code: Vec<u8>, baseline: Baseline) -> Result<Vec<u8>> {
        let recorded = with_cpu(code, baseline.cpu());
        self.mark_as(Digest::of(&recorded), baseline)?;
        Ok(recorded)
    }

    /// The folder, if it can be written. If not, the user is told.
    fn writable(&self) -> Option<&Path> {
        let folder = self.folder.as_deref().filter(|folder| is_writable(folder));
        if folder.is_none() {
            self.context.tell_of_no_cache();
        }
        folder
    }

    fn mark_as(&self, digest: Digest, baseline: Baseline) -> Result<()> {
        if self.baseline(digest) == Some(baseline) {
            return Ok(());
        }
        match self.writable() {
            Some(folder) => atomic::write(&mark(folder, digest), baseline.to_string().as_bytes()),
            None => Ok(()),
        }
    }

    /// The least processor for code with this digest, if it was compiled here.
    pub fn baseline(&self, digest: Digest) -> Option<Baseline> {
        fs::read_to_string(mark(self.folder.as_ref()?, digest)).ok()?.parse().ok()
    }

    /// Whether code with this digest was compiled here, so that it may be run.
    pub fn trusts(&self, digest: Digest) -> bool {
        self.folder.as_ref().is_some_and(|folder| mark(folder, digest).exists())
    }
}

fn mark(folder: &Path, digest: Digest) -> PathBuf {
    folder.join(format!("{}.trusted", hex(digest)))
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
    use crate::context::Folders;

    #[test]
    fn without_a_cache_nothing_is_trusted_and_nothing_fails() {
        let cache = CodeCache::open(&Context::silent(Folders { cache: Some("/dev/null/cache".into()), ..Folders::default() }));
        let digest = Digest::of(b"code");
        cache.mark_as(digest, Baseline::X86_64V2).unwrap();
        assert!(!cache.trusts(digest) && cache.baseline(digest).is_none());
        let recorded = cache.recorded(b"code".to_vec(), Baseline::X86_64V2).unwrap();
        assert!(recorded.starts_with(b"code") && recorded.ends_with(b"x86-64-v2"));
    }

    #[test]
    fn only_what_was_compiled_here_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::silent(Folders { cache: Some(folder.path().into()), ..Folders::default() });
        let cache = CodeCache::open(&context);
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
