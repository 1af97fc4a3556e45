//! Whose native code is run: keys, what they signed, and what the user trusts.
//!
//! Code that `prebake aot` compiled for this user is trusted without more ([`crate::artifact::code_cache`]). Of what comes from a registry, a [`Voucher`](crate::machine::file::Voucher) says
//! that someone whom the user trusts stands for it: `key` has the keys, `signature` what is signed, `policy` whom the user trusts.

mod error;
mod key;
mod policy;
mod signature;

pub use error::TrustError;
pub use key::{PublicKey, SigningKey};
pub use policy::{Policy, Rule, Scope, repository};
pub use signature::Signature;
