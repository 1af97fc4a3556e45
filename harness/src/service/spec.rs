//! What is to be run, in words and numbers alone: for those to whom the library's types are of no use, as they speak another language.

use crate::distribution::oci::{PullOptions, PullPolicy};
use crate::distribution::trust::PublicKey;
use crate::error::{Error, Result};
use crate::host::net::{Link, MAX_MTU, MIN_MTU, NamedHost, NetworkOptions, Publish, Transport};
use crate::machine::EngineKind;
use crate::machine::config::Seed;
use crate::machine::program::{InvalidVolume, Program, Volume};
use crate::run::console::Terminal;
use crate::run::{RunRequest, RunTarget, SessionPolicy};
use crate::service::{self, ConsoleEnds};
use crate::text;
use devices::console::WindowSize;
use protocol::SEED_LEN;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// An object in JSON is written as one. serde would take a list of the fields' values for it, too.
macro_rules! objects {
    ($($object:ident)*) => {
        $(
            impl<'de> Deserialize<'de> for $object {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                    // What `remote = "Self"` has derived.
                    $object::deserialize(Map::<String, Value>::deserialize(deserializer)?).map_err(D::Error::custom)
                }
            }
        )*
    };
}
objects! { MachineSpec TerminalSpec VolumeSpec NetworkSpec PortSpec }

/// A machine. What is not given is as `prebake run` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct MachineSpec {
    /// A reference. Without it, and without files, what `session` is of.
    pub image: Option<String>,
    /// A machine's file, in place of a reference.
    pub machine: Option<PathBuf>,
    /// A snapshot's file, of that machine or without one.
    pub snapshot: Option<PathBuf>,
    /// The session that it is saved in. Without one, a reference on a terminal whose program is the image's has one of its own.
    pub session: Option<String>,
    /// Nothing is saved.
    pub fresh: bool,
    /// The program is on a terminal; without one, on three streams.
    pub terminal: Option<TerminalSpec>,
    /// `native` or `wamr`.
    pub engine: Option<String>,
    /// Memory in MiB.
    pub memory: Option<u32>,
    /// No registry is asked.
    pub offline: bool,
    /// A public key (PEM) that must have signed the image.
    pub verify_key: Option<String>,
    /// Variables of the program's environment.
    pub environment: BTreeMap<String, String>,
    /// Directories and files of the host.
    pub volumes: Vec<VolumeSpec>,
    /// The directory that the program starts in.
    pub workdir: Option<String>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// The program, in place of the image's.
    pub entrypoint: Option<String>,
    /// Its arguments, in place of the image's.
    pub arguments: Vec<String>,
    /// The network.
    pub network: Option<NetworkSpec>,
    /// Random bytes for the guest, besides the host's: 128 hexadecimal digits. To be drawn anew for each start.
    pub seed: Option<String>,
}

/// A terminal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct TerminalSpec {
    /// Its name, for `TERM`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its width in characters.
    pub columns: u16,
    /// Its height in lines.
    pub rows: u16,
}

/// A directory or file of the host, at a path in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct VolumeSpec {
    /// The directory or file.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// The guest may only look.
    #[serde(default)]
    pub read_only: bool,
    /// Bytes that the guest may add, if that is bounded.
    #[serde(default)]
    pub size: Option<u64>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct NetworkSpec {
    /// There is none.
    pub none: bool,
    /// The guest may reach the host's loopback interface.
    pub host: bool,
    /// Bytes of an IP packet.
    pub mtu: Option<u16>,
    /// Ports of the host that lead to the guest.
    pub published: Vec<PortSpec>,
    /// Resolvers, in place of whom names are asked of otherwise.
    pub dns: Vec<IpAddr>,
    /// Domains of short names.
    pub search: Vec<String>,
    /// Names that the guest finds, with their IPv4 addresses; `host-gateway` is the host.
    pub names: BTreeMap<String, String>,
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct PortSpec {
    /// The host's address; its loopback interface if it is not given.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The host's port; 0 is any that is free.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
    /// It takes datagrams.
    #[serde(default)]
    pub udp: bool,
}

fn invalid(what: &'static str, problem: impl ToString) -> Error {
    Error::Invalid { what, problem: problem.to_string() }
}

impl MachineSpec {
    /// What the library is asked for.
    pub fn request(&self) -> Result<RunRequest> {
        let target = match (&self.image, &self.machine, &self.snapshot) {
            (Some(image), None, None) => RunTarget::Reference(image.clone()),
            (Some(_), ..) => return Err(invalid("the machine", "it is of an image or of files, not of both")),
            (None, None, None) => RunTarget::Session,
            (None, machine, snapshot) => RunTarget::Files { machine: machine.clone(), snapshot: snapshot.clone() },
        };
        let session = match &self.session {
            Some(_) if self.fresh => return Err(invalid("the session", "it is named, but nothing is to be saved")),
            Some(name) => SessionPolicy::Named(name.clone()),
            None if self.fresh => SessionPolicy::Never,
            None => SessionPolicy::Automatic,
        };
        let engine = match self.engine.as_deref() {
            None => None,
            Some("native") => Some(EngineKind::Native),
            Some("wamr") => Some(EngineKind::Wamr),
            Some(other) => return Err(invalid("the engine", format_args!("it is `{}`, not native or wamr", other.escape_debug()))),
        };
        Ok(RunRequest {
            session,
            engine,
            memory: self.memory,
            program: self.program()?,
            network: self.network.as_ref().map(NetworkSpec::options).transpose()?,
            pull: pull_options(self.offline, self.verify_key.as_deref())?,
            seed: self.seed.as_deref().map(seed).transpose()?,
            ..RunRequest::new(target)
        })
    }

    /// The console that it asks for.
    pub fn console(&self) -> Result<(crate::run::console::Console, ConsoleEnds)> {
        match &self.terminal {
            Some(TerminalSpec { name, columns, rows }) => {
                // It becomes a word of a line that init reads.
                let fits = |name: &String| (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
                if !name.iter().all(fits) || *columns == 0 || *rows == 0 {
                    return Err(invalid("the terminal", "its name is not 1 to 64 printable ASCII characters, or its size is 0"));
                }
                let window = Some(WindowSize { cols: *columns, rows: *rows });
                service::console(Terminal { name: name.clone(), window })
            }
            None => service::streams(),
        }
    }

    fn program(&self) -> Result<Program> {
        if self.workdir.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(invalid("the working directory", "it is not an absolute path in the guest"));
        }
        if self.environment.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
            return Err(invalid("the environment", "a variable has no name, or an `=` in it, or a NUL character"));
        }
        let volume = |spec: &VolumeSpec| {
            let volume = Volume::new(spec.host.clone(), &spec.guest, spec.read_only)?;
            Ok::<_, InvalidVolume>(Volume { size: spec.size, ..volume })
        };
        let volumes: std::result::Result<Vec<_>, _> = self.volumes.iter().map(volume).collect();
        let program = Program {
            environment: self.environment.clone().into_iter().collect(),
            volumes: volumes.map_err(|problem| invalid("a volume", problem))?,
            folder: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            entrypoint: self.entrypoint.clone(),
            arguments: self.arguments.clone(),
            ..Program::default()
        };
        program.check().map_err(|problem| invalid("a volume", problem))?;
        Ok(program)
    }
}

impl NetworkSpec {
    fn options(&self) -> Result<NetworkOptions> {
        if self.none {
            let has_more = *self != Self { none: true, ..Self::default() };
            return if has_more {
                Err(invalid("the network", "there is to be none, but it has options"))
            } else {
                Ok(NetworkOptions::default())
            };
        }
        let mtu = self.mtu.unwrap_or(protocol::network::MTU);
        if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
            return Err(invalid("the network", format_args!("its MTU is {mtu}, but must be from {MIN_MTU} to {MAX_MTU}")));
        }
        let name = |(name, address): (&String, &String)| {
            let host = match address.as_str() {
                "host-gateway" => NamedHost::Host,
                address => NamedHost::Address(address.parse().map_err(|_| {
                    invalid("the network", format_args!("`{}` is neither an IPv4 address nor host-gateway", address.escape_debug()))
                })?),
            };
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
                return Err(invalid("the network", format_args!("`{}` is not a host name", name.escape_debug())));
            }
            Ok((name.clone(), host))
        };
        Ok(NetworkOptions {
            link: Link::User { host: self.host, mtu },
            published: self.published.iter().map(PortSpec::publish).collect::<Result<_>>()?,
            dns: self.dns.clone(),
            search: self.search.clone(),
            names: self.names.iter().map(name).collect::<Result<_>>()?,
            ..NetworkOptions::default()
        })
    }
}

impl PortSpec {
    fn publish(&self) -> Result<Publish> {
        if self.guest == 0 {
            return Err(invalid("a published port", "the guest's port cannot be 0"));
        }
        let address = self.address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        let protocol = if self.udp { Transport::Udp } else { Transport::Tcp };
        Ok(Publish { host: (address, self.host).into(), guest: self.guest, protocol })
    }
}

/// How a reference is looked up: without a registry or not, and signed by this key (PEM).
pub fn pull_options(offline: bool, verify_key: Option<&str>) -> Result<PullOptions> {
    let verify_key = verify_key.map(|key| PublicKey::read("the key", key)).transpose()?;
    Ok(PullOptions { policy: PullPolicy::unless(offline), verify_key, ..PullOptions::default() })
}

/// A seed, of its hexadecimal digits.
fn seed(digits: &str) -> Result<Seed> {
    let bytes = text::unhex(digits).and_then(|bytes| Seed::try_from(bytes).ok());
    bytes.ok_or_else(|| invalid("the seed", format_args!("it is not {} hexadecimal digits, for {SEED_LEN} bytes", 2 * SEED_LEN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> std::result::Result<MachineSpec, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn request(json: &str) -> Result<RunRequest> {
        spec(json).unwrap().request()
    }

    #[test]
    fn what_is_not_given_is_as_usual() {
        let usual = request(r#"{"image": "alpine"}"#).unwrap();
        assert_eq!((usual.target, usual.session), (RunTarget::Reference("alpine".into()), SessionPolicy::Automatic));
        assert_eq!((usual.network, usual.seed, usual.program), (None, None, Program::default()));
        assert_eq!(request("{}").unwrap().target, RunTarget::Session);
        assert_eq!(request(r#"{"image": "a", "fresh": true}"#).unwrap().session, SessionPolicy::Never);
    }

    #[test]
    fn what_is_given_reaches_the_request() {
        let json = r#"{"machine": "a.aot", "snapshot": "a.snap", "session": "work", "engine": "native", "memory": 64, "offline": true,
            "environment": {"A": "1"}, "volumes": [{"host": "/tmp", "guest": "/mnt/x", "read_only": true, "size": 9}], "workdir": "/w",
            "user": "me", "hostname": "box", "entrypoint": "/bin/sh", "arguments": ["-c", "x"], "seed": "SEED",
            "network": {"host": true, "mtu": 9000, "published": [{"host": 0, "guest": 80}], "dns": ["192.0.2.1"], "names": {"db": "192.0.2.2", "up": "host-gateway"}}}"#;
        let request = request(&json.replace("SEED", &"0a".repeat(SEED_LEN))).unwrap();
        assert_eq!(request.target, RunTarget::Files { machine: Some("a.aot".into()), snapshot: Some("a.snap".into()) });
        assert_eq!(request.session, SessionPolicy::Named("work".into()));
        assert_eq!((request.engine, request.memory, request.pull.policy), (Some(EngineKind::Native), Some(64), PullPolicy::Never));
        let program = request.program;
        assert_eq!(program.environment, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(program.volumes, [Volume { host: "/tmp".into(), guest: "mnt/x".into(), read_only: true, size: Some(9) }]);
        assert_eq!(
            (program.folder.as_deref(), program.user.as_deref(), program.hostname.as_deref()),
            (Some("/w"), Some("me"), Some("box"))
        );
        assert_eq!((program.entrypoint.as_deref(), program.arguments), (Some("/bin/sh"), vec!["-c".to_owned(), "x".to_owned()]));
        assert_eq!(request.seed, Some([10; SEED_LEN]));
        let network = request.network.unwrap();
        assert_eq!(network.link, Link::User { host: true, mtu: 9000 });
        // A phone's ports are not the neighbours'.
        assert_eq!(network.published, [Publish { host: ([127, 0, 0, 1], 0).into(), guest: 80, protocol: Transport::Tcp }]);
        assert_eq!(network.names, [("db".into(), NamedHost::Address([192, 0, 2, 2].into())), ("up".into(), NamedHost::Host)]);
    }

    #[test]
    fn a_list_is_no_object() {
        for json in [
            "[]",
            r#"["alpine"]"#,
            r#"{"terminal": ["xterm", 80, 24]}"#,
            r#"{"volumes": [["/tmp", "/mnt"]]}"#,
            r#"{"network": [true]}"#,
            r#"{"network": {"published": [["127.0.0.1", 1, 2]]}}"#,
        ] {
            assert!(spec(json).unwrap_err().contains("invalid type: sequence, expected a map"), "{json}: {:?}", spec(json));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for (json, word) in [
            (r#"{"image": "a", "machine": "b"}"#, "not of both"),
            (r#"{"session": "a", "fresh": true}"#, "nothing is to be saved"),
            (r#"{"engine": "x\n"}"#, "`x\\n`"),
            (r#"{"seed": "00"}"#, "128 hexadecimal digits"),
            (r#"{"workdir": "x"}"#, "absolute"),
            (r#"{"environment": {"A=": ""}}"#, "variable"),
            (r#"{"volumes": [{"host": "/tmp", "guest": "../x"}]}"#, "absolute"),
            (r#"{"volumes": [{"host": "/a", "guest": "/x"}, {"host": "/b", "guest": "/x"}]}"#, "two volumes"),
            (r#"{"network": {"none": true, "host": true}}"#, "none"),
            (r#"{"network": {"mtu": 1}}"#, "576"),
            (r#"{"network": {"names": {"a b": "192.0.2.1"}}}"#, "host name"),
            (r#"{"network": {"published": [{"host": 1, "guest": 0}]}}"#, "port"),
        ] {
            let error = request(json).unwrap_err();
            assert!(error.kind() == "invalid" && error.to_string().contains(word), "{json}: {error}");
        }
        assert_eq!(request(r#"{"verify_key": "x"}"#).unwrap_err().kind(), "not-a-key");
        for (json, word) in [(r#"{"imagine": 1}"#, "unknown field"), (r#"{"memory": -1}"#, "invalid value"), ("1", "invalid type")] {
            assert!(spec(json).unwrap_err().contains(word), "{json}: {}", spec(json).unwrap_err());
        }
    }
}
