//! `info`: what the guest's init is to run, as text in the share `wasi1`.

use crate::network::NetworkInfo;
use std::fmt;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The program, in place of the image's entrypoint.
    pub entrypoint: Option<String>,
    /// The arguments, in place of the image's command; none for that.
    pub command: Vec<String>,
    /// Names and values for the environment.
    pub environment: Vec<(String, String)>,
    /// Who to run it as: `USER` or `USER:GROUP`, by names or numbers.
    pub user: Option<String>,
    /// The folder to start in.
    pub folder: Option<String>,
    /// The host's clock, in seconds since 1970.
    pub time: Option<u64>,
    /// The network, if there is one.
    pub network: Option<NetworkInfo>,
    /// What of the share `wasi0` to bind to the same path from the root on.
    pub binds: Vec<Bind>,
    /// The machine's name, in place of the image's.
    pub hostname: Option<String>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Limits on the program's resources.
    pub limits: Vec<Limit>,
    /// The root cannot be written.
    pub read_only: bool,
}

/// A file or folder of the host for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path in the share.
    pub path: String,
    /// The guest may only look.
    pub read_only: bool,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where it is: an absolute path.
    pub path: String,
    /// Options as mount(8) takes them, with commas between them and without blanks.
    pub options: String,
}

/// A limit on a resource; without a number there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The resource, one of [`RESOURCES`].
    pub resource: String,
    /// What the program starts with.
    pub soft: Option<u64>,
    /// How far it may raise that.
    pub hard: Option<u64>,
}

/// The resources that Linux limits, in the order of their numbers.
pub const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |text: &str| escape(text, &['\n']);
        if let Some(program) = &self.entrypoint {
            writeln!(f, "e: {}", whole(program))?;
        }
        if !self.command.is_empty() {
            writeln!(f, "c: {}", words(&self.command))?;
        }
        for (name, value) in &self.environment {
            writeln!(f, "env: {}", whole(&format!("{name}={value}")))?;
        }
        if let Some(user) = &self.user {
            writeln!(f, "u: {}", whole(user))?;
        }
        if let Some(folder) = &self.folder {
            writeln!(f, "w: {}", whole(folder))?;
        }
        if let Some(network) = &self.network {
            write!(f, "{network}")?;
        }
        if let Some(time) = self.time {
            writeln!(f, "t: {time}")?;
        }
        if let Some(hostname) = &self.hostname {
            writeln!(f, "h: {}", whole(hostname))?;
        }
        for Tmpfs { path, options } in &self.tmpfs {
            // Blanks in front of a value are skipped, so there must be an option.
            let options = if options.is_empty() { "rw" } else { options };
            writeln!(f, "tmpfs: {} {}", whole(options), whole(path))?;
        }
        for Bind { path, read_only } in &self.binds {
            writeln!(f, "{}: {}", if *read_only { "mr" } else { "m" }, whole(path))?;
        }
        for Limit { resource, soft, hard } in &self.limits {
            let number = |limit: &Option<u64>| limit.map_or("unlimited".into(), |limit| limit.to_string());
            writeln!(f, "limit: {} {} {}", whole(resource), number(soft), number(hard))?;
        }
        if self.read_only { writeln!(f, "root: ro") } else { Ok(()) }
    }
}

/// One line of words.
pub(crate) fn words(words: &[String]) -> String {
    let escaped: Vec<String> = words.iter().map(|word| escape(word, &[' ', '\n'])).collect();
    // A blank at the end ends an empty word.
    let end = if words.last().is_some_and(String::is_empty) { " " } else { "" };
    escaped.join(" ") + end
}

/// Puts a backslash in front of each of `specials`, and doubles the backslashes in front of one or of the end; all others stand for themselves.
pub(crate) fn escape(text: &str, specials: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut backslashes = 0;
    for c in text.chars() {
        if specials.contains(&c) {
            escaped.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        escaped.push(c);
    }
    escaped.extend(std::iter::repeat_n('\\', backslashes));
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> String {
        Info { command: words.iter().map(|&word| word.to_owned()).collect(), ..Info::default() }.to_string()
    }

    #[test]
    fn commands_are_written_as_ever_and_odd_ones_too() {
        assert_eq!(command(&[]), "");
        assert_eq!(command(&["echo", "-n", "a b"]), "c: echo -n a\\ b\n");
        assert_eq!(command(&["a\\b", "c\\", "d\\ e"]), "c: a\\b c\\\\ d\\\\\\ e\n");
        assert_eq!(command(&["a", "", "b"]), "c: a  b\n");
        assert_eq!(command(&["a", ""]), "c: a  \n");
        assert_eq!(command(&["a\nb\\"]), "c: a\\\nb\\\\\n");
    }

    /// Whoever puts a name together from somebody else's words asks for that name, and for nothing besides.
    #[test]
    fn no_value_begins_a_line_of_its_own() {
        let evil = || "x\ne: /bin/evil".to_owned();
        let info = Info {
            entrypoint: Some(evil()),
            command: vec![evil()],
            environment: vec![(evil(), evil())],
            user: Some(evil()),
            folder: Some(evil()),
            network: Some(NetworkInfo { search: vec![evil()], names: vec![(evil(), [10, 0, 0, 7].into())], ..NetworkInfo::default() }),
            binds: vec![Bind { path: evil(), read_only: false }],
            hostname: Some(evil()),
            tmpfs: vec![Tmpfs { path: evil(), options: evil() }],
            limits: vec![Limit { resource: evil(), soft: None, hard: None }],
            ..Info::default()
        };
        let text = info.to_string();
        let lines: Vec<&str> = text.split("\n").collect();
        let begun = lines.windows(2).filter(|lines| lines[1].starts_with("e: ") && !lines[0].ends_with('\\'));
        assert_eq!(begun.count(), 0, "{text}");
    }

    #[test]
    fn the_rest_is_one_line_each() {
        let info = Info {
            environment: vec![("A".into(), "b c\nd".into()), ("E".into(), String::new())],
            network: Some(NetworkInfo::default()),
            time: Some(17),
            entrypoint: Some("/bin/a b".into()),
            user: Some("a:b".into()),
            folder: Some("/w".into()),
            binds: [("mapped/a b", false), ("c", true)].map(|(path, read_only)| Bind { path: path.into(), read_only }).into(),
            hostname: Some("box".into()),
            tmpfs: vec![Tmpfs { path: "/a b".into(), options: "size=1m,ro".into() }],
            limits: vec![Limit { resource: "nofile".into(), soft: Some(7), hard: None }],
            read_only: true,
            ..Info::default()
        };
        let text = "e: /bin/a b\nenv: A=b c\\\nd\nenv: E=\nu: a:b\nw: /w\nn:\nt: 17\nh: box\ntmpfs: size=1m,ro /a b\nm: mapped/a b\nmr: c\n\
                    limit: nofile 7 unlimited\nroot: ro\n";
        assert_eq!(info.to_string(), text);
    }
}
