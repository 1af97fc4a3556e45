//! Text from anyone, for people; and bytes as text.

/// Text for a terminal that is not the text's to program.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Lines of such text, with `end` between them.
pub fn printable_lines(text: &str, end: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join(end)
}

/// Bytes as hexadecimal digits, in small letters.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex("001fFF"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!((unhex("0"), unhex("0x"), unhex("é")), (None, None, None));
    }

    #[test]
    fn a_terminal_is_not_programmed() {
        assert_eq!(printable("ä\x1b[2J\n"), "ä\\u{1b}[2J\\n");
        assert_eq!(printable_lines("a\u{9b}2J\nb\r", "\r\n"), "a\\u{9b}2J\r\nb\\r");
    }
}
