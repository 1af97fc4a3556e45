//! Case files: `tests/ops/*.ins`, one case a line.
//!
//! ```text
//! # comment
//! mode 32
//! 01 d8  "add eax,ebx"  rax=-1|0x7fffffff rbx=1
//! f3 0f bc c3  "bsf eax,ebx"  rbx=8  =>  rax=3 zf=0
//! 0f 0b  "ud2"  =>  #UD
//! ```
//! Bytes, their disassembly (instructions separated by `;`), then what is given: registers, flags by name, `[address]=bytes` in memory order, `rip=` the place of
//! the code. `a|b|c` makes a case of each. What is not given gets corner values and numbers without pattern. After `=>` stands what our CPU must answer where the
//! host's cannot be asked; such a line does not run on the host. `#SYSCALL` stands for the kernel's entry. An exception leaves RIP at the first instruction unless `rip=` says otherwise.
//!
//! Numbers are decimal or `0x`; `_` may separate digits. `code`, `entry`, `data`, `guard`, `stack`, `top`, `ro` and `nowhere` are the addresses of [`super::world`], `+` or `-` a number.

use std::path::Path;

use super::field::Field;
use super::world::*;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// `arith.ins:12`.
    pub place: String,
    pub bits: u32,
    pub bytes: Vec<u8>,
    pub text: String,
    pub given: Vec<Given>,
    pub expected: Option<Expected>,
}

/// What a line fixes.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// One of these values in a register or flag.
    Field(Field, Vec<u128>),
    /// Bytes at an address.
    Bytes(u64, Vec<u8>),
}

/// What a line demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// An exception, otherwise the code runs to its end.
    pub stop: Option<CaseExit>,
    pub fields: Vec<(Field, u128)>,
    pub memory: Vec<(u64, Vec<u8>)>,
}

/// Reads all files of a directory, in the order of their names.
pub fn read_dir(dir: &Path) -> Result<Vec<Line>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut paths: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some_and(|e| e == "ins")).collect();
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        lines.extend(parse(&name, &text)?);
    }
    Ok(lines)
}

/// Reads the text of a file called `name`.
pub fn parse(name: &str, text: &str) -> Result<Vec<Line>, String> {
    let mut bits = 64;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        match line.trim() {
            "" => {}
            line if line.starts_with('#') => {}
            "mode 32" => bits = 32,
            "mode 64" => bits = 64,
            line => lines.push(parse_line(&place, bits, line).map_err(|error| format!("{place}: {error}"))?),
        }
    }
    Ok(lines)
}

fn parse_line(place: &str, bits: u32, line: &str) -> Result<Line, String> {
    let mut parts = line.splitn(3, '"');
    let (Some(bytes), Some(text), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("no disassembly in quotes".to_string());
    };
    let (given, expected) = match rest.split_once("=>") {
        Some((given, expected)) => (given, Some(parse_expected(expected)?)),
        None => (rest, None),
    };
    Ok(Line {
        place: place.to_string(),
        bits,
        bytes: parse_bytes(bytes)?,
        text: text.to_string(),
        given: given.split_whitespace().map(parse_given).collect::<Result<_, _>>()?,
        expected,
    })
}

fn parse_given(item: &str) -> Result<Given, String> {
    let (key, value) = item.split_once('=').ok_or_else(|| format!("`{item}` is not name=value"))?;
    if let Some(address) = parse_address(key) {
        return Ok(Given::Bytes(address?, parse_bytes(value)?));
    }
    let field = Field::parse(key).ok_or_else(|| format!("nothing is called `{key}`"))?;
    Ok(Given::Field(field, value.split('|').map(parse_value).collect::<Result<_, _>>()?))
}

fn parse_expected(text: &str) -> Result<Expected, String> {
    let mut expected = Expected { stop: None, fields: Vec::new(), memory: Vec::new() };
    for item in text.split_whitespace() {
        if item.starts_with('#') {
            expected.stop = Some(parse_stop(item)?);
            continue;
        }
        if let Some(address) = item.strip_prefix("cr2=") {
            let stop = expected.stop.as_mut().ok_or("cr2 without an exception before it")?;
            stop.cr2 = parse_value(address)? as u64;
            continue;
        }
        match parse_given(item)? {
            Given::Field(field, values) if values.len() == 1 => expected.fields.push((field, values[0])),
            Given::Field(..) => return Err(format!("`{item}`: one answer only")),
            Given::Bytes(at, bytes) => expected.memory.push((at, bytes)),
        }
    }
    Ok(expected)
}

fn parse_stop(item: &str) -> Result<CaseExit, String> {
    let (name, error) = match item.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').ok_or("no `)`")?),
        None => (item, "0"),
    };
    let error = u32::from_str_radix(error, 16).map_err(|_| format!("`{error}` is not an error code"))?;
    let vector = (0..=CaseExit::SYSTEM_CALL).find(|vector| {
        let stop = CaseExit { vector: *vector, ..CaseExit::default() };
        stop.describe().split('(').next() == Some(name)
    });
    Ok(CaseExit { vector: vector.ok_or_else(|| format!("no exception is called `{name}`"))?, error, cr2: 0 })
}

/// `[address]`, or `None` if it is none.
fn parse_address(key: &str) -> Option<Result<u64, String>> {
    let inner = key.strip_prefix('[')?.strip_suffix(']')?;
    Some(parse_value(inner).map(|value| value as u64))
}

fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    match digits.len() % 2 {
        0 => pairs.collect::<Option<_>>().ok_or_else(|| format!("`{text}` are not bytes")),
        _ => Err(format!("`{text}`: half a byte")),
    }
}

fn parse_value(text: &str) -> Result<u128, String> {
    let bad = || format!("`{text}` is not a number");
    let named = [
        ("code", CODE),
        ("entry", ENTRY),
        ("data", DATA),
        ("guard", GUARD),
        ("stack", STACK),
        ("top", STACK_TOP),
        ("ro", READ_ONLY),
        ("nowhere", NOWHERE),
    ];
    for (name, base) in named {
        match text.strip_prefix(name) {
            Some("") => return Ok(base.into()),
            Some(offset) => return Ok(base.wrapping_add(parse_value(offset.strip_prefix('+').unwrap_or(offset))? as u64).into()),
            None => {}
        }
    }
    if let Some(positive) = text.strip_prefix('-') {
        return Ok(parse_value(positive)?.wrapping_neg());
    }
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).map_err(|_| bad()),
        None => digits.parse().map_err(|_| bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_says() {
        let lines =
            parse("x.ins", "mode 32\n# note\nf7 37 \"div dword [edi]\" rdi=guard-4|data cf=1 [data+8]=01_02 => #PF(4) cr2=guard rax=-1")
                .unwrap();
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!((line.place.as_str(), line.bits, line.bytes.as_slice()), ("x.ins:3", 32, &[0xf7, 0x37][..]));
        assert_eq!(line.given[0], Given::Field(Field::Gpr(gpr::RDI), vec![u128::from(GUARD - 4), u128::from(DATA)]));
        assert_eq!(line.given[2], Given::Bytes(DATA + 8, vec![1, 2]));
        let expected = line.expected.as_ref().unwrap();
        assert_eq!(expected.stop, Some(CaseExit { vector: 14, error: 4, cr2: GUARD }));
        assert_eq!(expected.fields, [(Field::Gpr(gpr::RAX), u128::MAX)]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["90", "9 \"nop\"", "90 \"nop\" rxx=1", "90 \"nop\" rax=zz", "90 \"nop\" => #XY", "90 \"nop\" rax=1 => rax=1|2"] {
            assert!(parse("x.ins", text).is_err(), "{text}");
        }
    }
}
