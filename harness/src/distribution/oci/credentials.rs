//! What the user has for a registry, in the files and with the helpers of docker
//! (<https://docs.docker.com/reference/cli/docker/login/#configure-the-credential-store>) and podman (containers-auth.json(5)).
//!
//! A file that cannot be read, or a helper that is not there, matters only if the registry asks who one is: until then it is a notice.

use crate::network::Network;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the user has for a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A name and a password.
    Password(String, String),
    /// A token that docker keeps in place of a password.
    Identity(String),
}

/// What was found, and what could not be read on the way to nothing.
#[derive(Clone)]
pub struct Found {
    pub credentials: Credentials,
    pub problems: Vec<String>,
}

/// What docker's program calls its own registry in its files.
const HUB: &str = "https://index.docker.io/v1/";
/// Names of that registry.
const HUB_NAMES: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];
/// What a helper gives as the name with an identity token.
const TOKEN: &str = "<token>";
/// What helpers say that have nothing for a registry.
const NOTHING: &str = "credentials not found";

/// A file.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    auths: Option<BTreeMap<String, Entry>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// Name and password, with a colon between them, in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Found {
    /// What there is for `repository` of `registry`.
    pub fn of(network: &Network, registry: &str, repository: &str) -> Self {
        if let Some(login) = network.login.as_ref().filter(|login| names(registry).any(|name| host(&login.registry) == name)) {
            let credentials = Credentials::Password(login.user.clone(), login.password.clone());
            return Self { credentials, problems: Vec::new() };
        }
        let mut problems = Vec::new();
        for path in &network.credentials {
            if let Some(credentials) = in_file(path, registry, repository, &mut problems) {
                return Self { credentials, problems: Vec::new() };
            }
        }
        Self { credentials: Credentials::Anonymous, problems }
    }
}

fn in_file(path: &Path, registry: &str, repository: &str, problems: &mut Vec<String>) -> Option<Credentials> {
    let place = path.display();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        Err(error) => {
            problems.push(format!("cannot read {place}: {error}"));
            return None;
        }
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if text.trim_ascii().is_empty() {
        problems.push(format!("{place} is empty"));
        return None;
    }
    let configuration: Configuration = match serde_json::from_slice(text) {
        Ok(configuration) => configuration,
        Err(error) => {
            problems.push(format!("{place} is malformed: {}", error.to_string().escape_debug()));
            return None;
        }
    };
    if let Some(helper) = configuration.helper(registry) {
        match ask(helper, if is_hub(registry) { HUB } else { registry }) {
            Ok(Some(credentials)) => return Some(credentials),
            Ok(None) => {}
            Err(problem) => problems.push(format!("docker-credential-{}, named in {place}, {problem}", helper.escape_debug())),
        }
    }
    let (key, entry) = configuration.entry(registry, repository)?;
    match entry.credentials() {
        Ok(Some(credentials)) => Some(credentials),
        Ok(None) => None,
        Err(problem) => {
            problems.push(format!("the entry {} of {place} {problem}", key.escape_debug()));
            None
        }
    }
}

impl Configuration {
    fn helper(&self, registry: &str) -> Option<&str> {
        let own =
            self.cred_helpers.iter().flatten().find(|(key, _)| names(registry).any(|name| host(key) == name)).map(|(_, helper)| helper);
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// The entry whose key says most of `registry/repository`.
    fn entry(&self, registry: &str, repository: &str) -> Option<(&str, &Entry)> {
        let is_for = |key: &str| {
            names(registry).any(|name| {
                let whole = format!("{name}/{repository}");
                let key = host(key);
                whole.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let fitting = self.auths.iter().flatten().filter(|(key, _)| is_for(key));
        fitting.max_by_key(|(key, _)| host(key).len()).map(|(key, entry)| (key.as_str(), entry))
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, String> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::Password(user.clone(), password.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_ref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or("is not a name and a password in base64")?;
        // Some programs have filled the password with zeroes.
        Ok(Some(Credentials::Password(user.into(), password.trim_end_matches('\0').into())))
    }
}

/// A key without what old versions of docker wrote around a host.
fn host(key: &str) -> &str {
    match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    }
}

fn is_hub(registry: &str) -> bool {
    HUB_NAMES.contains(&registry)
}

/// The names of a registry.
fn names(registry: &str) -> impl Iterator<Item = &str> {
    let hub = if is_hub(registry) { &HUB_NAMES[..] } else { &[] };
    std::iter::once(registry).chain(hub.iter().copied())
}

/// Asks a helper for what it has for `server`.
fn ask(helper: &str, server: &str) -> Result<Option<Credentials>, String> {
    if helper.contains('/') {
        return Err("is not the name of a program".into());
    }
    let started = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = started.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "is not installed".to_owned(),
        _ => format!("cannot be run: {error}"),
    })?;
    if let Some(mut stdin) = process.stdin.take() {
        match stdin.write_all(server.as_bytes()) {
            // One that does not read has said what it has to say.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(format!("does not listen: {error}")),
            _ => {}
        }
    }
    let output = process.wait_with_output().map_err(|error| format!("gave no answer: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(200).collect::<String>().escape_debug().to_string();
    if !output.status.success() {
        let message = said(&[&output.stdout[..], b" ", &output.stderr].concat());
        return if message.contains(NOTHING) { Ok(None) } else { Err(format!("failed: {message}")) };
    }
    // What it answers may be half a password: it is not shown.
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| "gave an answer that is not understood")?;
    Ok(match (answer.username.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => None,
        (TOKEN, token) => Some(Credentials::Identity(token)),
        (_, password) => Some(Credentials::Password(answer.username, password)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Login;
    use serde_json::{Value, json};

    fn found(files: &[&str], registry: &str, repository: &str) -> (Option<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let credentials = (0..files.len()).map(|number| folder.path().join(number.to_string())).collect::<Vec<_>>();
        files.iter().zip(&credentials).for_each(|(text, path)| fs::write(path, text).unwrap());
        let network = Network { credentials, ..Network::default() };
        let Found { credentials, problems } = Found::of(&network, registry, repository);
        let name = match credentials {
            Credentials::Anonymous => None,
            Credentials::Password(user, password) => Some(format!("{user}:{password}")),
            Credentials::Identity(token) => Some(format!("token {token}")),
        };
        (name, problems)
    }

    fn auths(entries: &Value) -> String {
        json!({ "auths": entries }).to_string()
    }

    #[test]
    fn a_registry_is_found_by_all_of_its_names() {
        let entry = json!({ "auth": STANDARD.encode("me:a:b") });
        for (key, registry) in [
            ("r.example", "r.example"),
            ("r.example:5000", "r.example:5000"),
            ("https://r.example/v2/", "r.example"),
            ("http://r.example:5000", "r.example:5000"),
            ("https://index.docker.io/v1/", "index.docker.io"),
            ("docker.io", "index.docker.io"),
            ("registry-1.docker.io", "index.docker.io"),
            ("[::1]:5000", "[::1]:5000"),
            ("r.example/team", "r.example"),
            ("r.example/team/x", "r.example"),
        ] {
            assert_eq!(found(&[&auths(&json!({ key: entry }))], registry, "team/x").0.as_deref(), Some("me:a:b"), "{key}");
        }
        for (key, registry) in [
            ("r.example", "r.example:5000"),
            ("r.example", "other.example"),
            ("r.example/tea", "r.example"),
            ("r.example/team/x/y", "r.example"),
        ] {
            assert_eq!(found(&[&auths(&json!({ key: entry }))], registry, "team/x"), (None, vec![]), "{key}");
        }
    }

    #[test]
    fn a_login_is_for_its_registry_alone() {
        let found = |login: &str, registry: &str| {
            let login = Login { registry: login.into(), user: "me".into(), password: "p".into() };
            Found::of(&Network { login: Some(login), ..Network::default() }, registry, "x").credentials != Credentials::Anonymous
        };
        for (login, registry) in [
            ("r.example", "r.example"),
            ("r.example:5000", "r.example:5000"),
            ("https://r.example/", "r.example"),
            ("docker.io", "index.docker.io"),
            ("https://index.docker.io/v1/", "index.docker.io"),
        ] {
            assert!(found(login, registry), "{login}");
        }
        for (login, registry) in
            [("r.example", "index.docker.io"), ("r.example", "r.example:5000"), ("r.example", "s.r.example"), ("", "r.example")]
        {
            assert!(!found(login, registry), "{login}");
        }
    }

    #[test]
    fn the_key_that_says_most_counts_and_the_first_file_that_has_one() {
        let of = |name: &str| json!({ "username": name, "password": "p" });
        let file = auths(&json!({ "r.example": of("all"), "r.example/team": of("team"), "r.example/team/x": of("x") }));
        for (repository, name) in [("other", "all:p"), ("team/y", "team:p"), ("team/x", "x:p")] {
            assert_eq!(found(&[&file], "r.example", repository).0.as_deref(), Some(name));
        }
        let other = auths(&json!({ "r.example": of("second"), "s.example": of("s") }));
        assert_eq!(found(&[&file, &other], "r.example", "x").0.as_deref(), Some("all:p"));
        assert_eq!(found(&[&file, &other], "s.example", "x").0.as_deref(), Some("s:p"));
        let token = auths(&json!({ "r.example": { "auth": STANDARD.encode("0:"), "identitytoken": "t" } }));
        assert_eq!(found(&[&token], "r.example", "x").0.as_deref(), Some("token t"));
        let filled = auths(&json!({ "r.example": { "auth": STANDARD.encode("me:p\0\0") } }));
        assert_eq!(found(&[&filled], "r.example", "x").0.as_deref(), Some("me:p"));
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_only_if_nothing_is_found() {
        let good = auths(&json!({ "r.example": { "username": "me", "password": "p" } }));
        for (bad, words) in [
            ("", ["/0", "is empty"]),
            (" \n", ["/0", "is empty"]),
            ("\u{feff}", ["/0", "is empty"]),
            ("no json", ["/0", "is malformed"]),
            (r#"{"credsStore":"no-such-helper"}"#, ["docker-credential-no-such-helper, named in", "is not installed"]),
            (r#"{"credHelpers":{"r.example":"no-such-helper"}}"#, ["docker-credential-no-such-helper, named in", "is not installed"]),
            (r#"{"credsStore":"../x"}"#, ["docker-credential-../x", "is not the name of a program"]),
            (r#"{"auths":{"r.example":{"auth":"!"}}}"#, ["the entry r.example of", "base64"]),
        ] {
            let (name, problems) = found(&[bad], "r.example", "x");
            assert!(name.is_none() && problems.len() == 1 && words.iter().all(|word| problems[0].contains(word)), "{bad}: {problems:?}");
            assert_eq!(found(&[bad, &good], "r.example", "x"), (Some("me:p".into()), vec![]), "{bad}");
        }
        // Windows' editors begin a file so.
        assert_eq!(found(&[&format!("\u{feff}{good}")], "r.example", "x").0.as_deref(), Some("me:p"));
        for nothing in ["{}", r#"{"auths":null,"credHelpers":null}"#, r#"{"auths":{"r.example":{}}}"#, r#"{"credsStore":""}"#] {
            assert_eq!(found(&[nothing], "r.example", "x"), (None, vec![]), "{nothing}");
        }
    }
}
