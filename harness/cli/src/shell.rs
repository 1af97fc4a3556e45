//! What every verb is given: the library's context, and the user's ear.

use crate::args::RegistryArgs;
use crate::{network, wording};
use indicatif::{ProgressBar, ProgressStyle};
use prebake::context::{Context, Folders};
use prebake::distribution::trust::{PublicKey, SigningKey, TrustError};
use prebake::error::{Error, Result};
use prebake::host::file;
use prebake::observer::{Notice, Observer, Progress, Task};
use prebake::text::{printable, printable_lines};
use rustix::termios::{OutputModes, tcgetattr};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What names an environment variable instead of a file, as with cosign.
const VARIABLE: &str = "env://";

/// See above.
pub struct Shell {
    /// What the library works with.
    pub context: Context,
    verb: &'static str,
    reporter: Arc<Reporter>,
}

impl Shell {
    /// For a verb, with the user's folders. It has to do with this reference.
    pub fn new(verb: &'static str, registry: Option<&RegistryArgs>, reference: Option<&str>) -> Self {
        // Beside a guest's output it is not the verb that speaks.
        let name = if matches!(verb, "run" | "boot") { "prebake" } else { verb };
        let reporter = Arc::new(Reporter { name, bar: Mutex::new(None) });
        Self { context: Context::new(folders(), reporter.clone()).with_network(network::of(registry, reference)), verb, reporter }
    }

    /// Where diagnostics go: between the lines of a progress bar.
    pub fn diagnostics(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let reporter = self.reporter.clone();
        move |line| reporter.print(format_args!("{line}"))
    }

    /// Tells the user something.
    pub fn say(&self, text: impl Display) {
        self.reporter.say(text);
    }

    /// Tells the user why the verb failed.
    pub fn fail(&self, error: &Error) {
        write_line(format_args!("prebake {}: {}", self.verb, wording::error(error)));
    }

    /// A public key: in a file, or in the environment.
    pub fn public_key(&self, name: &str) -> Result<PublicKey> {
        PublicKey::read(name, &key_text(name)?)
    }

    /// A private key: in a file, or in the environment.
    pub fn signing_key(&self, name: &str) -> Result<SigningKey> {
        SigningKey::read(name, &key_text(name)?, key_password().as_deref())
    }
}

/// The password of an encrypted key.
pub fn key_password() -> Option<String> {
    variable("PREBAKE_KEY_PASSWORD")
}

fn key_text(name: &str) -> Result<String> {
    if let Some(variable) = name.strip_prefix(VARIABLE) {
        return Ok(std::env::var(variable).map_err(|_| TrustError::NoVariable { name: variable.into() })?);
    }
    let key = file::read("key", Path::new(name))?;
    String::from_utf8(key).map_err(|_| Error::Read { what: "key", path: name.into(), source: io::ErrorKind::InvalidData.into() })
}

/// A variable of the environment, unless it is empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same of a path.
pub fn path_in(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's folders, by the usual variables.
fn folders() -> Folders {
    let home = path_in("HOME");
    let folder = |own, usual, below| {
        path_in(own).or_else(|| path_in(usual).map(|folder| folder.join("prebake"))).or_else(|| home.as_ref().map(|home| home.join(below)))
    };
    // Tests are built apart from what prebake is shipped with.
    let beside = || std::env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
    Folders {
        store: folder("PREBAKE_HOME", "XDG_DATA_HOME", ".local/share/prebake"),
        cache: folder("PREBAKE_CACHE", "XDG_CACHE_HOME", ".cache/prebake"),
        configuration: folder("PREBAKE_CONFIG", "XDG_CONFIG_HOME", ".config/prebake"),
        shipped: path_in("PREBAKE_MACHINE").or_else(beside).unwrap_or_default(),
        temporary: std::env::temp_dir(),
    }
}

/// Draws on standard error what the library tells.
struct Reporter {
    name: &'static str,
    /// Of the task that is under way.
    bar: Mutex<Option<ProgressBar>>,
}

impl Reporter {
    fn say(&self, text: impl Display) {
        self.print(format_args!("{}: {text}", self.name));
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        let line = || write_line(text);
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(line),
            None => line(),
        }
    }
}

impl Observer for Reporter {
    fn notice(&self, notice: &Notice<'_>) {
        wording::notice(notice).iter().for_each(|line| self.say(line));
    }

    fn progress(&self, progress: &Progress<'_>) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = bar.get_or_insert_with(|| draw(self.name, progress));
        bar.set_position(progress.done);
        bar.set_message(printable(&wording::task(progress.task)));
    }
}

/// A bar on standard error, if that is a terminal.
fn draw(name: &'static str, progress: &Progress<'_>) -> ProgressBar {
    let template = match (progress.task, progress.total) {
        (Task::Boot { .. } | Task::ReadFolder, _) => "{prefix}: {msg}: {human_pos}",
        (_, None) => "{prefix}: {msg}",
        (_, Some(_)) => "{prefix}: {msg} [{wide_bar}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
    let bar = progress.total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.with_style(style).with_prefix(name)
}

/// Writes lines for people on standard output. Whoever reads only the first of them has seen enough.
pub fn show(text: &str) {
    let _ = io::stdout().write_all(printable_lines(text, "\n").as_bytes());
}

/// Writes a line on standard error. Unlike `eprintln!` it does not mind that this is gone, say with the terminal. The names in it may be anyone's.
pub fn write_line(text: fmt::Arguments<'_>) {
    // In raw mode the guest has the terminal, and lines do not return to their start by themselves.
    let raw = tcgetattr(io::stdin()).is_ok_and(|attributes| !attributes.output_modes.contains(OutputModes::OPOST));
    let (before, end) = if raw { ("\r\n", "\r\n") } else { ("", "\n") };
    let text = printable_lines(&text.to_string(), end);
    let _ = io::stderr().write_all(format!("{before}{text}{end}").as_bytes());
}
