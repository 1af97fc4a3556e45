//! Bytes as text that can be committed.

use std::fmt::Write as _;

/// Sixteen bytes a line after their offset; lines of zeroes are left out, and the length is last.
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (n, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|&byte| byte != 0)) {
        let hex: String = line.iter().map(|byte| format!(" {byte:02x}")).collect();
        let ascii: String = line.iter().map(|&byte| if byte.is_ascii_graphic() { byte as char } else { '.' }).collect();
        writeln!(text, "{:06x}:{hex:48}  {ascii}", n * 16).unwrap();
    }
    writeln!(text, "{:06x}:", bytes.len()).unwrap();
    text
}

/// The bytes that [`to_text`] was given.
pub fn from_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let (offset, line) = line.split_once(':').unwrap();
        bytes.resize(usize::from_str_radix(offset, 16).unwrap(), 0);
        let hex = line.get(..48).unwrap_or_default();
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}
