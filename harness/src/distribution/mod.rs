//! Where machines come from and go to: registries, the store on this host, and whose native code is run.

pub mod oci;
pub mod store;
pub mod trust;
pub mod unpack;
