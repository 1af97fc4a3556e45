//! `/image`: what the container image says of the program in it, and what that comes to together with the host's info.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::info::Info;
use crate::text::{self, Problem, Variable};

/// What runs where nobody says anything: in a machine without an image.
const SHELL: &str = "/bin/sh";
/// The signal that asks a program to end, unless its image names another.
const TERMINATE: i32 = libc::SIGTERM;
/// The C library's first real-time signal.
const REAL_TIME: i32 = 34;

/// What an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramDefaults {
    /// The program and its first arguments.
    pub entrypoint: Vec<OsString>,
    /// The arguments behind them.
    pub command: Vec<OsString>,
    /// Names and values for the environment.
    pub environment: Vec<Variable>,
    /// Where the program starts.
    pub folder: Option<PathBuf>,
    /// Who it is run as.
    pub user: Option<OsString>,
    /// What asks it to end.
    pub stop_signal: i32,
    /// What the machine is called.
    pub hostname: Option<OsString>,
}

impl ProgramDefaults {
    /// What `file` says. Where there is none, there is no image, but a shell.
    pub fn read(file: &Path) -> Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { command: vec![SHELL.into()], ..Self::empty() }),
            Err(error) => Err(error).context("read", file.display().to_string()),
        }
    }

    fn empty() -> Self {
        let (entrypoint, command, environment) = Default::default();
        Self { entrypoint, command, environment, folder: None, user: None, stop_signal: TERMINATE, hostname: None }
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut image = Self::empty();
        text::each_line("the image", bytes, |key, value| image.take(key, value))?;
        Ok(image)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), Problem> {
        match key {
            b"entrypoint" => self.entrypoint = text::command(value),
            b"cmd" => self.command = text::command(value),
            b"env" => self.environment.push(text::variable(value)?),
            b"w" => self.folder = Some(text::whole(value).into()),
            b"u" => self.user = Some(text::whole(value)),
            b"stop" => {
                self.stop_signal = text::whole(value).to_str().and_then(signal).ok_or("it must be the name or number of a signal")?
            }
            b"hostname" => self.hostname = Some(text::whole(value)),
            _ => {}
        }
        Ok(())
    }

    /// Program and arguments, as the host wants them: an entrypoint of the host's leaves nothing of the image's, for the image's command
    /// means arguments of the image's entrypoint. An empty one is none at all.
    pub fn arguments(&self, info: &Info) -> Result<Vec<OsString>> {
        let entrypoint = match &info.entrypoint {
            Some(program) if program.is_empty() => &[],
            Some(program) => std::slice::from_ref(program),
            None => &self.entrypoint[..],
        };
        let command = match (&info.arguments[..], &info.entrypoint) {
            ([], None) => &self.command,
            (arguments, _) => arguments,
        };
        let words = [entrypoint, command].concat();
        if words.is_empty() { Err(Error::NoCommand) } else { Ok(words) }
    }

    /// The value that `name` gets from the host, or else from the image.
    pub fn variable<'a>(&'a self, info: &'a Info, name: &str) -> Option<&'a OsStr> {
        let variables = self.environment.iter().chain(&info.environment);
        variables.rev().find(|(found, _)| found == name).map(|(_, value)| value.as_os_str())
    }
}

/// The number of a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.strip_prefix("RT") {
        Some("MIN") => Some(REAL_TIME),
        Some("MAX") => Some(libc::SIGRTMAX()),
        Some(rest) => match rest.split_once(['+', '-'])? {
            ("MIN", above) => above.parse::<i32>().ok()?.checked_add(REAL_TIME),
            ("MAX", below) => libc::SIGRTMAX().checked_sub(below.parse().ok()?),
            _ => None,
        },
        None => match NAMES.iter().position(|known| *known == name) {
            Some(index) => i32::try_from(index + 1).ok(),
            None => name.parse().ok(),
        },
    };
    number.filter(|number| (1..=libc::SIGRTMAX()).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let written = protocol::ProgramDefaults {
            entrypoint: list(&["/bin/a b", "c\\"]),
            command: list(&["d", ""]),
            environment: vec![("A".into(), "b\nc".into()), ("B".into(), String::new())],
            folder: Some("/a b".into()),
            user: Some("nobody:100".into()),
            stop_signal: Some("SIGQUIT".into()),
            hostname: Some("box".into()),
        };
        let read = ProgramDefaults {
            entrypoint: words(&["/bin/a b", "c\\"]),
            command: words(&["d", ""]),
            environment: vec![("A".into(), "b\nc".into()), ("B".into(), "".into())],
            folder: Some("/a b".into()),
            user: Some("nobody:100".into()),
            stop_signal: libc::SIGQUIT,
            hostname: Some("box".into()),
        };
        assert_eq!(ProgramDefaults::parse(written.to_string().as_bytes()).unwrap(), read);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("SIGTERM", 15), ("TERM", 15), ("term", 15), ("15", 15), ("SIGSYS", 31), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(signal(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "SIGRT", "SIGRTMIN+", "RTMIN+99", "RTMAX-99", "RTMIN+99999999999", "TERMINATE"] {
            assert_eq!(signal(text), None, "{text}");
        }
        assert!(ProgramDefaults::parse(b"stop: soon").is_err());
    }

    #[test]
    fn the_host_replaces_the_command_or_everything() {
        let image = ProgramDefaults { entrypoint: words(&["e", "1"]), command: words(&["c", "2"]), ..ProgramDefaults::empty() };
        let arguments = |entrypoint: Option<&str>, arguments: &[&str]| {
            let info = Info { entrypoint: entrypoint.map(OsString::from), arguments: words(arguments), ..Info::default() };
            image.arguments(&info).unwrap()
        };
        assert_eq!(arguments(None, &[]), words(&["e", "1", "c", "2"]));
        assert_eq!(arguments(None, &["x"]), words(&["e", "1", "x"]));
        assert_eq!(arguments(Some("h i"), &[]), words(&["h i"]));
        assert_eq!(arguments(Some("h"), &["x"]), words(&["h", "x"]));
        assert_eq!(arguments(Some(""), &["x"]), words(&["x"]));
        assert!(matches!(ProgramDefaults::empty().arguments(&Info::default()), Err(Error::NoCommand)));
    }

    #[test]
    fn without_an_image_there_is_a_shell() {
        let none = ProgramDefaults::read(Path::new("/nonexistent/image")).unwrap();
        assert_eq!(none.arguments(&Info::default()).unwrap(), words(&["/bin/sh"]));
    }

    #[test]
    fn the_last_word_on_a_variable_is_the_hosts() {
        let image = ProgramDefaults { environment: vec![("A".into(), "1".into()), ("A".into(), "2".into())], ..ProgramDefaults::empty() };
        let info = Info { environment: vec![("A".into(), "3".into())], ..Info::default() };
        assert_eq!(image.variable(&Info::default(), "A"), Some(OsStr::new("2")));
        assert_eq!(image.variable(&info, "A"), Some(OsStr::new("3")));
        assert_eq!(image.variable(&info, "B"), None);
    }
}
