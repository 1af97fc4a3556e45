//! Running ops: what the dispatcher derives from each, and the way into it.
//!
//! With tail calls, the handlers do it all. The loop has arms for the ops that run most often; the list of those is made with a loop that counts.

#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
mod arms;
#[cfg(feature = "count-ops")]
mod counted;
#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
mod hot;
#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
mod looped;
mod slots;
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
mod tail;

#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
use arms::arm_of;
#[cfg(feature = "count-ops")]
use counted::arm_of;
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
use tail::arm_of;

#[cfg(feature = "count-ops")]
pub use counted::{enter, take_counts};
#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
pub use looped::enter;
pub use slots::Slots;
#[cfg(not(any(target_family = "wasm", feature = "loop-dispatch")))]
pub use tail::enter;
