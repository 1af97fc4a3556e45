//! How one op leads to the next: two dispatchers over the same handlers, chosen when the machine is built.
//!
//! A handler ends by calling [`go`] or by leaving with [`leave`]; what that does is the dispatcher's business. With tail calls, `go` is a jump
//! to the next handler. With a loop, it returns the next slot to the loop in `exec/run`, which has an arm with the handler inlined for each hot
//! op, and calls the handlers of the others. Both run the same ops in the same order.
//!
//! WebAssembly gets the loop: an indirect call costs three checks there, and tail calls are no better.

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
mod looped;
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
mod tail;

#[cfg(any(target_family = "wasm", feature = "loop-dispatch"))]
pub use looped::{Done, EXIT_ARM, go, leave};
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
pub use tail::{Done, go, leave};

use crate::cache::{self, Slot};
use crate::vcpu::Vcpu;

/// Runs one op, and says how it goes on.
///
/// # Safety
/// The pointer is a slot of the CPU's block cache, or of a block that ends in an op that leaves.
pub type Handler = unsafe fn(&mut Vcpu, *const Slot) -> Done;

/// Goes on with the op after `slot`.
///
/// # Safety
/// As for [`Handler`]; `slot` is not the last of its block.
#[inline(always)]
pub unsafe fn next(cx: &mut Vcpu, slot: *const Slot) -> Done {
    // SAFETY: every block ends in an op that does not come here, so there is a next slot.
    unsafe { go(cx, slot.add(1)) }
}

/// A handler as a slot keeps it.
pub const fn erase(handler: Handler) -> cache::Handler {
    // SAFETY: both are pointers to functions, and nothing calls this one before `restore` has given it its type again.
    unsafe { std::mem::transmute::<Handler, cache::Handler>(handler) }
}

/// What [`erase`] was given.
///
/// # Safety
/// `handler` must have come from [`erase`].
#[inline(always)]
pub unsafe fn restore(handler: cache::Handler) -> Handler {
    // SAFETY: the caller vouches that it is a handler.
    unsafe { std::mem::transmute::<cache::Handler, Handler>(handler) }
}
