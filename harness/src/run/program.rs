//! What of the host's the guest's program gets: the options of `run` that init follows, in the habits of docker.

use crate::error::{Error, Result};
use crate::host::backend::hostdir::HostDir;
use clap::Args;
use devices::p9::{Access, Branch, Name, RelativePath, Tree};
use protocol::{Bind, Info};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The share with the host's files, each at its path in the guest.
pub const FILES_TAG: &str = "wasi0";

/// The program and what it gets.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Program")]
pub struct ProgramArgs {
    /// A variable for the program's environment; without a value, the one that it has here
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<VariableArg>,
    /// A directory or file of the host, and where the guest finds it
    #[arg(short = 'v', long = "volume", value_name = "HOST:GUEST[:ro]")]
    pub volumes: Vec<VolumeArg>,
    /// The directory that the program starts in. It is made if it is not there
    #[arg(short = 'w', long = "workdir", value_name = "DIR", value_parser = absolute)]
    pub folder: Option<String>,
    /// Who the program is run as: a name or a number
    #[arg(short = 'u', long = "user", value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The program, in place of the image's entry point and command
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Arguments, in place of the image's command
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

fn absolute(path: &str) -> std::result::Result<String, String> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err("it must be an absolute path in the guest".into()) }
}

/// `NAME=VALUE`, or `NAME` for what this process has under that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableArg {
    /// The name.
    pub name: String,
    /// The value; none that this process could have given.
    pub value: Option<String>,
}

impl FromStr for VariableArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err("a name is missing".into());
        }
        if text.contains('\0') {
            return Err("it has a NUL in it, which no environment can".into());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// `HOST:GUEST[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeArg {
    /// The directory or file of the host.
    pub host: PathBuf,
    /// Where it is in the guest, from the root on, without a slash at either end.
    pub guest: String,
    /// The guest may only look.
    pub read_only: bool,
}

impl FromStr for VolumeArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (text, read_only) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(text), _) => (text, true),
            (None, text_rw) => (text_rw.unwrap_or(text), false),
        };
        let (host, guest) = text.rsplit_once(':').ok_or("it must look like HOST:GUEST or HOST:GUEST:ro")?;
        if host.is_empty() {
            return Err("the path on the host is missing".into());
        }
        let names: Vec<&str> = guest.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let guest = names.join("/");
        if !text[host.len() + 1..].starts_with('/') || names.contains(&"..") || RelativePath::parse(&guest).is_err() {
            return Err("the path in the guest must be an absolute one without `..`".into());
        }
        if names.is_empty() {
            return Err("the guest's root is its own; give a path below it".into());
        }
        if guest.contains(char::is_control) {
            return Err("the path in the guest has a control character in it".into());
        }
        Ok(Self { host: host.into(), guest, read_only })
    }
}

impl VolumeArg {
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
        let name = name.ok_or_else(|| error(std::io::Error::other("it is neither a directory nor a regular file")))?;
        Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), Some(name)))
    }
}

impl ProgramArgs {
    /// What cannot be said together.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (number, volume) in self.volumes.iter().enumerate() {
            if self.volumes[..number].iter().any(|before| before.guest == volume.guest) {
                return Err(format!("two volumes are at /{} in the guest; leave one out", volume.guest));
            }
        }
        Ok(())
    }

    /// The first of the options that was given, by its name.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("-e", !self.environment.is_empty()),
            ("-v", !self.volumes.is_empty()),
            ("-w", self.folder.is_some()),
            ("-u", self.user.is_some()),
            ("--entrypoint", self.entrypoint.is_some()),
            ("arguments", !self.arguments.is_empty()),
        ];
        options.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// The text for init; empty if there is nothing to say.
    pub fn info(&self) -> String {
        let value = |variable: &VariableArg| Some((variable.name.clone(), variable.value.clone()?));
        let mut volumes: Vec<&VolumeArg> = self.volumes.iter().collect();
        // What is inside of another comes after it.
        volumes.sort_by_key(|volume| volume.guest.matches('/').count());
        Info {
            entrypoint: self.entrypoint.clone(),
            command: self.arguments.clone(),
            environment: self.environment.iter().filter_map(value).collect(),
            user: self.user.clone(),
            folder: self.folder.clone(),
            time: None,
            binds: volumes.iter().map(|volume| Bind { path: volume.guest.clone(), read_only: volume.read_only }).collect(),
        }
        .to_string()
    }

    /// The volumes as one tree.
    pub fn files(&self) -> Result<Tree<HostDir>> {
        let branch = |volume: &VolumeArg| {
            let (directory, file) = volume.open()?;
            let filesystem =
                HostDir::open(&directory).map_err(|source| Error::Read { what: "directory", path: volume.host.clone(), source })?;
            let path = RelativePath::parse(&volume.guest).map_err(|_| Error::Volume { path: volume.guest.clone() })?;
            Ok(Branch { path, filesystem, file, access: volume.access() })
        };
        let branches = self.volumes.iter().map(branch).collect::<Result<_>>()?;
        Tree::new(branches).map_err(|_| Error::Volume { path: String::new() })
    }

    /// The volumes' directories, for a module. It would see the neighbours of a file.
    pub fn folders(&self) -> Result<Vec<PathBuf>> {
        let folder = |volume: &VolumeArg| match volume.open()? {
            (directory, None) => Ok(directory),
            (_, Some(_)) => Err(Error::NotInModule { what: "a volume that is a single file" }),
        };
        self.volumes.iter().map(folder).collect()
    }

    /// What a module is to be told: the info, and the volumes, whose directories are its descriptors from `first` on.
    pub fn config(&self, first: usize) -> String {
        let mut text = String::new();
        let info = self.info();
        if !info.is_empty() {
            let hex = info.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            let _ = writeln!(text, "info={hex}");
        }
        for (number, volume) in self.volumes.iter().enumerate() {
            let access = if volume.read_only { "ro" } else { "rw" };
            let _ = writeln!(text, "bind={},{access},{}", first + number, volume.guest);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> std::result::Result<VolumeArg, String> {
        text.parse()
    }

    #[test]
    fn volumes_are_understood_as_docker_does() {
        let is = |host: &str, guest: &str, read_only| Ok(VolumeArg { host: host.into(), guest: guest.into(), read_only });
        assert_eq!(volume("/a:/b"), is("/a", "b", false));
        assert_eq!(volume(".:/b/./c/:ro"), is(".", "b/c", true));
        assert_eq!(volume("a:b:/c:rw"), is("a:b", "c", false));
        for wrong in ["/a", ":/b", "/a:", "/a:/", "/a:b", "/a:/b/../c", "/a:/b\nc", "/a:ro", "/a:/:ro"] {
            assert!(volume(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn variables_have_values_or_the_hosts() {
        let is = |name: &str, value: Option<&str>| Ok(VariableArg { name: name.into(), value: value.map(str::to_owned) });
        assert_eq!("A=b=c".parse(), is("A", Some("b=c")));
        assert_eq!("A=".parse(), is("A", Some("")));
        assert_eq!("CARGO_PKG_NAME".parse(), is("CARGO_PKG_NAME", Some("prebake")));
        assert_eq!("PREBAKE_NO_SUCH_VARIABLE".parse(), is("PREBAKE_NO_SUCH_VARIABLE", None));
        assert!("=b".parse::<VariableArg>().is_err());
    }

    #[test]
    fn all_is_told_to_init() {
        let program = ProgramArgs {
            environment: ["A=1", "PREBAKE_NO_SUCH_VARIABLE"].map(|text| text.parse().unwrap()).into(),
            volumes: ["/h:/b/c:ro", "/h:/a"].map(|text| text.parse().unwrap()).into(),
            folder: Some("/w".into()),
            user: Some("u".into()),
            entrypoint: Some("/e x".into()),
            arguments: vec!["a b".into()],
        };
        assert_eq!(program.info(), "e: /e x\nc: a\\ b\nenv: A=1\nu: u\nw: /w\nm: a\nmr: b/c\n");
        assert_eq!(program.config(5).lines().skip(1).collect::<Vec<_>>(), ["bind=5,ro,b/c", "bind=6,rw,a"]);
        assert_eq!((program.given(), program.check()), (Some("-e"), Ok(())));
        assert_eq!((ProgramArgs::default().info(), ProgramArgs::default().config(3)), (String::new(), String::new()));
    }

    #[test]
    fn one_place_has_one_volume() {
        let volumes = vec![volume("/a:/x").unwrap(), volume("/b:/x/").unwrap()];
        assert!(ProgramArgs { volumes, ..ProgramArgs::default() }.check().is_err());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let program = ProgramArgs { volumes: vec![volume("/nonexistent/x:/x").unwrap()], ..ProgramArgs::default() };
        assert!(program.files().unwrap_err().to_string().contains("/nonexistent/x"));
    }
}
