//! What a guest sees of its host through WASI.

use crate::error::{Error, Result};
use crate::ffi;
use crate::guest::{Grants, Watch};
use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Arguments, environment, directories and standard streams of an instance.
#[derive(Debug, Default)]
pub struct Wasi {
    /// The arguments, the program's name first.
    pub args: Vec<String>,
    /// The environment: names and values.
    pub env: Vec<(String, String)>,
    /// Directories. The guest gets file descriptors from 3 on, in this order.
    pub preopens: Vec<Preopen>,
    /// What may be changed below the directories that are not read-only.
    pub grants: Grants,
    /// Standard input, output and error; `None` is the process's own.
    pub stdio: [Option<OwnedFd>; 3],
    /// Asked whether the guest may go on.
    pub watch: Option<Watch>,
}

/// A directory that a guest finds open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preopen {
    /// Where the guest sees it.
    pub guest: String,
    /// Where it is.
    pub host: PathBuf,
    /// Nothing below it can be changed.
    pub read_only: bool,
}

/// A [`Wasi`] in C's form.
pub(crate) struct Prepared {
    args: Strings,
    env: Strings,
    mapped: Strings,
    stdio: [i64; 3],
}

impl Wasi {
    pub(crate) fn prepare(&self) -> Result<Prepared> {
        let args = self.args.iter().map(|arg| c_string("argument", arg.as_bytes())).collect::<Result<_>>()?;
        let env = self.env.iter().map(|(name, value)| c_string("variable", format!("{name}={value}").as_bytes()));
        let mapped = self.preopens.iter().map(|Preopen { guest, host, .. }| {
            // WAMR takes both in one text and cuts it at the first "::".
            if guest.contains("::") || guest.ends_with(':') {
                let why = "a directory's name in the guest cannot have :: in it or : at its end";
                return Err(Error::WasiText { what: "directory", text: guest.clone(), why });
            }
            c_string("directory", &[guest.as_bytes(), b"::", host.as_os_str().as_bytes()].concat())
        });
        let stdio = [0, 1, 2].map(|i: usize| self.stdio.get(i).and_then(Option::as_ref).map_or(-1, |fd| i64::from(fd.as_raw_fd())));
        Ok(Prepared {
            args: Strings::new(args),
            env: Strings::new(env.collect::<Result<_>>()?),
            mapped: Strings::new(mapped.collect::<Result<_>>()?),
            stdio,
        })
    }
}

impl Prepared {
    /// Hands this to `args`.
    ///
    /// # Safety
    /// `args` is valid, and not used after `self` is gone.
    pub(crate) unsafe fn set(&self, args: *mut ffi::InstantiationArgs) {
        let [stdin, stdout, stderr] = self.stdio;
        // SAFETY: the caller's promise; every list has the length that is given with it.
        unsafe {
            ffi::wasm_runtime_instantiation_args_set_wasi_arg(args, self.args.pointer(), self.args.count() as c_int);
            ffi::wasm_runtime_instantiation_args_set_wasi_env(args, self.env.pointer(), self.env.count());
            ffi::wasm_runtime_instantiation_args_set_wasi_dir(args, std::ptr::null(), 0, self.mapped.pointer(), self.mapped.count());
            ffi::wasm_runtime_instantiation_args_set_wasi_stdio(args, stdin, stdout, stderr);
        }
    }
}

fn c_string(what: &'static str, bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::WasiText { what, text: String::from_utf8_lossy(bytes).into_owned(), why: "it has a NUL in it" })
}

/// A list of C's strings.
struct Strings {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|string| string.as_ptr()).collect();
        Self { _owned: owned, pointers }
    }

    fn pointer(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    fn count(&self) -> u32 {
        self.pointers.len() as u32
    }
}
