//! `prebake cp`.

use clap::Args;
use prebake::copy::CopyOptions;
use std::path::PathBuf;

pub(super) const COPY_EXAMPLES: &str = "\
Examples:
  prebake cp work:/etc/os-release .              out of the session `work`, whether it runs or rests
  prebake cp notes.txt work:/root/               into it
  prebake cp site/. work:/srv/www                what is in a folder
  prebake cp work:/var/log - | tar -t            as an archive
  tar -c data | prebake cp - work:/srv

A name without `/` before it and with a `:` in it is a session's; put ./ before one that is not. Paths in a session begin at its root.";

/// `prebake cp`.
#[derive(Debug, Args)]
#[command(override_usage = "prebake cp [OPTIONS] SESSION:PATH PATH|-\n       prebake cp [OPTIONS] PATH|- SESSION:PATH")]
pub struct CopyArgs {
    /// What to copy. If it ends in `/.`, what is in the folder
    #[arg(value_name = "SOURCE")]
    pub source: Place,
    /// Where to: into a folder that is there, or else under this name
    #[arg(value_name = "TARGET")]
    pub target: Place,
    /// Keep owners and groups, and bits like setuid
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link that is named as the source leads to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Accepted as docker has it: nothing is printed
    #[arg(short, long, hide = true)]
    pub quiet: bool,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `SESSION:PATH`.
    Session(String, String),
    /// On this host.
    Local(PathBuf),
    /// `-`: an archive on a standard stream.
    Stream,
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        let is_local = text.starts_with(['/', '.']);
        // The reference of an image has colons, too, but none before a slash.
        let colon = text.find(":/").or_else(|| text.find(':')).filter(|colon| !is_local && *colon > 0);
        match colon {
            _ if text == "-" => Self::Stream,
            Some(colon) => Self::Session(text[..colon].into(), text[colon + 1..].into()),
            None => Self::Local(text.into()),
        }
    }
}

impl CopyArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.source, &self.target) {
            (Place::Session(..), Place::Session(..)) => Err("one of the two must be on this host; copy in two steps".into()),
            (Place::Session(..), _) | (_, Place::Session(..)) => Ok(()),
            _ => Err("one of the two must be in a session: SESSION:PATH".into()),
        }
    }

    /// The same for the library.
    pub const fn options(&self) -> CopyOptions {
        CopyOptions { keeps_owners: self.archive, follows: self.follow_link }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_told_from_files() {
        let session = |name: &str, path: &str| Place::Session(name.into(), path.into());
        for (text, place) in [
            ("work:/etc", session("work", "/etc")),
            ("work:etc/a:b", session("work", "etc/a:b")),
            ("alpine:3.20:/etc", session("alpine:3.20", "/etc")),
            ("localhost:5000/a:1:/etc", session("localhost:5000/a:1", "/etc")),
            ("-", Place::Stream),
            ("./a:b", Place::Local("./a:b".into())),
            ("/a:/b", Place::Local("/a:/b".into())),
            ("a", Place::Local("a".into())),
        ] {
            assert_eq!(Place::from(text), place);
        }
    }
}
