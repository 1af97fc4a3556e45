//! Names from images, as they are shown to people.

use std::fmt;

/// Bytes of a path in quotes. What is not printable is escaped, for a terminal is not the image's to program.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A message that shows more helps nobody.
        const SHOWN: usize = 200;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        f.write_str("\"")?;
        for chunk in shown.utf8_chunks() {
            write!(f, "{}{}", chunk.valid().escape_debug(), chunk.invalid().escape_ascii())?;
        }
        f.write_str(if shown.len() < self.0.len() { "…\"" } else { "\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_programming_the_terminal() {
        assert_eq!(Quoted("ä b".as_bytes()).to_string(), "\"ä b\"");
        assert_eq!(Quoted(b"\x1b[2J\xff").to_string(), "\"\\u{1b}[2J\\xff\"");
        assert!(Quoted(&[b'x'; 5000]).to_string().ends_with("x…\""));
    }
}
