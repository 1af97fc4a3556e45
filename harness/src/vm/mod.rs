//! A machine with someone to look after it.

pub mod attended;
pub mod bake;
pub mod console;
pub mod drive;
pub mod input;
pub mod outlet;
pub mod parts;
pub mod record;
pub mod saved;
pub mod tail;
