//! What a program may use of its machine: limits on resources, and file systems in memory.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A limit on a resource of Linux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Its name, as docker and ulimit(1) have it.
    pub resource: String,
    /// What the program starts with; without a number there is no limit.
    pub soft: Option<u64>,
    /// How far it may raise that.
    pub hard: Option<u64>,
}

/// Why a limit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidLimit {
    #[error("expected NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:4096")]
    Form,
    #[error("unknown resource {name}; the resources are {}", protocol::RESOURCES.join(", "))]
    Resource { name: String },
    #[error("the soft limit is above the hard limit")]
    Order,
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// `NAME=SOFT[:HARD]`, where -1 is no limit.
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (name, limits) = text.split_once('=').ok_or(InvalidLimit::Form)?;
        if !protocol::RESOURCES.contains(&name) {
            return Err(InvalidLimit::Resource { name: name.escape_debug().to_string() });
        }
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| InvalidLimit::Form),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        match (soft, hard) {
            (None, Some(_)) => Err(InvalidLimit::Order),
            (Some(soft), Some(hard)) if soft > hard => Err(InvalidLimit::Order),
            _ => Ok(Self { resource: name.into(), soft, hard }),
        }
    }
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where it is: an absolute path in the guest.
    pub path: String,
    /// Options of mount(8), with commas between them.
    pub options: String,
}

/// Why a file system in memory is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidTmpfs {
    #[error("the path in the guest must be absolute, below the root, and without `..`")]
    Path,
    #[error("unknown option {option}; the options are size=, mode=, uid=, gid=, nr_inodes=, ro, rw, [no]exec, [no]suid and [no]dev")]
    Option { option: String },
}

impl FromStr for Tmpfs {
    type Err = InvalidTmpfs;

    /// `PATH[:OPTION,OPTION…]`.
    fn from_str(text: &str) -> Result<Self, InvalidTmpfs> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        Self::new(path, options.split(',').filter(|option| !option.is_empty()))
    }
}

impl Tmpfs {
    /// One at `path` with these options.
    pub fn new<'a>(path: &str, options: impl Iterator<Item = &'a str>) -> Result<Self, InvalidTmpfs> {
        let mut names = path.split('/').filter(|name| !matches!(*name, "" | ".")).peekable();
        if !path.starts_with('/') || names.peek().is_none() || names.any(|name| name == "..") || path.contains(char::is_control) {
            return Err(InvalidTmpfs::Path);
        }
        let mut known = Vec::new();
        for option in options {
            let fits = match option.split_once('=') {
                None => matches!(option, "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev"),
                Some(("size", value)) => is_number(value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%'])),
                Some(("nr_inodes", value)) => is_number(value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G'])),
                Some(("mode" | "uid" | "gid", value)) => is_number(value),
                Some(_) => false,
            };
            if !fits {
                return Err(InvalidTmpfs::Option { option: option.escape_debug().to_string() });
            }
            known.push(option);
        }
        Ok(Self { path: path.into(), options: known.join(",") })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_understood_as_docker_does() {
        let limit = |resource: &str, soft, hard| Ok(Limit { resource: resource.into(), soft, hard });
        assert_eq!("nofile=1024:2048".parse(), limit("nofile", Some(1024), Some(2048)));
        assert_eq!("nproc=5".parse(), limit("nproc", Some(5), Some(5)));
        assert_eq!("memlock=-1:-1".parse(), limit("memlock", None, None));
        assert_eq!("stack=8:-1".parse(), limit("stack", Some(8), None));
        for wrong in ["", "nofile", "nofile=", "nofile=x", "nofile=2:1", "nofile=-1:1", "files=1", "nofile=-2"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn file_systems_in_memory_are_understood_as_docker_does() {
        let tmpfs = |path: &str, options: &str| Ok(Tmpfs { path: path.into(), options: options.into() });
        assert_eq!("/run".parse(), tmpfs("/run", ""));
        assert_eq!("/run:rw,size=64m,mode=1777".parse(), tmpfs("/run", "rw,size=64m,mode=1777"));
        for wrong in ["run", "/", "/a/../b", "/a\n", "/a:loud", "/a:size=x", "/a:size=1 b", "/a:mode="] {
            assert!(wrong.parse::<Tmpfs>().is_err(), "{wrong:?}");
        }
    }
}
