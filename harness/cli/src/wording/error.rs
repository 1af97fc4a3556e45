//! The words for errors: the library says what is wrong, and this what to do about it on the command line.

use attend::{Failure, quoted};
use prebake::distribution::oci::{OciError, Remedy};
use prebake::distribution::trust::TrustError;
use prebake::error::{Error, Setting};
use prebake::make::image::ImageError;
use prebake::text::printable;

const OWN_FOLDER: &str = "to a folder that only you can write to";

/// An error, in one sentence.
pub fn error(error: &Error) -> String {
    match error {
        Error::NoStore => format!("no store: set PREBAKE_HOME {OWN_FOLDER}"),
        Error::NotInModule { setting } => format!("{} is not available with --engine wamr; use --engine native", option(*setting)),
        Error::MachineMemory { path, found, wanted } => format!(
            "{}: the machine has {found} MiB of memory, but --memory asks for {wanted}; omit --memory, or convert the image again",
            path.display()
        ),
        Error::DiskAccess { disk, read_only } => {
            let (was, give) = if *read_only { ("read-only", "with") } else { ("writable", "without") };
            format!("the disk {disk} was {was} when the snapshot was taken; pass it {give} `:ro`")
        }
        Error::OtherDisk { problem } => format!("{problem}; pass the same disk with --disk, or bake again"),
        Error::OtherShares { given, wanted } => format!(
            "the shares given are {given}, but the snapshot was taken with {wanted}; pass the same tags with --share, in the same order"
        ),
        Error::NoPlaceForVolumes { tag } => {
            format!("the snapshot was taken with --share {tag}=DIR; pass that again instead of -v, or bake without it")
        }
        Error::AlreadyStarted { path, setting } => format!(
            "the program in {} is already running, so {} has no effect; omit it, or bake with --at barrier",
            path.display(),
            option(*setting)
        ),
        Error::NoInit { path, setting } => {
            format!(
                "the guest in {} has an init with container2wasm's protocol, in which {} has no effect; omit it",
                path.display(),
                option(*setting)
            )
        }
        Error::OnATerminal { path } => {
            format!("the shell in {} already uses a terminal, so -T has no effect; omit it, or bake with --at barrier", path.display())
        }
        Error::NothingToRun => "nothing to run: pass a reference, a machine, a snapshot, or --session NAME".into(),
        Error::OtherSession { name, found, wanted } => {
            format!("session {name} belongs to {found}, not to {wanted}; omit --session, or choose another name")
        }
        Error::SessionOption { name, setting } => format!(
            "the program of session {name} is already running, so {} has no effect; omit it, or choose another session with --session",
            option(*setting)
        ),
        Error::NotInSession { name, setting } => {
            format!("{} is not available in session {name}; omit it, or omit --session", option(*setting))
        }
        Error::SessionBase { name } => {
            format!("session {name} needs a snapshot to start from: pass --snapshot FILE; `prebake bake` makes one")
        }
        Error::NoSessionToSave => "this run is not saved; interactive runs of a reference are, and runs with --session".into(),
        Error::Guest(Failure::NeverSettled { within, last, output }) => format!(
            "the guest did not settle within {} s of guest time; its last activity was {last}; \
             find out what keeps it busy, or raise the limits with --settle{}",
            within / 1_000_000_000,
            quoted(output)
        ),
        Error::Guest(Failure::NoBarrier { evidence, output }) => format!(
            "the guest settled without reaching the barrier (ten `=` on its terminal): {evidence}; \
             use prebake's init, or bake with --at idle{}",
            quoted(output)
        ),
        Error::Oci(source) => registry(source),
        Error::Trust(source) => match &**source {
            TrustError::NoConfig => format!("no folder for your trust settings: set PREBAKE_CONFIG {OWN_FOLDER}"),
            TrustError::Locked { .. } => format!("{error}; set PREBAKE_KEY_PASSWORD"),
            _ => error.to_string(),
        },
        Error::Image(source) => match &**source {
            ImageError::Name { name, .. } if name.starts_with("http://") => format!("{error}; allow plain HTTP with --plain-http"),
            ImageError::Registry { reference, source } => format!("{reference}: {}", printable(&registry(source))),
            _ => error.to_string(),
        },
        Error::NoNetworkDevice { path } => {
            format!("{} has no network device; convert and bake the image again, or omit --net and -p", path.display())
        }
        Error::NetworkInVirtualTime => "a network needs the host's clock; omit --clock virtual, or --net and -p".into(),
        Error::NeedsMachine => format!("{error}; run: prebake run FILE.aot --snapshot FILE.snap"),
        Error::NoSession { .. } => format!("{error}; `prebake sessions` lists all sessions"),
        Error::SessionRests { name } => {
            format!(
                "session {name} is not running, so no program can be started in it; run it first, in another terminal: prebake run --session {name}"
            )
        }
        Error::SessionFile { name, .. } => format!("{error}; `prebake sessions --remove {name}` removes the session"),
        Error::Volume { .. } => format!("{error} with -v"),
        _ => error.to_string(),
    }
}

/// An error of a registry.
pub fn registry(error: &OciError) -> String {
    match error {
        OciError::NotInStore { reference } => format!("{reference} is not in the store; omit --offline or --pull never to fetch it"),
        OciError::UnknownProcessor { path, known } => format!(
            "{} does not say what processor it was compiled for, since an older version of prebake compiled it; pass --host-cpu with one of: {known}",
            path.display()
        ),
        OciError::OtherProcessor { .. } => format!("{error}; omit --host-cpu"),
        OciError::WantsTls { registry } => format!("{registry} uses TLS; omit --plain-http"),
        OciError::Unreachable { remedy: Some(Remedy::PlainHttp), .. } => format!("{error} (--plain-http)"),
        OciError::Unreachable { remedy: Some(Remedy::CaFile), .. } => format!("{error} (--ca-file FILE)"),
        OciError::Unauthorized { .. } | OciError::Credentials { .. } | OciError::Status { status: 401 | 403, .. } => {
            format!("{error}, or set PREBAKE_REGISTRY_USER and PREBAKE_REGISTRY_PASSWORD, and PREBAKE_REGISTRY to its host")
        }
        _ => error.to_string(),
    }
}

/// What asks for a setting on the command line.
pub const fn option(setting: Setting) -> &'static str {
    match setting {
        Setting::Environment => "-e",
        Setting::Volumes => "-v",
        Setting::WorkingDirectory => "-w",
        Setting::User => "-u",
        Setting::Entrypoint => "--entrypoint",
        Setting::Arguments => "a command",
        Setting::Terminal => "-t",
        Setting::Streams => "-T",
        Setting::Disks => "--disk",
        Setting::Shares => "--share",
        Setting::ReadOnTouch => "--restore read",
        Setting::Trace => "--trace",
        Setting::Debugger => "--gdb",
        Setting::Profile => "--profile",
        Setting::Hostname => "--hostname",
        Setting::Tmpfs => "--tmpfs",
        Setting::Limits => "--ulimit",
        Setting::ReadOnlyRoot => "--read-only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_here_and_only_here() {
        let errors = [
            (Error::NotInModule { setting: Setting::Trace }, "--trace"),
            (Error::NotInSession { name: "s".into(), setting: Setting::ReadOnTouch }, "--restore read"),
            (Error::AlreadyStarted { path: "p".into(), setting: Setting::Entrypoint }, "--entrypoint"),
            (Error::NoStore, "PREBAKE_HOME"),
            (Error::NothingToRun, "--session"),
            (Error::NeedsMachine, "--snapshot"),
            (Error::Volume { path: "a".into() }, "choose another path with -v"),
            (OciError::NotInStore { reference: "r".into() }.into(), "--offline"),
            (TrustError::NoConfig.into(), "PREBAKE_CONFIG"),
            (
                ImageError::Name { name: "http://r/x".into(), problem: "allow plain HTTP".into() }.into(),
                "allow plain HTTP with --plain-http",
            ),
        ];
        for (error, word) in errors {
            let (plain, told) = (error.to_string(), super::error(&error));
            assert!(told.contains(word), "{told}");
            assert!(!plain.contains(" -") && !plain.contains("PREBAKE_"), "{plain}");
        }
    }
}
