//! Linear to physical addresses: the page walk and the TLB in front of it.

mod tlb;
mod walk;

pub use tlb::{Tlb, TlbEntry, View};
pub use walk::{Access, AccessKind, PhysicalPage, look, walk};
