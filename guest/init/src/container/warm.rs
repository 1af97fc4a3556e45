//! Bringing into memory, before the snapshot, what starting the program will need.
//!
//! Files are read, and programs run that have no effect: a shell that does nothing, and the dynamic loader, which is asked to list what the program
//! is linked with. The program itself is not run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::start::PATH;
use crate::image::ProgramDefaults;
use crate::info::Info;

/// The shell, which is what many start instead of the image's program.
const SHELL: &str = "/bin/sh";
/// The program that runs, which starting another takes out of the memory of the process.
const THIS: &str = "/proc/self/exe";
/// Bytes that are read at the most: of one file each time, and of all together.
const FILE_MAX: u64 = 4 << 20;
const MAX: u64 = 32 << 20;
/// A script's interpreter may be a script, and so on: the kernel's own limit.
const SCRIPTS: usize = 4;
/// As much of a file as says what it is.
const HEAD: usize = 4096;

/// Warms the image's program and the shell. What is not there, or is not what it seems, fails when it is started, with a better message.
pub fn program(image: &ProgramDefaults) {
    let mut warmed = Warmed { left: MAX, files: Vec::new() };
    let words = image.arguments(&Info::default()).unwrap_or_default();
    let path = image.variable(&Info::default(), "PATH").map_or(OsStr::new(PATH), |path| path).to_owned();
    let named = words.first().and_then(|program| find(program, &path));
    for file in named.into_iter().chain([SHELL, THIS].map(PathBuf::from)) {
        warmed.executable(file);
    }
    let _ = Command::new(SHELL).args(["-c", ":"]).env_clear().env("PATH", PATH).stdin(Stdio::null()).status();
}

/// Where the program is that `name` stands for.
fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    path.as_bytes().split(|byte| *byte == b':').map(|folder| Path::new(OsStr::from_bytes(folder)).join(name)).find(|file| file.is_file())
}

/// What has been warmed.
struct Warmed {
    /// Bytes that may still be read.
    left: u64,
    files: Vec<PathBuf>,
}

impl Warmed {
    /// Warms a program, and what it is run by.
    fn executable(&mut self, mut file: PathBuf) {
        for _ in 0..SCRIPTS {
            let Some(head) = self.file(&file) else { return };
            match interpreter(&head) {
                Some(Interpreter::OfScript(other)) => file = other,
                Some(Interpreter::OfProgram(loader)) => return self.libraries(&loader, &file),
                None => return,
            }
        }
    }

    /// Warms what `loader` says that `program` is linked with.
    fn libraries(&mut self, loader: &Path, program: &Path) {
        if self.file(loader).is_none() {
            return;
        }
        let list = Command::new(loader).arg("--list").arg(program).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).output();
        // NAME => PATH (ADDRESS)
        let text = list.map(|output| output.stdout).unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            let path = line.split(|byte| *byte == b' ').find_map(|word| word.trim_ascii().strip_prefix(b"/").map(|_| word.trim_ascii()));
            let _ = path.and_then(|path| self.file(Path::new(OsStr::from_bytes(path))));
        }
    }

    /// Reads a regular file twice, and returns its start. `None` if it cannot be read, or was read before.
    ///
    /// Linux moves a page to those in use when it is needed for the second time: for hundreds of them when a process ends or starts another program.
    fn file(&mut self, path: &Path) -> Option<Vec<u8>> {
        if self.files.iter().any(|read| read == path) {
            return None;
        }
        self.files.push(path.to_owned());
        // Opening anything else may wait, or have an effect.
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut file = File::open(path).ok()?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(HEAD as u64).read_to_end(&mut head).ok()?;
        let wanted = FILE_MAX.min(self.left);
        for _ in 0..2 {
            file.rewind().ok()?;
            self.left = self.left.saturating_sub(io::copy(&mut Read::by_ref(&mut file).take(wanted), &mut io::sink()).ok()?);
        }
        Some(head)
    }
}

/// What a program needs to be run.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// Of a script, the program that runs it.
    OfScript(PathBuf),
    /// Of an ELF file, the loader of its libraries.
    OfProgram(PathBuf),
}

/// The interpreter that a program names at its start.
fn interpreter(head: &[u8]) -> Option<Interpreter> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let name = line.split(u8::is_ascii_whitespace).next().filter(|name| !name.is_empty())?;
        return Some(Interpreter::OfScript(OsStr::from_bytes(name).into()));
    }
    // A 64-bit little-endian ELF file.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    const PT_INTERP: u64 = 3;
    let number = |offset: usize, length: usize| {
        let bytes = head.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (table, entry, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        let at = usize::try_from(table.checked_add(index * entry)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            let (offset, length) =
                (usize::try_from(number(at.checked_add(8)?, 8)?).ok()?, usize::try_from(number(at.checked_add(32)?, 8)?).ok()?);
            let name = head.get(offset..offset.checked_add(length)?)?.split(|byte| *byte == 0).next()?;
            let path = Path::new(OsStr::from_bytes(name));
            // Only a loader does what a loader does.
            let is_loader = path.file_name()?.as_bytes().starts_with(b"ld");
            return is_loader.then(|| Interpreter::OfProgram(path.to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scripts_name_their_interpreter() {
        let of = |text: &[u8]| interpreter(text);
        assert_eq!(of(b"#!/bin/sh\necho"), Some(Interpreter::OfScript("/bin/sh".into())));
        assert_eq!(of(b"#! /usr/bin/env python3"), Some(Interpreter::OfScript("/usr/bin/env".into())));
        assert_eq!(of(b"#!\n/bin/sh"), None);
        assert_eq!(of(b"echo"), None);
    }

    #[test]
    fn programs_name_their_loader() {
        let mut head = vec![0; 0x200];
        let mut put = |offset: usize, bytes: &[u8]| head[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(0x20, &[0x40]);
        put(0x36, &[56]);
        put(0x38, &[2]);
        put(0x40 + 56, &[3]);
        put(0x40 + 56 + 8, &[0, 1]);
        put(0x40 + 56 + 32, &[16]);
        put(0x100, b"/lib/ld-musl.so");
        assert_eq!(interpreter(&head), Some(Interpreter::OfProgram("/lib/ld-musl.so".into())));
        head[0x105] = b'x';
        assert_eq!(interpreter(&head), None, "what is no loader is not run");
        head[0x38] = 1;
        assert_eq!(interpreter(&head), None);
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        let path = format!("/nonexistent:{}", folder.path().display());
        assert_eq!(find("tool".as_ref(), path.as_ref()), Some(folder.path().join("tool")));
        assert_eq!(find("other".as_ref(), path.as_ref()), None);
        assert_eq!(find("/x/y".as_ref(), path.as_ref()), Some("/x/y".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_interpreter_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = interpreter(&bytes);
            let elf = [b"\x7fELF\x02\x01", &bytes[..]].concat();
            let _ = interpreter(&elf);
        }
    }
}
