//! LLVM as Debian packages it.

use crate::Result;
use std::env;
use std::process::Command;

/// The versions that WAMR 2.4.3 was seen to build and work with, the best first.
const VERSIONS: [&str; 3] = ["22", "19", "16"];

/// How to compile for LLVM and link with it.
pub struct Llvm {
    /// The flags `-D…`.
    pub defines: Vec<String>,
    /// The folder of its headers.
    pub include: String,
    /// The folder of its libraries.
    pub libraries: String,
    /// The flags `-l…`.
    pub link: Vec<String>,
}

impl Llvm {
    /// What `$LLVM_CONFIG`, or else the newest `llvm-config-N` that is known to do, says.
    pub fn find() -> Result<Self> {
        println!("cargo::rerun-if-env-changed=LLVM_CONFIG");
        let program = match env::var("LLVM_CONFIG") {
            Ok(program) => program,
            Err(_) => VERSIONS.iter().map(|version| format!("llvm-config-{version}")).find(|program| ask(program, "--version").is_ok()).ok_or_else(
                || {
                    let [newest, ..] = VERSIONS;
                    format!("no LLVM: apt-get install g++ llvm-{newest}-dev (or {VERSIONS:?}), or set LLVM_CONFIG, or build with --no-default-features")
                },
            )?,
        };
        let words = |question| ask(&program, question).map(|answer| answer.split_whitespace().map(String::from).collect::<Vec<_>>());
        Ok(Self {
            defines: words("--cppflags")?.into_iter().filter(|flag| flag.starts_with("-D")).collect(),
            include: ask(&program, "--includedir")?,
            libraries: ask(&program, "--libdir")?,
            link: words("--link-shared --libs")?,
        })
    }
}

fn ask(program: &str, question: &str) -> Result<String> {
    let output = Command::new(program).args(question.split(' ')).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} {question}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map(|answer| answer.trim().to_owned()).map_err(|error| format!("{program} {question}: {error}"))
}
