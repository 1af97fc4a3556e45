//! References: `registry.example:5000/name/of/it:tag@sha256:…`, of which all but the name may be left out.

use super::OciError;
use oci_client::Reference;
use std::net::Ipv6Addr;

/// What other programs write before a reference.
pub(crate) const TRANSPORT: &str = "docker://";
/// The registry of references without one; what its client calls it; and where its names without a folder are.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_BEFORE: &str = "index.docker.io";
const DEFAULT_FOLDER: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Most bytes of a repository's name, and of a tag.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Digests: their algorithms, and how many digits each has.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Understands a reference, as Docker does, and with an IPv6 address in brackets for a registry.
///
/// `oci_client` understands the same, but makes a regular expression ready for it, which takes longer than to start a machine.
pub fn reference(text: &str) -> Result<Reference, OciError> {
    let text = text.strip_prefix(TRANSPORT).unwrap_or(text);
    parse(text).map_err(|problem| OciError::Reference { text: text.escape_debug().to_string(), problem })
}

fn parse(text: &str) -> Result<Reference, String> {
    let (rest, digest) = split(text, text.find('@'));
    // Behind a slash it is a tag, before one a port.
    let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let colon = rest[name_start..].find(':').map(|colon| name_start + colon);
    let colon = colon.filter(|_| name_start > 0 || !rest.starts_with('['));
    let (name, tag) = split(rest, colon);
    let (registry, repository) = split_registry(name)?;
    if repository.len() > MAX_NAME {
        return Err(format!("a name has at most {MAX_NAME} characters"));
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(format!("`{}` is not a tag: letters, digits, _, . and -, at most {MAX_TAG}", tag.escape_debug()));
    }
    if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
        return Err(format!("`{}` is not a digest like sha256: and 64 hexadecimal digits", digest.escape_debug()));
    }
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag.into(), digest.into()),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest.into()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or(DEFAULT_TAG).into()),
    })
}

/// What is before the separator at `at`, and behind it.
fn split(text: &str, at: Option<usize>) -> (&str, Option<&str>) {
    at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

/// The registry and the repository of a name.
fn split_registry(name: &str) -> Result<(String, String), String> {
    if let Some((address, rest)) = name.strip_prefix('[').and_then(|name| name.split_once(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| "what is in brackets is not an IPv6 address")?;
        let (port, path) = rest.split_once('/').ok_or("it has a registry, but no name")?;
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return Err("a port or a / belongs behind the registry".into());
        }
        check_path(path)?;
        return Ok((format!("[{address}]{port}"), path.into()));
    }
    let Some((first, path)) = name.split_once('/') else {
        check_path(name)?;
        return Ok((DEFAULT_REGISTRY.into(), format!("{DEFAULT_FOLDER}/{name}")));
    };
    if !is_domain(first) {
        check_path(first)?;
    }
    check_path(path)?;
    let (registry, repository) = if first.contains(['.', ':']) || first == "localhost" { (first, path) } else { (DEFAULT_REGISTRY, name) };
    if registry != DEFAULT_REGISTRY && registry != DEFAULT_REGISTRY_BEFORE {
        return Ok((registry.into(), repository.into()));
    }
    let folder = if repository.contains('/') { String::new() } else { format!("{DEFAULT_FOLDER}/") };
    Ok((DEFAULT_REGISTRY.into(), folder + repository))
}

fn check_path(path: &str) -> Result<(), String> {
    match path.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err("a name is missing".into()),
        Some(wrong) => {
            Err(format!("`{}` is not a name: lowercase letters and digits, with ., _, __ or dashes in between", wrong.escape_debug()))
        }
    }
}

/// A part of a repository's name.
fn is_component(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = text.as_bytes().split(is_letter).filter(|separator| !separator.is_empty());
    let is_separator = |separator: &[u8]| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-');
    let ends = [text.as_bytes().first(), text.as_bytes().last()];
    ends.iter().all(|end| end.is_some_and(is_letter)) && separators.all(is_separator)
}

/// A registry's name, with a port or without.
fn is_domain(text: &str) -> bool {
    let (host, port) = split(text, text.find(':'));
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        DIGESTS.contains(&(algorithm, digits.len())) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::oci::Sha256;
    use proptest::prelude::*;

    /// What `oci_client` makes of it, which is Docker's grammar.
    fn as_oci_client(text: &str) -> Option<Reference> {
        text.parse().ok()
    }

    #[test]
    fn references_are_understood_as_docker_does() {
        let digests = DIGESTS.map(|(algorithm, digits)| format!("{algorithm}:{}", "fA".repeat(digits / 2)));
        let names = [
            "a",
            "a/b",
            "a.b/c",
            "a_b.c/d",
            "a:5000/b",
            "A/b",
            "A.b/c",
            "a-.b/c",
            "localhost/x",
            "localhost:1/x",
            "index.docker.io/x",
            "docker.io/x",
            "docker.io/x/y",
            "a__b",
            "a___b",
            "a--b",
            "a..b",
            "a.-b",
            "-a",
            "a-",
            "a//b",
            "/a",
            "a/",
            "",
            "a:/b",
            "a:x/b",
            "a/B",
            "a b",
        ];
        let tags = ["", ":1", ":", ":-", ":_x.Y-", ":a:b", ":a/b", &format!(":{}", "t".repeat(128)), &format!(":{}", "t".repeat(129))];
        let ends = ["", "@", "@sha256:ff", "@md5:ffffffffffffffffffffffffffffffff", "@x@y"];
        let long = "n".repeat(255);
        for name in names.into_iter().chain([long.as_str(), &format!("r.example/{long}"), &format!("r.example/{long}n")]) {
            for tag in tags {
                for end in ends.into_iter().map(String::from).chain(digests.iter().map(|digest| format!("@{digest}"))) {
                    let text = format!("{name}{tag}{end}");
                    assert_eq!(reference(&text).ok(), as_oci_client(&text), "{text}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_understood_as_docker_does(text in "[a-cA0._:/@-]{0,12}") {
            prop_assert_eq!(reference(&text).ok(), as_oci_client(&text));
        }
    }

    #[test]
    fn a_registry_may_be_an_ipv6_address() {
        let parts = |text: &str| {
            let found = reference(text).unwrap();
            (found.resolve_registry().to_owned(), found.repository().to_owned(), found.whole())
        };
        let wanted = |registry: &str, repository: &str, whole: &str| (registry.to_owned(), repository.to_owned(), whole.to_owned());
        assert_eq!(parts("[::1]:5000/a/b:1"), wanted("[::1]:5000", "a/b", "[::1]:5000/a/b:1"));
        assert_eq!(parts("[2001:DB8::7]/x"), wanted("[2001:db8::7]", "x", "[2001:db8::7]/x:latest"));
        let digest = Sha256::of(b"");
        assert_eq!(parts(&format!("[::1]:5000/x@{digest}")).2, format!("[::1]:5000/x@{digest}"));
        for wrong in
            ["[::1]", "[::1]:5000", "[::1]x/y", "[::1%lo]:5000/x", "[r.example]/x", "[::1/x", "[::1]:5000/X", "[::1]:/x", "[::1]:x/y"]
        {
            assert!(reference(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reference_in_full_is_understood_as_itself() {
        let digest = Sha256::of(b"");
        for text in ["alpine", "alpine:3.20", "localhost:5000/a/b:1", "[::1]:5000/a:1", &format!("registry.example/x:1@{digest}")] {
            let understood = reference(text).unwrap();
            assert_eq!(reference(&understood.whole()).unwrap(), understood);
        }
        assert_eq!(reference("docker://alpine").unwrap(), reference("alpine").unwrap());
    }
}
