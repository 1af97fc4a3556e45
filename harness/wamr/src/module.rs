//! A loaded module.

use crate::bytes::ModuleBytes;
use crate::error::{Error, Result};
use crate::ffi;
use crate::inspect::{self, Format};
use crate::options::REQUIREMENTS;
use crate::runtime::Runtime;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::rc::Rc;

/// A module, from which instances are made.
#[derive(Debug, Clone)]
pub struct Module(Rc<Loaded>);

/// What instances keep alive.
#[derive(Debug)]
struct Loaded {
    module: NonNull<ffi::Module>,
    format: Format,
    /// WAMR points into them.
    bytes: ModuleBytes,
    _runtime: Runtime,
}

impl Module {
    /// Loads an `.aot` or a `.wasm`. Its data segments are not read.
    pub fn load(runtime: &Runtime, mut bytes: ModuleBytes) -> Result<Self> {
        let format = inspect::inspect(bytes.as_ref())?;
        let slice = bytes.as_mut();
        let size = u32::try_from(slice.len()).map_err(|_| Error::TooLarge { len: slice.len(), max: ModuleBytes::MAX })?;
        let mut error = ErrorText::new();
        let (text, text_size) = error.buffer();
        // SAFETY: WAMR runs, since there is a `Runtime`, and on this thread. The bytes are `size` writable ones, which stay where they are, and are
        // used by nobody else, until `Loaded` has unloaded the module.
        let module = unsafe { ffi::wasm_runtime_load(slice.as_mut_ptr(), size, text, text_size) };
        let module = NonNull::new(module).ok_or_else(|| Error::Load { reason: error.read() })?;
        let module = Self(Rc::new(Loaded { module, format, bytes, _runtime: runtime.clone() }));

        if format == Format::Aot
            && let Some(requires) = module.custom_section(REQUIREMENTS)
        {
            inspect::check_host(requires)?;
        }
        match module.missing_import() {
            Some((module, name)) => Err(Error::MissingImport { module, name }),
            None => Ok(module),
        }
    }

    /// Whether it is interpreted or native code.
    pub fn format(&self) -> Format {
        self.0.format
    }

    /// What is in the custom section `name`, if there is one. Of an `.aot`, these are the sections that were put into it, not those of its `.wasm`.
    pub fn custom_section(&self, name: &str) -> Option<&[u8]> {
        let name = CString::new(name).ok()?;
        let mut len = 0;
        // SAFETY: the module is loaded, the name ends in a NUL, and `len` is written.
        let content = unsafe { ffi::wasm_runtime_get_custom_section(self.pointer(), name.as_ptr(), &raw mut len) };
        if content.is_null() {
            return None;
        }
        // SAFETY: the content is in the module's bytes, which stay as long as `self`, and WAMR writes to none of them after loading.
        Some(unsafe { std::slice::from_raw_parts(content, len as usize) })
    }

    /// Fails if something of its file was read that is not there any more.
    pub(crate) fn check_file(&self) -> Result<()> {
        self.0.bytes.check_file()
    }

    fn missing_import(&self) -> Option<(String, String)> {
        let (mut module, mut name) = (std::ptr::null(), std::ptr::null());
        // SAFETY: the module is loaded and the two are written if there is one.
        let missing = unsafe { ffi::prebake_wamr_missing_import(self.pointer(), &raw mut module, &raw mut name) };
        missing.then(|| (text(module), text(name)))
    }

    pub(crate) fn pointer(&self) -> *mut ffi::Module {
        self.0.module.as_ptr()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: it was loaded, every instance of it is gone since each holds `self`, and the fields that it needs are dropped after this.
        unsafe { ffi::wasm_runtime_unload(self.module.as_ptr()) };
    }
}

/// A text of WAMR's as Rust's. Nothing, for null.
pub(crate) fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: WAMR's texts end in a NUL, and are there at least until WAMR is called again.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Where WAMR writes why it failed.
pub(crate) struct ErrorText([u8; 256]);

impl ErrorText {
    pub(crate) fn new() -> Self {
        Self([0; 256])
    }

    /// The place and its size, for WAMR.
    pub(crate) fn buffer(&mut self) -> (*mut c_char, u32) {
        (self.0.as_mut_ptr().cast(), self.0.len() as u32)
    }

    /// What WAMR wrote.
    pub(crate) fn read(&self) -> String {
        let text = CStr::from_bytes_until_nul(&self.0).map_or_else(|_| "WAMR gave no reason".into(), CStr::to_string_lossy);
        text.trim().to_owned()
    }
}
