//! The text of `info` and of an image's description: lines of `key: value`, as PROTOCOL.md defines them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};

/// A name and its value in an environment.
pub type Variable = (OsString, OsString);

/// Why a value cannot be followed.
pub type Problem = &'static str;

/// Calls `take` with key and value of every line of `text` that has both. `what` is the text's name, for the error.
pub fn each_line<'a>(
    what: &'static str,
    text: &'a [u8],
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> std::result::Result<(), Problem>,
) -> Result<()> {
    for line in lines(text) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        take(key, value).map_err(|problem| Error::Line { what, key: String::from_utf8_lossy(key).into_owned(), problem })?;
    }
    Ok(())
}

/// A value that is one text. The blanks in front of it are not part of it.
pub fn whole(value: &[u8]) -> OsString {
    OsString::from_vec(words(value.trim_ascii_start(), false).concat())
}

/// A value that is a command. One blank belongs to the colon; more of them would be empty words.
pub fn command(value: &[u8]) -> Vec<OsString> {
    words(value.strip_prefix(b" ").unwrap_or(value), true).into_iter().map(OsString::from_vec).collect()
}

/// A value that is `NAME=VALUE`.
pub fn variable(value: &[u8]) -> std::result::Result<Variable, Problem> {
    let mut name = whole(value).into_vec();
    let equals = name.iter().position(|&byte| byte == b'=').filter(|&at| at != 0).ok_or("it must be NAME=VALUE")?;
    let value = name.split_off(equals + 1);
    name.pop();
    Ok((OsString::from_vec(name), OsString::from_vec(value)))
}

/// Cuts text at each newline with an even number of backslashes in front of it, none included.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut backslashes = 0_usize;
    bytes.split(move |&byte| {
        let ends = byte == b'\n' && backslashes.is_multiple_of(2);
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
        ends
    })
}

/// The words of a value. Backslashes stand for themselves, but not in front of what would end the word: there each pair is one, and one
/// that is left takes the end as a part of the word. Every blank ends a word if `at_blanks`, so that one of no bytes can be said.
fn words(value: &[u8], at_blanks: bool) -> Vec<Vec<u8>> {
    let (mut words, mut word) = (Vec::new(), Vec::new());
    let mut backslashes = 0_usize;
    for &byte in value {
        match byte {
            b'\\' => backslashes += 1,
            _ if byte == b'\n' || byte == b' ' && at_blanks => {
                word.extend(std::iter::repeat_n(b'\\', backslashes / 2));
                if backslashes.is_multiple_of(2) {
                    words.push(std::mem::take(&mut word));
                } else {
                    word.push(byte);
                }
                backslashes = 0;
            }
            _ => {
                word.extend(std::iter::repeat_n(b'\\', backslashes));
                word.push(byte);
                backslashes = 0;
            }
        }
    }
    // An odd one can only be at the end of the file, where there is nothing to take.
    word.extend(std::iter::repeat_n(b'\\', backslashes.div_ceil(2)));
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_line("a test", text.as_bytes(), |_, value| {
            words = command(value);
            Ok(())
        })
        .unwrap();
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn commands_are_cut_at_blanks() {
        assert_eq!(cut("c: A B\\ C\n"), ["A", "B C"]);
        assert_eq!(cut("c: echo a\\b \\n \\\"\n"), ["echo", "a\\b", "\\n", "\\\""]);
        assert_eq!(cut("c: a\\\\ b\\\\\\ c\\\\\n"), ["a\\", "b\\ c\\"]);
        assert_eq!(cut("c: a\\\nb c\n"), ["a\nb", "c"]);
        assert_eq!(cut("c: a  b\n"), ["a", "", "b"]);
        assert_eq!(cut("c: a  \n"), ["a", ""]);
        assert_eq!(cut("c:a: b"), ["a:", "b"]);
        assert_eq!(cut("c: a\\"), ["a\\"]);
        assert_eq!(cut("c: \n"), [""; 0]);
        assert_eq!(cut("c: a\nc: b"), ["b"]);
    }

    #[test]
    fn lines_without_a_colon_say_nothing() {
        each_line("a test", b"hello\n\nworld", |_, _| Err("there is no line")).unwrap();
        let error = each_line("a test", b"a b: c", |_, _| Err("it is wrong")).unwrap_err().to_string();
        assert!(["a test", "`a b:`", "it is wrong"].iter().all(|part| error.contains(part)), "{error}");
    }
}
