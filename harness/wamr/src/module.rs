//! A loaded module.

use crate::bytes::ModuleBytes;
use crate::error::{Error, Result};
use crate::ffi;
use crate::inspect::{self, Format};
use crate::options::REQUIREMENTS;
use crate::placed::{Place, Placed, PlacedCode, Relocations};
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
    pub fn load(runtime: &Runtime, bytes: ModuleBytes) -> Result<Self> {
        let format = inspect::inspect(bytes.as_ref())?;
        Self::load_as(format, runtime, bytes)
    }

    /// Loads an `.aot` whose code a module of the same bytes had before, mapped to where that had it. If something else lies there, as [`Module::load`].
    pub fn load_placed(runtime: &Runtime, mut bytes: ModuleBytes, code: &PlacedCode<'_>) -> Result<Self> {
        let format = inspect::inspect(bytes.as_ref())?;
        let count_at = if format == Format::Aot { Relocations::of(bytes.as_ref()).map(|relocations| relocations.count_at) } else { None };
        let Some((count_at, placed)) = count_at.and_then(|count_at| Some((count_at, Placed::map(code)?))) else {
            return Self::load_as(format, runtime, bytes);
        };
        // What is mapped is relocated.
        bytes.as_mut()[count_at..][..size_of::<u32>()].fill(0);
        let module = Self::load_as(format, runtime, bytes)?;
        if placed.end() { Ok(module) } else { Err(Error::Load { reason: "its code was placed, but is of another size".into() }) }
    }

    fn load_as(format: Format, runtime: &Runtime, mut bytes: ModuleBytes) -> Result<Self> {
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

    /// Where it has its code, with the code itself and the data that this refers to, if it can be placed there: see [`Module::load_placed`].
    pub fn place(&self) -> Option<(Place, &[u8], &[u8])> {
        if self.0.format != Format::Aot || !Relocations::of(self.0.bytes.as_ref())?.stay_within()? {
            return None;
        }
        let mut place = Place { code: 0, data: 0, code_size: 0, data_size: 0 };
        // SAFETY: the module is loaded, compiled code, and the place is written if there is one.
        unsafe { ffi::prebake_wamr_placed(self.pointer(), &raw mut place) }.then_some(())?;
        let bytes = |address, size: u32| {
            // SAFETY: WAMR has mapped it, for reading as well, and it stays as long as `self`. Code is not written once it is loaded, nor is this data.
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), size as usize) }
        };
        Some((place, bytes(place.code, place.code_size), bytes(place.data, place.data_size)))
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
