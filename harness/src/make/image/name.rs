//! What an image is called on the command line.

use super::error::{ImageError, Result};
use oci_client::Reference;
use std::path::{Path, PathBuf};

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// In a registry.
    Registry(Reference),
    /// An OCI layout: a folder, or an archive of one; and which image of it.
    Layout(PathBuf, Option<String>),
    /// An archive as `docker save` writes it, and which image of it.
    DockerArchive(PathBuf, Option<String>),
    /// A folder that is the root.
    Folder(PathBuf),
}

/// Endings of files that are machines and snapshots, not images.
const OURS: [&str; 3] = ["wasm", "aot", "snap"];

/// A name that was taken for a reference, but could be meant as a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The reference in full.
    pub reference: String,
    /// A file or folder of this name exists.
    pub exists: bool,
}

impl Name {
    /// Understands `text`; a path is looked at to tell what is there.
    pub fn parse(text: &str) -> Result<Self> {
        let problem = |problem: &str| ImageError::Name { name: text.escape_debug().to_string(), problem: problem.into() };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag) = split_tag(rest);
            return Ok(Self::Layout(path, tag));
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, tag) = split_tag(rest);
            return Ok(Self::DockerArchive(path, tag));
        }
        let path = Path::new(text);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if OURS.contains(&ending) {
            return Err(problem("it is a machine or a snapshot"));
        }
        let is_path = matches!(path.components().next(), Some(first) if !matches!(first, std::path::Component::Normal(_)));
        if is_path || (ending == "tar" && (path.exists() || !names_registry(text))) {
            return Self::at(path);
        }
        match text.parse() {
            Ok(reference) => Ok(Self::Registry(reference)),
            Err(_) if path.exists() => Err(problem("a file of this name exists, but it looks like a reference")),
            Err(error) => Err(problem(&error.to_string())),
        }
    }

    /// What to tell a user who may have meant a file: `text` was taken for a reference, and names no registry.
    pub fn doubt(&self, text: &str) -> Option<Doubt> {
        let Self::Registry(reference) = self else { return None };
        match Path::new(text).exists() {
            _ if names_registry(text) => None,
            exists => Some(Doubt { reference: reference.whole(), exists }),
        }
    }

    /// What files that are made of it may be called, without an ending.
    pub fn short(&self) -> String {
        let (full, ending) = match self {
            Self::Registry(reference) => (reference.repository().into(), ""),
            Self::Layout(path, _) | Self::DockerArchive(path, _) => (path.to_string_lossy(), ".tar"),
            Self::Folder(path) => (path.to_string_lossy(), ""),
        };
        let last = full.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = last.strip_suffix(ending).unwrap_or(last);
        if matches!(name, "" | "." | "..") { "machine".into() } else { name.into() }
    }

    fn at(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(ImageError::io(format!("open the image {}", path.display())))?;
        if !found.is_dir() {
            // Which kind of archive it is, its content says.
            return Ok(Self::Layout(path.into(), None));
        }
        if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
            return Ok(Self::Layout(path.into(), None));
        }
        Ok(Self::Folder(path.into()))
    }
}

/// Whether a reference says which registry it is of.
fn names_registry(text: &str) -> bool {
    text.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost")
}

/// `PATH[:TAG]`, where the tag may have a colon of its own: `x.tar:alpine:3.20`. A path that is there may have colons, too.
fn split_tag(text: &str) -> (PathBuf, Option<String>) {
    let ends = std::iter::once(text.len()).chain(text.rmatch_indices(':').map(|(at, _)| at));
    let existing = ends.filter(|end| *end > 0).find(|end| Path::new(&text[..*end]).exists());
    // Of what is not there the error is to name what was most likely meant.
    let end = existing.or_else(|| text.find(':').filter(|at| *at > 0)).unwrap_or(text.len());
    (text[..end].into(), text.get(end + 1..).map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> String {
        match Name::parse(text) {
            Ok(Name::Registry(reference)) => reference.whole(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_path_is_a_reference() {
        assert_eq!(registry("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(registry("alpine:3.20"), "docker.io/library/alpine:3.20");
        let digest = format!("localhost:5000/x@sha256:{}", "0".repeat(64));
        assert_eq!(registry(&digest), digest);
        for wrong in ["", "Alpine", "a b", "alpine:", "x.wasm", "y.aot", "dir/z.snap"] {
            assert_eq!(Name::parse(wrong).unwrap_err().kind(), "image-name", "{wrong}");
        }
    }

    #[test]
    fn who_may_have_meant_a_file_is_told() {
        let doubt = |text: &str| Name::parse(text).unwrap().doubt(text);
        assert_eq!(doubt("registry.example/x"), None);
        assert_eq!(doubt("./src"), None);
        assert_eq!(doubt("demo/alpin"), Some(Doubt { reference: "docker.io/demo/alpin:latest".into(), exists: false }));
        // Tests run in the package's folder.
        assert!(doubt("src").unwrap().exists);
        // An archive is one even if it is not there.
        assert_eq!(Name::parse("saved.tar").unwrap_err().kind(), "image-io");
    }

    #[test]
    fn what_is_made_of_an_image_is_called_after_it() {
        let short = |text: &str| Name::parse(text).unwrap().short();
        assert_eq!([short("alpine:3.20"), short("registry.example/team/demo")], ["alpine", "demo"]);
        assert_eq!([short("oci:images/busybox:latest"), short("docker-archive:a/saved.tar:x")], ["busybox", "saved"]);
        assert_eq!(["/", ".", "./", "/a/b.c/"].map(|path| Name::Folder(path.into()).short()), ["machine", "machine", "machine", "b.c"]);
    }

    #[test]
    fn a_path_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let parse = |path: &Path| Name::parse(path.to_str().unwrap());
        std::fs::create_dir_all(at("layout/blobs")).unwrap();
        assert_eq!(parse(&at("layout")).unwrap(), Name::Folder(at("layout")));
        std::fs::write(at("layout/oci-layout"), "{}").unwrap();
        std::fs::write(at("layout/index.json"), "{}").unwrap();
        assert_eq!(parse(&at("layout")).unwrap(), Name::Layout(at("layout"), None));
        std::fs::write(at("a:b.tar"), "").unwrap();
        assert_eq!(parse(&at("a:b.tar")).unwrap(), Name::Layout(at("a:b.tar"), None));
        assert_eq!(parse(&at("missing")).unwrap_err().kind(), "image-io");
    }

    #[test]
    fn transports_take_a_tag_behind_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a:b.tar");
        std::fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap();
        assert_eq!(Name::parse(&format!("oci:{path}")).unwrap(), Name::Layout(file.clone(), None));
        assert_eq!(Name::parse(&format!("oci:{path}:3.20")).unwrap(), Name::Layout(file.clone(), Some("3.20".into())));
        let wanted = Name::DockerArchive(file.clone(), Some("alpine:3.20".into()));
        assert_eq!(Name::parse(&format!("docker-archive:{path}:alpine:3.20")).unwrap(), wanted);
        assert_eq!(Name::parse("oci:missing:tag").unwrap(), Name::Layout("missing".into(), Some("tag".into())));
    }
}
