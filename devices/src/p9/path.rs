//! Names and paths that cannot leave a mount, by construction.

use super::Errno;
use std::fmt;
use std::sync::Arc;

/// Longest name of a file, in bytes.
const MAX_NAME: usize = 255;
/// Longest path inside a mount, in bytes, separators included.
const MAX_PATH: usize = 4096;

/// The name of a file in its directory: 1 to 255 bytes without `/` and NUL, and neither `.` nor `..`. Ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Checks `bytes`: `ENOENT` if empty, `ENAMETOOLONG`, or `EINVAL` for what cannot name a file.
    pub fn new(bytes: &[u8]) -> Result<Self, Errno> {
        match bytes {
            [] => Err(Errno::ENOENT),
            b"." | b".." => Err(Errno::EINVAL),
            _ if bytes.len() > MAX_NAME => Err(Errno::ENAMETOOLONG),
            _ if bytes.iter().any(|&byte| byte == b'/' || byte == 0) => Err(Errno::EINVAL),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes of the name; no encoding is implied.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A path from the root of a mount downwards. No component is `..`; what a component turns out to be (a symbolic link,
/// say) is for the file system to find out, which follows none.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelativePath(Vec<Name>);

impl RelativePath {
    /// The root of the mount.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of `components`; `ENAMETOOLONG` above 4096 bytes.
    pub fn new(components: Vec<Name>) -> Result<Self, Errno> {
        let length: usize = components.iter().map(|name| name.as_bytes().len() + 1).sum();
        if length > MAX_PATH { Err(Errno::ENAMETOOLONG) } else { Ok(Self(components)) }
    }

    /// The path that `text` spells: names separated by single slashes, without one at either end; empty is the root.
    pub fn parse(text: &str) -> Result<Self, Errno> {
        match text {
            "" => Ok(Self::root()),
            _ => Self::new(text.split('/').map(|name| Name::new(name.as_bytes())).collect::<Result<_, _>>()?),
        }
    }

    /// The path of `name` in this directory.
    pub fn child(&self, name: &Name) -> Result<Self, Errno> {
        Self::new(self.0.iter().chain([name]).cloned().collect())
    }

    /// The names on the way, outermost first; none for the root.
    pub fn components(&self) -> &[Name] {
        &self.0
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        assert_eq!(Name::new(b""), Err(Errno::ENOENT));
        for bytes in [&b"."[..], b"..", b"/", b"a/b", b"a\0b"] {
            assert_eq!(Name::new(bytes), Err(Errno::EINVAL), "{bytes:?}");
        }
        for bytes in [&b"..."[..], b".a", b"\xff\xfe", b"a b", &[b'x'; 255]] {
            assert_eq!(Name::new(bytes).unwrap().as_bytes(), bytes);
        }
        assert_eq!(Name::new(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn paths_are_bounded() {
        let name = Name::new(&[b'x'; 255]).unwrap();
        let mut path = RelativePath::root();
        for _ in 0..16 {
            path = path.child(&name).unwrap();
        }
        assert_eq!(path.child(&Name::new(b"y").unwrap()), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn text_parses_into_components() {
        assert_eq!(RelativePath::parse("").unwrap(), RelativePath::root());
        assert_eq!(RelativePath::parse("a/b").unwrap().components().len(), 2);
        for text in ["/", "/a", "a/", "a//b", "a/../b"] {
            assert!(RelativePath::parse(text).is_err(), "{text}");
        }
    }
}
