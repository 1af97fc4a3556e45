//! What headers in front of an entry's own say about it.

use super::Segment;
use super::sparse::Holes;
use std::collections::BTreeMap;
use std::str::FromStr;

/// What was said; the entry's own header says the rest.
#[derive(Debug, Default)]
pub struct Extensions {
    /// In GNU's form.
    pub long_name: Option<Vec<u8>>,
    /// In GNU's form.
    pub long_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// Bytes of content in the archive.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: Sparse,
}

/// What PAX headers say of a file with holes.
#[derive(Debug, Default)]
struct Sparse {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    segments: Option<Vec<Segment>>,
    in_content: bool,
}

impl Extensions {
    /// Takes the records of a PAX header: `LENGTH KEY=VALUE\n`, where the length is that of the record and the value may be any bytes.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let malformed = || "a PAX header's record is not `LENGTH KEY=VALUE`".to_owned();
            let blank = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length: usize = number(&bytes[..blank])?;
            let (record, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
            let record = record.get(blank + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            bytes = rest;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let zero_free = |value: &[u8]| if value.contains(&0) { Err("a name has a zero byte".to_owned()) } else { Ok(Some(value.to_vec())) };
        match key {
            b"path" => self.path = zero_free(value)?,
            b"linkpath" => self.link = zero_free(value)?,
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.name" => self.sparse.name = zero_free(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(number(value)?),
            b"GNU.sparse.major" => self.sparse.in_content = number::<u64>(value)? == 1,
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                let numbers = numbers.map(number).collect::<Result<Vec<u64>, _>>()?;
                if !numbers.len().is_multiple_of(2) {
                    return Err("a list of holes ends in the middle".into());
                }
                self.sparse.segments = Some(numbers.chunks(2).map(|pair| Segment { offset: pair[0], length: pair[1] }).collect());
            }
            // The oldest form: a record for each offset, followed by one for the length.
            b"GNU.sparse.offset" => {
                let offset = number(value)?;
                self.sparse.segments.get_or_insert_default().push(Segment { offset, length: 0 });
            }
            b"GNU.sparse.numbytes" => {
                let length = number(value)?;
                let last = self.sparse.segments.as_mut().and_then(|segments| segments.last_mut());
                last.ok_or("a list of holes has a length without an offset")?.length = length;
            }
            b"GNU.sparse.numblocks" => {
                self.sparse.segments.get_or_insert_default();
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attributes.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    /// The entry's path, unless its own header has it.
    pub fn path(&mut self) -> Option<Vec<u8>> {
        self.sparse.name.take().or_else(|| self.path.take()).or_else(|| self.long_name.take())
    }

    /// What it links to, unless its own header has that.
    pub fn link(&mut self) -> Option<Vec<u8>> {
        self.link.take().or_else(|| self.long_link.take())
    }

    /// Whether it has holes, and what is known of them.
    pub fn holes(&mut self) -> Option<Holes> {
        let size = self.sparse.size?;
        if self.sparse.in_content {
            return Some(Holes::InContent { size });
        }
        Some(Holes::Listed { size, segments: self.sparse.segments.take()? })
    }
}

pub(super) fn number<T: FromStr>(digits: &[u8]) -> Result<T, String> {
    // `parse` would take a sign.
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| "a PAX header has a number that is none, or too large".to_owned())
}

/// Seconds, rounded down, and the nanoseconds from there: `-1.25` is two seconds before 1970 and three quarters after that.
fn time(text: &[u8]) -> Result<(i64, u32), String> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds: i64 = number(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    let nine: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    let nanoseconds: u32 = number(&nine)?;
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, wanted) in
            [("0", (0, 0)), ("12.5", (12, 500_000_000)), ("1.0000000019", (1, 1)), ("-1", (-1, 0)), ("-1.25", (-2, 750_000_000))]
        {
            assert_eq!(time(text.as_bytes()), Ok(wanted), "{text}");
        }
        for wrong in ["", "-", "+1", "1.x", "99999999999999999999"] {
            assert!(time(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_may_be_any_bytes() {
        let mut extensions = Extensions::default();
        extensions.take(b"30 SCHILY.xattr.user.a=1\n2=\0\xff\n10 path=a\n").unwrap();
        assert_eq!(extensions.attributes[&b"user.a"[..]], b"1\n2=\0\xff");
        assert_eq!(extensions.path().unwrap(), b"a");
        for wrong in [&b"x"[..], b"5 a=b", b"99 path=a\n", b"0 a=b\n", b"1 a=b\n", b"8 path=\n9", b"11 path=a\0\n"] {
            assert!(Extensions::default().take(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
