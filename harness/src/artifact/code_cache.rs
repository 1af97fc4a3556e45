//! Code that was compiled on this host.

use super::{link_code, with_cpu};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::file::{atomic, is_writable};
use crate::observer::{INTERVAL, Notice, Observer, Progress, Task};
use crate::text::hex;
use snapshot::Digest;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;
use tracing::debug;
use wamr::{Baseline, Compiler, Options};

/// The compiler.
const COMPILER: &str = "prebake-wamrc";
/// The folder of compiled code in the user's cache.
const FOLDER: &str = "code";

/// Code that was compiled: an `.aot` for each code file, compiler and options, and a mark for each `.aot` that may be run. It lies in two folders:
/// one beside the program, which came with it and is only read, and one in the user's cache.
#[derive(Debug)]
pub struct CodeCache {
    /// None where the user has no private cache: then nothing is known, and what is compiled is not kept.
    folder: Option<PathBuf>,
    shipped: PathBuf,
    compiler: PathBuf,
    context: Context,
}

impl CodeCache {
    /// That of `context`.
    pub fn open(context: &Context) -> Self {
        let shipped = &context.folders().shipped;
        Self { folder: context.cache(FOLDER), shipped: shipped.join(FOLDER), compiler: shipped.join(COMPILER), context: context.clone() }
    }

    /// The compiled form of `code`, a linked module, with a record of the processor that it is for. The observer hears of it if it has
    /// yet to be made.
    pub fn compiled(&self, code: &[u8], options: &Options) -> Result<Vec<u8>> {
        let digest = Digest::of(code);
        if let Some(bytes) = self.kept(digest, options)? {
            return Ok(bytes);
        }
        let name = self.name(digest, options)?;
        self.context.notice(Notice::Compiling { baseline: options.baseline });
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
        let compiler = Compiler::at(self.compiler.clone());
        let compiled = watch(self.context.observer(), options.baseline, || compiler.compile(&module, &place, options));
        let _ = fs::remove_file(&module);
        compiled.map_err(|error| Error::Compile(Box::new(error)))?;
        debug!(target: "prebake::compile", file = %place.display(), baseline = %options.baseline, elapsed = ?start.elapsed(), "compiled");
        let bytes = fs::read(&place).map_err(|source| Error::Read { what: "compiled code", path: place, source })?;
        self.mark_as(Digest::of(&bytes), options.baseline)?;
        self.recorded(bytes, options.baseline)
    }

    /// The compiled form of the linked module with the digest `code`, if it came with the program or was compiled here.
    pub fn kept(&self, code: Digest, options: &Options) -> Result<Option<Vec<u8>>> {
        let name = self.name(code, options)?;
        if let Ok(bytes) = fs::read(self.shipped.join(&name))
            && self.trusts(Digest::of(&bytes))
        {
            debug!(target: "prebake::compile", name, "came with the program");
            return Ok(Some(bytes));
        }
        let Some(place) = self.folder.as_ref().map(|folder| folder.join(&name)) else { return Ok(None) };
        match fs::read(&place) {
            Ok(bytes) if self.trusts(Digest::of(&bytes)) => {
                debug!(target: "prebake::compile", file = %place.display(), "compiled before");
                self.recorded(bytes, options.baseline).map(Some)
            }
            Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::Read { what: "compiled code", path: place, source }),
            // What is there is not what was put there.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// How the compiled form of the linked module with the digest `code` is called.
    fn name(&self, code: Digest, options: &Options) -> Result<String> {
        let path = &self.compiler;
        let compiler = fs::read(path).map_err(|source| Error::Read { what: "compiler", path: path.clone(), source })?;
        Ok(format!("{}.aot", key(code, &compiler, options)))
    }

    /// Code that was compiled here, linked, with the record of its processor. It may be run as well.
    fn recorded(&self, code: Vec<u8>, baseline: Baseline) -> Result<Vec<u8>> {
        let recorded = with_cpu(link_code(code), baseline.cpu());
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

    /// Writes the compiled form of `code` into `folder`, which is to come with a program: see [`CodeCache`].
    pub fn ship(&self, code: &[u8], options: &Options, folder: &Path) -> Result<PathBuf> {
        let bytes = self.compiled(code, options)?;
        let place = folder.join(self.name(Digest::of(code), options)?);
        fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
        atomic::write(&place, &bytes)?;
        atomic::write(&mark(folder, Digest::of(&bytes)), options.baseline.to_string().as_bytes())?;
        Ok(place)
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

    /// The least processor for code with this digest, if it was compiled here or came with the program.
    pub fn baseline(&self, digest: Digest) -> Option<Baseline> {
        self.folders().find_map(|folder| fs::read_to_string(mark(folder, digest)).ok()?.parse().ok())
    }

    /// Whether code with this digest was compiled here or came with the program, so that it may be run.
    pub fn trusts(&self, digest: Digest) -> bool {
        self.folders().any(|folder| mark(folder, digest).exists())
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.shipped).chain(&self.folder)
    }
}

fn mark(folder: &Path, digest: Digest) -> PathBuf {
    folder.join(format!("{}.trusted", hex(digest.as_bytes())))
}

/// Does `work` on a thread of its own, and tells how long it has taken so far: the compiler says nothing before it is done.
fn watch<T: Send>(observer: &dyn Observer, baseline: Baseline, work: impl FnOnce() -> wamr::Result<T> + Send) -> wamr::Result<T> {
    let start = Instant::now();
    let tell = |ended| {
        let task = Task::Compile { baseline, elapsed: start.elapsed() };
        observer.progress(&Progress { task, done: start.elapsed().as_secs(), total: None, ended });
    };
    let result = thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            tell(false);
            thread::sleep(INTERVAL);
        }
        work.join()
    });
    tell(true);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn key(code: Digest, compiler: &[u8], options: &Options) -> String {
    let names = format!("{} {} {:?} {}", hex(code.as_bytes()), hex(Digest::of(compiler).as_bytes()), options.opt, options.segue);
    let baseline = options.baseline.to_string().replace(':', "-");
    format!("{baseline}-{}", &hex(Digest::of(names.as_bytes()).as_bytes())[..32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Folders;
    use std::sync::Mutex;
    use std::time::Duration;

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
    fn a_compilation_tells_how_long_it_has_taken() {
        #[derive(Default)]
        struct Heard(Mutex<Vec<(Duration, bool)>>);
        impl Observer for Heard {
            fn notice(&self, _: &Notice<'_>) {}
            fn progress(&self, progress: &Progress<'_>) {
                let Task::Compile { elapsed, .. } = progress.task else { panic!("{progress:?}") };
                self.0.lock().unwrap().push((elapsed, progress.ended));
            }
        }
        let heard = Heard::default();
        // The work ends when it has been told of twice.
        watch(&heard, Baseline::Aarch64, || {
            while heard.0.lock().unwrap().len() < 2 {
                thread::yield_now();
            }
            Ok(())
        })
        .unwrap();
        let heard = heard.0.into_inner().unwrap();
        assert!(heard.is_sorted() && heard.iter().filter(|(_, ended)| *ended).count() == 1 && heard.last().unwrap().1, "{heard:?}");
    }

    /// Whoever may write beside the program can replace the program itself.
    #[test]
    fn code_that_came_with_the_program_is_used_without_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::create_dir_all(program.join(FOLDER)).unwrap();
        fs::write(program.join(COMPILER), "compiler").unwrap();
        let folders = |shipped: &Path| Folders { shipped: shipped.into(), temporary: folder.path().into(), ..Folders::default() };
        let cache = CodeCache::open(&Context::silent(folders(&program)));
        let options = Options::new(Baseline::X86_64V2);
        let place = program.join(FOLDER).join(format!("{}.aot", key(Digest::of(b"module"), b"compiler", &options)));
        fs::write(&place, "compiled").unwrap();
        // Without its mark it is anyone's, and the compiler here is none.
        assert_eq!(cache.compiled(b"module", &options).unwrap_err().kind(), "compile");
        fs::write(mark(&program.join(FOLDER), Digest::of(b"compiled")), options.baseline.to_string()).unwrap();
        assert_eq!(cache.compiled(b"module", &options).unwrap(), b"compiled");
        assert_eq!(cache.baseline(Digest::of(b"compiled")), Some(Baseline::X86_64V2));
        // What is shipped once more is used in the same way.
        let other = folder.path().join("other");
        assert_eq!(cache.ship(b"module", &options, &other.join(FOLDER)).unwrap().file_name(), place.file_name());
        fs::write(other.join(COMPILER), "compiler").unwrap();
        assert_eq!(CodeCache::open(&Context::silent(folders(&other))).compiled(b"module", &options).unwrap(), b"compiled");
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
        let key = |code: &[u8], compiler, options| key(Digest::of(code), compiler, options);
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
