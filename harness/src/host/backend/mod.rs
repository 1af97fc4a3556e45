//! What a machine's devices have behind them on this host.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod grants;
pub mod hostdir;
pub mod ram;
