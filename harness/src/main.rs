//! The program `prebake`.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main()
}
