//! The runtime's arguments.

use super::error::Failure;

/// How container2wasm's users ask for a network.
const NETWORK: &str = "--net=socket";

/// The command for the guest.
pub fn command(arguments: impl Iterator<Item = String>) -> Result<Vec<String>, Failure> {
    let command: Vec<_> = arguments.skip(1).collect();
    match command.first() {
        Some(first) if first.starts_with(NETWORK) => Err(Failure::NoNetwork { asked: first.clone() }),
        _ => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Vec<String>, Failure> {
        command(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn a_network_is_refused_and_everything_else_is_the_command() {
        for asked in ["--net=socket", "--net=socket=listenfd=4"] {
            let failure = of(&["machine.wasm", asked, "wget"]).unwrap_err().to_string();
            assert!(failure.contains(asked) && failure.contains("prebake run"), "{failure}");
        }
        for command in [&["echo", "--net=socket"][..], &["--net=host"], &[]] {
            assert_eq!(of(&[&["machine.wasm"], command].concat()).unwrap(), command);
        }
    }
}
