//! `info`: what the host wants to be run, as PROTOCOL.md defines it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// What the host wants to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The program, where it is not the first of the arguments.
    pub entrypoint: Option<OsString>,
    /// The arguments.
    pub arguments: Vec<OsString>,
    /// Names and values that the environment is to have.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the program starts.
    pub folder: Option<PathBuf>,
    /// The host's clock, in seconds since 1970.
    pub time: Option<u64>,
    /// Folders of the share `wasi0` that are to appear at the same path from the root on.
    pub binds: Vec<Bind>,
}

/// A folder of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path in the share, which is the path from the root on: not empty, and without `..`.
    pub path: PathBuf,
    /// The guest may only look.
    pub read_only: bool,
}

impl Info {
    /// What `file` says; nothing if it is not there.
    pub fn read(file: &Path) -> Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("read", file.display().to_string()),
        }
    }

    /// The command: program and arguments. `None` if the host wants none in particular.
    pub fn command(&self) -> Option<(&OsString, &[OsString])> {
        match &self.entrypoint {
            Some(program) => Some((program, &self.arguments)),
            None => self.arguments.split_first(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut info = Self::default();
        for line in lines(bytes) {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            info.take(key, value).map_err(|problem| Error::Info { key: String::from_utf8_lossy(key).into_owned(), problem })?;
        }
        Ok(info)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), &'static str> {
        let whole = || unescaped(value.trim_ascii_start());
        match key {
            b"c" => {
                // One blank belongs to the colon; more of them would be empty arguments.
                let words = words(value.strip_prefix(b" ").unwrap_or(value), true);
                self.arguments = words.into_iter().map(OsString::from_vec).collect();
            }
            b"e" => self.entrypoint = Some(OsString::from_vec(whole())),
            b"env" => {
                let mut name = whole();
                let equals = name.iter().position(|&byte| byte == b'=').filter(|&at| at != 0).ok_or("it must be NAME=VALUE")?;
                let value = name.split_off(equals + 1);
                name.pop();
                self.environment.push((OsString::from_vec(name), OsString::from_vec(value)));
            }
            b"w" => self.folder = Some(OsString::from_vec(whole()).into()),
            b"t" => {
                let text = String::from_utf8(whole()).ok();
                self.time = Some(text.and_then(|text| text.trim().parse().ok()).ok_or("it must be a number of seconds")?);
            }
            b"m" => self.binds.push(Bind { path: inside(&whole())?, read_only: false }),
            b"mr" => self.binds.push(Bind { path: inside(&whole())?, read_only: true }),
            _ => {}
        }
        Ok(())
    }
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

/// Cuts text at each newline with an even number of backslashes in front of it, none included.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut backslashes = 0_usize;
    bytes.split(move |&byte| {
        let ends = byte == b'\n' && backslashes.is_multiple_of(2);
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
        ends
    })
}

fn unescaped(value: &[u8]) -> Vec<u8> {
    words(value, false).concat()
}

/// The words of a value. Backslashes stand for themselves, but not in front of what would end the word: there each pair is one, and one
/// that is left takes the end as a part of the word. Every blank ends a word if `at_blanks`, so that one of no bytes can be said.
fn words(value: &[u8], at_blanks: bool) -> Vec<Vec<u8>> {
    let (mut words, mut word) = (Vec::new(), Vec::new());
    let mut backslashes = 0_usize;
    for &byte in value {
        match byte {
            b'\\' => backslashes += 1,
            _ if byte == b'\n' || byte == b' ' && at_blanks => {
                word.extend(std::iter::repeat_n(b'\\', backslashes / 2));
                if backslashes.is_multiple_of(2) {
                    words.push(std::mem::take(&mut word));
                } else {
                    word.push(byte);
                }
                backslashes = 0;
            }
            _ => {
                word.extend(std::iter::repeat_n(b'\\', backslashes));
                word.push(byte);
                backslashes = 0;
            }
        }
    }
    // An odd one can only be at the end of the file, where there is nothing to take.
    word.extend(std::iter::repeat_n(b'\\', backslashes.div_ceil(2)));
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        let info = Info::parse(text.as_bytes()).unwrap();
        info.arguments.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn commands_are_cut_at_blanks() {
        assert_eq!(arguments("c: A B\\ C\n"), ["A", "B C"]);
        assert_eq!(arguments("c: echo a\\b \\n \\\"\n"), ["echo", "a\\b", "\\n", "\\\""]);
        assert_eq!(arguments("c: a\\\\ b\\\\\\ c\\\\\n"), ["a\\", "b\\ c\\"]);
        assert_eq!(arguments("c: a\\\nb c\n"), ["a\nb", "c"]);
        assert_eq!(arguments("c: a  b\n"), ["a", "", "b"]);
        assert_eq!(arguments("c: a  \n"), ["a", ""]);
        assert_eq!(arguments("c:a: b"), ["a:", "b"]);
        assert_eq!(arguments("c: a\\"), ["a\\"]);
        assert_eq!(arguments("c: \n"), [""; 0]);
        assert_eq!(arguments("c: a\nc: b"), ["b"]);
    }

    #[test]
    fn every_key_is_understood_and_others_are_ignored() {
        let text = b"e: /bin/a b\nc: x\nenv: A=b=c\nenv: B=\nn: 02:00\nhello\nt: 17\nm: /a/./b\nmr: c\nw: /tmp\n";
        let info = Info::parse(text).unwrap();
        assert_eq!(info.command(), Some((&"/bin/a b".into(), &["x".into()][..])));
        assert_eq!(info.environment, [("A".into(), "b=c".into()), ("B".into(), "".into())]);
        assert_eq!((info.time, info.folder), (Some(17), Some("/tmp".into())));
        assert_eq!(info.binds, [Bind { path: "a/b".into(), read_only: false }, Bind { path: "c".into(), read_only: true }]);
        assert_eq!(Info::parse(b"").unwrap().command(), None);
    }

    #[test]
    fn what_would_leave_the_share_or_means_nothing_is_refused() {
        for text in ["m: ..", "m: a/../b", "mr: /..", "m: ", "m: /./", "t: soon", "t: -1", "env: A", "env: =b"] {
            let error = Info::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Info { .. }), "{text}");
        }
        assert!(Info::parse(b"m: a..b/...").is_ok());
    }

    #[test]
    fn no_file_says_nothing() {
        assert_eq!(Info::read(Path::new("/nonexistent/info")).unwrap(), Info::default());
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
        ) {
            let environment: Vec<_> = values.iter().map(|value| ("N".to_owned(), value.clone())).collect();
            let text = protocol::Info { command: command.clone(), environment, time: Some(5), binds: vec!["a b".into()] }.to_string();
            let info = Info::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(info.arguments, command.into_iter().map(OsString::from).collect::<Vec<_>>());
            prop_assert_eq!(info.environment.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), values.into_iter().map(OsString::from).collect::<Vec<_>>());
            prop_assert_eq!(info.time, Some(5));
            prop_assert_eq!(info.binds.len(), 1);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Info::parse(&bytes);
        }
    }
}
