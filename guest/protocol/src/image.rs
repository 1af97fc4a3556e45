//! `/image`: what a container image says about the program in it, as text in the initramfs.

use crate::info::{escape, words};
use std::fmt;

/// What an image runs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramDefaults {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after them, or the program where there is no entry point, unless the host names others.
    pub command: Vec<String>,
    /// Names and values for the environment, in the image's order.
    pub environment: Vec<(String, String)>,
    /// The folder that the program starts in: an absolute path.
    pub folder: Option<String>,
    /// `USER[:GROUP]`, by name or number.
    pub user: Option<String>,
    /// The signal that asks the program to end, by name or number.
    pub stop_signal: Option<String>,
    /// What the machine is called.
    pub hostname: Option<String>,
}

impl fmt::Display for ProgramDefaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, list) in [("entrypoint", &self.entrypoint), ("cmd", &self.command)] {
            if !list.is_empty() {
                writeln!(f, "{key}: {}", words(list))?;
            }
        }
        for (name, value) in &self.environment {
            writeln!(f, "env: {}", escape(&format!("{name}={value}"), &['\n']))?;
        }
        for (key, value) in [("w", &self.folder), ("u", &self.user), ("stop", &self.stop_signal), ("hostname", &self.hostname)] {
            if let Some(value) = value {
                writeln!(f, "{key}: {}", escape(value, &['\n']))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn an_image_that_says_nothing_has_no_line() {
        assert_eq!(ProgramDefaults::default().to_string(), "");
    }

    #[test]
    fn everything_is_one_line_each_in_one_order() {
        let image = ProgramDefaults {
            entrypoint: list(&["/bin/sh", "-c"]),
            command: list(&["echo a b\\", ""]),
            environment: vec![("PATH".into(), "/bin".into()), ("E".into(), String::new()), ("A".into(), "b\nc\\".into())],
            folder: Some("/a b".into()),
            user: Some("nobody:100".into()),
            stop_signal: Some("SIGQUIT".into()),
            hostname: Some("box".into()),
        };
        let text = "entrypoint: /bin/sh -c\ncmd: echo\\ a\\ b\\\\  \nenv: PATH=/bin\nenv: E=\nenv: A=b\\\nc\\\\\n\
            w: /a b\nu: nobody:100\nstop: SIGQUIT\nhostname: box\n";
        assert_eq!(image.to_string(), text);
    }
}
