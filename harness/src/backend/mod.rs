//! What a machine's devices have behind them on this host.

pub mod hostdir;
