//! What a guest cannot do with its host's files, its host's terminal and its host's time.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{STACK, with_runtime};
use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::rc::Rc;
use wamr::{Error, Grants, HostFile, Instance, Module, ModuleBytes, Preopen, Runtime, Value, Wasi, Watch};

/// WASI's calls, each exported as it is.
const CALLS: [(&str, &str); 18] = [
    ("fd_allocate", "i32 i64 i64"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_filestat_set_size", "i32 i64"),
    ("fd_filestat_set_times", "i32 i64 i64 i32"),
    ("fd_pread", "i32 i32 i32 i64 i32"),
    ("fd_pwrite", "i32 i32 i32 i64 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_filestat_get", "i32 i32 i32 i32 i32"),
    ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_remove_directory", "i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
];

fn module() -> Vec<u8> {
    let imports = CALLS
        .map(|(name, params)| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) (result i32)))\n"));
    let exports = CALLS.map(|(name, params)| {
        let gets: String = (0..params.split(' ').count()).map(|number| format!("(local.get {number})")).collect();
        format!("(func (export \"{name}\") (param {params}) (result i32) (call ${name} {gets}))\n")
    });
    let loops = "(func (export \"_initialize\"))
        (func (export \"loop\") (loop (br 0)))
        (func (export \"table\") (loop (br_table 0 0 (i32.const 0))))
        (func $deep (export \"deep\") (param i32)
          (if (local.get 0) (then
            (call $deep (i32.sub (local.get 0) (i32.const 1)))
            (call $deep (i32.sub (local.get 0) (i32.const 1))))))
        (func (export \"seven\") (result i32) (i32.const 7))";
    wat::parse_str(format!("(module {} {} {loops} (memory (export \"memory\") 1))", imports.concat(), exports.concat())).unwrap()
}

fn instance(runtime: &Runtime, wasi: Wasi) -> Instance {
    Instance::new(&Module::load(runtime, ModuleBytes::copy_of(&module()).unwrap()).unwrap(), wasi, STACK).unwrap()
}

/// Numbers of WASI.
const SUCCESS: i32 = 0;
const BUSY: i32 = 10;
const NOT_SUPPORTED: i32 = 58;
const NO_DEVICE: i32 = 60;
const READ_ONLY: i32 = 69;
const OTHER_DEVICE: i32 = 75;
const NOT_CAPABLE: i32 = 76;
const CREATE: i32 = 1;
const TRUNCATE: i32 = 8;
const READ: i64 = 1 << 1;
const WRITE: i64 = 1 << 6;
/// What a directory passes on to what is opened in it.
const ALL: i64 = 0x0fff_ffff;
/// The first directory.
const FIRST: i32 = 3;

/// A guest, and where in its memory things are put.
struct Guest(Instance);

impl Guest {
    fn call(&mut self, name: &str, params: &[Value]) -> i32 {
        match self.0.call(name, params).unwrap()[..] {
            [Value::I32(errno)] => errno,
            _ => unreachable!(),
        }
    }

    /// Puts a path at `address`: address and length.
    fn path(&mut self, address: u32, path: &str) -> [Value; 2] {
        self.0.memory().unwrap().write(address, path.as_bytes()).unwrap();
        [Value::I32(address as i32), Value::I32(path.len() as i32)]
    }

    fn open(&mut self, path: &str, oflags: i32, rights: i64) -> Result<i32, i32> {
        let [at, length] = self.path(0, path);
        let [oflags, place] = [oflags, 1024].map(Value::I32);
        let numbers = [Value::I32(FIRST), Value::I32(0), at, length, oflags, Value::I64(rights), Value::I64(0), Value::I32(0), place];
        match self.call("path_open", &numbers) {
            SUCCESS => Ok(i32::from_le_bytes(self.0.memory().unwrap().slice(1024, 4).unwrap().try_into().unwrap())),
            errno => Err(errno),
        }
    }

    fn with_path(&mut self, call: &str, path: &str) -> i32 {
        let [at, length] = self.path(0, path);
        self.call(call, &[Value::I32(FIRST), at, length])
    }

    fn rename(&mut self, from: &str, to: &str) -> i32 {
        let ([from, from_length], [to, to_length]) = (self.path(0, from), self.path(512, to));
        self.call("path_rename", &[Value::I32(FIRST), from, from_length, Value::I32(FIRST), to, to_length])
    }

    fn link(&mut self, from: &str, to: &str) -> i32 {
        let ([from, from_length], [to, to_length]) = (self.path(0, from), self.path(512, to));
        self.call("path_link", &[Value::I32(FIRST), Value::I32(0), from, from_length, Value::I32(FIRST), to, to_length])
    }

    fn symlink(&mut self, path: &str) -> i32 {
        let ([text, text_length], [at, length]) = (self.path(0, "text"), self.path(512, path));
        self.call("path_symlink", &[text, text_length, Value::I32(FIRST), at, length])
    }

    fn set_times(&mut self, path: &str) -> i32 {
        let [at, length] = self.path(0, path);
        let [zero, now] = [Value::I64(0), Value::I32(8)];
        self.call("path_filestat_set_times", &[Value::I32(FIRST), Value::I32(0), at, length, zero, zero, now])
    }

    /// Reads or writes one byte.
    fn transfer(&mut self, call: &str, file: i32) -> i32 {
        self.0.memory().unwrap().write(2048, &[[0, 16, 0, 0], [1, 0, 0, 0]].concat()).unwrap();
        self.call(call, &[Value::I32(file), Value::I32(2048), Value::I32(1), Value::I32(2056)])
    }
}

fn with_folder(read_only: bool, grants: Grants, folder: &Path, test: impl FnOnce(&mut Guest) + Send) {
    let preopens = vec![Preopen { guest: "/".into(), host: folder.into(), read_only }];
    with_runtime(|runtime| test(&mut Guest(instance(runtime, Wasi { preopens, grants, ..Wasi::default() }))));
}

#[test]
fn a_directory_that_is_read_only_gives_no_right_to_change_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "content").unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    with_folder(true, Grants::default(), folder.path(), |guest| {
        for (oflags, rights) in [(0, READ | WRITE), (0, WRITE), (CREATE, READ), (TRUNCATE, READ), (0, ALL)] {
            assert_eq!(guest.open("f", oflags, rights), Err(NOT_CAPABLE), "{oflags} {rights:#x}");
        }
        assert_eq!(guest.open("new", CREATE, READ), Err(NOT_CAPABLE));
        for call in ["path_create_directory", "path_unlink_file", "path_remove_directory"] {
            assert_eq!(guest.with_path(call, "d"), NOT_CAPABLE, "{call}");
        }
        assert_eq!((guest.rename("f", "g"), guest.link("f", "g"), guest.symlink("g")), (NOT_CAPABLE, NOT_CAPABLE, NOT_CAPABLE));
        assert_eq!(guest.set_times("f"), NOT_CAPABLE);
        let file = guest.open("f", 0, READ).unwrap();
        assert_eq!(guest.transfer("fd_read", file), SUCCESS);
        assert_eq!(guest.transfer("fd_write", file), NOT_CAPABLE);
    });
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"content");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_was_given_read_only_is_so_in_a_directory_for_writing_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("git/hooks/out")).unwrap();
    fs::write(root.join("git/hooks/hook"), "hook").unwrap();
    fs::write(root.join("env"), "env").unwrap();
    fs::write(root.join("free"), "free").unwrap();
    let files = |names: &[&str]| -> Vec<HostFile> {
        let file = |name: &&str| fs::metadata(root.join(name)).map(|file| HostFile { device: file.dev(), inode: file.ino() }).unwrap();
        names.iter().map(file).collect()
    };
    let grants = Grants {
        writable: files(&["", "git/hooks/out"]),
        read_only: files(&["git/hooks", "env"]),
        kept: files(&["git", "git/hooks", "env"]),
    };
    with_folder(false, grants, root, |guest| {
        for file in ["git/hooks/hook", "env"] {
            for (oflags, rights) in [(0, READ | WRITE), (TRUNCATE, READ), (CREATE, WRITE)] {
                assert_eq!(guest.open(file, oflags, rights), Err(READ_ONLY), "{file}");
            }
            assert_eq!((guest.set_times(file), guest.link(file, "second")), (READ_ONLY, OTHER_DEVICE), "{file}");
            let open = guest.open(file, 0, ALL & !WRITE & !(1 | 1 << 8 | 1 << 22)).unwrap();
            let [zero, now] = [Value::I64(0), Value::I32(8)];
            assert_eq!(guest.call("fd_filestat_set_times", &[Value::I32(open), zero, zero, now]), READ_ONLY, "{file}");
        }
        assert_eq!(guest.open("git/hooks/new", CREATE, WRITE), Err(READ_ONLY));
        assert_eq!(guest.with_path("path_create_directory", "git/hooks/new"), READ_ONLY);
        assert_eq!((guest.symlink("git/hooks/new"), guest.link("free", "git/hooks/new")), (READ_ONLY, READ_ONLY));
        assert_eq!((guest.rename("free", "git/hooks/new"), guest.rename("git/hooks/hook", "hook")), (READ_ONLY, READ_ONLY));
        assert_eq!(guest.with_path("path_unlink_file", "git/hooks/hook"), READ_ONLY);
        for kept in ["git", "git/hooks", "env"] {
            assert_eq!((guest.rename(kept, "moved"), guest.rename("free", kept)), (BUSY, BUSY), "{kept}");
        }
        assert_eq!(guest.with_path("path_unlink_file", "env"), BUSY);
        assert_eq!(guest.with_path("path_remove_directory", "git/hooks"), BUSY);
        // What counts is the innermost: this one is for writing, and so is all that is beside.
        let out = guest.open("git/hooks/out/new", CREATE, WRITE).unwrap();
        assert_eq!(guest.transfer("fd_write", out), SUCCESS);
        guest.open("git/hooks/hook", 0, READ).unwrap();
        guest.open("free", TRUNCATE, WRITE).unwrap();
        assert_eq!(guest.rename("free", "git/free"), SUCCESS);
    });
    assert_eq!(fs::read(root.join("git/hooks/hook")).unwrap(), b"hook");
    assert_eq!(fs::read(root.join("env")).unwrap(), b"env");
}

#[test]
fn only_files_and_directories_are_opened_and_no_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("secret"), "").unwrap();
    let root = folder.path().join("in");
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    symlink("../secret", root.join("link")).unwrap();
    symlink("..", root.join("up")).unwrap();
    with_folder(false, Grants::default(), &root, |guest| {
        // This would wait for a writer.
        assert_eq!(guest.open("pipe", 0, READ), Err(NO_DEVICE));
        for path in ["link", "up", "up/", "up/secret"] {
            assert!(guest.open(path, 0, READ).is_err(), "{path}");
        }
        let secret = fs::metadata(folder.path()).unwrap().modified().unwrap();
        guest.set_times("up/");
        assert_eq!(fs::metadata(folder.path()).unwrap().modified().unwrap(), secret);
    });
}

/// As root, which the kernel leaves them to.
#[test]
fn a_file_that_a_guest_writes_loses_the_bits_that_give_rights() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    fs::write(&file, "content").unwrap();
    with_folder(false, Grants::default(), folder.path(), |guest| {
        for way in 0..5 {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
            let open = match way {
                0 => guest.open("f", TRUNCATE, WRITE),
                _ => guest.open("f", 0, READ | WRITE | 1 << 2 | 1 << 8 | 1 << 22),
            };
            let open = Value::I32(open.unwrap());
            let done = match way {
                0 => 0,
                1 => guest.call("fd_filestat_set_size", &[open, Value::I64(1)]),
                2 => guest.call("fd_allocate", &[open, Value::I64(0), Value::I64(9)]),
                3 => guest.call("fd_write", &[open, Value::I32(2048), Value::I32(1), Value::I32(2056)]),
                _ => guest.call("fd_pwrite", &[open, Value::I32(2048), Value::I32(1), Value::I64(0), Value::I32(2056)]),
            };
            assert_eq!((done, fs::metadata(&file).unwrap().mode() & 0o7777), (SUCCESS, 0o755), "{way}");
        }
    });
}

#[test]
fn a_guest_waits_for_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    with_runtime(|runtime| {
        let stdio = [Some(null().into()), Some(writer.into()), Some(null().into())];
        let mut guest = Guest(instance(runtime, Wasi { stdio, ..Wasi::default() }));
        // A clock of a day, and a pipe that is never readable.
        assert_eq!(guest.call("poll_oneoff", &[0, 1024, 1, 2048].map(Value::I32)), NOT_SUPPORTED);
        assert_eq!(guest.transfer("fd_read", 0), SUCCESS);
        assert_eq!(guest.transfer("fd_read", 1), NOT_CAPABLE);
        // The flags of its streams are not its own.
        for stream in 0..3 {
            assert_eq!(guest.call("fd_fdstat_set_flags", &[stream, 0].map(Value::I32)), NOT_CAPABLE);
        }
    });
    drop(reader);
}

#[test]
fn a_guest_that_imports_what_opens_a_socket_is_refused() {
    let module = r#"(module (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1))"#;
    with_runtime(|runtime| {
        let refused = Module::load(runtime, ModuleBytes::copy_of(&wat::parse_str(module).unwrap()).unwrap());
        assert!(matches!(refused, Err(Error::MissingImport { ref name, .. }) if name == "sock_open"), "{refused:?}");
    });
}

#[test]
fn a_guest_that_never_returns_is_stopped_and_goes_on_when_called_again() {
    with_runtime(|runtime| {
        let asked = Rc::new(Cell::new(0));
        let watch = Watch::new({
            let asked = asked.clone();
            move |steps| {
                asked.set(asked.get() + 1);
                steps < 3 * u64::from(Watch::STEPS)
            }
        });
        let mut instance = instance(runtime, Wasi { watch: Some(watch), ..Wasi::default() });
        for (number, (endless, params)) in [("loop", vec![]), ("table", vec![]), ("deep", vec![Value::I32(60)])].into_iter().enumerate() {
            assert!(matches!(instance.call(endless, &params), Err(Error::Stopped)), "{endless}");
            assert_eq!(asked.get(), 3 * (number + 1));
            assert_eq!(instance.call("seven", &[]).unwrap(), [Value::I32(7)]);
        }
    });
}

/// It runs before anyone has called it.
#[test]
fn a_start_function_that_never_returns_is_stopped_too() {
    let module = "(module (func $start (loop (br 0))) (start $start))";
    with_runtime(|runtime| {
        let module = Module::load(runtime, ModuleBytes::copy_of(&wat::parse_str(module).unwrap()).unwrap()).unwrap();
        let wasi = Wasi { watch: Some(Watch::new(|_| false)), ..Wasi::default() };
        let error = Instance::new(&module, wasi, STACK).unwrap_err().to_string();
        assert!(error.contains("stopped by its host"), "{error}");
    });
}
