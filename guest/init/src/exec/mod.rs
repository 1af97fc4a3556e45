//! Programs beside the container's own: started by the container's process 1, and connected with the host by a thread of the machine's init.

mod link;
mod serve;

pub use link::Link;
pub use serve::{Orders, serve};
