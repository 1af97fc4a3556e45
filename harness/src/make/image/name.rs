//! What an image is called on the command line.

use super::error::{ImageError, Result};
use super::store::Place;
use crate::distribution::oci::{self, OciError, TRANSPORT};
use oci_client::Reference;
use std::path::{Path, PathBuf};

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// In a registry.
    Registry(Reference),
    /// An OCI layout in a folder, and which image of it.
    Layout(PathBuf, Option<String>),
    /// An archive of an OCI layout, or one as `docker save` writes it, whichever it turns out to be; and which image of it.
    Archive(Place, Option<String>),
    /// An archive as `docker save` writes it, even if it is an OCI layout, too; and which image of it.
    DockerArchive(Place, Option<String>),
    /// A folder that is the root.
    Folder(PathBuf),
}

/// Endings of files that are machines and snapshots, not images.
const OURS: [&str; 3] = ["wasm", "aot", "snap"];
/// Endings of archives.
const ARCHIVES: [&str; 10] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz"];
/// Names with which other programs reach what prebake cannot, and what to do instead.
const ELSEWHERE: [(&str, &str); 6] = [
    ("docker-daemon:", "prebake does not read Docker's own storage; pipe the image in: docker save IMAGE | prebake convert - -o FILE.wasm"),
    (
        "containers-storage:",
        "prebake does not read Podman's own storage; pipe the image in: podman save IMAGE | prebake convert - -o FILE.wasm",
    ),
    ("ostree:", "prebake reads registries, OCI layouts, archives and folders; copy it with `skopeo copy`"),
    ("sif:", "prebake reads registries, OCI layouts, archives and folders; copy it with `skopeo copy`"),
    ("http://", "it is an address of the web; write the reference without http://"),
    ("https://", "it is an address of the web; write the reference without https://"),
];

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
        if text == "-" {
            return Ok(Self::Archive(Place::StandardInput, None));
        }
        if let Some((_, advice)) = ELSEWHERE.into_iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err(problem(advice));
        }
        if let Some((transport, rest)) = text.split_once(':') {
            let split = || {
                let (path, tag) = split_tag(rest);
                let place = if path.as_os_str() == "-" { Place::StandardInput } else { Place::Path(path) };
                (place, tag)
            };
            match (transport, split()) {
                ("oci", (Place::Path(path), tag)) if path.is_dir() => return Ok(Self::Layout(path, tag)),
                ("oci" | "oci-archive", (place, tag)) => return Ok(Self::Archive(place, tag)),
                ("docker-archive", (place, tag)) => return Ok(Self::DockerArchive(place, tag)),
                _ => {}
            }
        }
        let text = text.strip_prefix(TRANSPORT).unwrap_or(text);
        let path = Path::new(text);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if OURS.contains(&ending) {
            return Err(problem("it is a machine or a snapshot"));
        }
        let is_path = matches!(path.components().next(), Some(first) if !matches!(first, std::path::Component::Normal(_)));
        let is_archive = ARCHIVES.iter().any(|ending| text.ends_with(ending));
        if is_path || (is_archive && (path.exists() || !names_registry(text))) {
            return Self::at(path);
        }
        match oci::reference(text) {
            Ok(reference) => Ok(Self::Registry(reference)),
            Err(_) if path.exists() => Err(problem("a file of this name exists, but it looks like a reference")),
            Err(OciError::Reference { problem: found, .. }) => Err(problem(&found)),
            Err(other) => Err(problem(&other.to_string())),
        }
    }

    /// What to tell a user who may have meant a file: `text` was taken for a reference, and names no registry.
    pub fn doubt(&self, text: &str) -> Option<Doubt> {
        let Self::Registry(reference) = self else { return None };
        if text.starts_with(TRANSPORT) {
            return None;
        }
        match Path::new(text).exists() {
            _ if names_registry(text) => None,
            exists => Some(Doubt { reference: reference.whole(), exists }),
        }
    }

    /// What files that are made of it may be called, without an ending.
    pub fn short(&self) -> String {
        let (full, endings) = match self {
            Self::Registry(reference) => (reference.repository().into(), &[][..]),
            Self::Archive(Place::StandardInput, _) | Self::DockerArchive(Place::StandardInput, _) => ("".into(), &[][..]),
            Self::Archive(Place::Path(path), _) | Self::DockerArchive(Place::Path(path), _) => (path.to_string_lossy(), &ARCHIVES[..]),
            Self::Layout(path, _) | Self::Folder(path) => (path.to_string_lossy(), &[][..]),
        };
        let last = full.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = endings.iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last);
        if matches!(name, "" | "." | "..") { "machine".into() } else { name.into() }
    }

    fn at(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(ImageError::io(format!("open the image {}", path.display())))?;
        if !found.is_dir() {
            // Which kind of archive it is, its content says.
            return Ok(Self::Archive(Place::Path(path.into()), None));
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
        assert_eq!(parse(&at("a:b.tar")).unwrap(), Name::Archive(Place::Path(at("a:b.tar")), None));
        assert_eq!(parse(&at("missing")).unwrap_err().kind(), "image-io");
    }

    #[test]
    fn transports_take_a_tag_behind_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a:b.tar");
        std::fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap();
        let archive = |tag: Option<&str>| Name::Archive(Place::Path(file.clone()), tag.map(Into::into));
        assert_eq!(Name::parse(&format!("oci:{path}")).unwrap(), archive(None));
        assert_eq!(Name::parse(&format!("oci:{path}:3.20")).unwrap(), archive(Some("3.20")));
        assert_eq!(Name::parse(&format!("oci-archive:{path}:a:3.20")).unwrap(), archive(Some("a:3.20")));
        let wanted = Name::DockerArchive(Place::Path(file.clone()), Some("alpine:3.20".into()));
        assert_eq!(Name::parse(&format!("docker-archive:{path}:alpine:3.20")).unwrap(), wanted);
        assert_eq!(Name::parse("oci:missing:tag").unwrap(), Name::Archive(Place::Path("missing".into()), Some("tag".into())));
        let folder = folder.path().to_str().unwrap();
        assert_eq!(Name::parse(&format!("oci:{folder}:1")).unwrap(), Name::Layout(folder.into(), Some("1".into())));
    }

    #[test]
    fn names_of_other_programs_are_understood_or_answered() {
        assert_eq!(registry("docker://alpine:3.20"), "docker.io/library/alpine:3.20");
        assert_eq!(registry("docker://localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(Name::parse("docker://alpine").unwrap().doubt("docker://alpine"), None);
        assert_eq!(Name::parse("-").unwrap(), Name::Archive(Place::StandardInput, None));
        assert_eq!(Name::parse("docker-archive:-:x:1").unwrap(), Name::DockerArchive(Place::StandardInput, Some("x:1".into())));
        assert_eq!(Name::parse("-").unwrap().short(), "machine");
        for (name, word) in [
            ("docker-daemon:alpine:3.20", "docker save"),
            ("containers-storage:x", "podman save"),
            ("https://r.example/x", "without https://"),
        ] {
            let error = Name::parse(name).unwrap_err();
            assert!(error.kind() == "image-name" && error.to_string().contains(word), "{error}");
        }
        for ending in ARCHIVES {
            assert_eq!(Name::Archive(Place::Path(format!("a/saved{ending}").into()), None).short(), "saved");
            assert_eq!(Name::parse(&format!("saved{ending}")).unwrap_err().kind(), "image-io");
        }
    }
}
