//! Running ops: what the dispatcher derives from each, and the way into it.
//!
//! With tail calls, the handlers do it all. The loop has arms for the ops that run most often.

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
mod arms;
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
mod hot;
#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
mod looped;
mod slots;

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
pub use looped::enter;
pub use slots::slots;

#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
pub use super::dispatch::enter;
