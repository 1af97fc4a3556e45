//! Machines for programs: [`distribution::oci::ensure`] fetches one, [`service::Vm`] runs it.
//!
//! `machine` is a machine, wherever it runs, and what its devices are given; `make` makes one of a container image, compiles it and bakes a
//! snapshot of it; `distribution` has registries, the store of what was pulled, and whose code is run; `session` what was done in machines and
//! kept; `run` finds out what is to be run, starts it and attends it; `exec` runs a second program in it and `copy` copies files; `host` is what this host gives: files, clocks, entropy, directories.

pub mod artifact;
pub mod context;
pub mod copy;
pub mod distribution;
pub mod error;
pub mod exec;
pub mod host;
pub mod machine;
pub mod make;
pub mod network;
pub mod observer;
pub mod report;
pub mod run;
pub mod service;
pub mod session;
pub mod text;
