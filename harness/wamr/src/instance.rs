//! An instance: a module with memory of its own.

use crate::error::{Error, Result, Trap};
use crate::ffi;
use crate::guest::Guest;
use crate::inspect::Format;
use crate::module::{ErrorText, Module, text};
use crate::wasi::Wasi;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells instances apart, for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u64);

/// WAMR's words for `proc_exit`, among its exceptions.
const EXIT: &str = "wasi proc exit";
/// The words of `c/interpreter.c` for a guest that was not to go on.
const STOPPED: &str = "stopped by its host";
/// Bytes that compiled code has of the interpreter's stack: WAMR takes this for as few as it can do with.
const NO_STACK: u32 = 0;
/// What WAMR puts before every exception.
const EXCEPTION: &str = "Exception: ";

/// A module that can be called.
#[derive(Debug)]
pub struct Instance {
    instance: NonNull<ffi::Instance>,
    env: NonNull<ffi::ExecEnv>,
    id: Id,
    module: Module,
    guest: Box<Guest>,
    /// The guest's standard streams are these descriptors.
    _stdio: [Option<OwnedFd>; 3],
}

impl Instance {
    /// Makes an instance of `module` and runs its start function and, of a WASI reactor, `_initialize`. `stack` is how many bytes the interpreter has
    /// for the guest's calls, all of them written to; compiled code uses the thread's own stack.
    pub fn new(module: &Module, wasi: Wasi, stack: u32) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let stack = if module.format() == Format::Aot { NO_STACK } else { stack };
        let prepared = wasi.prepare()?;
        let Wasi { preopens, grants, stdio, watch, .. } = wasi;
        let mut guest = Guest::new(grants, preopens.iter().map(|preopen| preopen.read_only).collect(), watch);
        let mut error = ErrorText::new();
        let (reason, reason_size) = error.buffer();
        let mut args = std::ptr::null_mut();
        // SAFETY: WAMR runs, since there is a `Module`, and writes `args`.
        if !unsafe { ffi::wasm_runtime_instantiation_args_create(&raw mut args) } {
            return Err(Error::Instantiate { reason: "no memory for the arguments".into() });
        }
        // SAFETY: `args` was made above and is destroyed here; `prepared` and the module outlive this block.
        let instance = unsafe {
            ffi::wasm_runtime_instantiation_args_set_default_stack_size(args, stack);
            prepared.set(args);
            let instance = guest.during(|| ffi::wasm_runtime_instantiate_ex2(module.pointer(), args, reason, reason_size));
            ffi::wasm_runtime_instantiation_args_destroy(args);
            instance
        };
        let instance = NonNull::new(instance).ok_or_else(|| Error::Instantiate { reason: error.read() })?;
        // SAFETY: the instance is there. It keeps what this returns until it goes.
        let env = NonNull::new(unsafe { ffi::wasm_runtime_get_exec_env_singleton(instance.as_ptr()) });
        let Some(env) = env else {
            // SAFETY: nothing else knows the instance yet.
            unsafe { ffi::wasm_runtime_deinstantiate(instance.as_ptr()) };
            return Err(Error::Instantiate { reason: format!("no memory for a stack of {stack} bytes") });
        };
        let id = Id(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { instance, env, id, module: module.clone(), guest, _stdio: stdio })
    }

    /// The module that this is an instance of.
    pub fn module(&self) -> &Module {
        &self.module
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn pointer(&self) -> *mut ffi::Instance {
        self.instance.as_ptr()
    }

    /// Calls `function` with the first `count` of `cells`; what it gives is in `cells` then.
    ///
    /// # Safety
    /// The function is of this instance and takes what is in the cells, and what it gives fits into them.
    pub(crate) unsafe fn invoke(&mut self, function: NonNull<ffi::Function>, count: u32, cells: &mut [u32]) -> Result<()> {
        // SAFETY: the caller's promise. A guest that traps is left by a jump over its own frames and WAMR's, never over Rust's.
        let call = || unsafe { ffi::wasm_runtime_call_wasm(self.env.as_ptr(), function.as_ptr(), count, cells.as_mut_ptr()) };
        if self.guest.during(call) {
            // It has read zeroes where there was nothing to read any more, and does not know.
            return self.module.check_file();
        }
        // SAFETY: the instance is there.
        let message = text(unsafe { ffi::wasm_runtime_get_exception(self.pointer()) });
        let message = message.strip_prefix(EXCEPTION).unwrap_or(&message);
        let error = if message == EXIT {
            // SAFETY: the instance is there.
            Error::Exit { code: unsafe { ffi::wasm_runtime_get_wasi_exit_code(self.pointer()) } }
        } else if message == STOPPED {
            Error::Stopped
        } else {
            Error::Trap { kind: Trap::of(message), message: message.to_owned() }
        };
        // SAFETY: the instance is there. As long as it has an exception, WAMR calls nothing in it.
        unsafe { ffi::wasm_runtime_clear_exception(self.pointer()) };
        self.module.check_file().and(Err(error))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: it was made by `new`, on this thread, and nothing that borrows from it is left. The fields that it needs are dropped after this.
        unsafe { ffi::wasm_runtime_deinstantiate(self.pointer()) };
    }
}
