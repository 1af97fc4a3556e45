//! `info`: what the host wants to be run, as PROTOCOL.md defines it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use protocol::RESOURCES;
use rustix::mount::MountFlags;

use crate::error::Result;
use crate::network::Network;
use crate::text::{self, Problem, Variable};

/// What the host wants to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The program, in place of the image's entrypoint.
    pub entrypoint: Option<OsString>,
    /// The arguments, in place of the image's command. None at all say nothing.
    pub arguments: Vec<OsString>,
    /// Names and values that the environment is to have.
    pub environment: Vec<Variable>,
    /// Who the program is run as: a user, or a user and a group with a colon between them.
    pub user: Option<OsString>,
    /// Where the program starts.
    pub folder: Option<PathBuf>,
    /// The host's clock, in seconds since 1970.
    pub time: Option<u64>,
    /// There is a network.
    pub has_network: bool,
    /// What the host says of the network, whether there is one or not.
    pub network: Network,
    /// Files and folders of the share `wasi0` that are to appear at the same path from the root on.
    pub binds: Vec<Bind>,
    /// The machine's name, in place of the image's.
    pub hostname: Option<OsString>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Limits on the program's resources.
    pub limits: Vec<Limit>,
    /// The root cannot be written.
    pub read_only: bool,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// The path from the root on: not empty, and without `..`.
    pub path: PathBuf,
    /// How it is mounted.
    pub flags: MountFlags,
    /// What else the kernel is told, with commas between.
    pub data: String,
}

/// A limit on a resource; without a number there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Linux's number of the resource.
    pub resource: usize,
    /// What the program starts with.
    pub soft: Option<u64>,
    /// How far it may raise that.
    pub hard: Option<u64>,
}

/// A file or folder of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path in the share, which is the path from the root on: not empty, and without `..`.
    pub path: PathBuf,
    /// The guest may only look.
    pub read_only: bool,
}

impl Info {
    /// Understands the text of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut info = Self::default();
        text::each_line("the host's info", bytes, |key, value| info.take(key, value))?;
        Ok(info)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), Problem> {
        match key {
            b"c" => self.arguments = text::command(value),
            b"e" => self.entrypoint = Some(text::whole(value)),
            b"env" => self.environment.push(text::variable(value)?),
            b"u" => self.user = Some(text::whole(value)),
            b"w" => self.folder = Some(text::whole(value).into()),
            b"t" => {
                let seconds = text::whole(value);
                self.time = Some(seconds.to_str().and_then(|text| text.trim().parse().ok()).ok_or("it must be a number of seconds")?);
            }
            b"n" => {
                self.has_network = true;
                let mac = text::whole(value);
                if !mac.is_empty() {
                    self.network.mac = Some(parse_mac(mac.as_bytes()).ok_or("it must be empty or an Ethernet address of one interface")?);
                }
            }
            b"mtu" => self.network.mtu = Some(parse(value).filter(|mtu| *mtu >= 68).ok_or("it must be a number from 68 to 65535")?),
            b"search" => {
                let domains = text::whole(value).into_string().map_err(|_| "it must be names of domains")?;
                self.network.search = domains.split_ascii_whitespace().map(str::to_owned).collect();
            }
            b"ndots" => self.network.ndots = Some(parse(value).ok_or("it must be a number up to 255")?),
            b"host" => {
                let line = text::whole(value).into_string().unwrap_or_default();
                let mut words = line.split_ascii_whitespace();
                let (address, name) = (words.next().and_then(|word| word.parse().ok()), words.next());
                let name = name.filter(|_| words.next().is_none()).map(str::to_owned);
                self.network.names.push(name.zip(address).ok_or("it must be an address and a name")?);
            }
            b"m" => self.binds.push(Bind { path: inside(text::whole(value).as_bytes())?, read_only: false }),
            b"mr" => self.binds.push(Bind { path: inside(text::whole(value).as_bytes())?, read_only: true }),
            b"h" => self.hostname = Some(text::whole(value)),
            b"tmpfs" => self.tmpfs.push(tmpfs(value)?),
            b"limit" => self.limits.push(limit(value).ok_or("it must be a resource and two numbers")?),
            b"root" => self.read_only = text::whole(value) == "ro",
            _ => {}
        }
        Ok(())
    }
}

fn parse<T: FromStr>(value: &[u8]) -> Option<T> {
    text::whole(value).to_str()?.trim().parse().ok()
}

/// Six bytes, in hexadecimal with colons between them.
fn parse_mac(text: &[u8]) -> Option<[u8; 6]> {
    let byte = |digits: &[u8]| {
        str::from_utf8(digits).ok().filter(|digits| digits.len() == 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let bytes: Option<Vec<u8>> = text.trim_ascii().split(|&byte| byte == b':').map(byte).collect();
    bytes?.try_into().ok().filter(|[first, ..]: &[u8; 6]| first & 1 == 0)
}

/// `OPTIONS PATH`.
fn tmpfs(value: &[u8]) -> std::result::Result<Tmpfs, Problem> {
    let value = text::whole(value);
    let mut parts = value.as_bytes().splitn(2, |&byte| byte == b' ');
    let (Some(options), Some(path)) = (parts.next().and_then(|options| str::from_utf8(options).ok()), parts.next()) else {
        return Err("it must be options and a path");
    };
    let (mut flags, mut data) = (MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, Vec::new());
    for option in options.split(',') {
        match option {
            "" | "rw" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "exec" => flags -= MountFlags::NOEXEC,
            "suid" => flags -= MountFlags::NOSUID,
            "dev" => flags -= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            other => data.push(other),
        }
    }
    Ok(Tmpfs { path: inside(path)?, flags, data: data.join(",") })
}

/// `RESOURCE SOFT HARD`.
fn limit(value: &[u8]) -> Option<Limit> {
    let value = text::whole(value);
    let words: Vec<&str> = value.to_str()?.split(' ').collect();
    let [resource, soft, hard] = words[..] else { return None };
    let number = |word: &str| if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) };
    Some(Limit { resource: RESOURCES.iter().position(|known| *known == resource)?, soft: number(soft)?, hard: number(hard)? })
}

/// A path that stays inside the folder that it is taken from.
fn inside(path: &[u8]) -> std::result::Result<PathBuf, &'static str> {
    let names = || path.split(|&byte| byte == b'/').filter(|name| !matches!(name, [] | [b'.']));
    if names().any(|name| name == b"..") {
        return Err("the path must not contain `..`");
    }
    if names().next().is_none() {
        return Err("the path must name a folder");
    }
    Ok(names().map(|name| OsString::from_vec(name.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;

    #[test]
    fn every_key_is_understood_and_others_are_ignored() {
        let text = b"e: /bin/a b\nc: x\nenv: A=b=c\nenv: B=\nn: 02:00:00:00:ab:01\nmtu: 9000\nsearch: lan  b\nndots: 5\nhost: 10.0.0.7 db\nhello\nt: 17\nm: /a/./b\nmr: c\nw: /tmp\nu: a:b\n";
        let info = Info::parse(text).unwrap();
        assert_eq!((info.entrypoint, info.arguments), (Some("/bin/a b".into()), vec!["x".into()]));
        assert_eq!(info.environment, [("A".into(), "b=c".into()), ("B".into(), "".into())]);
        assert_eq!((info.time, info.folder, info.user), (Some(17), Some("/tmp".into()), Some("a:b".into())));
        assert_eq!(info.binds, [Bind { path: "a/b".into(), read_only: false }, Bind { path: "c".into(), read_only: true }]);
        let names = vec![("db".to_owned(), [10, 0, 0, 7].into())];
        let network =
            Network { mac: Some([2, 0, 0, 0, 0xab, 1]), mtu: Some(9000), search: vec!["lan".into(), "b".into()], ndots: Some(5), names };
        assert_eq!((info.has_network, info.network), (true, network));
        let bare = Info::parse(b"n:\n").unwrap();
        assert_eq!((bare.has_network, bare.network), (true, Network::default()));
        let text = b"h: box\ntmpfs: size=1m,exec,ro,mode=700 /a b\nlimit: nofile 7 unlimited\nroot: ro\n";
        let info = Info::parse(text).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
        assert_eq!((info.hostname, info.read_only), (Some("box".into()), true));
        assert_eq!(info.tmpfs, [Tmpfs { path: "a b".into(), flags, data: "size=1m,mode=700".into() }]);
        assert_eq!(info.limits, [Limit { resource: 7, soft: Some(7), hard: None }]);
        assert_eq!(Info::parse(b"").unwrap(), Info::default());
    }

    #[test]
    fn what_would_leave_the_share_or_means_nothing_is_refused() {
        for text in [
            "m: ..",
            "m: a/../b",
            "mr: /..",
            "m: ",
            "m: /./",
            "t: soon",
            "t: -1",
            "env: A",
            "env: =b",
            "n: 02:00",
            "n: 01:00:00:00:00:00",
            "n: 2:0:0:0:0:0",
            "mtu: 67",
            "mtu: x",
            "ndots: 256",
            "host: db 10.0.0.7",
            "host: 10.0.0.7",
            "tmpfs: ro",
            "tmpfs: ro ..",
            "limit: nofile 1",
            "limit: files 1 2",
            "limit: nofile 1 -2",
        ] {
            let error = Info::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Line { .. }), "{text}");
        }
        assert!(Info::parse(b"m: a..b/...").is_ok());
    }

    #[test]
    fn nothing_is_too_long() {
        let word = "x".repeat(200_000);
        let command = vec![word.clone(); 3];
        let environment = vec![("N".into(), word.clone())];
        let text = protocol::Info { command: command.clone(), environment, ..protocol::Info::default() }.to_string();
        let info = Info::parse(text.as_bytes()).unwrap();
        assert!(info.arguments.iter().all(|read| *read == *word) && info.environment[0].1 == *word);
        assert_eq!(info.arguments.len(), command.len());
    }

    fn odd_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('\\'), Just(' '), Just('\n'), Just(':'), Just('a')], 0..8)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_hosts_write_is_what_is_read(
            command in prop::collection::vec(odd_text(), 0..5),
            values in prop::collection::vec(odd_text(), 0..3),
            single in prop::option::of(odd_text().prop_map(|text| format!("/{text}"))),
        ) {
            let written = protocol::Info {
                entrypoint: single.clone(),
                command: command.clone(),
                environment: values.iter().map(|value| ("N".to_owned(), value.clone())).collect(),
                user: single.clone(),
                folder: single.clone(),
                network: Some(protocol::network::NetworkInfo { mtu: Some(1400), ..Default::default() }),
                time: Some(5),
                binds: vec![protocol::Bind { path: "a b".into(), read_only: true }],
                hostname: single.clone(),
                tmpfs: vec![protocol::Tmpfs { path: "/a b".into(), options: String::new() }],
                limits: Vec::new(),
                read_only: true,
            };
            let read = Info::parse(written.to_string().as_bytes()).unwrap();
            let single = single.map(OsString::from);
            prop_assert_eq!(read, Info {
                entrypoint: single.clone(),
                arguments: command.into_iter().map(OsString::from).collect(),
                environment: values.into_iter().map(|value| ("N".into(), value.into())).collect(),
                user: single.clone(),
                hostname: single.clone(),
                folder: single.map(PathBuf::from),
                time: Some(5),
                has_network: true,
                network: Network { mtu: Some(1400), ..Network::default() },
                binds: vec![Bind { path: "a b".into(), read_only: true }],
                tmpfs: vec![Tmpfs {
                    path: "a b".into(),
                    flags: MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
                    data: String::new(),
                }],
                limits: Vec::new(),
                read_only: true,
            });
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Info::parse(&bytes);
        }
    }
}
