//! Text from anyone, for people.

/// Text for a terminal that is not the text's to program.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_programmed() {
        assert_eq!(printable("ä\x1b[2J\n"), "ä\\u{1b}[2J\\n");
    }
}
