//! Whom the user trusts: keys, and repositories.

use super::Signature;
use super::error::TrustError;
use super::key::PublicKey;
use crate::context::Context;
use crate::distribution::oci::{self, Sha256};
use crate::distribution::store::{Lock, Sharing};
use crate::error::{Error, Result};
use crate::host::file::{atomic, only_user_writes, private_folder};
use crate::observer::Notice;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// The file, in the user's configuration.
const FILE: &str = "trust.json";
/// Its version.
const VERSION: u32 = 1;

/// All that the user trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Something that is trusted: what a key signs in some repositories, or anywhere; or some repositories, whatever they have. Never neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The key that must have signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<Scope>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.repositories) {
            (Some(key), Some(scope)) => write!(f, "the key {} for {scope}", key.fingerprint()),
            (Some(key), None) => write!(f, "the key {}", key.fingerprint()),
            (None, Some(scope)) => write!(f, "{scope}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

/// A repository, or all below a name: `registry.example/team/demo`, `registry.example/team/*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// Whether it has this repository.
    pub fn has(&self, repository: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(above) => repository.starts_with(above),
            None => self.0 == repository,
        }
    }
}

impl FromStr for Scope {
    type Err = TrustError;

    fn from_str(text: &str) -> std::result::Result<Self, TrustError> {
        let error = |problem: &str| TrustError::Scope { text: text.escape_debug().to_string(), problem: problem.into() };
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte));
        if let Some(above) = text.strip_suffix("/*") {
            let mut words = above.split('/');
            let registry = words.next().unwrap_or_default();
            let is_registry = registry.contains(['.', ':']) || registry == "localhost";
            if !is_registry || !is_word(registry) {
                return Err(error("it must begin with a registry"));
            }
            if !words.all(|word| is_word(word) && !word.contains(':')) {
                return Err(error("it is no name with /* at its end"));
            }
            return Ok(Self(text.into()));
        }
        let last = text.rsplit('/').next().unwrap_or_default();
        if text.contains('@') || (text.contains('/') && last.contains(':')) {
            return Err(error("it has a tag or a digest, but what is trusted is all that a repository has"));
        }
        if text.contains('*') {
            return Err(error("a * stands only at the end, after a /"));
        }
        oci::reference(text).map(|reference| Self(repository(&reference))).map_err(|problem| error(&problem.to_string()))
    }
}

impl TryFrom<String> for Scope {
    type Error = TrustError;

    fn try_from(text: String) -> std::result::Result<Self, TrustError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reference's registry and its name there.
pub fn repository(reference: &oci_client::Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// The file.
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    trusted: Vec<Rule>,
}

impl Policy {
    /// What the user trusts. Nothing if nothing was ever said.
    pub fn open(context: &Context) -> Result<Self> {
        context.folders().configuration.as_deref().map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// The same for work that goes on without: if it cannot be read, or others may have written it, the user is told, and nothing is trusted.
    pub fn open_or_nothing(context: &Context) -> Self {
        Self::open(context).unwrap_or_else(|error| {
            context.notice_once("policy", Notice::NoPolicy { error: &error });
            Self::default()
        })
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Error::Read { what: "list of trusted keys", path, source }),
        };
        let problem = |problem: String| TrustError::Policy { path: path.clone(), problem };
        if !only_user_writes(folder) || !only_user_writes(&path) {
            return Err(problem("other users can write to it or to its folder".into()).into());
        }
        let file: File = serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
        if file.version != VERSION {
            return Err(problem(format!("it has version {}, but this version of prebake reads version {VERSION}", file.version)).into());
        }
        if file.trusted.iter().any(|rule| rule.key.is_none() && rule.repositories.is_none()) {
            return Err(problem("an entry has neither a key nor repositories".into()).into());
        }
        Ok(Self { rules: file.trusted })
    }

    /// Changes what the user trusts. What `change` returns is passed on.
    pub fn change<T>(context: &Context, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let folder = context.folders().configuration.clone().and_then(private_folder).ok_or(TrustError::NoConfig)?;
        let lock = folder.join("lock");
        let _lock = Lock::wait(&lock, Sharing::Alone, || true).map_err(|source| Error::Write { path: lock.clone(), source })?;
        let mut policy = Self::read(&folder)?;
        let result = change(&mut policy)?;
        let file = File { version: VERSION, trusted: policy.rules };
        // A struct of text has a form in JSON.
        atomic::write(&folder.join(FILE), format!("{}\n", serde_json::to_string_pretty(&file).unwrap_or_default()).as_bytes())?;
        Ok(result)
    }

    /// What is trusted.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Trusts something more; whether it was not trusted yet.
    pub fn add(&mut self, rule: Rule) -> bool {
        let is_new = !self.rules.contains(&rule);
        if is_new {
            self.rules.push(rule);
        }
        is_new
    }

    /// Trusts something no more.
    pub fn remove(&mut self, is_meant: impl Fn(&Rule) -> bool) -> Vec<Rule> {
        let (gone, kept) = std::mem::take(&mut self.rules).into_iter().partition(is_meant);
        self.rules = kept;
        gone
    }

    /// Who stands for the document `digest` of `repository`, if someone is trusted who does.
    pub fn vouches(&self, repository: &str, digest: Sha256, signatures: &[Signature]) -> Option<&Rule> {
        self.of(repository).find(|rule| rule.key.is_none_or(|key| signatures.iter().any(|signature| signature.is_of(digest, key))))
    }

    /// Whether a signature could make a difference in this repository.
    pub fn wants_signatures(&self, repository: &str) -> bool {
        self.of(repository).any(|rule| rule.key.is_some())
    }

    fn of(&self, repository: &str) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.repositories.as_ref().is_none_or(|scope| scope.has(repository)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SigningKey;
    use super::*;

    fn scope(text: &str) -> Option<Scope> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn repositories_are_named_in_full_or_by_what_is_above_them() {
        let has = |text: &str, repository: &str| text.parse::<Scope>().unwrap().has(repository);
        assert!(has("registry.example/team/demo", "registry.example/team/demo"));
        assert!(!has("registry.example/team/demo", "registry.example/team/demo2"));
        assert!(!has("registry.example/team/demo", "registry.example/team/demo/more"));
        assert!(has("registry.example/team/*", "registry.example/team/demo/more"));
        assert!(!has("registry.example/team/*", "registry.example/teams/demo"));
        assert!(!has("registry.example/team/*", "registry.example/team"));
        assert!(has("localhost:5000/*", "localhost:5000/demo"));
        assert!(!has("registry.example/*", "registry.example.evil/demo"));
        assert!(has("alpine", "docker.io/library/alpine"));
        for wrong in [
            "",
            "*",
            "/*",
            "team/*",
            "r.example/*/x",
            "r.example/t*",
            "r.example/x:1",
            "r.example//*",
            "r.example/a:b/*",
            "r.example/X",
            "x@y",
        ] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_those_who_are_trusted_vouch() {
        let [key, other] = [SigningKey::generate().unwrap(), SigningKey::generate().unwrap()];
        let digest = Sha256::of(b"index");
        let signed = [Signature::new(&other, "r.example/a/x", digest), Signature::new(&key, "r.example/a/x", digest)];
        let vouches = |rule: Rule, repository: &str, signatures: &[Signature]| {
            let mut policy = Policy::default();
            assert!(policy.add(rule.clone()) && !policy.add(rule));
            policy.vouches(repository, digest, signatures).is_some()
        };
        let by_key = |scope| Rule { key: Some(key.public()), repositories: scope };
        assert!(vouches(by_key(None), "r.example/b/x", &signed));
        assert!(!vouches(by_key(None), "r.example/b/x", &signed[..1]));
        assert!(!vouches(by_key(None), "r.example/b/x", &[Signature::new(&key, "r.example/b/x", Sha256::of(b"other"))]));
        assert!(vouches(by_key(scope("r.example/a/*")), "r.example/a/x", &signed));
        assert!(!vouches(by_key(scope("r.example/a/*")), "r.example/b/x", &signed));
        let by_name = Rule { key: None, repositories: scope("r.example/a/x") };
        assert!(vouches(by_name.clone(), "r.example/a/x", &[]));
        assert!(!vouches(by_name, "r.example/a/y", &signed));
        assert!(Policy::default().vouches("r.example/a/x", digest, &signed).is_none());
    }

    #[test]
    fn a_list_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Policy::read(folder.path()).unwrap(), Policy::default());
        let path = folder.path().join(FILE);
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            Policy::read(folder.path())
        };
        let rule = Rule { key: Some(SigningKey::generate().unwrap().public()), repositories: scope("r.example/*") };
        let text = serde_json::to_string(&File { version: VERSION, trusted: vec![rule.clone()] }).unwrap();
        assert_eq!(write(&text).unwrap().rules(), [rule]);
        for wrong in
            ["", "{}", r#"{"version":2,"trusted":[]}"#, r#"{"version":1,"trusted":[{}]}"#, r#"{"version":1,"trusted":[{"key":"x"}]}"#]
        {
            assert_eq!(write(wrong).unwrap_err().kind(), "trust", "{wrong}");
        }
        write(&text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(Policy::read(folder.path()).unwrap_err().to_string().contains("other users"));
    }
}
