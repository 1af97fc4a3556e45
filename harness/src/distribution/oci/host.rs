//! What can be used on this host: told from a configuration, before anything is fetched.

use super::document::{CodeFormat, Config};
use crate::artifact::{AOT_VERSION, MAX_FILE_LEN, WASM_VERSION};
use crate::host::processor::has_baseline;
use emu::machine::model::MODEL;
use snapshot::FORMAT_VERSION;

/// A host.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its processor, as WAMR spells it.
    target: &'static str,
    /// Whether it has what the baseline of this name asks for; `None` if there is no such baseline.
    has: fn(&str) -> Option<bool>,
}

/// Why something cannot be used: a stable name, and what was found, what was wanted and what to do.
pub type Reason = (&'static str, String);

impl Host {
    /// This one.
    pub const fn this() -> Self {
        Self { target: std::env::consts::ARCH, has: has_baseline }
    }

    /// Its processor in OCI's words.
    pub fn architecture(&self) -> &'static str {
        architecture(self.target).unwrap_or(self.target)
    }

    /// Checks that files with this configuration can be used.
    pub fn check(&self, config: &Config) -> Result<(), Reason> {
        let code = &config.code;
        let (supported, name) = match code.format {
            CodeFormat::Aot => (AOT_VERSION, "WAMR's native code"),
            CodeFormat::Wasm => (WASM_VERSION, "WebAssembly"),
        };
        if code.format == CodeFormat::Aot && code.target.as_deref() != Some(self.target) {
            let found = shown(code.target.as_deref().unwrap_or("no processor"));
            return Err(("wrong-target", format!("its code is for {found}, but this host is {}", self.target)));
        }
        if code.version != supported {
            let problem = format!(
                "its code is {name} of version {}, but this prebake runs version {supported}; {}",
                code.version,
                if code.version > supported { "use a newer prebake" } else { "push it again with this prebake" }
            );
            return Err(("code-version", problem));
        }
        if let (CodeFormat::Aot, Some(cpu)) = (code.format, &code.cpu) {
            match (self.has)(cpu) {
                Some(true) => {}
                Some(false) => {
                    return Err(("wrong-cpu", format!("its code needs {}, which this processor does not support", shown(cpu))));
                }
                None => return Err(("wrong-cpu", format!("its code needs the unknown processor {}", shown(cpu)))),
            }
        }
        if config.model != MODEL.as_str() {
            let problem = format!(
                "it is for the machine model {}, but this version of prebake has {MODEL}; use the version that made it",
                shown(&config.model)
            );
            return Err(("wrong-model", problem));
        }
        if emu::machine::check_ram_size(config.ram_bytes).is_err() || config.ram_bytes >= MAX_FILE_LEN {
            return Err(("ram-size", format!("{} bytes of guest RAM are not supported", config.ram_bytes)));
        }
        match &config.snapshot {
            Some(snapshot) if snapshot.format != FORMAT_VERSION => {
                let problem = format!(
                    "its snapshot has format version {}, but this version of prebake reads version {FORMAT_VERSION}",
                    snapshot.format
                );
                Err(("newer-version", problem))
            }
            _ => Ok(()),
        }
    }
}

/// A word from a registry, for a message.
fn shown(word: &str) -> String {
    word.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// What OCI calls a processor that WAMR calls `target`.
pub fn architecture(target: &str) -> Option<&'static str> {
    match target {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::oci::document::{Code, SnapshotConfig};
    use std::collections::BTreeMap;

    fn config() -> Config {
        let code = Code {
            format: CodeFormat::Aot,
            version: AOT_VERSION,
            target: Some("x86_64".into()),
            cpu: Some("x86-64-v2".into()),
            digest: "blake3:0".into(),
        };
        let snapshot =
            SnapshotConfig { format: FORMAT_VERSION, content: "blake3:1".into(), stored_bytes: 1, first_bytes: None, devices: 0 };
        let model = MODEL.as_str().into();
        Config { model, ram_bytes: 128 << 20, code, payload: BTreeMap::new(), layers: None, source: None, snapshot: Some(snapshot) }
    }

    const OLD_PC: Host = Host {
        target: "x86_64",
        has: |name| match name {
            "x86-64-v2" => Some(true),
            "x86-64-v3" => Some(false),
            _ => None,
        },
    };

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(OLD_PC.check(&config()), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            OLD_PC.check(&config).unwrap_err()
        };
        let kind = |change| refused(change).0;
        assert_eq!(kind(|config| config.code.target = Some("aarch64".into())), "wrong-target");
        assert_eq!(kind(|config| config.code.target = None), "wrong-target");
        assert_eq!(kind(|config| config.code.cpu = Some("x86-64-v3".into())), "wrong-cpu");
        assert_eq!(kind(|config| config.code.cpu = Some("native".into())), "wrong-cpu");
        assert_eq!(kind(|config| config.model = "pc9/1".into()), "wrong-model");
        assert_eq!(kind(|config| config.ram_bytes += 1), "ram-size");
        assert_eq!(kind(|config| config.ram_bytes = 8 << 30), "ram-size");
        assert!(refused(|config| config.code.version += 1).1.contains("newer prebake"));
        assert!(refused(|config| config.code.version -= 1).1.contains("push it again"));
        let newer = refused(|config| config.snapshot.as_mut().unwrap().format += 1);
        assert_eq!(newer.0, "newer-version");
    }

    #[test]
    fn webassembly_is_for_every_processor() {
        let mut config = config();
        config.code = Code { format: CodeFormat::Wasm, version: WASM_VERSION, target: None, cpu: None, digest: String::new() };
        assert_eq!(Host { target: "riscv64", ..OLD_PC }.check(&config), Ok(()));
    }

    #[test]
    fn this_host_has_the_first_baseline() {
        let first = if cfg!(target_arch = "x86_64") { "x86-64-v2" } else { "generic" };
        assert_eq!((Host::this().has)(first), Some(true));
        assert_eq!((Host::this().has)("none"), None);
    }
}
