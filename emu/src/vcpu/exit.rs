//! Why the dispatcher was left.

use crate::cache::Link;
use crate::cpu::Exception;

/// Why the dispatcher was left. RIP and the budget are exact.
#[derive(Clone, Copy, Debug)]
pub enum ExitReason {
    /// The block at RIP is wanted.
    Block(Link),
    /// An exception of the instruction at RIP.
    Fault(Exception),
    /// Anything may have changed: look at it all.
    Sync,
}
