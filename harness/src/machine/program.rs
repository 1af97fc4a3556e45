//! What the guest's program is and what it gets of the host: the options of `run` that init follows, in the habits of docker.

use crate::context::Folders;
use crate::error::{Error, Result, Setting};
use crate::host::backend::grants::Grants;
use crate::host::backend::hostdir::HostDir;
use crate::machine::SharedDirectory;
use crate::machine::limits::{Limit, Tmpfs};
use crate::text::hex;
use devices::p9::{Access, Bounded, Branch, Name, RelativePath, Tree};
use protocol::network::NetworkInfo;
use protocol::{Bind, Info};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// The program and what it gets. What is not given is as the image has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Variables of its environment, besides the image's.
    pub environment: Vec<(String, String)>,
    /// Directories and files of the host.
    pub volumes: Vec<Volume>,
    /// The directory that it starts in: an absolute path in the guest.
    pub folder: Option<String>,
    /// The user that it runs as: `USER[:GROUP]`, by name or number.
    pub user: Option<String>,
    /// The program, in place of the image's entry point and command.
    pub entrypoint: Option<String>,
    /// Arguments, in place of the image's command.
    pub arguments: Vec<String>,
    /// The machine's name, in place of the image's.
    #[serde(default)]
    pub hostname: Option<String>,
    /// File systems in memory.
    #[serde(default)]
    pub tmpfs: Vec<Tmpfs>,
    /// Limits on its resources.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// The root cannot be written.
    #[serde(default)]
    pub read_only: bool,
    /// The host's clock, in seconds since 1970: for an init that is not told of it by the control port.
    #[serde(skip)]
    pub time: Option<u64>,
}

/// `HOST:GUEST[:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The directory or file of the host.
    pub host: PathBuf,
    /// Where it is in the guest, from the root on, without a slash at either end.
    pub guest: String,
    /// The guest may only look.
    pub read_only: bool,
    /// Bytes that it may add in one run, if that is bounded: the length of files, and 4 KiB for each file, directory and link.
    #[serde(default)]
    pub size: Option<u64>,
}

/// Why a volume is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidVolume {
    #[error("expected HOST:GUEST or HOST:GUEST:ro")]
    Form,
    #[error("a volume without a folder of this host needs no option: what the guest writes is on its own disk; omit it")]
    Anonymous,
    #[error("there is no folder {name} here, and prebake has no named volumes; make the folder, and pass ./{name}")]
    Named { name: String },
    #[error(
        "unknown volume option {option}; the options are ro, rw and size=, and those that change nothing here: z, Z, cached, delegated, consistent, nocopy, private, rprivate"
    )]
    Option { option: String },
    #[error("size= needs a number of bytes, such as 512m or 2g")]
    Size,
    #[error("the path on the host is missing")]
    NoHost,
    #[error("the path in the guest must be absolute and without `..`")]
    NotAbsolute,
    #[error("a volume cannot replace the guest's root; give a path below it")]
    Root,
    #[error("the path in the guest contains a control character")]
    Control,
    #[error("two volumes are mounted at /{guest} in the guest; omit one")]
    Twice { guest: String },
}

impl FromStr for Volume {
    type Err = InvalidVolume;

    /// `HOST:GUEST[:OPTION,OPTION…]`, as docker has it. A path in the guest is absolute, so a last part without a slash is options.
    fn from_str(text: &str) -> std::result::Result<Self, InvalidVolume> {
        let (text, options) = match text.rsplit_once(':') {
            Some((before, options)) if !options.is_empty() && !options.contains('/') && before.contains(['/', ':']) => (before, options),
            _ => (text, ""),
        };
        let Some((host, guest)) = text.rsplit_once(':') else {
            return Err(if text.starts_with('/') { InvalidVolume::Anonymous } else { InvalidVolume::Form });
        };
        if host.is_empty() {
            return Err(InvalidVolume::NoHost);
        }
        let (mut read_only, mut size) = (false, None);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" | "readonly" => read_only = true,
                "rw" => read_only = false,
                // Labels, caches and propagation are of a host whose kernel is the container's, too.
                "z" | "Z" | "cached" | "delegated" | "consistent" | "nocopy" | "private" | "rprivate" => {}
                _ => match option.strip_prefix("size=") {
                    Some(room) => size = Some(bytes(room).ok_or(InvalidVolume::Size)?),
                    None => return Err(InvalidVolume::Option { option: option.escape_debug().to_string() }),
                },
            }
        }
        let is_name = !host.contains('/') && !matches!(host, "." | "..");
        if is_name && !Path::new(host).exists() {
            return Err(InvalidVolume::Named { name: host.escape_debug().to_string() });
        }
        Ok(Self { size, ..Self::new(host.into(), guest, read_only)? })
    }
}

/// A number of bytes, such as `64k`, `512m` or `2g`.
pub fn bytes(text: &str) -> Option<u64> {
    let units = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let unit = units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix([unit, unit.to_ascii_uppercase()])?, shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    digits.parse::<u64>().ok().filter(|_| !digits.starts_with('+'))?.checked_mul(1 << shift)
}

impl Volume {
    /// Puts `host`, a directory or file, at `guest`, an absolute path.
    pub fn new(host: PathBuf, guest: &str, read_only: bool) -> std::result::Result<Self, InvalidVolume> {
        let names: Vec<&str> = guest.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let path = names.join("/");
        if !guest.starts_with('/') || names.contains(&"..") || RelativePath::parse(&path).is_err() {
            return Err(InvalidVolume::NotAbsolute);
        }
        if names.is_empty() {
            return Err(InvalidVolume::Root);
        }
        if path.contains(char::is_control) {
            return Err(InvalidVolume::Control);
        }
        Ok(Self { host, guest: path, read_only, size: None })
    }

    fn access(&self) -> Access {
        if self.read_only { Access::ReadOnly } else { Access::ReadWrite }
    }

    /// The directory to be served, and what of it if that is one file.
    fn open(&self) -> Result<(PathBuf, Option<Name>)> {
        let error = |source| Error::Read { what: "directory or file", path: self.host.clone(), source };
        let path = self.host.canonicalize().map_err(error)?;
        let metadata = path.metadata().map_err(error)?;
        if metadata.is_dir() {
            return Ok((path, None));
        }
        let name = path.file_name().and_then(|name| Name::new(name.as_encoded_bytes()).ok()).filter(|_| metadata.is_file());
        let name = name.ok_or_else(|| error(std::io::Error::other("not a directory or a regular file")))?;
        Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), Some(name)))
    }
}

impl Program {
    /// Refuses two volumes at one place.
    pub fn check(&self) -> std::result::Result<(), InvalidVolume> {
        let in_memory = |guest: &str| self.tmpfs.iter().any(|tmpfs| tmpfs.path.trim_matches('/') == guest);
        for (number, volume) in self.volumes.iter().enumerate() {
            if in_memory(&volume.guest) || self.volumes[..number].iter().any(|before| before.guest == volume.guest) {
                return Err(InvalidVolume::Twice { guest: volume.guest.clone() });
            }
        }
        Ok(())
    }

    /// The first of its settings that was given.
    pub fn given(&self) -> Option<Setting> {
        self.settings().next()
    }

    /// The first of its settings that container2wasm's `info` has no line for.
    pub fn beyond_container2wasm(&self) -> Option<Setting> {
        let has_line =
            |setting: &Setting| matches!(setting, Setting::Environment | Setting::Volumes | Setting::Entrypoint | Setting::Arguments);
        self.settings().find(|setting| !has_line(setting))
    }

    /// Its settings that were given.
    fn settings(&self) -> impl Iterator<Item = Setting> + use<> {
        let settings = [
            (Setting::Environment, !self.environment.is_empty()),
            (Setting::Volumes, !self.volumes.is_empty()),
            (Setting::WorkingDirectory, self.folder.is_some()),
            (Setting::User, self.user.is_some()),
            (Setting::Entrypoint, self.entrypoint.is_some()),
            (Setting::Hostname, self.hostname.is_some()),
            (Setting::Tmpfs, !self.tmpfs.is_empty()),
            (Setting::Limits, !self.limits.is_empty()),
            (Setting::ReadOnlyRoot, self.read_only),
            (Setting::Arguments, !self.arguments.is_empty()),
        ];
        settings.into_iter().filter_map(|(setting, given)| given.then_some(setting))
    }

    /// The text for init, which is to bring up this network; empty if there is nothing to say.
    pub fn info(&self, network: Option<&NetworkInfo>) -> String {
        let mut volumes: Vec<&Volume> = self.volumes.iter().collect();
        // What is inside of another comes after it.
        volumes.sort_by_key(|volume| volume.guest.matches('/').count());
        Info {
            entrypoint: self.entrypoint.clone(),
            command: self.arguments.clone(),
            environment: self.environment.clone(),
            user: self.user.clone(),
            folder: self.folder.clone(),
            network: network.cloned(),
            time: self.time,
            binds: volumes.iter().map(|volume| Bind { path: volume.guest.clone(), read_only: volume.read_only }).collect(),
            hostname: self.hostname.clone(),
            tmpfs: self
                .tmpfs
                .iter()
                .map(|Tmpfs { path, options }| protocol::Tmpfs { path: path.clone(), options: options.clone() })
                .collect(),
            limits: self
                .limits
                .iter()
                .map(|Limit { resource, soft, hard }| protocol::Limit { resource: resource.clone(), soft: *soft, hard: *hard })
                .collect(),
            read_only: self.read_only,
        }
        .to_string()
    }

    /// What the guest may change of the host's files, by its volumes and these shares. What prebake itself keeps below one of them, in `folders`, it may
    /// only look at: what is run and trusted later depends on it.
    pub fn grants(&self, shares: &[SharedDirectory], folders: &Folders) -> Result<Grants> {
        let share = |share: &SharedDirectory| {
            let error = |source| Error::Read { what: "directory", path: share.path.clone(), source };
            Ok((share.path.canonicalize().map_err(error)?, share.access()))
        };
        let volume = |volume: &Volume| {
            let (directory, file) = volume.open()?;
            let name = file.as_ref().map_or(OsStr::new(""), |name| OsStr::from_bytes(name.as_bytes()));
            Ok((if file.is_some() { directory.join(name) } else { directory }, volume.access()))
        };
        let mut given = shares.iter().map(share).chain(self.volumes.iter().map(volume)).collect::<Result<Vec<_>>>()?;
        let writable = given.iter().filter(|(_, access)| *access == Access::ReadWrite).map(|(path, _)| path.as_path());
        let own = folders.trusted_below(&writable.collect::<Vec<_>>());
        given.extend(own.into_iter().map(|own| (own, Access::ReadOnly)));
        let grants = Grants::of(given.iter().map(|(path, access)| (path.as_path(), *access)));
        grants.map_err(|source| Error::Host { what: "look at the volumes", source: source.into() })
    }

    /// The volumes as one tree.
    pub fn files(&self, grants: &Arc<Grants>) -> Result<Tree<Bounded<HostDir>>> {
        let branch = |volume: &Volume| {
            let (directory, file) = volume.open()?;
            let error = |source| Error::Read { what: "directory", path: volume.host.clone(), source };
            let filesystem = Bounded::new(HostDir::open(&directory, grants.clone()).map_err(error)?, volume.size);
            let path = RelativePath::parse(&volume.guest).map_err(|_| Error::Volume { path: volume.guest.clone() })?;
            Ok(Branch { path, filesystem, file, access: volume.access() })
        };
        let branches = self.volumes.iter().map(branch).collect::<Result<_>>()?;
        Tree::new(branches).map_err(|_| Error::Volume { path: String::new() })
    }

    /// The volumes' directories, for a module, and what it may do with them; of a file, the directory that it is in.
    pub fn folders(&self) -> Result<Vec<(PathBuf, Access)>> {
        self.volumes.iter().map(|volume| volume.open().map(|(directory, _)| (directory, volume.access()))).collect()
    }

    /// What a module is to be told: the info, and the volumes, whose directories are its descriptors from `first` on.
    pub fn config(&self, first: usize, network: Option<&NetworkInfo>) -> Result<String> {
        let mut text = String::new();
        let info = self.info(network);
        if !info.is_empty() {
            let _ = writeln!(text, "info={}", hex(info.as_bytes()));
        }
        for (number, volume) in self.volumes.iter().enumerate() {
            let access = match (volume.read_only, volume.size) {
                (true, _) => "ro".to_owned(),
                (false, None) => "rw".to_owned(),
                (false, Some(size)) => format!("rw:{size}"),
            };
            let place = first + number;
            let _ = match volume.open()? {
                (_, None) => writeln!(text, "bind={place},{access},{}", volume.guest),
                (_, Some(file)) => writeln!(text, "file={place},{access},{},{}", hex(file.as_bytes()), volume.guest),
            };
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> std::result::Result<Volume, InvalidVolume> {
        text.parse()
    }

    #[test]
    fn volumes_are_understood_as_docker_does() {
        let is = |host: &str, guest: &str, read_only| Ok(Volume { host: host.into(), guest: guest.into(), read_only, size: None });
        assert_eq!(volume("/a:/b:size=2g").map(|volume| volume.size), Ok(Some(2 << 30)));
        for (text, size) in [("0", Some(0)), ("7K", Some(7 << 10)), ("x", None), ("", None), ("+1", None), ("m", None), ("99999999t", None)]
        {
            assert_eq!(bytes(text), size, "{text}");
        }
        assert_eq!(volume("/a:/b:size="), Err(InvalidVolume::Size));
        assert_eq!(volume("/a:/b"), is("/a", "b", false));
        assert_eq!(volume(".:/b/./c/:ro"), is(".", "b/c", true));
        assert_eq!(volume("/a:b:/c:rw"), is("/a:b", "c", false));
        for same in ["z", "Z", "cached", "delegated", "consistent", "nocopy", "rprivate"] {
            assert_eq!(volume(&format!("/a:/b:{same}")), is("/a", "b", false));
            assert_eq!(volume(&format!("/a:/b:ro,{same}")), is("/a", "b", true));
        }
        // Tests run in the package's folder.
        assert_eq!(volume("src:/b"), is("src", "b", false));
        assert_eq!(volume("data:/b"), Err(InvalidVolume::Named { name: "data".into() }));
        assert_eq!(volume("/data"), Err(InvalidVolume::Anonymous));
        assert_eq!(volume("/a:/b:loud"), Err(InvalidVolume::Option { option: "loud".into() }));
        for wrong in ["/a", ":/b", "/a:", "/a:/", "/a:b", "/a:/b/../c", "/a:/b\nc", "/a:ro", "/a:/:ro", "/a:/b:shared"] {
            assert!(volume(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn all_is_told_to_init() {
        let program = Program {
            environment: vec![("A".into(), "1".into())],
            volumes: ["/:/b/c:ro", "Cargo.toml:/a:size=1k"].map(|text| text.parse().unwrap()).into(),
            folder: Some("/w".into()),
            user: Some("u".into()),
            entrypoint: Some("/e x".into()),
            arguments: vec!["a b".into()],
            hostname: Some("box".into()),
            tmpfs: vec!["/t:size=1m".parse().unwrap()],
            limits: vec!["nofile=1:2".parse().unwrap()],
            read_only: true,
            time: Some(7),
        };
        let text =
            "e: /e x\nc: a\\ b\nenv: A=1\nu: u\nw: /w\nt: 7\nh: box\ntmpfs: size=1m /t\nm: a\nmr: b/c\nlimit: nofile 1 2\nroot: ro\n";
        assert_eq!(program.info(None), text);
        let lines = program.config(5, None).unwrap();
        assert_eq!(lines.lines().skip(1).collect::<Vec<_>>(), ["bind=5,ro,b/c", "file=6,rw:1024,436172676f2e746f6d6c,a"]);
        assert_eq!((program.given(), program.check()), (Some(Setting::Environment), Ok(())));
        assert_eq!(program.beyond_container2wasm(), Some(Setting::WorkingDirectory));
        assert_eq!((Program::default().info(None), Program::default().config(3, None).unwrap()), (String::new(), String::new()));
    }

    #[test]
    fn one_place_has_one_volume() {
        let volumes = vec![volume("/a:/x").unwrap(), volume("/b:/x/").unwrap()];
        assert!(Program { volumes, ..Program::default() }.check().is_err());
        let (volumes, tmpfs) = (vec![volume("/a:/x").unwrap()], vec!["/x/".parse().unwrap()]);
        assert!(Program { volumes, tmpfs, ..Program::default() }.check().is_err());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let program = Program { volumes: vec![volume("/nonexistent/x:/x").unwrap()], ..Program::default() };
        assert!(program.grants(&[], &Folders::default()).unwrap_err().to_string().contains("/nonexistent/x"));
        assert!(program.config(3, None).unwrap_err().to_string().contains("/nonexistent/x"));
    }
}
