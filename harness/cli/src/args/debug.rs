//! Looking at what a machine does, instruction by instruction.

use clap::Args;
use prebake::machine::DebugAid;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who looks on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Debugging")]
pub struct DebugArgs {
    /// Write a line for each instruction: count, address, disassembly, changed registers
    #[arg(long, value_name = "FILE", conflicts_with = "gdb")]
    pub trace: Option<PathBuf>,
    /// Wait for GDB on this address before the first instruction
    #[arg(long, value_name = "[HOST]:PORT", value_parser = loopback)]
    pub gdb: Option<SocketAddr>,
    /// Count how often each block of code runs, for `prebake translate` and `prebake profile`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gdb", "trace"])]
    pub profile: Option<PathBuf>,
}

impl DebugArgs {
    /// Who does.
    pub fn aid(&self) -> Option<DebugAid> {
        let trace = self.trace.clone().map(DebugAid::Trace);
        trace.or(self.gdb.map(DebugAid::Gdb)).or(self.profile.clone().map(DebugAid::Profile))
    }
}

/// Whoever connects rules the machine: so nobody does from outside.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.into() };
    let address: SocketAddr = whole.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:1234 or :1234".to_string())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("{} is reachable from outside, and debuggers do not authenticate; use an address such as 127.0.0.1", address.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::loopback;

    #[test]
    fn debuggers_come_from_this_host() {
        assert_eq!(loopback(":1234").unwrap(), "127.0.0.1:1234".parse().unwrap());
        assert!(loopback("[::1]:1").is_ok());
        assert!(loopback("0.0.0.0:1234").unwrap_err().contains("outside"));
        assert!(loopback("1234").unwrap_err().contains("expected"));
    }
}
