//! WAMR 2.4.3: runs WebAssembly, interpreted or compiled ahead of time, and compiles it.
//!
//! ```text
//! Runtime ──▶ Module (an .aot or a .wasm) ──▶ Instance ──▶ TypedFunc, Memory
//! Compiler ──▶ the program prebake-wamrc ──▶ an .aot
//! ```
//!
//! - One thread: a [`Runtime`] and all that comes from it stay where it was started. Give that thread a stack of [`Runtime::STACK`] bytes.
//! - Out of bounds, stack overflow and `unreachable` are a [`Trap`], `proc_exit` is [`Error::Exit`]; the instance can be used after either.
//! - A `.wasm` is validated and may come from anyone. What it may do with its directories, and for how long it may run, is its host's to say
//!   ([`Wasi::grants`], [`Wasi::watch`]); it waits for nothing and opens nothing but regular files and directories. An `.aot` is native code: load only one that is trusted like an executable.
//! - WAMR is built from one configuration for both parts (`build/config.rs`), with hardware bounds checks and no guest SIMD, threads or tail calls.

mod bytes;
mod compile;
mod error;
mod ffi;
mod function;
mod guest;
mod inspect;
mod instance;
mod memory;
mod module;
mod options;
mod placed;
mod runtime;
mod value;
mod wasi;

pub use bytes::ModuleBytes;
pub use compile::Compiler;
pub use error::{Error, Result, Trap};
pub use function::TypedFunc;
pub use guest::{Grants, HostFile, Watch};
pub use inspect::Format;
pub use instance::Instance;
pub use memory::Memory;
pub use module::Module;
pub use options::{Baseline, Opt, Options};
pub use placed::{Place, PlacedCode, loader};
pub use runtime::Runtime;
pub use value::{Kind, Scalar, Value, Values};
pub use wasi::{Preopen, Wasi};
