//! What a file is that is no archive, in words: people pass what a server sent in place of an image, or the wrong file.

use super::text::Quoted;

/// What begins so is that.
const MAGIC: [(&[u8], &str); 17] = [
    (b"\x7fELF", "a program (ELF)"),
    (b"#!", "a script"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Rar!", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"!<arch>\n", "an ar archive, such as a Debian package"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"070701", "a cpio archive, such as an initramfs"),
    (b"hsqs", "a squashfs file system"),
    (b"QFI\xfb", "a virtual machine's disk (qcow2)"),
    (b"KDMV", "a virtual machine's disk (VMDK)"),
    (b"%PDF", "a PDF document"),
    (b"\0asm", "a WebAssembly module; `prebake run` takes a machine"),
    (b"\0aot", "a compiled machine; `prebake run` takes it"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS to a file that was not fetched; run `git lfs pull`"),
    (b"-----BEGIN ", "a key or a certificate"),
    (b"{", "a JSON document"),
];
/// Beginnings of web pages, in small letters.
const HTML: [&str; 5] = ["<!doctype html", "<html", "<head", "<body", "<!--"];
/// Bytes of a text that are shown.
const SHOWN: usize = 60;

/// What begins with `start`, some hundred bytes, after "it is"; `None` if that is not known.
pub fn recognise(start: &[u8]) -> Option<String> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()));
    if HTML.into_iter().any(begins) {
        return Some("an HTML page, perhaps a server's error or a login page; download the image itself".into());
    }
    if let Some((_, what)) = MAGIC.into_iter().find(|(magic, _)| start.starts_with(magic) || (*magic == b"{" && text.starts_with(magic))) {
        return Some(what.into());
    }
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_text = !start.is_empty() && start.iter().all(is_text_byte);
    is_text.then(|| format!("a text file that begins with {}", Quoted(&line[..line.len().min(SHOWN)])))
}

/// The same of anything.
pub fn describe(start: &[u8]) -> String {
    recognise(start).unwrap_or_else(|| format!("something else, which begins with the bytes {:02x?}", &start[..start.len().min(8)]))
}

fn is_text_byte(byte: &u8) -> bool {
    !byte.is_ascii_control() || byte.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_archive_is_called_what_it_is() {
        for (start, word) in [
            (&b"\n <!DOCTYPE HTML><title>Sign in</title>"[..], "an HTML page"),
            (b"<html lang=en>", "an HTML page"),
            (b"root:x:0:0:root:/root:/bin/sh\nbin:x:1:1::/:\n", "a text file that begins with \"root:x:0:0:root:/root:/bin/sh\""),
            (b" {\"errors\":[]}", "a JSON document"),
            (b"\x7fELF\x02\x01", "a program"),
            (b"PK\x03\x04", "a zip archive"),
            (b"\x01\x02\x03", "something else, which begins with the bytes [01, 02, 03]"),
            ("Ärger\x1b[2J".as_bytes(), "something else"),
        ] {
            assert!(describe(start).starts_with(word), "{}", describe(start));
        }
    }
}
